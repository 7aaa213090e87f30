//! What reports show: the events of one run, folded.
//!
//! Invariants: sessions and trials keep the order in which they began; a trial that was run again counts once, by its
//! last outcome. No verdict here is better than what the record shows: a session that failed to boot is an error, and
//! whatever was cut off is inconclusive at best.

use time::OffsetDateTime;

use super::{Counts, ReportError, Session};
use crate::record::{Entry, Event, RunFinished, RunStarted, Verdict};

/// Suffix of a golden that waits for review; `golden::store` names the file in its finding.
const PENDING_SUFFIX: &str = ".snap.new";

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its first event.
    pub run: RunStarted,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// When its last event happened.
    pub last_at: OffsetDateTime,
    /// Its sessions.
    pub sessions: Vec<Session>,
    /// Its last event; `None` where the record was cut off.
    pub finished: Option<RunFinished>,
}

impl Summary {
    /// Folds the events of one run.
    ///
    /// A record that was cut off gives what it knew ([`Summary::cut_off`]). Events that are not those of one run are
    /// an error: no `run_started` in front, a second one, a session that was never started or started twice.
    pub fn of(entries: &[Entry]) -> Result<Self, ReportError> {
        let Some((
            Entry {
                at,
                event: Event::RunStarted(run),
            },
            rest,
        )) = entries.split_first()
        else {
            return Err(misfit(1, "a record begins with `run_started`"));
        };
        let mut summary = Self {
            run: run.clone(),
            started_at: *at,
            last_at: *at,
            sessions: Vec::new(),
            finished: None,
        };
        for (index, entry) in rest.iter().enumerate() {
            summary.fold(entry).map_err(|what| misfit(index + 2, what))?;
        }
        Ok(summary)
    }

    /// Verdict of the run: never better than what is recorded of it, nor than the worst of its sessions.
    pub fn verdict(&self) -> Verdict {
        let sessions = Verdict::over(self.sessions.iter().map(Session::verdict));
        match &self.finished {
            None => sessions.max(Verdict::Inconclusive),
            Some(finished) if finished.interrupted => {
                sessions.max(finished.verdict).max(Verdict::Inconclusive)
            }
            Some(finished) => sessions.max(finished.verdict),
        }
    }

    /// Exit code of the run; `None` where the record was cut off.
    pub fn exit_code(&self) -> Option<u8> {
        self.finished.as_ref().map(|finished| finished.exit_code)
    }

    /// Whether a signal ended the run early, or it was killed.
    pub fn interrupted(&self) -> bool {
        self.finished.as_ref().is_none_or(|finished| finished.interrupted)
    }

    /// Whether the record has no end: the run was killed, or still goes on.
    pub const fn cut_off(&self) -> bool {
        self.finished.is_none()
    }

    /// Whether anything in the run was simulated.
    pub fn simulated(&self) -> bool {
        self.run.simulated || self.sessions.iter().any(|session| session.started.simulated)
    }

    /// The first line of every report of a simulated run.
    pub fn simulated_notice(&self) -> Option<String> {
        let simulated: Vec<_> = self
            .sessions
            .iter()
            .map(|session| &session.started)
            .filter(|started| started.simulated)
            .collect();
        if simulated.is_empty() {
            return self.run.simulated.then(|| {
                "SIMULATED: a simulator played the hardware; nothing here was measured on hardware".to_owned()
            });
        }
        let cards = joined(
            simulated.iter().map(|started| {
                let (article, name) = started.accelerator_name();
                format!("{article} {name}")
            }),
            " or ",
        );
        let stacks = joined(simulated.iter().map(|started| started.stack.clone()), " and ");
        let subject = if simulated.len() == self.sessions.len() {
            "nothing here"
        } else {
            "nothing of it"
        };
        Some(format!(
            "SIMULATED: {stacks} played the hardware; {subject} was measured on {cards}"
        ))
    }

    /// Seconds from the first event to the last, in real time.
    pub fn wall_s(&self) -> f64 {
        (self.last_at - self.started_at).as_seconds_f64()
    }

    /// Verdicts of all trials.
    pub fn counts(&self) -> Counts {
        Counts::of(self.sessions.iter().flat_map(|session| &session.trials))
    }

    /// Goldens that wait for review: trials of which a finding names a pending snapshot.
    pub fn pending_goldens(&self) -> usize {
        let names_pending = |text: &String| text.contains(PENDING_SUFFIX);
        self.sessions
            .iter()
            .flat_map(|session| &session.trials)
            .filter(|trial| {
                trial
                    .findings
                    .iter()
                    .any(|finding| names_pending(&finding.text) || finding.evidence.iter().any(names_pending))
            })
            .count()
    }

    fn fold(&mut self, entry: &Entry) -> Result<(), String> {
        if self.finished.is_some() {
            return Err("nothing follows `run_finished`".to_owned());
        }
        self.last_at = entry.at;
        match &entry.event {
            Event::RunStarted(_) => return Err("a second run begins".to_owned()),
            Event::SessionStarted(event) if self.sessions.iter().any(|known| known.is(&event.session)) => {
                return Err(format!("session `{}` begins a second time", event.session));
            }
            Event::SessionStarted(event) => self.sessions.push(Session::new(event.clone())),
            Event::BootPhase(event) => self.session(&event.session)?.phases.push(event.clone()),
            Event::CardSample(event) => self.session(&event.session)?.cards.add(event),
            Event::Booted(event) => self.session(&event.session)?.booted = Some(event.clone()),
            Event::BootFailed(event) => self.session(&event.session)?.fail(false, event),
            Event::ServerLost(event) => self.session(&event.session)?.fail(true, event),
            Event::TrialStarted(event) => {
                self.session(&event.session)?.unfinished.push(event.trial.clone());
            }
            Event::Request(event) => drop(self.session(&event.session)?),
            Event::Latency(event) => self.session(&event.session)?.latency = Some(event.clone()),
            Event::Throughput(event) => self.session(&event.session)?.measure(event),
            Event::Drift(event) => self.session(&event.session)?.drift = Some(event.figures.clone()),
            Event::Grades(event) => self.session(&event.session)?.grades = Some(event.figures.clone()),
            Event::TrialFinished(event) => self.session(&event.session)?.finish(&event.outcome),
            Event::SessionEnded(event) => self.session(&event.session)?.ended = Some(event.clone()),
            Event::RunFinished(event) => self.finished = Some(event.clone()),
        }
        Ok(())
    }

    fn session(&mut self, name: &str) -> Result<&mut Session, String> {
        self.sessions
            .iter_mut()
            .find(|session| session.is(name))
            .ok_or_else(|| format!("session `{name}` was never started"))
    }
}

fn misfit(number: usize, what: impl Into<String>) -> ReportError {
    ReportError::Record {
        number,
        what: what.into(),
    }
}

/// The distinct names in their order.
fn joined(names: impl Iterator<Item = String>, with: &str) -> String {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct.join(with)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{self, Record, summary};

    #[test]
    fn a_whole_record_gives_its_verdict() {
        let passed = summary(&fixture::passed());
        assert_eq!((passed.verdict(), passed.exit_code()), (Verdict::Passed, Some(0)));
        assert!(!passed.interrupted() && !passed.cut_off());
        assert_eq!(passed.counts().in_words(), "7 passed");
        assert_eq!(passed.pending_goldens(), 0);
        let mixed = summary(&fixture::mixed());
        assert_eq!(mixed.verdict(), Verdict::Error);
        assert_eq!(mixed.pending_goldens(), 1);
        assert_eq!(
            (mixed.counts().total(), mixed.counts().with(Verdict::Failed)),
            (15, 2)
        );
    }

    #[test]
    fn no_prefix_of_a_record_passes() {
        let record = fixture::passed();
        for length in 1..record.entries().len() {
            let cut = Summary::of(&record.entries()[..length]).unwrap();
            assert!(cut.cut_off() && cut.interrupted());
            assert_eq!(cut.verdict(), Verdict::Inconclusive, "after {length} events");
        }
    }

    #[test]
    fn an_interrupted_run_does_not_pass_whatever_it_recorded() {
        let interrupted = summary(&fixture::interrupted());
        assert_eq!(interrupted.finished.as_ref().unwrap().verdict, Verdict::Passed);
        assert_eq!(interrupted.verdict(), Verdict::Inconclusive);
        assert_eq!(
            interrupted.sessions[0].unfinished,
            ["mistral_7b_v0_1::latency::single_stream"]
        );
    }

    #[test]
    fn a_failed_boot_is_an_error_without_any_trial() {
        let record = fixture::boot_failed();
        let entries: Vec<_> = record
            .entries()
            .iter()
            .filter(|entry| !matches!(entry.event, Event::TrialStarted(_) | Event::TrialFinished(_)))
            .cloned()
            .collect();
        assert_eq!(
            Summary::of(&entries).unwrap().sessions[0].verdict(),
            Verdict::Error
        );
    }

    #[test]
    fn a_trial_that_was_run_again_counts_once() {
        let record = fixture::passed();
        let mut entries = record.entries().to_vec();
        let end = entries.len() - 2;
        let again = entries
            .iter()
            .find(|entry| matches!(entry.event, Event::TrialFinished(_)))
            .unwrap();
        let mut again = again.clone();
        if let Event::TrialFinished(event) = &mut again.event {
            event.outcome.verdict = Verdict::Failed;
        }
        entries.insert(end, again);
        let counts = Summary::of(&entries).unwrap().counts();
        assert_eq!((counts.total(), counts.with(Verdict::Failed)), (7, 1));
    }

    #[test]
    fn names_what_does_not_fit() {
        let record = fixture::passed();
        let entries = record.entries();
        let refused = |entries: &[Entry]| Summary::of(entries).unwrap_err().to_string();
        let twice = [entries, entries].concat();
        let started_twice = [&entries[..2], &entries[1..]].concat();
        let never_started = [&entries[..1], &entries[2..]].concat();
        let second_run = [&entries[..3], &entries[..1]].concat();
        insta::assert_snapshot!(
            [
                &entries[1..],
                &[],
                &twice,
                &started_twice,
                &never_started,
                &second_run
            ]
            .map(refused)
            .join("\n")
        );
    }

    #[test]
    fn the_notice_names_what_was_not_measured() {
        let notice = summary(&fixture::passed()).simulated_notice().unwrap();
        assert_eq!(
            notice,
            "SIMULATED: simulator_c500 played the hardware; nothing here was measured on a MetaX C500"
        );
        assert_eq!(summary(&Record::begin(false)).simulated_notice(), None);
        let mut both = summary(&fixture::passed());
        both.sessions.extend(summary(&fixture::on_hardware()).sessions);
        assert!(
            both.simulated_notice()
                .unwrap()
                .contains("nothing of it was measured")
        );
        assert!(
            summary(&Record::begin(true))
                .simulated_notice()
                .unwrap()
                .starts_with("SIMULATED: ")
        );
    }
}
