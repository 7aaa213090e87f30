//! A run: what is to be done ([`plan`]), the record of it ([`Journal`]), the servers and the trials on them.

mod ask;
mod cards;
mod dry_run;
mod exit;
mod facts;
mod host;
mod interrupt;
mod journal;
mod pending;
mod plan;
mod prepare;
mod session;
mod trial;
mod validate;

pub use dry_run::{DryRun, dry_run};
pub use exit::{Exit, verdict_exit};
pub use host::has_c500;
pub use interrupt::Interrupt;
pub use journal::{Journal, JournalError, Sink};
pub use plan::{Filter, Plan, Selection, SessionPlan, Subject, TrialPlan, plan};
pub use validate::{Finished, Options, RunError, list, validate};
