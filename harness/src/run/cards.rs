//! The cards of a session: sampled for the record while its server lives, and seen idle again once it is gone. A server
//! whose driver still holds memory would make the next boot fail. Nothing is done where no tool can tell.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Journal;
use crate::{
    device::{DeviceReport, Tools, health, sample::Sampler},
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
    /// Those that were idle before the server was started: others' cards are not waited for.
    were_idle: Vec<u32>,
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
        let is_idle = |card: &u32| {
            before
                .as_ref()
                .and_then(|report| health::idle(report, *card))
                .unwrap_or(false)
        };
        let were_idle = indices.iter().copied().filter(is_idle).collect();
        let sampler = before
            .is_some()
            .then(|| sampler(&tools, indices, session, journal));
        Self {
            tools,
            were_idle,
            sampler,
            patience: Patience::default(),
        }
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
        assert_eq!(cards.released().await, None);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_host_without_tools_has_nothing_to_wait_for() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let none = Tools::find_in(folder.path(), "".as_ref());
        let mut cards = Cards::watch(none, &[0, 1], "m@s", &journal).await;
        assert!(cards.sampler.is_none());
        assert_eq!(cards.released().await, None);
        assert!(journal.entries().is_empty());
    }
}
