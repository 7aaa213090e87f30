//! The cards of a session: sampled for the record while its server lives, and seen idle again once it is gone. A server
//! whose driver still holds memory would make the next boot fail. Nothing is done where no tool can tell.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Journal;
use crate::{
    device::{DeviceReport, Process, Tools, health, sample::Sampler},
    load::validity::{CardSeen, CardsSeen},
    record::{CardSamples, Event},
};

/// Time between two samples: a tool takes a good part of a second for eight cards.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long cards may take until they are idle again, and how often they are asked.
#[derive(Debug, Clone, Copy)]
struct Patience {
    most: Duration,
    poll: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            most: Duration::from_mins(1),
            poll: Duration::from_secs(1),
        }
    }
}

/// The cards of a session while it lasts.
pub struct Cards {
    tools: Tools,
    /// All of them.
    indices: Vec<u32>,
    /// Those that were idle before the server was started: others' cards are not waited for.
    were_idle: Vec<u32>,
    /// Those that were not.
    in_use_before: Vec<u32>,
    /// Card and id of the processes that were on them when the server was ready: its own, and those before it.
    own: Vec<(u32, u32)>,
    sampler: Option<Sampler>,
    patience: Patience,
}

impl Cards {
    /// Begins to sample the cards `indices` into the journal. Without cards, or a tool that tells of them, nothing is
    /// sampled.
    pub async fn watch(tools: Tools, indices: &[u32], session: &str, journal: &Arc<Journal>) -> Self {
        let before = if indices.is_empty() {
            None
        } else {
            figures(&tools).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the cards of this session are not sampled");
                None
            })
        };
        let idle = |card: &u32| before.as_ref().and_then(|report| health::idle(report, *card));
        let of = |wanted: bool| {
            indices
                .iter()
                .copied()
                .filter(move |card| idle(card) == Some(wanted))
        };
        let (were_idle, in_use_before) = (of(true).collect(), of(false).collect());
        let sampler = before
            .is_some()
            .then(|| sampler(&tools, indices, session, journal));
        Self {
            tools,
            indices: indices.to_vec(),
            were_idle,
            in_use_before,
            own: Vec::new(),
            sampler,
            patience: Patience::default(),
        }
    }

    /// The server is ready: the processes that are on its cards now are its own.
    pub async fn settle(&mut self) {
        if self.sampler.is_some()
            && let Ok(Some(report)) = figures(&self.tools).await
        {
            let here = report
                .processes
                .iter()
                .filter(|process| self.indices.contains(&process.card));
            self.own = here.map(|process| (process.card, process.pid)).collect();
        }
    }

    /// What is to be seen of the cards, for the figures of a phase that has just ended. `None` where no tool tells.
    pub async fn seen(&self) -> Option<CardsSeen> {
        self.sampler.as_ref()?;
        let report = figures(&self.tools).await.ok()??;
        let strangers = report.processes.iter().filter(|process| {
            self.indices.contains(&process.card) && !self.own.contains(&(process.card, process.pid))
        });
        let words = |process: &Process| {
            let name = process.name.as_deref().unwrap_or("?");
            format!("process {} ({name}) on card {}", process.pid, process.card)
        };
        let cards = report
            .cards
            .iter()
            .filter(|card| self.indices.contains(&card.index));
        Some(CardsSeen {
            in_use_before: self.in_use_before.clone(),
            strangers: strangers.map(words).collect(),
            cards: cards
                .map(|card| CardSeen {
                    index: card.index,
                    temperature_c: card.temperature_c,
                    power_w: card.power_w,
                    power_cap_w: card.power_cap_w,
                })
                .collect(),
        })
    }

    /// Ends sampling.
    async fn stop(&mut self) {
        if let Some(sampler) = self.sampler.take() {
            // It waits for the tool's present answer. The thread cannot panic without having said so.
            drop(tokio::task::spawn_blocking(move || sampler.stop()).await);
        }
    }

    /// Ends sampling and waits until the cards are idle again. Gives what is wrong, where they are not in time.
    pub async fn released(&mut self) -> Option<String> {
        self.stop().await;
        let begun = Instant::now();
        let mut busy = self.were_idle.clone();
        while !busy.is_empty() {
            match figures(&self.tools).await {
                Ok(Some(report)) => busy.retain(|&card| health::idle(&report, card) == Some(false)),
                Ok(None) => return None,
                Err(error) => return Some(format!("whether its cards are idle is not known: {error}")),
            }
            if !busy.is_empty() && begun.elapsed() >= self.patience.most {
                let busy: Vec<String> = busy.iter().map(u32::to_string).collect();
                let (cards, seconds) = (busy.join(", "), self.patience.most.as_secs_f64());
                return Some(format!(
                    "{seconds} s later its cards were still not idle: {cards} (see `harness device`)"
                ));
            }
            if !busy.is_empty() {
                tokio::time::sleep(self.patience.poll).await;
            }
        }
        None
    }

    /// Ends sampling without waiting for anything.
    pub async fn leave(&mut self) {
        self.stop().await;
    }
}

/// What the tool tells now; `None` where there is none.
async fn figures(tools: &Tools) -> Result<Option<DeviceReport>, String> {
    let tools = tools.clone();
    let asked = tokio::task::spawn_blocking(move || tools.figures()).await;
    match asked {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn sampler(tools: &Tools, indices: &[u32], session: &str, journal: &Arc<Journal>) -> Sampler {
    let (indices, session, journal) = (indices.to_vec(), session.to_owned(), Arc::clone(journal));
    let mut has_failed = false;
    Sampler::start(tools.clone(), INTERVAL, move |sample| match sample {
        Ok(mut sample) => {
            sample.cards.retain(|card| indices.contains(&card.index));
            journal.append(Event::CardSample(CardSamples {
                session: session.clone(),
                after_s: sample.at_s,
                cards: sample.cards,
            }));
        }
        // The same failure every two seconds would say no more than once.
        Err(error) => {
            if !std::mem::replace(&mut has_failed, true) {
                tracing::warn!(%error, "a sample of the cards is missing");
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;
    use crate::record;

    const IDLE: &str = include_str!("../device/fixtures/table-2.2.8.txt");

    /// An mx-smi that prints the table in `folder`.
    fn tools(folder: &Path) -> Tools {
        let tool = folder.join("mx-smi");
        fs::write(&tool, format!("#!/bin/sh\ncat {}/table.txt\n", folder.display())).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        Tools::find_in(folder, folder.as_os_str())
    }

    fn show(folder: &Path, used_mib: u64) {
        assert!(IDLE.contains("858/65536 MiB"));
        let table = IDLE.replace("858/65536 MiB", &format!("{used_mib}/65536 MiB"));
        // Whole or not at all: the tool may be reading.
        let fresh = folder.join("fresh.txt");
        fs::write(&fresh, table).unwrap();
        fs::rename(fresh, folder.join("table.txt")).unwrap();
    }

    fn journal(folder: &Path) -> Arc<Journal> {
        Arc::new(Journal::create(&folder.join("record.jsonl"), Box::new(|_| ())).unwrap())
    }

    async fn cards(folder: &Path, journal: &Arc<Journal>) -> Cards {
        let mut cards = Cards::watch(tools(folder), &[0], "m@s", journal).await;
        cards.patience = Patience {
            most: Duration::from_millis(1500),
            poll: Duration::from_millis(50),
        };
        cards
    }

    #[tokio::test]
    async fn samples_are_recorded_until_the_end() {
        let folder = tempfile::tempdir().unwrap();
        show(folder.path(), 858);
        let journal = journal(folder.path());
        let mut cards = cards(folder.path(), &journal).await;
        cards.released().await;
        let entries = journal.entries();
        let Event::CardSample(samples) = &entries[0].event else {
            panic!("{entries:?}");
        };
        assert_eq!(samples.cards[0].memory_used_mib, Some(858));
        assert_eq!(samples.session, "m@s");
        let line = serde_json::to_string(&entries[0]).unwrap();
        assert!(line.contains(r#""event":"card_sample""#), "{line}");
        assert_eq!(serde_json::from_str::<record::Entry>(&line).unwrap(), entries[0]);
    }

    #[tokio::test]
    async fn memory_that_is_released_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        show(folder.path(), 858);
        let journal = journal(folder.path());
        let mut cards = cards(folder.path(), &journal).await;
        show(folder.path(), 58_000);
        let begun = Instant::now();
        let path = folder.path().to_owned();
        let release = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(400));
            show(&path, 826);
        });
        assert_eq!(cards.released().await, None);
        assert!(begun.elapsed() >= Duration::from_millis(400));
        release.join().unwrap();
    }

    #[tokio::test]
    async fn memory_that_stays_is_said() {
        let folder = tempfile::tempdir().unwrap();
        show(folder.path(), 858);
        let journal = journal(folder.path());
        let mut cards = cards(folder.path(), &journal).await;
        show(folder.path(), 58_000);
        let said = cards.released().await.unwrap();
        assert!(
            said.starts_with("1.5 s later its cards were still not idle: 0 "),
            "{said}"
        );
    }

    #[tokio::test]
    async fn cards_that_others_use_are_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        show(folder.path(), 58_000);
        let journal = journal(folder.path());
        let mut cards = cards(folder.path(), &journal).await;
        let begun = Instant::now();
        assert_eq!(cards.seen().await.unwrap().in_use_before, [0]);
        assert_eq!(cards.released().await, None);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn who_comes_to_the_cards_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        show(folder.path(), 858);
        let journal = journal(folder.path());
        let mut cards = cards(folder.path(), &journal).await;
        cards.settle().await;
        let alone = cards.seen().await.unwrap();
        assert_eq!((alone.in_use_before, alone.strangers), (vec![], vec![]));
        assert_eq!(alone.cards.len(), 1);
        assert!(alone.cards[0].temperature_c.is_some(), "{:?}", alone.cards);
        // Another process joins the server's own.
        let table = fs::read_to_string(folder.path().join("table.txt")).unwrap();
        let none = table
            .lines()
            .find(|line| line.contains("no process found"))
            .unwrap();
        let process = "|  0           1077  python                    512                           |";
        fs::write(folder.path().join("table.txt"), table.replace(none, process)).unwrap();
        let joined = cards.seen().await.unwrap();
        assert_eq!(joined.strangers.len(), 1, "{joined:?}");
        assert!(joined.strangers[0].starts_with("process 1077 ("), "{joined:?}");
        cards.settle().await;
        assert!(cards.seen().await.unwrap().strangers.is_empty());
    }

    #[tokio::test]
    async fn a_host_without_tools_has_nothing_to_wait_for() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let none = Tools::find_in(folder.path(), "".as_ref());
        let mut cards = Cards::watch(none, &[0, 1], "m@s", &journal).await;
        assert!(cards.sampler.is_none());
        assert_eq!(cards.seen().await, None);
        assert_eq!(cards.released().await, None);
        assert!(journal.entries().is_empty());
    }
}
