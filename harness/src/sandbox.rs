//! Runs graded code, which a model wrote and nobody read, in a container that can do nothing: no network, read-only
//! root, a small `/tmp`, no capabilities, no new privileges, an unprivileged user, and limits on processes, memory,
//! processor, files and time. The container is removed whatever happens, even where the caller gives up waiting.
//!
//! The image is the one that `HARNESS_SANDBOX_IMAGE` names, or the newest `harness-vllm-cpu` image present: nothing is
//! pulled. A program passes only by reaching its end: a word that it cannot know is printed by its last line, so that
//! an answer that leaves with exit code 0 before the tests is found out.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, ImageInspect, ImageSummary, ResourcesUlimits,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};

/// Time that a program may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Variable that names the image.
pub const IMAGE_VARIABLE: &str = "HARNESS_SANDBOX_IMAGE";

/// Images that hold a Python interpreter and that this project builds.
const OWN_IMAGES: &str = "harness-vllm-cpu:*";

/// Memory of the container, in bytes.
const MEMORY_BYTES: i64 = 256 << 20;

/// Processes and threads of the container.
const MOST_PROCESSES: i64 = 32;

/// Largest file, in bytes, and most open files.
const FILE_BYTES: i64 = 8 << 20;
const MOST_FILES: i64 = 64;

/// Longest program: it is one argument of a command, which Linux bounds at 128 KiB.
const LONGEST_PROGRAM_BYTES: usize = 120 << 10;

/// Bytes of output that are kept, from its end.
const KEPT_BYTES: usize = 16 << 10;

/// Time that Docker may take for one call.
const DOCKER_PATIENCE: Duration = Duration::from_secs(20);

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRun {
    /// Its end.
    pub exit: CodeExit,
    /// The end of what it printed, standard output and error together.
    pub output: String,
}

/// A program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeExit {
    /// It ran to its last line.
    Finished,
    /// It left with exit code 0 before its last line.
    LeftEarly,
    /// It left with another exit code; 128 and the signal's number for a signal.
    Code(i64),
    /// It was stopped at the time limit.
    TimedOut {
        /// The limit, in seconds.
        after_s: u64,
    },
    /// It was stopped at the memory limit.
    OutOfMemory,
}

/// Why code is not run: the case is then skipped, with this reason.
#[derive(Debug, thiserror::Error)]
pub enum WhyNot {
    /// Docker does not answer.
    #[error("code is run in a container, and Docker does not answer: {0}")]
    NoDocker(String),
    /// No image with an interpreter.
    #[error(
        "code is run in a container, and no {OWN_IMAGES} image is present; build one (ci/images) or name one with Python by {IMAGE_VARIABLE}"
    )]
    NoImage,
    /// The image that the environment names is not there.
    #[error("the image {image}, which {IMAGE_VARIABLE} names, cannot be used: {why}")]
    NamedImage {
        /// Its name.
        image: String,
        /// Docker's words.
        why: String,
    },
    /// Docker failed to run the container.
    #[error("the container that runs code failed: {0}")]
    Container(String),
    /// The program is longer than an argument may be.
    #[error("the program has {bytes} bytes; more than {LONGEST_PROGRAM_BYTES} cannot be handed over")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl WhyNot {
    fn container(error: impl std::fmt::Display) -> Self {
        Self::Container(error.to_string())
    }
}

/// Runs Python programs in containers of one image.
#[derive(Debug, Clone)]
pub struct CodeRunner {
    docker: Docker,
    image: String,
    interpreter: String,
    time_limit: Duration,
}

impl CodeRunner {
    /// Connects to Docker and finds an image with an interpreter.
    pub async fn find() -> Result<Self, WhyNot> {
        let docker = Docker::connect_with_defaults().map_err(|error| WhyNot::NoDocker(error.to_string()))?;
        let docker = tokio::time::timeout(DOCKER_PATIENCE, docker.negotiate_version())
            .await
            .map_err(|_| WhyNot::NoDocker(format!("no answer within {} s", DOCKER_PATIENCE.as_secs())))?
            .map_err(|error| WhyNot::NoDocker(error.to_string()))?;
        let (image, inspected) = match std::env::var(IMAGE_VARIABLE)
            .ok()
            .filter(|image| !image.is_empty())
        {
            Some(image) => match docker.inspect_image(&image).await {
                Ok(inspected) => (image, inspected),
                Err(error) => {
                    let why = error.to_string();
                    return Err(WhyNot::NamedImage { image, why });
                }
            },
            None => newest_own_image(&docker).await?,
        };
        Ok(Self {
            docker,
            interpreter: interpreter(&inspected),
            image,
            time_limit: TIME_LIMIT,
        })
    }

    /// Image in use.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// Runs a program to its end or to the limit. Where this future is dropped, the container is still removed.
    pub async fn run(&self, program: &str) -> Result<CodeRun, WhyNot> {
        if program.len() > LONGEST_PROGRAM_BYTES {
            return Err(WhyNot::TooLong { bytes: program.len() });
        }
        if program.contains('\0') {
            return Ok(CodeRun {
                exit: CodeExit::Code(1),
                output: "the code holds a NUL byte, which Python refuses".to_owned(),
            });
        }
        let (runner, program) = (self.clone(), program.to_owned());
        let task = tokio::spawn(async move { runner.run_and_remove(&program).await });
        task.await.map_err(WhyNot::container)?
    }

    async fn run_and_remove(&self, program: &str) -> Result<CodeRun, WhyNot> {
        let end_word = end_word(program);
        // Written to the descriptor itself: the answer may have its own `print` or `sys.stdout`.
        let program = format!("{program}\n__import__('os').write(1, b'{end_word}\\n')\n");
        let body = self.container(&program);
        let created = self
            .docker
            .create_container(None, body)
            .await
            .map_err(WhyNot::container)?;
        let ran = self.watch(&created.id, &end_word).await;
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        let removed = self.docker.remove_container(&created.id, Some(options)).await;
        let run = ran?;
        removed.map_err(WhyNot::container)?;
        Ok(run)
    }

    /// Starts the container and reads its output until it ends or its time is up.
    async fn watch(&self, id: &str, end_word: &str) -> Result<CodeRun, WhyNot> {
        let options = AttachContainerOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        let mut attached = self
            .docker
            .attach_container(id, Some(options))
            .await
            .map_err(WhyNot::container)?;
        let mut output = Output::default();
        self.docker
            .start_container(id, None)
            .await
            .map_err(WhyNot::container)?;
        let ended = tokio::time::timeout(self.time_limit, async {
            while let Some(piece) = attached.output.next().await {
                output.push(&piece.map_err(WhyNot::container)?);
            }
            // The result repeats the exit code, and an error of the daemon shows when the state is asked for.
            let _ = self.docker.wait_container(id, None).next().await;
            Ok(())
        });
        match ended.await {
            Ok(read) => read?,
            Err(_) => {
                return Ok(CodeRun {
                    exit: CodeExit::TimedOut {
                        after_s: self.time_limit.as_secs(),
                    },
                    output: output.text(),
                });
            }
        }
        let inspected = self
            .docker
            .inspect_container(id, None)
            .await
            .map_err(WhyNot::container)?;
        let state = inspected.state.unwrap_or_default();
        let finished = output.take_end_word(end_word);
        let exit = match state.exit_code {
            _ if state.oom_killed == Some(true) => CodeExit::OutOfMemory,
            Some(0) if finished => CodeExit::Finished,
            Some(0) => CodeExit::LeftEarly,
            Some(code) => CodeExit::Code(code),
            None => return Err(WhyNot::Container("Docker does not tell its exit code".to_owned())),
        };
        Ok(CodeRun {
            exit,
            output: output.text(),
        })
    }

    fn container(&self, program: &str) -> ContainerCreateBody {
        let limit = |name: &str, most: i64| ResourcesUlimits {
            name: Some(name.to_owned()),
            soft: Some(most),
            hard: Some(most),
        };
        let processor_s = i64::try_from(self.time_limit.as_secs())
            .unwrap_or(i64::MAX)
            .max(1);
        let host = HostConfig {
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            tmpfs: Some(HashMap::from([(
                "/tmp".to_owned(),
                "rw,noexec,nosuid,nodev,size=16m,mode=1777".to_owned(),
            )])),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ipc_mode: Some("none".to_owned()),
            pids_limit: Some(MOST_PROCESSES),
            memory: Some(MEMORY_BYTES),
            memory_swap: Some(MEMORY_BYTES),
            nano_cpus: Some(1_000_000_000),
            ulimits: Some(vec![
                limit("cpu", processor_s),
                limit("fsize", FILE_BYTES),
                limit("nofile", MOST_FILES),
                limit("core", 0),
            ]),
            // Output is read as it comes; a log file of an endless printer would fill the host's disk.
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: Some(vec![self.interpreter.clone()]),
            cmd: Some(["-I", "-B", "-c", program].map(str::to_owned).to_vec()),
            env: Some(vec!["HOME=/tmp".to_owned()]),
            user: Some("65534:65534".to_owned()),
            working_dir: Some("/tmp".to_owned()),
            hostname: Some("sandbox".to_owned()),
            network_disabled: Some(true),
            labels: Some(HashMap::from([
                ("managed-by".to_owned(), "harness".to_owned()),
                ("harness.role".to_owned(), "sandbox".to_owned()),
            ])),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        }
    }
}

async fn newest_own_image(docker: &Docker) -> Result<(String, ImageInspect), WhyNot> {
    let filters = HashMap::from([("reference", vec![OWN_IMAGES])]);
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    let images = docker
        .list_images(Some(options))
        .await
        .map_err(|error| WhyNot::NoDocker(error.to_string()))?;
    let newest = newest(&images).ok_or(WhyNot::NoImage)?;
    let inspected = docker.inspect_image(newest).await.map_err(WhyNot::container)?;
    Ok((newest.to_owned(), inspected))
}

/// Name of the newest image; of several names of one image, the last in the alphabet, so that the choice is stable.
fn newest(images: &[ImageSummary]) -> Option<&str> {
    let named = images.iter().flat_map(|image| {
        image
            .repo_tags
            .iter()
            .map(move |tag| (image.created, tag.as_str()))
    });
    named.max().map(|(_, tag)| tag)
}

/// The image's Python: the first word of its entrypoint where that is one, else the one on its path.
fn interpreter(image: &ImageInspect) -> String {
    let entrypoint = image
        .config
        .as_ref()
        .and_then(|config| config.entrypoint.as_deref());
    let first = entrypoint.and_then(<[String]>::first);
    let is_python = |word: &&String| {
        word.rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with("python"))
    };
    first
        .filter(is_python)
        .map_or_else(|| "python3".to_owned(), Clone::clone)
}

/// A word that the program cannot know before it runs.
fn end_word(program: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(program);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    hash.update(now.as_nanos().to_le_bytes());
    hash.update(std::process::id().to_le_bytes());
    let digest = hash.finalize();
    digest
        .iter()
        .take(16)
        .fold("end-".to_owned(), |word, byte| format!("{word}{byte:02x}"))
}

/// The end of what a program prints.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    cut: bool,
}

impl Output {
    fn push(&mut self, piece: &LogOutput) {
        self.bytes.extend_from_slice(piece.as_ref());
        let excess = self.bytes.len().saturating_sub(KEPT_BYTES);
        if excess > 0 {
            self.bytes.drain(..excess);
            self.cut = true;
        }
    }

    /// Whether the word was printed as a line of its own; it is taken out.
    fn take_end_word(&mut self, word: &str) -> bool {
        let line = format!("{word}\n");
        let found = self
            .bytes
            .windows(line.len())
            .rposition(|window| window == line.as_bytes());
        if let Some(at) = found {
            self.bytes.drain(at..at + line.len());
        }
        found.is_some()
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.cut {
            format!("[…]{text}")
        } else {
            text.into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// The runner, or `None` after a line that says why this test does nothing; with `HARNESS_REQUIRE=docker` that
    /// is a failure.
    async fn runner(test: &str) -> Option<CodeRunner> {
        match CodeRunner::find().await {
            Ok(runner) => Some(runner),
            Err(why) => {
                let required = std::env::var("HARNESS_REQUIRE").unwrap_or_default();
                assert!(
                    !required.split(',').any(|word| word.trim() == "docker"),
                    "{test}: {why}"
                );
                // Written past the capture of passing tests' output, so that the line is seen.
                let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
                None
            }
        }
    }

    async fn exit_of(runner: &CodeRunner, program: &str) -> (CodeExit, String) {
        let run = runner.run(program).await.unwrap();
        (run.exit, run.output)
    }

    async fn sandboxes(runner: &CodeRunner) -> Vec<String> {
        let filters = HashMap::from([("label", vec!["harness.role=sandbox"])]);
        let options = bollard::query_parameters::ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let containers = runner.docker.list_containers(Some(options)).await.unwrap();
        containers
            .into_iter()
            .filter_map(|container| container.id)
            .collect()
    }

    #[tokio::test]
    async fn programs_end_as_they_should() {
        let Some(mut runner) = runner("programs_end_as_they_should").await else {
            return;
        };
        let (exit, output) = exit_of(&runner, "print('hello')\nassert 1 + 1 == 2").await;
        assert_eq!((exit, output.as_str()), (CodeExit::Finished, "hello\n"));
        let (exit, output) = exit_of(&runner, "assert 1 + 1 == 3, 'sum'").await;
        assert_eq!(exit, CodeExit::Code(1));
        assert!(output.contains("AssertionError: sum"), "{output}");
        let (exit, _) = exit_of(&runner, "import os\nos._exit(0)\nassert False").await;
        assert_eq!(exit, CodeExit::LeftEarly);
        let (exit, output) = exit_of(
            &runner,
            "import sys, io\nsys.stdout = io.StringIO()\ndef print(): pass",
        )
        .await;
        assert_eq!((exit, output.as_str()), (CodeExit::Finished, ""));
        let (exit, _) = exit_of(&runner, "raise SystemExit(0)").await;
        assert_eq!(exit, CodeExit::LeftEarly);
        let (exit, output) = exit_of(&runner, "for i in range(10**5): print(i)").await;
        assert_eq!(exit, CodeExit::Finished);
        assert!(
            output.len() < KEPT_BYTES + 64 && output.ends_with("99999\n"),
            "{} bytes",
            output.len()
        );
        let (exit, output) = exit_of(&runner, "x = 'a\0b'").await;
        assert_eq!(exit, CodeExit::Code(1), "{output}");
        runner.time_limit = Duration::from_secs(5);
        let (exit, output) =
            exit_of(&runner, "print('begun', flush=True)\nimport time\ntime.sleep(60)").await;
        assert_eq!(
            (exit, output.as_str()),
            (CodeExit::TimedOut { after_s: 5 }, "begun\n")
        );
        let long = "#".repeat(LONGEST_PROGRAM_BYTES + 1);
        assert!(matches!(runner.run(&long).await, Err(WhyNot::TooLong { .. })));
    }

    #[tokio::test]
    async fn the_container_can_do_nothing() {
        let Some(runner) = runner("the_container_can_do_nothing").await else {
            return;
        };
        let program = r"
import os, socket
assert os.getuid() == 65534 and os.getgid() == 65534
status = dict(line.split(':\t', 1) for line in open('/proc/self/status') if ':\t' in line)
assert int(status['CapEff'], 16) == 0 and int(status['CapBnd'], 16) == 0, status
assert status['NoNewPrivs'].strip() == '1'
for path in ['/x', '/etc/x', '/opt/x', '/dev/shm/x']:
    try:
        open(path, 'w')
    except OSError:
        continue
    raise AssertionError(path + ' is writable')
open('/tmp/x', 'w').write('fine')
try:
    socket.create_connection(('1.1.1.1', 53), timeout=2)
except OSError as error:
    print(error)
else:
    raise AssertionError('the network answers')
assert sorted(os.listdir('/sys/class/net')) == ['lo'], os.listdir('/sys/class/net')
try:
    open('/tmp/big', 'wb').write(b'x' * (32 << 20))
except OSError:
    pass
else:
    raise AssertionError('files have no limit')
children = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            import time
            time.sleep(30)
            os._exit(0)
        children += 1
except OSError:
    assert children < 32, children
else:
    raise AssertionError('processes have no limit')
";
        let (exit, output) = exit_of(
            &runner,
            &format!("import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{program}"),
        )
        .await;
        assert_eq!(exit, CodeExit::Finished, "{output}");
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let Some(runner) = runner("memory_is_bounded").await else {
            return;
        };
        let (exit, output) = exit_of(
            &runner,
            "x = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1",
        )
        .await;
        assert!(
            matches!(exit, CodeExit::OutOfMemory | CodeExit::Code(_)),
            "{exit:?} {output}"
        );
    }

    #[tokio::test]
    async fn nothing_stays_behind_when_the_caller_gives_up() {
        let Some(mut runner) = runner("nothing_stays_behind_when_the_caller_gives_up").await else {
            return;
        };
        runner.time_limit = Duration::from_secs(1);
        let before = sandboxes(&runner).await;
        let given_up = tokio::time::timeout(
            Duration::from_millis(300),
            runner.run("import time\ntime.sleep(60)"),
        )
        .await;
        assert!(given_up.is_err(), "the program cannot have ended");
        let patience = tokio::time::Instant::now() + Duration::from_secs(30);
        while sandboxes(&runner).await.iter().any(|id| !before.contains(id)) {
            assert!(tokio::time::Instant::now() < patience, "a container stays behind");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    #[test]
    fn the_newest_image_is_chosen_and_its_python() {
        let image = |created, tags: &[&str]| ImageSummary {
            created,
            repo_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            ..ImageSummary::default()
        };
        let images = [
            image(5, &["harness-vllm-cpu:0.8.5"]),
            image(9, &["harness-vllm-cpu:0.12.0"]),
            image(10, &[]),
        ];
        assert_eq!(newest(&images), Some("harness-vllm-cpu:0.12.0"));
        assert_eq!(newest(&[]), None);
        let with = |entrypoint: &[&str]| ImageInspect {
            config: Some(bollard::models::ImageConfig {
                entrypoint: Some(entrypoint.iter().map(|&word| word.to_owned()).collect()),
                ..bollard::models::ImageConfig::default()
            }),
            ..ImageInspect::default()
        };
        assert_eq!(
            interpreter(&with(&["/opt/vllm/bin/python", "-m", "x"])),
            "/opt/vllm/bin/python"
        );
        assert_eq!(interpreter(&with(&["/entrypoint.sh"])), "python3");
        assert_eq!(interpreter(&ImageInspect::default()), "python3");
    }

    #[test]
    fn end_words_differ_and_output_is_kept_from_its_end() {
        assert_ne!(end_word("a"), end_word("a"));
        let mut output = Output::default();
        for number in 0..5_000 {
            let message = format!("{number:06}\n").into();
            output.push(&LogOutput::StdOut { message });
        }
        assert!(!output.take_end_word("end-1"));
        assert!(output.take_end_word("004999"));
        let text = output.text();
        assert!(text.starts_with("[…]") && text.ends_with("004998\n") && text.len() < KEPT_BYTES + 8);
    }
}
