//! Benchmarks of the harness's own methods: what they find, what they miss, and how fast they are.

pub mod correctness;
pub mod load;
