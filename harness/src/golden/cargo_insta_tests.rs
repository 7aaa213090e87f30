//! Plain `cargo insta` on pending goldens, in a workspace of its own. Skipped with a line where `cargo-insta` is not
//! installed; `HARNESS_REQUIRE=cargo_insta` makes that a failure.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::sample::golden;
use super::update::Mode;
use super::*;

/// Runs `cargo insta` and gives what it prints.
fn cargo_insta(workspace: &Path, arguments: &[&str], pending_dir: Option<&Path>) -> String {
    let mut command = Command::new("cargo");
    command.arg("insta").args(arguments).current_dir(workspace);
    command
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("INSTA_PENDING_DIR")
        .env_remove("INSTA_WORKSPACE_ROOT");
    if let Some(dir) = pending_dir {
        command.env("INSTA_PENDING_DIR", dir);
    }
    let output = command.output().unwrap();
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "cargo insta {arguments:?}: {printed}");
    printed
}

fn installed() -> bool {
    let version = Command::new("cargo").args(["insta", "--version"]).output();
    let installed = version.is_ok_and(|output| output.status.success());
    let required = std::env::var("HARNESS_REQUIRE").unwrap_or_default();
    assert!(
        installed || !required.split(',').any(|word| word.trim() == "cargo_insta"),
        "HARNESS_REQUIRE wants cargo-insta: cargo install cargo-insta --locked"
    );
    if !installed {
        // Written past the capture of passing tests' output, so that the line is seen.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: cargo-insta is not installed: cargo install cargo-insta --locked"
        );
    }
    installed
}

/// A workspace whose member `golden` holds goldens, as this repository's does.
fn workspace() -> tempfile::TempDir {
    let workspace = tempfile::tempdir().unwrap();
    let member = workspace.path().join("golden");
    fs::create_dir_all(member.join("src")).unwrap();
    fs::write(
        workspace.path().join("Cargo.toml"),
        "[workspace]\nmembers = [\"golden\"]\nresolver = \"3\"\n",
    )
    .unwrap();
    fs::write(
        member.join("Cargo.toml"),
        "[package]\nname = \"golden\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    fs::write(member.join("src/lib.rs"), "").unwrap();
    workspace
}

#[test]
fn cargo_insta_lists_accepts_and_rejects() {
    if !installed() {
        return;
    }
    let workspace = workspace();
    let pending_dir = tempfile::tempdir().unwrap();
    for dir in [None, Some(pending_dir.path())] {
        let update = Update {
            mode: Mode::Pending,
            pending_dir: dir.map(Path::to_owned),
        };
        let store = Store::with_update(workspace.path().join("golden"), false, update);
        let mut first = golden();
        first.header.case = format!("first_{}", dir.is_some());
        let mut second = golden();
        second.header.case = format!("second_{}", dir.is_some());
        let pending = store.pend(&first).unwrap().unwrap();
        store.pend(&second).unwrap().unwrap();

        let listed = cargo_insta(workspace.path(), &["pending-snapshots"], dir);
        assert!(
            listed.contains(&first.header.case) && listed.contains(&second.header.case),
            "{listed}"
        );

        let accepted = store.path(&first.header.model, &first.header.case).unwrap();
        cargo_insta(
            workspace.path(),
            &["accept", "--snapshot", accepted.to_str().unwrap()],
            dir,
        );
        assert!(!pending.exists());
        assert_eq!(
            store.load(&first.header.model, &first.header.case).unwrap(),
            Some(first)
        );

        cargo_insta(workspace.path(), &["reject"], dir);
        let (model, case) = (&second.header.model, &second.header.case);
        assert_eq!(store.load(model, case).unwrap(), None);
        assert_eq!(store.load_pending(model, case).unwrap(), None);
    }
}
