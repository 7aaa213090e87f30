//! What a container is made of. Pure: the API call and the `docker run` line come from the same description.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HostConfig, Mount, MountType, ResourcesUlimits,
};

use super::{DockerError, MANAGED_BY, OWNER, owner};
use crate::{
    manifest::DockerTarget,
    target::{Launch, arguments::server_words, expand, shell_line},
};

/// Where the weights are mounted.
const MODEL: &str = "/model";
/// Where the chat template is mounted in a container.
pub const TEMPLATE: &str = "/chat_template.jinja";

/// A container to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Image with tag.
    pub image: String,
    entrypoint: Vec<String>,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// Read-only mounts: host path, path inside.
    mounts: Vec<(String, String)>,
    target: DockerTarget,
}

/// Describes the container of a launch.
pub fn container(launch: &Launch<'_>, target: &DockerTarget) -> Result<Spec, DockerError> {
    let manifest = &launch.model.manifest;
    let weights = expand(&manifest.model.path)?;
    let mut mounts = vec![(weights.to_string_lossy().into_owned(), MODEL.to_owned())];
    if let Some(template) = &launch.model.chat_template {
        let file = template.canonicalize().unwrap_or_else(|_| template.clone());
        mounts.push((file.to_string_lossy().into_owned(), TEMPLATE.to_owned()));
    }
    let labels = [
        (MANAGED_BY.0, MANAGED_BY.1.to_owned()),
        ("model-harness.run", launch.run_id.to_owned()),
        ("model-harness.session", launch.session.to_owned()),
        (OWNER, owner::this_process()),
    ];
    Ok(Spec {
        name: format!("harness-{}-{}", launch.run_id, launch.session.replace('@', "-")),
        image: target.image.clone(),
        entrypoint: target.entrypoint.clone(),
        command: server_words(&target.command, MODEL, launch.port, launch.settings),
        env: launch.env(),
        labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
        mounts,
        target: target.clone(),
    })
}

fn gib(size: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the schema bounds sizes to 64 TiB"
    )]
    let bytes = (size * 1_073_741_824.0) as i64;
    bytes
}

impl Spec {
    /// The body of the API call.
    pub fn body(&self) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: (!self.entrypoint.is_empty()).then(|| self.entrypoint.clone()),
            cmd: Some(self.command.clone()),
            env: Some(
                self.env
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
            ),
            labels: Some(self.labels.clone().into_iter().collect::<HashMap<_, _>>()),
            host_config: Some(self.host_config()),
            ..ContainerCreateBody::default()
        }
    }

    fn host_config(&self) -> HostConfig {
        let target = &self.target;
        let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let devices = target.devices.iter().map(|path| DeviceMapping {
            path_on_host: Some(path.clone()),
            path_in_container: Some(path.clone()),
            cgroup_permissions: Some("rwm".to_owned()),
        });
        let mounts = self.mounts.iter().map(|(source, inside)| Mount {
            typ: Some(MountType::BIND),
            source: Some(source.clone()),
            target: Some(inside.clone()),
            read_only: Some(true),
            ..Mount::default()
        });
        let ulimits = target.ulimits.iter().map(|(name, &limit)| ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(limit),
            hard: Some(limit),
        });
        #[expect(clippy::cast_possible_truncation, reason = "the schema bounds cpus to 4096")]
        let nano_cpus = target.cpus.map(|cpus| (cpus * 1e9) as i64);
        HostConfig {
            network_mode: Some("host".to_owned()),
            mounts: Some(mounts.collect()),
            devices: Some(devices.collect()),
            device_requests: target.gpus.as_deref().map(gpu_request),
            group_add: list(&target.groups),
            security_opt: list(&target.security_opt),
            shm_size: target.shm_gib.map(gib),
            ulimits: Some(ulimits.collect()),
            ipc_mode: target.ipc.clone(),
            nano_cpus,
            memory: target.memory_gib.map(gib),
            // Without this the container would get as much swap again.
            memory_swap: target.memory_gib.map(gib),
            privileged: target.privileged.then_some(true),
            ..HostConfig::default()
        }
    }
}

/// `all`, a count, or `device=0,1`, as `docker run --gpus` takes it.
fn gpu_request(gpus: &str) -> Vec<DeviceRequest> {
    let (count, device_ids) = match gpus.strip_prefix("device=") {
        Some(ids) => (None, Some(ids.split(',').map(str::to_owned).collect())),
        None => (Some(gpus.parse().unwrap_or(-1)), None),
    };
    vec![DeviceRequest {
        count,
        device_ids,
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }]
}

/// The equal `docker run` line.
pub fn command_line(spec: &Spec) -> String {
    let target = &spec.target;
    let mut words: Vec<String> = ["docker", "run", "--rm", "--name", &spec.name, "--network", "host"]
        .map(str::to_owned)
        .into();
    let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for (source, inside) in &spec.mounts {
        flag(
            "--mount",
            format!("type=bind,source={source},target={inside},readonly"),
        );
    }
    target
        .devices
        .iter()
        .for_each(|device| flag("--device", device.clone()));
    target
        .groups
        .iter()
        .for_each(|group| flag("--group-add", group.clone()));
    target.gpus.iter().for_each(|gpus| flag("--gpus", gpus.clone()));
    target
        .security_opt
        .iter()
        .for_each(|option| flag("--security-opt", option.clone()));
    target
        .shm_gib
        .iter()
        .for_each(|&size| flag("--shm-size", gib(size).to_string()));
    target
        .ulimits
        .iter()
        .for_each(|(name, limit)| flag("--ulimit", format!("{name}={limit}")));
    target.ipc.iter().for_each(|mode| flag("--ipc", mode.clone()));
    target
        .cpus
        .iter()
        .for_each(|cpus| flag("--cpus", cpus.to_string()));
    if let Some(size) = target.memory_gib {
        flag("--memory", gib(size).to_string());
        flag("--memory-swap", gib(size).to_string());
    }
    spec.env
        .iter()
        .for_each(|(name, value)| flag("--env", format!("{name}={value}")));
    let mut entrypoint = spec.entrypoint.iter();
    entrypoint
        .by_ref()
        .take(1)
        .for_each(|word| flag("--entrypoint", word.clone()));
    if target.privileged {
        words.push("--privileged".to_owned());
    }
    words.push(spec.image.clone());
    words.extend(entrypoint.chain(&spec.command).cloned());
    shell_line(words.iter().map(String::as_str))
}
