//! The recording itself: the passes over the cases, and what becomes of each.

use std::path::Path;

use super::{RecordOptions, RecordedCase};
use crate::{
    golden::{Floor, Golden, GoldenDrift, GradeVerdict, RECORDED, Repeated, floors},
    manifest::LoadedCase,
    prompt,
    record::{Event, Finding, Outcome, Severity, TrialFinished, TrialKind, TrialStarted, Verdict},
    run::{
        SessionPlan,
        passes::{self, Asked, PassError},
        pending, prepare, score, session,
        session::{Context, Session, Up},
        trial::{self, Exchange},
    },
    vllm::Answer,
};

/// Why nothing is recorded.
pub struct Failure {
    pub verdict: Verdict,
    pub what: String,
}

impl Failure {
    fn invalid(what: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Invalid,
            what: what.into(),
        }
    }
}

impl From<PassError> for Failure {
    fn from(error: PassError) -> Self {
        Self {
            verdict: Verdict::Error,
            what: error.to_string(),
        }
    }
}

/// A case on its way to a golden.
struct Draft<'a> {
    asked: Asked<'a>,
    golden: Golden,
    answers: Vec<Answer>,
    scores: Vec<GoldenDrift>,
}

/// Records on one session.
pub struct Recorder<'a> {
    pub context: &'a Context,
    pub plan: &'a SessionPlan,
    pub options: &'a RecordOptions,
    /// Requests at once while the floor is measured.
    pub at_once: usize,
}

impl<'a> Recorder<'a> {
    /// Boots, records and shuts down.
    pub async fn run(&self) -> Result<Vec<RecordedCase>, Failure> {
        let prepared = prepare::announce(self.context, self.plan);
        let mut session = session::boot(self.context, self.plan, prepared).await;
        let recorded = match &session {
            Session::Up(up) => self.on(up).await,
            Session::Down(failed) => Err(Failure {
                verdict: Verdict::Error,
                what: format!("the server did not boot: {} ({})", failed.message, failed.class),
            }),
        };
        let suspect = recorded.is_err();
        if let Some(lost) = session.notice_loss(self.context, &self.plan.name, suspect).await {
            return Err(Failure {
                verdict: Verdict::Error,
                what: format!("the server was lost: {} ({})", lost.message, lost.class),
            });
        }
        session.shut_down(self.context, &self.plan.name).await;
        recorded
    }

    async fn on(&self, up: &Up) -> Result<Vec<RecordedCase>, Failure> {
        self.fit_to_record(up).await?;
        let cases = self.cases(up)?;
        let (asked, unasked) = passes::requests(self.plan, up, &cases).await?;
        let mut recorded: Vec<RecordedCase> = unasked
            .into_iter()
            .map(|(case, why)| refused(&case.case.id, None, why))
            .collect();
        let (mut drafts, unrecordable) = self.first_pass(up, asked).await?;
        recorded.extend(unrecordable);
        self.ask_again(up, &mut drafts).await?;
        self.score(up, &mut drafts).await?;
        let repeated: Vec<Repeated<'_>> = drafts
            .iter()
            .map(|draft| Repeated {
                golden: &draft.golden,
                answers: &draft.answers,
                scores: &draft.scores,
            })
            .collect();
        let floors = floors(&repeated);
        for (draft, floor) in drafts.into_iter().zip(floors) {
            recorded.push(match floor {
                Ok(floor) => self.kept(up, draft, floor),
                Err(why) => refused(&draft.asked.case.case.id, Some(draft.golden), why.to_string()),
            });
        }
        let order = |case: &RecordedCase| cases.iter().position(|known| known.case.id == case.case);
        recorded.sort_by_key(order);
        self.write(&recorded).map_err(Failure::invalid)?;
        Ok(recorded)
    }

    /// Whether this server may be recorded from at all.
    async fn fit_to_record(&self, up: &Up) -> Result<(), Failure> {
        let findings = up.booted.findings.iter();
        let wrong: Vec<_> = findings
            .filter(|finding| finding.severity == Severity::Failure)
            .map(|finding| finding.text.as_str())
            .collect();
        if !wrong.is_empty() {
            let why = wrong.join("; ");
            return Err(Failure::invalid(format!(
                "nothing is recorded from this server: {why}"
            )));
        }
        if self.plan.stack.stack.simulator.is_none() && up.client.plays_a_server().await {
            let why = "a simulator answers at this address, and the stack calls it real: nothing is recorded from it";
            return Err(Failure::invalid(why));
        }
        Ok(())
    }

    /// The cases that are to be recorded.
    fn cases(&self, up: &Up) -> Result<Vec<&'a LoadedCase>, Failure> {
        let manifest = &self.plan.model.manifest;
        let of_model = &self.plan.model.cases;
        let wanted = &self.options.cases;
        if let Some(unknown) = wanted
            .iter()
            .find(|name| !of_model.iter().any(|case| case.case.id == **name))
        {
            return Err(Failure::invalid(format!("the model has no case {unknown:?}")));
        }
        let mut cases = Vec::new();
        for case in of_model {
            let chosen = if wanted.is_empty() {
                manifest.correctness.wants_golden(&case.case)
            } else {
                wanted.contains(&case.case.id)
            };
            if !chosen || prompt::cannot_ask(&case.case, manifest).is_some() {
                continue;
            }
            // A broken golden is told at once: nothing takes its place unseen.
            let accepted = up
                .goldens
                .load(&self.plan.model.name, &case.case.id)
                .map_err(|error| Failure::invalid(error.to_string()))?;
            if accepted.is_none() || !self.options.missing_only {
                cases.push(case);
            }
        }
        Ok(cases)
    }

    /// The recording itself: each case alone, its answer graded and made a golden.
    async fn first_pass(
        &self,
        up: &Up,
        asked: Vec<Asked<'a>>,
    ) -> Result<(Vec<Draft<'a>>, Vec<RecordedCase>), Failure> {
        let answers = self.pass(up, "recorded_alone", &asked, 1).await?;
        let (mut drafts, mut refusals) = (Vec::new(), Vec::new());
        for (asked, answer) in asked.into_iter().zip(answers) {
            let id = asked.case.case.id.clone();
            match answer {
                Err(why) => refusals.push(refused(&id, None, why)),
                Ok(answer) => match self.golden(up, &asked, &answer).await {
                    Ok(golden) => drafts.push(Draft {
                        asked,
                        golden,
                        answers: Vec::new(),
                        scores: Vec::new(),
                    }),
                    Err((golden, why)) => refusals.push(refused(&id, golden, why)),
                },
            }
        }
        Ok((drafts, refusals))
    }

    /// The golden of an answer, or why it is not to be one.
    async fn golden(
        &self,
        up: &Up,
        asked: &Asked<'_>,
        answer: &Answer,
    ) -> Result<Golden, (Option<Golden>, String)> {
        if answer.positions.is_empty() {
            let why =
                "the server gave no token ids with logprobs: there is nothing to compare later answers with";
            return Err((None, why.to_owned()));
        }
        let model = &self.plan.model.name;
        let before = up.goldens.load(model, &asked.case.case.id);
        let before = before.map_err(|error| (None, error.to_string()))?;
        let grades = trial::grade(self.context, &asked.case.case, answer).await;
        let exchange = Exchange {
            case: asked.case,
            request: &asked.request,
            answer,
            grades: &grades,
        };
        let mut golden = pending::golden(self.plan, up, &exchange, before.as_ref())
            .await
            .map_err(|error| (None, error.to_string()))?;
        // A server that caps them gives fewer alternatives than were asked for; scoring asks for as many as are there.
        let listed = answer.positions.iter().map(|position| position.top.len()).min();
        golden.header.settings.top_logprobs = listed
            .and_then(|listed| u8::try_from(listed).ok())
            .unwrap_or(u8::MAX)
            .min(golden.header.settings.top_logprobs);
        if golden.header.grade.verdict == GradeVerdict::Wrong {
            let known = before.is_some_and(|before| before.header.grade.verdict == GradeVerdict::Wrong);
            match &self.options.known_wrong {
                _ if known => {}
                Some(reason) => golden.header.reason = Some(reason.clone()),
                None => {
                    let why = format!(
                        "its graders refuse the answer ({}); where that is known, say why by --known-wrong",
                        golden.header.grade.graders.join(", ")
                    );
                    return Err((Some(golden), why));
                }
            }
        }
        Ok(golden)
    }

    /// Asks again, alone and with others.
    async fn ask_again(&self, up: &Up, drafts: &mut Vec<Draft<'a>>) -> Result<(), Failure> {
        let asked: Vec<Asked<'a>> = drafts.iter().map(|draft| draft.asked.clone()).collect();
        let alone = (2..=self.options.repeat).map(|number| (format!("asked_alone_{number}"), 1));
        let together = (1..=self.options.repeat)
            .map(|number| (format!("asked_{}_at_once_{number}", self.at_once), self.at_once));
        for (name, at_once) in alone.chain(together) {
            let answers = self.pass(up, &name, &asked, at_once).await?;
            for (draft, answer) in drafts.iter_mut().zip(answers) {
                draft.answers.push(answer.map_err(Failure::invalid)?);
            }
        }
        Ok(())
    }

    /// Scores the goldens, alone and with others. One that cannot be scored has no scores.
    async fn score(&self, up: &Up, drafts: &mut [Draft<'a>]) -> Result<(), Failure> {
        let scorable: Vec<usize> = (0..drafts.len())
            .filter(|&index| {
                let Draft { asked, golden, .. } = &drafts[index];
                score::limit(self.plan, &asked.case.case, golden).is_none() && !golden.prompt_ids.is_empty()
            })
            .collect();
        let together = (1..=self.options.repeat)
            .map(|number| (format!("scored_{}_at_once_{number}", self.at_once), self.at_once));
        for (name, at_once) in std::iter::once(("scored_alone".to_owned(), 1)).chain(together) {
            let goldens: Vec<&Golden> = scorable.iter().map(|&index| &drafts[index].golden).collect();
            self.begin(&name);
            let token = &self.context.interrupt.token;
            let found = passes::drifts(&up.client, up.scores.scorer(), token, &goldens, at_once).await?;
            self.end(&name, found.iter().filter_map(|drift| drift.as_ref().err()));
            for (&index, drift) in scorable.iter().zip(found) {
                if let Ok(drift) = drift {
                    drafts[index].scores.push(drift);
                }
            }
        }
        Ok(())
    }

    async fn pass(
        &self,
        up: &Up,
        name: &str,
        asked: &[Asked<'_>],
        at_once: usize,
    ) -> Result<Vec<Result<Answer, String>>, Failure> {
        self.begin(name);
        let token = &self.context.interrupt.token;
        let answers = passes::generate(&up.client, token, asked, at_once).await?;
        self.end(name, answers.iter().filter_map(|answer| answer.as_ref().err()));
        Ok(answers)
    }

    /// Tells the journal of a pass, as of a trial.
    fn begin(&self, pass: &str) {
        self.context.journal.append(Event::TrialStarted(TrialStarted {
            session: self.plan.name.clone(),
            trial: format!("{}::record::{pass}", self.plan.model.name),
        }));
    }

    fn end<'e>(&self, pass: &str, errors: impl Iterator<Item = &'e String>) {
        let findings: Vec<_> = errors.map(|error| Finding::failure(error.clone())).collect();
        let verdict = if findings.is_empty() {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        let trial = format!("{}::record::{pass}", self.plan.model.name);
        self.context.journal.append(Event::TrialFinished(TrialFinished {
            session: self.plan.name.clone(),
            outcome: Outcome::new(trial, TrialKind::Correctness, verdict, findings),
        }));
    }

    /// The golden with its floor, handed to the reviewer.
    fn kept(&self, up: &Up, draft: Draft<'_>, floor: Floor) -> RecordedCase {
        let mut golden = draft.golden;
        golden.header.floor = Some(floor);
        let pended = if self.options.pend {
            up.goldens.clone().asked_for().pend(&golden)
        } else {
            Ok(None)
        };
        let (pending, refused) = match pended {
            Ok(path) => (path, None),
            Err(error) => (None, Some(error.to_string())),
        };
        RecordedCase {
            case: draft.asked.case.case.id.clone(),
            golden: Some(golden),
            pending,
            refused,
        }
    }

    /// Keeps all that was recorded in the run's folder, for `compare`.
    fn write(&self, recorded: &[RecordedCase]) -> Result<(), String> {
        let folder = self
            .context
            .place
            .folder
            .join(RECORDED)
            .join(&self.plan.model.name);
        let cannot = |path: &Path, error: std::io::Error| format!("cannot write {}: {error}", path.display());
        std::fs::create_dir_all(&folder).map_err(|error| cannot(&folder, error))?;
        for (case, golden) in recorded
            .iter()
            .filter_map(|recorded| Some((&recorded.case, recorded.golden.as_ref()?)))
        {
            let path = folder.join(format!("{case}.snap"));
            let text = golden.to_snapshot().map_err(|error| error.to_string())?;
            std::fs::write(&path, text).map_err(|error| cannot(&path, error))?;
        }
        Ok(())
    }
}

fn refused(case: &str, golden: Option<Golden>, why: String) -> RecordedCase {
    RecordedCase {
        case: case.to_owned(),
        golden,
        pending: None,
        refused: Some(why),
    }
}
