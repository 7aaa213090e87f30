//! Real servers: versions of vLLM on the CPU, healthy and upgraded, and damaged copies of the model (`ci/images`). What
//! they said is saved, so that servers are booted once and rules can be tried again.
//!
//! A saved folder holds `references/<server>/`, which is the folder of a `record` run, and
//! `candidates/<server>/<reference>.json` with what a server said of a reference's goldens and prompts.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Row, Rule, Truth,
    rules::{self, Said, Trialed},
};
use crate::{
    golden::{Golden, GoldenError, Recording},
    judge::drift::examine,
    manifest::{Catalogue, Diagnostics, Dtype, LoadedCase},
    run::{self, CandidateError, CandidateOptions, Filter, RecordOptions, Selection, SessionPlan, Sink},
    vllm::{Answer, FinishReason},
};

/// Model that the servers serve.
const MODEL: &str = "smollm2_135m";
/// Requests at once where a specimen is about that, and where servers answer for the rules on answers.
const AT_ONCE: usize = 8;

/// A server: a version, and the weights that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Name in files.
    pub name: &'static str,
    stack: &'static str,
    dtype: Dtype,
    /// Folder of the weights in the cache.
    weights: &'static str,
}

/// A pair of servers.
#[derive(Debug, Clone, Copy)]
pub struct Specimen {
    /// Name in tables.
    pub name: &'static str,
    /// What it is.
    pub truth: Truth,
    reference: &'static str,
    candidate: &'static str,
    /// Whether the candidate scores several goldens at once.
    crowded: bool,
}

const SOUND: &str = "SmolLM2-135M-Instruct-float32";

const fn bfloat16(name: &'static str, stack: &'static str) -> Server {
    Server {
        name,
        stack,
        dtype: Dtype::Bfloat16,
        weights: "SmolLM2-135M-Instruct-bfloat16",
    }
}

const fn float32(name: &'static str, stack: &'static str, weights: &'static str) -> Server {
    Server {
        name,
        stack,
        dtype: Dtype::Float32,
        weights,
    }
}

/// All servers.
pub const SERVERS: [Server; 11] = [
    bfloat16("bf16_0.8.5", "cpu_vllm0.8.5"),
    bfloat16("bf16_0.12.0", "cpu_vllm0.12.0"),
    bfloat16("bf16_0.32.0", "cpu_vllm0.32.0"),
    float32("f32_0.8.5", "cpu_vllm0.8.5", SOUND),
    float32("f32_0.12.0", "cpu_vllm0.12.0", SOUND),
    float32("f32_0.32.0", "cpu_vllm0.32.0", SOUND),
    float32(
        "f32_0.12.0_int8",
        "cpu_vllm0.12.0",
        "SmolLM2-135M-Instruct-float32-int8",
    ),
    float32(
        "f32_0.12.0_int4",
        "cpu_vllm0.12.0",
        "SmolLM2-135M-Instruct-float32-int4",
    ),
    float32(
        "f32_0.12.0_wrong_template",
        "cpu_vllm0.12.0",
        "SmolLM2-135M-Instruct-float32-wrong_template",
    ),
    float32(
        "f32_0.12.0_swapped_tokens",
        "cpu_vllm0.12.0",
        "SmolLM2-135M-Instruct-float32-swapped_tokens",
    ),
    float32(
        "f32_0.12.0_low_rank",
        "cpu_vllm0.12.0",
        "SmolLM2-135M-Instruct-float32-low_rank",
    ),
];

const fn specimen(
    name: &'static str,
    truth: Truth,
    reference: &'static str,
    candidate: &'static str,
) -> Specimen {
    Specimen {
        name,
        truth,
        reference,
        candidate,
        crowded: false,
    }
}

/// All specimens.
pub const SPECIMENS: [Specimen; 12] = [
    Specimen {
        crowded: true,
        ..specimen(
            "bf16_0.12.0_alone_against_8",
            Truth::Healthy,
            "bf16_0.12.0",
            "bf16_0.12.0",
        )
    },
    Specimen {
        crowded: true,
        ..specimen(
            "bf16_0.32.0_alone_against_8",
            Truth::Healthy,
            "bf16_0.32.0",
            "bf16_0.32.0",
        )
    },
    specimen("f32_0.8.5_to_0.12.0", Truth::Healthy, "f32_0.8.5", "f32_0.12.0"),
    specimen("f32_0.8.5_to_0.32.0", Truth::Healthy, "f32_0.8.5", "f32_0.32.0"),
    specimen("f32_0.12.0_to_0.32.0", Truth::Healthy, "f32_0.12.0", "f32_0.32.0"),
    specimen("bf16_0.8.5_to_0.12.0", Truth::Near, "bf16_0.8.5", "bf16_0.12.0"),
    specimen(
        "bf16_0.12.0_to_0.32.0",
        Truth::Changed,
        "bf16_0.12.0",
        "bf16_0.32.0",
    ),
    specimen("int8", Truth::Changed, "f32_0.12.0", "f32_0.12.0_int8"),
    specimen("int4", Truth::Changed, "f32_0.12.0", "f32_0.12.0_int4"),
    specimen(
        "wrong_template",
        Truth::Changed,
        "f32_0.12.0",
        "f32_0.12.0_wrong_template",
    ),
    specimen(
        "swapped_tokens",
        Truth::Changed,
        "f32_0.12.0",
        "f32_0.12.0_swapped_tokens",
    ),
    specimen("low_rank", Truth::Changed, "f32_0.12.0", "f32_0.12.0_low_rank"),
];

/// Why a real specimen could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    /// A manifest or a stack.
    #[error(transparent)]
    Manifest(#[from] Diagnostics),
    /// Saved goldens.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// A server.
    #[error("{server}: {source}")]
    Candidate {
        /// Which one.
        server: &'static str,
        /// Why not.
        source: CandidateError,
    },
    /// A recording.
    #[error("{server}: {what}")]
    Recording {
        /// Which one.
        server: &'static str,
        /// Why not.
        what: String,
    },
    /// A saved file.
    #[error("cannot {action} {}: {what}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        what: String,
    },
}

/// The saved folder and what is recorded into it.
pub struct Saved<'a> {
    /// Root of the repository.
    pub root: &'a Path,
    /// The folder.
    pub folder: &'a Path,
    /// Prompts of a recording.
    pub prompts: usize,
    /// The command as it was typed.
    pub command: Vec<String>,
}

impl Saved<'_> {
    /// Whether all that a specimen needs is saved.
    pub fn has(&self, specimen: &Specimen) -> bool {
        self.reference(specimen.reference).join("goldens").is_dir() && self.candidate(specimen).is_file()
    }

    fn reference(&self, server: &str) -> PathBuf {
        self.folder.join("references").join(server)
    }

    fn candidate(&self, specimen: &Specimen) -> PathBuf {
        let crowded = if specimen.crowded { ".crowded" } else { "" };
        let file = format!("{}{crowded}.json", specimen.reference);
        self.folder.join("candidates").join(specimen.candidate).join(file)
    }

    /// Boots the servers that `wanted` specimens lack, each at most twice: as a reference and as a candidate.
    pub fn record(&self, wanted: &[&Specimen], sink: &dyn Fn() -> Sink) -> Result<(), RealError> {
        let missing: Vec<_> = wanted.iter().filter(|specimen| !self.has(specimen)).collect();
        for server in &SERVERS {
            let is_reference = missing.iter().any(|specimen| specimen.reference == server.name);
            if is_reference && !self.reference(server.name).join("goldens").is_dir() {
                self.record_reference(server, sink())?;
            }
        }
        for server in &SERVERS {
            let asked: Vec<&Specimen> = missing
                .iter()
                .filter(|specimen| specimen.candidate == server.name && !self.has(specimen))
                .map(|specimen| **specimen)
                .collect();
            for crowded in [false, true] {
                let asked: Vec<_> = asked
                    .iter()
                    .filter(|specimen| specimen.crowded == crowded)
                    .copied()
                    .collect();
                if !asked.is_empty() {
                    self.ask_candidate(server, &asked, sink())?;
                }
            }
        }
        Ok(())
    }

    fn record_reference(&self, server: &Server, sink: Sink) -> Result<(), RealError> {
        let plan = self.plan(server)?;
        let options = RecordOptions {
            root: self.root.to_owned(),
            out: Some(self.reference(server.name)),
            command: self.command.clone(),
            repeat: 1,
            cases: self.cases(&plan),
            missing_only: false,
            pend: false,
            known_wrong: None,
        };
        let failed = |what: String| RealError::Recording {
            server: server.name,
            what,
        };
        // A record is never overwritten, and one without goldens is of no use.
        let folder = self.reference(server.name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| file("remove", &folder, &error))?;
        }
        let recorded = run::record(&plan, &options, sink).map_err(|error| failed(error.to_string()))?;
        match recorded.failure {
            Some(why) => Err(failed(why)),
            None if recorded.cases.iter().all(|case| case.golden.is_none()) => {
                Err(failed("nothing could be recorded".to_owned()))
            }
            None => Ok(()),
        }
    }

    fn ask_candidate(&self, server: &Server, asked: &[&Specimen], sink: Sink) -> Result<(), RealError> {
        let plan = self.plan(server)?;
        let references: Vec<Recording> = asked
            .iter()
            .map(|specimen| Recording::read(&self.reference(specimen.reference)))
            .collect::<Result<_, _>>()?;
        let crowded = asked.iter().any(|specimen| specimen.crowded);
        let options = CandidateOptions {
            root: self.root.to_owned(),
            out: self
                .folder
                .join("runs")
                .join(format!("{}_{}", server.name, run::run_id())),
            command: self.command.clone(),
            at_once: AT_ONCE,
            scored_at_once: if crowded { AT_ONCE } else { 1 },
        };
        let references: Vec<&Recording> = references.iter().collect();
        let said =
            run::candidate(&plan, &references, &options, sink).map_err(|source| RealError::Candidate {
                server: server.name,
                source,
            })?;
        for (specimen, said) in asked.iter().zip(said) {
            let path = self.candidate(specimen);
            let text = serde_json::to_string(&said).map_err(|error| file("write", &path, &error))?;
            let folder = path.parent().unwrap_or(self.folder);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, text))
                .map_err(|error| file("write", &path, &error))?;
        }
        Ok(())
    }

    /// The session of a server: the small model's manifest with other weights.
    fn plan(&self, server: &Server) -> Result<Arc<SessionPlan>, RealError> {
        let catalogue = Catalogue::open(self.root);
        let mut model = catalogue.model(MODEL)?;
        model.manifest.model.path = format!("${{HARNESS_CACHE}}/models/{}", server.weights);
        let selection = Selection {
            model: Arc::new(model),
            stack: Arc::new(catalogue.stack(server.stack)?),
            dtype: Some(server.dtype),
        };
        let mut sessions = run::plan(&[selection], &Filter::default()).sessions;
        sessions.pop().ok_or_else(|| RealError::Recording {
            server: server.name,
            what: "the manifest has no trial".to_owned(),
        })
    }

    /// The prompts that are only scored, spread over their kinds.
    fn cases(&self, plan: &SessionPlan) -> Vec<String> {
        let scored: Vec<&LoadedCase> = plan
            .model
            .cases
            .iter()
            .filter(|case| case.case.scoring_only)
            .collect();
        let step = (scored.len() / self.prompts.max(1)).max(1);
        scored
            .iter()
            .step_by(step)
            .take(self.prompts)
            .map(|case| case.case.id.clone())
            .collect()
    }

    /// The rows of a specimen.
    pub fn rows(&self, specimen: &Specimen) -> Result<Vec<Row>, RealError> {
        let reference = Recording::read(&self.reference(specimen.reference))?;
        let path = self.candidate(specimen);
        let text = fs::read_to_string(&path).map_err(|error| file("read", &path, &error))?;
        let said: Vec<run::Said> =
            serde_json::from_str(&text).map_err(|error| file("read", &path, &error))?;
        let find = |case: &str| {
            reference
                .goldens
                .values()
                .find(|golden| golden.header.case == case)
        };
        let suite: Vec<Trialed<'_>> = said
            .iter()
            .filter_map(|said| Some(trialed(find(&said.case)?, said)))
            .collect();
        Ok(rows(specimen, &suite))
    }
}

fn file(action: &'static str, path: &Path, what: &dyn std::fmt::Display) -> RealError {
    RealError::File {
        action,
        path: path.to_owned(),
        what: what.to_string(),
    }
}

fn trialed<'a>(golden: &'a Golden, said: &run::Said) -> Trialed<'a> {
    let own = said.answer.as_ref().map(|own| Answer {
        text: own.text.clone(),
        positions: own.positions.clone(),
        finish: if own.positions.len() < golden.header.settings.max_tokens as usize {
            FinishReason::Stop
        } else {
            FinishReason::Length
        },
        prompt_ids: said.prompt_ids.clone(),
        ..golden.as_answer()
    });
    Trialed {
        golden,
        drift: said.scoring().and_then(|scoring| examine(golden, &scoring)),
        own,
    }
}

fn rows(specimen: &Specimen, suite: &[Trialed<'_>]) -> Vec<Row> {
    let judged = rules::judged(suite);
    let positions = suite.iter().map(|one| one.golden.positions.len() as u64).sum();
    Rule::ALL
        .into_iter()
        .map(|rule| {
            let mut row = Row::new(specimen.name, specimen.truth, rule, positions);
            row.mean_kld = judged.figures.as_ref().map(|figures| figures.mean_kld_nat.value);
            row.top1 = judged.figures.as_ref().map(|figures| figures.top1.value);
            if rule == Rule::TeacherForced {
                row.count(rules::said(judged.verdict));
                row.decided_at = decided_at(suite, rules::said(judged.verdict));
                row.finding = judged.findings.first().map(|finding| finding.text.clone());
            } else {
                row.count(rules::on_answers(rule, suite));
            }
            row
        })
        .collect()
}

/// Positions of the fewest goldens, from the first on, from which on the verdict is what it is over all.
fn decided_at(suite: &[Trialed<'_>], over_all: Said) -> Option<u64> {
    if over_all == Said::Undecided {
        return None;
    }
    let same = |goldens: &usize| rules::said(rules::judged(&suite[..*goldens]).verdict) == over_all;
    let goldens = (1..=suite.len()).rev().take_while(same).last()?;
    Some(
        suite[..goldens]
            .iter()
            .map(|one| one.golden.positions.len() as u64)
            .sum(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_specimen_names_servers_that_are_there() {
        for specimen in SPECIMENS {
            for name in [specimen.reference, specimen.candidate] {
                assert!(SERVERS.iter().any(|server| server.name == name), "{name}");
            }
        }
        let catalogue = Catalogue::open(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
        for server in SERVERS {
            assert!(catalogue.stack(server.stack).is_ok(), "{}", server.stack);
        }
    }
}
