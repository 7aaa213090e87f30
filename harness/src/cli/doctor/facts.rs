//! What is asked of this host. Everything that fails is itself a fact, so that one broken part hides no other.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::Docker;
use nix::sys::{
    resource::{Resource, getrlimit},
    statvfs::statvfs,
};

use crate::{
    device::{self, DeviceReport, host::HostTraces},
    manifest::{Catalogue, DockerTarget, LoadedStack},
    target,
};

/// How long the Docker daemon may take for an answer.
const DOCKER_PATIENCE: Duration = Duration::from_secs(10);
const BYTES_PER_GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// The facts of a host, for one stack or for none.
#[derive(Debug)]
pub(super) struct Facts {
    /// Cards, or why there are none.
    pub(super) device: Result<DeviceReport, String>,
    /// What the kernel says of MetaX cards.
    pub(super) traces: HostTraces,
    /// The daemon, or why there is none.
    pub(super) docker: Result<DockerFacts, String>,
    /// Images of the stack.
    pub(super) images: Vec<ImageFacts>,
    /// Devices that the stack passes to its container and this host lacks.
    pub(super) missing_devices: Vec<String>,
    /// Disks, by purpose.
    pub(super) disks: Vec<Disk>,
    /// Memory of this host.
    pub(super) memory: Option<Memory>,
    /// Most open files of a process; `u64::MAX` is without limit.
    pub(super) open_files: u64,
    /// Most locked memory of a process, bytes; `u64::MAX` is without limit.
    pub(super) locked_bytes: u64,
    /// Whether 127.0.0.1 works.
    pub(super) loopback: Result<(), String>,
    /// Folders of weights, of the manifests meant for the stack, or of all.
    pub(super) models: Vec<ModelFolder>,
    /// Manifests with mistakes, of which is not known what they are meant for.
    pub(super) broken_manifests: Vec<String>,
    /// Kubernetes.
    pub(super) kubernetes: Kubernetes,
}

/// A Docker daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DockerFacts {
    /// Its version.
    pub(super) version: String,
    /// Its newest API (`1.47`).
    pub(super) api: String,
    /// Where it keeps images.
    pub(super) folder: Option<PathBuf>,
}

/// An image that a stack needs.
#[derive(Debug)]
pub(super) struct ImageFacts {
    /// Its name and tag.
    pub(super) name: String,
    /// Whether it is on this host, or why that is not known.
    pub(super) present: Result<bool, String>,
    /// How it is made, where the stack says.
    pub(super) build: Option<Build>,
}

/// A command that makes an image.
#[derive(Debug)]
pub(super) struct Build {
    /// The command.
    pub(super) command: String,
    /// Whether its program is in the repository, or is one that the PATH finds.
    pub(super) program_exists: bool,
}

/// Space on a disk.
#[derive(Debug)]
pub(super) struct Disk {
    /// What is kept there.
    pub(super) purpose: &'static str,
    /// Where.
    pub(super) path: PathBuf,
    /// Free for this user, GiB.
    pub(super) free_gib: f64,
    /// In all, GiB.
    pub(super) total_gib: f64,
}

/// Memory of the host, GiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// In all.
    pub(super) total_gib: f64,
    /// For new processes.
    pub(super) available_gib: f64,
}

/// The folder of a manifest's weights.
#[derive(Debug)]
pub(super) struct ModelFolder {
    /// The manifest.
    pub(super) name: String,
    /// What is there.
    pub(super) state: FolderState,
}

/// What a folder of weights holds.
#[derive(Debug)]
pub(super) enum FolderState {
    /// Configuration and weights.
    Complete(PathBuf),
    /// Nothing: there is no such folder.
    Absent(PathBuf),
    /// Not everything.
    Incomplete(PathBuf, &'static str),
    /// The path cannot be made out.
    Unknown(String),
}

/// Traces of Kubernetes.
#[derive(Debug, Default)]
pub(super) struct Kubernetes {
    /// Whether kubectl is on the PATH.
    pub(super) has_kubectl: bool,
    /// The configuration that it would use.
    pub(super) config: Option<PathBuf>,
}

impl Facts {
    /// Asks this host.
    pub(super) async fn gather(root: &Path, catalogue: &Catalogue, stack: Option<&LoadedStack>) -> Self {
        let target = stack.and_then(|loaded| loaded.stack.docker.as_ref());
        let (docker, present) = docker(target).await;
        let images = target.into_iter().zip(present);
        let (models, broken_manifests) = models(catalogue, stack);
        Self {
            device: device::current().map_err(|error| error.to_string()),
            traces: HostTraces::read(Path::new("/")),
            images: images
                .map(|(target, present)| image(root, target, present))
                .collect(),
            missing_devices: missing_devices(target),
            disks: disks(root, &docker, &models),
            docker,
            memory: memory(),
            open_files: limit(Resource::RLIMIT_NOFILE),
            locked_bytes: limit(Resource::RLIMIT_MEMLOCK),
            loopback: loopback().map_err(|error| error.to_string()),
            models,
            broken_manifests,
            kubernetes: Kubernetes {
                has_kubectl: on_path("kubectl").is_some(),
                config: kubernetes_config(),
            },
        }
    }
}

/// The daemon, and whether it has the target's image.
async fn docker(
    target: Option<&DockerTarget>,
) -> (Result<DockerFacts, String>, Option<Result<bool, String>>) {
    let asked = async {
        let docker = Docker::connect_with_defaults()?.negotiate_version().await?;
        let version = docker.version().await?;
        let folder = docker.info().await?.docker_root_dir.map(PathBuf::from);
        let unknown = || "unknown".to_owned();
        let api = version.api_version.unwrap_or_else(unknown);
        let facts = DockerFacts {
            version: version.version.unwrap_or_else(unknown),
            api,
            folder,
        };
        let present = match target {
            Some(target) => Some(has_image(&docker, &target.image).await),
            None => None,
        };
        Ok::<_, bollard::errors::Error>((facts, present))
    };
    let absent = |why: String| (Err(why), target.map(|_| Err("no Docker daemon".to_owned())));
    match tokio::time::timeout(DOCKER_PATIENCE, asked).await {
        Ok(Ok((facts, present))) => (Ok(facts), present),
        Ok(Err(error)) => absent(format!("no daemon answers: {error}")),
        Err(_) => absent(format!(
            "the daemon does not answer within {} s",
            DOCKER_PATIENCE.as_secs()
        )),
    }
}

async fn has_image(docker: &Docker, name: &str) -> Result<bool, String> {
    use bollard::errors::Error::DockerResponseServerError as Response;
    match docker.inspect_image(name).await {
        Ok(_) => Ok(true),
        Err(Response { status_code: 404, .. }) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

fn image(root: &Path, target: &DockerTarget, present: Result<bool, String>) -> ImageFacts {
    let build = target.build.first().map(|program| Build {
        command: target.build.join(" "),
        program_exists: if program.contains('/') {
            root.join(program).is_file()
        } else {
            on_path(program).is_some()
        },
    });
    ImageFacts {
        name: target.image.clone(),
        present,
        build,
    }
}

fn missing_devices(target: Option<&DockerTarget>) -> Vec<String> {
    let devices = target.into_iter().flat_map(|target| &target.devices);
    // `host:container:permissions`, as `docker run --device` takes them.
    let host = |device: &&String| {
        device
            .split(':')
            .next()
            .is_some_and(|path| !Path::new(path).exists())
    };
    devices.filter(host).cloned().collect()
}

/// One disk a purpose; the folder of weights is that of the first manifest whose folder is there.
fn disks(root: &Path, docker: &Result<DockerFacts, String>, models: &[ModelFolder]) -> Vec<Disk> {
    let images = docker.as_ref().ok().and_then(|docker| docker.folder.clone());
    let weights = models.iter().find_map(|model| match &model.state {
        FolderState::Complete(path) | FolderState::Incomplete(path, _) => Some(path.clone()),
        FolderState::Absent(_) | FolderState::Unknown(_) => None,
    });
    [
        ("images", images),
        ("weights", weights),
        ("records", Some(root.join("target"))),
    ]
    .into_iter()
    .filter_map(|(purpose, path)| disk(purpose, &path?))
    .collect()
}

fn disk(purpose: &'static str, path: &Path) -> Option<Disk> {
    // A folder that will be made lies on the disk of the nearest one that exists.
    let existing = path.ancestors().find(|folder| folder.exists())?;
    let found = statvfs(existing).ok()?;
    let gib = |blocks: u64| blocks as f64 * found.fragment_size() as f64 / BYTES_PER_GIB;
    let (free_gib, total_gib) = (gib(found.blocks_available()), gib(found.blocks()));
    Some(Disk {
        purpose,
        path: path.to_owned(),
        free_gib,
        total_gib,
    })
}

fn memory() -> Option<Memory> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    // `MemTotal:       24000000 kB`
    let gib = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024.0 / BYTES_PER_GIB)
    };
    Some(Memory {
        total_gib: gib("MemTotal")?,
        available_gib: gib("MemAvailable")?,
    })
}

fn limit(resource: Resource) -> u64 {
    // It only fails for a resource that the kernel does not know; then it has no limit.
    getrlimit(resource).map_or(u64::MAX, |(soft, _)| soft)
}

fn loopback() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(2)).map(drop)
}

/// Folders of weights, and the manifests with mistakes.
fn models(catalogue: &Catalogue, stack: Option<&LoadedStack>) -> (Vec<ModelFolder>, Vec<String>) {
    let (mut models, mut broken) = (Vec::new(), Vec::new());
    for name in catalogue.model_names() {
        let Ok(model) = catalogue.model(&name) else {
            broken.push(name);
            continue;
        };
        if stack.is_some_and(|stack| !model.manifest.stacks.contains(&stack.name)) {
            continue;
        }
        let state = match target::expand(&model.manifest.model.path) {
            Ok(path) => folder(path),
            Err(error) => FolderState::Unknown(error.to_string()),
        };
        models.push(ModelFolder { name, state });
    }
    (models, broken)
}

fn folder(path: PathBuf) -> FolderState {
    if !path.is_dir() {
        return FolderState::Absent(path);
    }
    if !path.join("config.json").is_file() {
        return FolderState::Incomplete(path, "its config.json");
    }
    let entries = fs::read_dir(&path).into_iter().flatten().flatten();
    let is_weights = |file: PathBuf| {
        file.extension()
            .is_some_and(|kind| kind == "safetensors" || kind == "bin")
    };
    if entries.map(|entry| entry.path()).any(is_weights) {
        FolderState::Complete(path)
    } else {
        FolderState::Incomplete(path, "weights (*.safetensors, *.bin)")
    }
}

fn kubernetes_config() -> Option<PathBuf> {
    let named = env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    let paths: Vec<PathBuf> = match &named {
        Some(list) => env::split_paths(list).collect(),
        None => env::var_os("HOME")
            .map(|home| Path::new(&home).join(".kube/config"))
            .into_iter()
            .collect(),
    };
    paths.into_iter().find(|path| path.is_file())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
