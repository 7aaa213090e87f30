//! A run: what is to be done ([`plan`]), the record of it ([`Journal`]), the servers and the trials on them.

mod ask;
mod candidate;
mod cards;
mod drift;
mod dry_run;
mod exit;
mod facts;
mod fingerprint;
mod grades;
mod host;
mod interleave;
mod interrupt;
mod journal;
mod on_server;
mod passes;
mod pending;
mod plan;
mod prepare;
mod record;
mod score;
mod search;
mod session;
mod trial;
mod validate;

pub use candidate::{CandidateError, CandidateOptions, Own, Said, candidate};
pub use dry_run::{DryRun, dry_run};
pub use exit::{Exit, verdict_exit};
pub use host::has_c500;
pub use interleave::{GateError, Interleaved, Progress, Side, arms, interleave};
pub use interrupt::Interrupt;
pub use journal::{Journal, JournalError, Sink};
pub use on_server::{NotDone, OnServer, OnServerOptions, ServerAt, on_server};
pub use plan::{Filter, Plan, Selection, SessionPlan, Subject, TrialPlan, plan};
pub use record::{RecordOptions, Recorded, RecordedCase, record};
pub use search::{Searched, search};
pub use validate::{Finished, Options, RunError, gate_id, list, run_id, validate};
