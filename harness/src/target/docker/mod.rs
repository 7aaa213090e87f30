//! Containers through the Docker API. A container is made from stack × manifest, runs on the host's network bound to
//! 127.0.0.1, is labelled with its run and its owner, and is removed whatever happens.

mod container;
mod image;
mod inside;
mod owner;
mod spec;

use std::{collections::HashMap, path::PathBuf};

use bollard::{
    Docker,
    query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};
use tokio_util::sync::CancellationToken;

pub use container::Container;
pub use spec::TEMPLATE as CONTAINER_TEMPLATE;

use super::{Launch, Log};
use crate::manifest::DockerTarget;

/// Label on everything that the harness starts.
pub(super) const MANAGED_BY: (&str, &str) = ("managed-by", "model-harness");
/// Label that names the process which started a container.
pub(super) const OWNER: &str = "model-harness.owner";

/// Why Docker did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No daemon.
    #[error(
        "cannot reach the Docker daemon: {0}: is it running, and may this user open its socket (DOCKER_HOST)?"
    )]
    Unreachable(bollard::errors::Error),
    /// A call failed.
    #[error("Docker cannot {action}: {source}")]
    Call {
        /// What was tried.
        action: String,
        /// What the daemon said.
        source: bollard::errors::Error,
    },
    /// The image is not there and cannot be had.
    #[error("the image {image} is not on this host and cannot be pulled: {reason}")]
    NoImage {
        /// The image.
        image: String,
        /// What the registry or the build said.
        reason: String,
    },
    /// The archive does not give the image.
    #[error("cannot load the image {image} from {}: {reason}: correct `docker.archive`", archive.display())]
    Archive {
        /// The image.
        image: String,
        /// The archive.
        archive: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The command that makes the image failed.
    #[error("`{command}` failed ({how}): its output is in {log}")]
    Build {
        /// The command.
        command: String,
        /// How it ended.
        how: String,
        /// The server's log, which holds the output.
        log: String,
    },
    /// The weights are not there.
    #[error("the model's folder {0} is not on this host: put the weights there, or correct `model.path`")]
    NoModel(String),
    /// A path of the manifest.
    #[error(transparent)]
    Path(#[from] super::PathError),
    /// The run was stopped.
    #[error("stopped while the image was made ready")]
    Cancelled,
}

impl DockerError {
    fn call(action: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> Self {
        let action = action.into();
        move |source| Self::Call { action, source }
    }
}

/// Connects to the daemon that `DOCKER_HOST` names, or the local one, in the newest API version both know.
pub(super) async fn connect() -> Result<Docker, DockerError> {
    let docker = Docker::connect_with_defaults().map_err(DockerError::Unreachable)?;
    docker.negotiate_version().await.map_err(DockerError::Unreachable)
}

/// Makes image and weights ready, and starts a container.
pub async fn start(
    launch: &Launch<'_>,
    target: &DockerTarget,
    log: &Log,
    cancel: &CancellationToken,
) -> Result<Container, DockerError> {
    let docker = connect().await?;
    let image = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(DockerError::Cancelled),
        image = image::ready(&docker, launch, target, log) => image?,
    };
    Container::start(docker, spec::container(launch, target)?, image, log).await
}

/// The equal `docker run` line.
pub fn command_line(launch: &Launch<'_>, target: &DockerTarget) -> Result<String, DockerError> {
    Ok(spec::command_line(&spec::container(launch, target)?))
}

/// Removes containers of runs whose process is gone (killed, crashed). Returns their names.
pub async fn sweep() -> Result<Vec<String>, DockerError> {
    let docker = connect().await?;
    let label = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    let found = docker
        .list_containers(Some(options))
        .await
        .map_err(DockerError::call("list containers"))?;
    let mut removed = Vec::new();
    for container in found {
        let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
        let (Some(id), Some(owner)) = (&container.id, owner) else {
            continue;
        };
        if owner::is_alive(owner) {
            continue;
        }
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        docker
            .remove_container(id, Some(options))
            .await
            .map_err(DockerError::call(format!("remove the stale container {id}")))?;
        removed.push(
            container
                .names
                .unwrap_or_default()
                .concat()
                .trim_start_matches('/')
                .to_owned(),
        );
    }
    Ok(removed)
}
