//! Real parts that a test may need: found, skipped with one line that says why, or required by `HARNESS_REQUIRE`.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Whether a Docker daemon answers.
pub fn docker() -> bool {
    available("docker", "no Docker daemon answers", || {
        succeeds("docker", &["info"])
    })
}

/// Whether the image of this vLLM version and the small model are on this host.
pub fn vllm_cpu(version: &str) -> bool {
    let image = format!("harness-vllm-cpu:{version}");
    available(
        "vllm_cpu",
        &format!("no image {image}: make it with `ci/images/build {version}`"),
        || succeeds("docker", &["image", "inspect", &image]),
    )
}

/// Whether a program ends well.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Whether `test` finds a part; one that is absent is said, and fails where `HARNESS_REQUIRE` names it.
pub fn available(part: &str, why_not: &str, test: impl Fn() -> bool) -> bool {
    let found = test();
    if !found {
        let required = env::var("HARNESS_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == part),
            "HARNESS_REQUIRE names {part}, but {why_not}"
        );
        // Past libtest's capture, which would hide it. Nothing is lost if standard error is gone.
        drop(writeln!(io::stderr(), "skipped: {why_not}"));
    }
    found
}

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the repository")
}

/// The simulator's program, built once.
pub fn simulator() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(root())
            .args(["build", "--quiet", "--package", "simulator"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        assert!(
            command.status().expect("cargo starts").success(),
            "the simulator builds"
        );
        Path::new(env!("CARGO_BIN_EXE_harness")).with_file_name("simulator")
    })
}
