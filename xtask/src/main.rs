//! Front door: `cargo xtask <command>` builds the harness and its simulator in release mode and hands over. It knows
//! no command of its own, so that everything works without it: `target/release/harness <command>`.

use std::{
    env, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Exit code of a failed build: infrastructure, as the harness counts it.
const BUILD_FAILED: u8 = 3;

fn main() -> ExitCode {
    match build() {
        Ok(harness) => {
            // `exec` returns only when it failed.
            let error = Command::new(&harness).args(env::args_os().skip(1)).exec();
            complain(&format!("cannot start {}: {error}", harness.display()))
        }
        Err(error) => complain(&error.to_string()),
    }
}

fn complain(what: &str) -> ExitCode {
    // Nothing is left to tell it to if standard error is gone.
    drop(io::Write::write_all(
        &mut io::stderr(),
        format!("xtask: {what}\n").as_bytes(),
    ));
    ExitCode::from(BUILD_FAILED)
}

/// Builds and returns the harness's program.
fn build() -> io::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let harness = target.join("release/harness");
    if !harness.exists() {
        let text = b"xtask: building the harness and the simulator once, in release mode\n";
        io::Write::write_all(&mut io::stderr(), text)?;
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args([
        "build",
        "--release",
        "--package",
        "harness",
        "--package",
        "simulator",
    ]);
    // Cargo's own progress is worth seeing while it builds, not when there is nothing to build.
    if harness.exists() {
        command.arg("--quiet");
    }
    let status = command.status()?;
    if status.success() {
        Ok(harness)
    } else {
        Err(io::Error::other(format!("the build failed ({status})")))
    }
}
