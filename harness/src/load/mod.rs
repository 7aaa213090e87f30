//! Load: sends requests on a schedule, notes when everything happened, and sums up.
//!
//! Times are kept on the clock that the server lives on: real seconds, or on a simulator whose clock runs faster the
//! simulated ones ([`Clock`]).

mod clock;
mod prompts;
mod summary;
mod workers;

pub use clock::Clock;
pub use prompts::{PromptSource, WORDS};
pub use summary::{latency, throughput};
pub use workers::{Phase, Spec, run};
