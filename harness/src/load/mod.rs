//! Load: sends requests on a schedule, notes when everything happened, and sums up.
//!
//! Times are kept on the clock that the server lives on: real seconds, or on a simulator whose clock runs faster the
//! simulated ones ([`Clock`]).

mod arrivals;
mod clock;
mod failure;
mod host;
mod job;
mod lengths;
mod phase;
mod prompts;
mod replay;
mod spec;
mod summary;
mod time;
mod trace;
pub mod wire;

pub use arrivals::Arrivals;
pub use clock::Clock;
pub use failure::{Failure, FailureClass};
pub use job::{Form, Job, LULL, LoadError, run, target, vocabulary};
pub use lengths::{Lengths, LengthsError};
pub use phase::{ClientFacts, Counts, Pace, Phase, PhaseRun, Watch, WorkerFacts};
pub use prompts::{Drawn, Joint, SharedPrefix, Vocabulary, WORDS};
pub use replay::{ReplayError, Replayed, TraceFile};
pub use spec::{PromptBody, Requests, Spec, Turn};
pub use summary::{latency, throughput};
pub use trace::Trace;
