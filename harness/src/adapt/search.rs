//! Which settings come next. Pure: it is told how each boot ended and answers with the next candidate.
//!
//! Changes add up as long as a boot fails. Of a row's remedies the one that was used least comes next, in the row's
//! order: each kind is tried once before any is taken further. A change after which the failure moved on, or the server
//! worked, has proved itself; those that changed nothing are taken out again once a server works, all at once, then one
//! by one, as long as attempts are left. So what is kept at the end was booted exactly as it is written.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    Attempt, AttemptEnd, Candidate, Change, Conclusion, Ended, KeptChange, Limits, Next, Refused, Remedy,
    remedy::Situation,
    step::Kept,
    table::{self, Entry, Row},
};
use crate::{
    manifest::{Catalogue, LoadedModel, LoadedStack, edited},
    record::BootFailed,
};

/// What the boot that is under way is for.
#[derive(Debug, Clone, PartialEq)]
enum Purpose {
    /// To see whether it works.
    Look,
    /// To see whether it works without these topics.
    Without(Vec<&'static str>),
}

/// A boot that is under way.
struct Trial {
    purpose: Purpose,
    settings: String,
    model: Arc<LoadedModel>,
    attempt: Attempt,
}

/// The search for settings of a model on a stack.
pub struct Search<'a> {
    catalogue: &'a Catalogue,
    base: Arc<LoadedModel>,
    text: &'a str,
    stack: Arc<LoadedStack>,
    limits: Limits,
    kept: Vec<Kept>,
    /// Changes that turned out not to be needed.
    unneeded: Vec<Kept>,
    /// Settings that were booted: whether they work.
    known: HashMap<String, bool>,
    /// How often a remedy was used on a row.
    uses: HashMap<(&'static str, &'static [String], Remedy), usize>,
    /// Manifest of the last failure, and the failure.
    failed: Option<(Arc<LoadedModel>, BootFailed, Option<String>)>,
    /// Topics to be left out by turns, once a server works.
    doubts: Option<VecDeque<Vec<&'static str>>>,
    trial: Option<Trial>,
    attempts: Vec<Attempt>,
    refused: Vec<Refused>,
    conclusion: Option<Conclusion>,
}

impl<'a> Search<'a> {
    /// A search from the manifest `base`, whose file holds `text`.
    pub fn new(
        catalogue: &'a Catalogue,
        base: Arc<LoadedModel>,
        text: &'a str,
        stack: Arc<LoadedStack>,
        limits: Limits,
    ) -> Self {
        Self {
            catalogue,
            base,
            text,
            stack,
            limits,
            kept: Vec::new(),
            unneeded: Vec::new(),
            known: HashMap::new(),
            uses: HashMap::new(),
            failed: None,
            doubts: None,
            trial: None,
            attempts: Vec::new(),
            refused: Vec::new(),
            conclusion: None,
        }
    }

    /// The next candidate, or the end.
    pub fn step(&mut self) -> Next {
        if let Some(conclusion) = self.conclusion {
            return Next::Done(conclusion);
        }
        let spent = self.attempts.len() >= self.limits.attempts;
        let found = match (&self.doubts, &self.failed) {
            (Some(_), _) if spent => Err(Conclusion::Works),
            (Some(_), _) => self.without_doubts(),
            (None, Some(_)) if spent => Err(Conclusion::AttemptsUsed),
            (None, Some((model, failure, phase))) => {
                let (model, failure, phase) = (Arc::clone(model), failure.clone(), phase.clone());
                self.against(&model, &failure, phase.as_deref())
            }
            (None, None) => {
                let (model, text) = (Arc::clone(&self.base), "the manifest as it is".to_owned());
                Ok(self.begin(model, Purpose::Look, text, String::new()))
            }
        };
        match found {
            Ok(candidate) => Next::Boot(candidate),
            Err(conclusion) => {
                self.conclusion = Some(conclusion);
                Next::Done(conclusion)
            }
        }
    }

    /// How the candidate's boot ended.
    pub fn tell(&mut self, ended: Ended) {
        let Some(mut trial) = self.trial.take() else {
            return;
        };
        trial.attempt.end = match &ended {
            Ended::Works { boot_s, answer } => AttemptEnd::Works {
                boot_s: *boot_s,
                answer: answer.clone(),
            },
            Ended::Failed { failure, phase } => AttemptEnd::Failed {
                phase: phase.clone(),
                failure: failure.clone(),
            },
            Ended::Interrupted => AttemptEnd::Interrupted,
        };
        self.attempts.push(trial.attempt);
        match ended {
            Ended::Interrupted => self.conclusion = Some(Conclusion::Interrupted),
            Ended::Works { .. } => {
                self.known.insert(trial.settings, true);
                self.works(trial.purpose);
            }
            Ended::Failed { failure, phase } => {
                self.known.insert(trial.settings, false);
                match trial.purpose {
                    Purpose::Without(topics) => self.is_needed(&topics),
                    Purpose::Look => self.fails(trial.model, failure, phase),
                }
            }
        }
    }

    fn works(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Look => {
                if let Some(last) = self.kept.last_mut() {
                    last.proven = true;
                }
                let doubted: Vec<&'static str> = self
                    .kept
                    .iter()
                    .filter(|kept| !kept.proven)
                    .map(|kept| kept.change.topic)
                    .collect();
                let mut doubts = VecDeque::new();
                if doubted.len() > 1 {
                    doubts.push_back(doubted.clone());
                }
                doubts.extend(doubted.into_iter().map(|topic| vec![topic]));
                self.doubts = Some(doubts);
            }
            Purpose::Without(topics) => {
                let (without, kept) = self
                    .kept
                    .drain(..)
                    .partition(|kept| topics.contains(&kept.change.topic));
                self.kept = kept;
                self.unneeded.extend::<Vec<Kept>>(without);
            }
        }
    }

    /// A server failed without these changes. Where it was only one, that one is needed.
    fn is_needed(&mut self, topics: &[&'static str]) {
        if let [topic] = topics
            && let Some(kept) = self.kept.iter_mut().find(|kept| kept.change.topic == *topic)
        {
            kept.proven = true;
        }
    }

    fn fails(&mut self, model: Arc<LoadedModel>, failure: BootFailed, phase: Option<String>) {
        let moved = self
            .failed
            .as_ref()
            .is_some_and(|(_, before, phase_before)| before.class != failure.class || *phase_before != phase);
        if let Some(last) = self.kept.last_mut() {
            last.proven = moved;
        }
        self.failed = Some((model, failure, phase));
    }

    /// The next change against a failure.
    fn against(
        &mut self,
        model: &Arc<LoadedModel>,
        failure: &BootFailed,
        phase: Option<&str>,
    ) -> Result<Candidate, Conclusion> {
        let row = table::row(&failure.class, phase).ok_or(Conclusion::Unknown)?;
        if row.remedies.is_empty() {
            return Err(Conclusion::NoRemedy);
        }
        let stack = Arc::clone(&self.stack);
        let situation = Situation {
            model,
            stack: &stack,
            failure,
            most_cards: self.limits.most_cards,
        };
        for entry in self.by_use(row) {
            let proposals = match entry.remedy.proposals(&situation) {
                Ok(proposals) => proposals,
                Err(why) => {
                    self.refuse(entry.remedy, None, why);
                    continue;
                }
            };
            if let Some(candidate) = self.first_new(row, entry, proposals) {
                return Ok(candidate);
            }
        }
        Err(Conclusion::Exhausted)
    }

    /// The row's remedies, the least used first.
    fn by_use(&self, row: &'static Row) -> Vec<&'static Entry> {
        let mut entries: Vec<&'static Entry> = row.remedies.iter().collect();
        let uses = |entry: &&Entry| {
            self.uses
                .get(&(row.on.as_str(), &row.phases[..], entry.remedy))
                .copied()
        };
        entries.sort_by_key(uses);
        entries
    }

    /// The first proposal that makes a manifest and was not booted yet.
    fn first_new(
        &mut self,
        row: &'static Row,
        entry: &'static Entry,
        proposals: Vec<Change>,
    ) -> Option<Candidate> {
        for change in proposals {
            let mut kept = self.kept.clone();
            kept.retain(|before| before.change.topic != change.topic);
            kept.push(Kept {
                remedy: entry.remedy,
                because: entry.because.clone(),
                change: change.clone(),
                proven: false,
            });
            match self.composed(&kept) {
                Err(why) => self.refuse(entry.remedy, Some(change.words), why),
                Ok(model) if self.known.contains_key(&settings(&model)) => {}
                Ok(model) => {
                    *self.uses.entry((&row.on, &row.phases, entry.remedy)).or_default() += 1;
                    self.kept = kept;
                    return Some(self.begin(model, Purpose::Look, change.words, entry.because.clone()));
                }
            }
        }
        self.refuse(entry.remedy, None, "what it could write was tried".to_owned());
        None
    }

    /// The settings that work, without some of what changed nothing.
    fn without_doubts(&mut self) -> Result<Candidate, Conclusion> {
        while let Some(topics) = self.doubts.as_mut().and_then(VecDeque::pop_front) {
            let (without, kept): (Vec<Kept>, Vec<Kept>) = self
                .kept
                .iter()
                .cloned()
                .partition(|kept| topics.contains(&kept.change.topic));
            if without.is_empty() {
                continue;
            }
            match self.composed(&kept) {
                // What cannot be left out, or failed before without it, is needed.
                Err(_) => self.is_needed(&topics),
                Ok(model) if self.known.contains_key(&settings(&model)) => self.is_needed(&topics),
                Ok(model) => {
                    let words: Vec<&str> = without.iter().map(|kept| kept.change.words.as_str()).collect();
                    let tried = format!("without: {}", words.join("; "));
                    let because = "it changed nothing when it was made".to_owned();
                    return Ok(self.begin(model, Purpose::Without(topics), tried, because));
                }
            }
        }
        Err(Conclusion::Works)
    }

    /// The manifest with these changes, if it is one.
    fn composed(&self, kept: &[Kept]) -> Result<Arc<LoadedModel>, String> {
        let text = self.text_with(kept)?;
        let model = self.catalogue.model_as(&self.base.path, &text).map_err(|found| {
            let first = found.iter().next().map(|mistake| mistake.message.clone());
            first.unwrap_or_else(|| "the manifest would be wrong".to_owned())
        })?;
        Ok(Arc::new(model))
    }

    fn text_with(&self, kept: &[Kept]) -> Result<String, String> {
        let edits: Vec<_> = kept
            .iter()
            .flat_map(|kept| kept.change.edits.iter().cloned())
            .collect();
        edited(self.text, &edits).map_err(|error| error.to_string())
    }

    fn begin(
        &mut self,
        model: Arc<LoadedModel>,
        purpose: Purpose,
        tried: String,
        because: String,
    ) -> Candidate {
        let number = self.attempts.len() + 1;
        self.trial = Some(Trial {
            purpose,
            settings: settings(&model),
            model: Arc::clone(&model),
            attempt: Attempt {
                number,
                tried: tried.clone(),
                because,
                passed_over: std::mem::take(&mut self.refused),
                end: AttemptEnd::Interrupted,
            },
        });
        Candidate { number, model, tried }
    }

    fn refuse(&mut self, remedy: Remedy, change: Option<String>, why: String) {
        let refused = Refused { remedy, change, why };
        if !self.refused.contains(&refused) {
            self.refused.push(refused);
        }
    }

    /// What was booted, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Remedies that were passed over since the last attempt.
    pub fn passed_over(&self) -> &[Refused] {
        &self.refused
    }

    /// The last failure that remedies were looked for against.
    pub fn failure(&self) -> Option<(&BootFailed, Option<&str>)> {
        let (_, failure, phase) = self.failed.as_ref()?;
        Some((failure, phase.as_deref()))
    }

    /// The changes in force.
    pub fn kept(&self) -> Vec<KeptChange> {
        self.kept.iter().map(Kept::told).collect()
    }

    /// Changes that were made and turned out not to be needed.
    pub fn unneeded(&self) -> Vec<KeptChange> {
        self.unneeded.iter().map(Kept::told).collect()
    }

    /// The manifest's text with the changes in force.
    pub fn text(&self) -> Result<String, String> {
        self.text_with(&self.kept)
    }
}

/// What a server is started with: two manifests that agree in it start equal servers.
fn settings(model: &LoadedModel) -> String {
    let manifest = &model.manifest;
    let parts = (
        &manifest.serve,
        &manifest.model.chat_template,
        manifest.model.endpoint,
    );
    serde_json::to_string(&parts).unwrap_or_default()
}
