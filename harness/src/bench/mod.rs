//! Benchmarks of the harness's own judgement: what it finds, what it misses, and how fast it is.

pub mod correctness;
