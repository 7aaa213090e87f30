//! Stacks (`ci/stacks/<name>.yaml`): what is under test. Image, versions that must be found, and the target kind.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Dtype;

/// A stack under test. Exactly one target section is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// One line on what this stack is.
    pub about: String,
    /// What computes.
    pub accelerator: Accelerator,
    /// vLLM's version, such as `0.8.5`.
    #[schemars(regex(pattern = r"^\d+\.\d+\.\d+$"))]
    pub vllm: String,
    /// Versions that must be found on the host and in the container.
    #[serde(default)]
    pub expect: Expect,
    /// Environment of the server, before the manifest's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Arguments of the server, before the manifest's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Number type that replaces the manifest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Target: a container on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerTarget>,
    /// Target: a command on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessTarget>,
    /// Target: a server that runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointTarget>,
    /// Target: the simulator, a process on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulator: Option<SimulatorTarget>,
}

/// Where a stack's server runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target<'a> {
    /// In a container on this host.
    Docker(&'a DockerTarget),
    /// As a command on this host.
    Process(&'a ProcessTarget),
    /// Wherever it was started.
    Endpoint(&'a EndpointTarget),
    /// In the simulator.
    Simulator(&'a SimulatorTarget),
}

impl Target<'_> {
    /// Name in records and reports: the section's.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Process(_) => "process",
            Self::Endpoint(_) => "endpoint",
            Self::Simulator(_) => "simulator",
        }
    }
}

impl Stack {
    /// The target; `None` where no section names one, which `load` refuses.
    pub fn target(&self) -> Option<Target<'_>> {
        let docker = self.docker.as_ref().map(Target::Docker);
        docker
            .or_else(|| self.process.as_ref().map(Target::Process))
            .or_else(|| self.endpoint.as_ref().map(Target::Endpoint))
            .or_else(|| self.simulator.as_ref().map(Target::Simulator))
    }
}

/// Kind of accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// MetaX C500, 64 GB.
    C500,
    /// NVIDIA A100, 40 GB.
    #[serde(rename = "a100_40gb")]
    A100_40gb,
    /// vLLM's CPU backend.
    Cpu,
}

impl Accelerator {
    /// Name in manifests and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::C500 => "c500",
            Self::A100_40gb => "a100_40gb",
            Self::Cpu => "cpu",
        }
    }
}

/// Versions that a stack promises. What is absent is recorded but not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Management tool (`mx-smi` 2.2.8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smi: Option<String>,
    /// Kernel-mode driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// MACA on the host, which need not be the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maca: Option<String>,
    /// BIOS of the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bios: Option<String>,
    /// torch inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torch: Option<String>,
}

/// A container on this host. Nothing is privileged unless `privileged` says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DockerTarget {
    /// Image, with its tag.
    pub image: String,
    /// File that holds the image (`docker save`), loaded where the image is absent; `~` and `${NAME}` are expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// Command, relative to the repository, that makes the image and the model where they are absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build: Vec<String>,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Words before the server's arguments, such as `vllm serve`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Devices passed through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Groups added (`video`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// NVIDIA cards, as `--gpus` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<String>,
    /// Security options (`seccomp=unconfined`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    /// Size of `/dev/shm`, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0625, max = 1024.0))]
    pub shm_gib: Option<f64>,
    /// Limits, such as `memlock: -1`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, i64>,
    /// IPC mode (`host`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc: Option<String>,
    /// Most processor cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.05, max = 4096.0))]
    pub cpus: Option<f64>,
    /// Most memory, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0625, max = 65536.0))]
    pub memory_gib: Option<f64>,
    /// Whether the container is privileged.
    #[serde(default)]
    pub privileged: bool,
}

/// A command on this host, in a process group of its own. It gets this process's environment beside the stack's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessTarget {
    /// Program, and words before the server's arguments: `[vllm, serve]`. A program with `/` in it is looked for in
    /// the folder of the command; `~` and `${NAME}` are expanded.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Folder that the command runs in, relative to the repository; absent: the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Model as the server is told; absent: the manifest's folder, which must then be on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A server that runs already. It is neither started nor stopped, and its log cannot be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointTarget {
    /// Where it listens: `http://HOST:PORT`.
    pub url: String,
    /// Name under which it serves the model; absent: the manifest's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The simulator in place of vLLM. Its results say nothing of hardware.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulatorTarget {
    /// Profile of the card that it plays (`c500`, `a100_40gb`).
    pub profile: String,
    /// Simulated seconds for each real second.
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub clock: f64,
    /// Faults, in the simulator's own notation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}
