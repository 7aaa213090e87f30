//! Real vLLM servers in real containers through `harness validate`: each failure that a CPU can have, and the six
//! families in miniature. `HARNESS_REQUIRE=docker,vllm_cpu` makes a missing part a failure.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

mod bench;
mod failures;
mod miniatures;
#[expect(dead_code, reason = "no simulator plays here")]
#[path = "../real_parts/mod.rs"]
mod real_parts;
