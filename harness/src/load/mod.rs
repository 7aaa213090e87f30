//! Load: sends requests on a schedule, notes when everything happened, and sums up.
//!
//! Times are kept on the clock that the server lives on: real seconds, or on a simulator whose clock runs faster the
//! simulated ones ([`Clock`]).

mod arrivals;
pub mod bench_serve;
mod client;
mod clock;
mod failure;
mod figures;
mod host;
mod job;
mod lengths;
mod measure;
mod phase;
pub mod plan;
pub mod probe;
mod prompts;
pub mod recording;
pub mod replay;
mod schedule;
mod server;
pub mod shape;
mod spec;
mod summary;
pub mod sweep;
mod time;
mod trace;
pub mod validity;
pub mod wire;

pub use arrivals::Arrivals;
pub use client::{ClientFigures, Lag};
pub use clock::Clock;
pub use failure::{Failure, FailureClass};
pub use figures::{Asked, Failures, Goodput, LoadFigures, PERCENTILES, Percentile, Promises, Spread, Steady};
pub use host::throttled_s;
pub use job::{Form, Generator, LULL, LoadError, plain_target, target, vocabulary, workers_for};
pub use lengths::{Lengths, LengthsError};
pub use measure::{Measured, Setting, Tick, measure, run_part, summarise};
pub use phase::{ClientFacts, Counts, Pace, Phase, PhaseRun, Watch, WorkerFacts};
pub use plan::{LoadPlan, Part, PlanError, Wish};
pub use prompts::{Drawn, Joint, SharedPrefix, Vocabulary, WORDS};
pub use replay::{ReplayError, Replayed, TraceFile};
pub use schedule::{Extent, Rate, Scatter, Schedule};
pub use server::{ServerFigures, ServerSide};
pub use shape::{Shape, ShapeError};
pub use spec::{PromptBody, Requests, Spec, Turn};
pub use summary::{gaps_s, latency, throughput, ttft_s};
pub use trace::Trace;
