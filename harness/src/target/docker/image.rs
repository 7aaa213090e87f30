//! Makes image and weights ready: present, loaded from an archive, made by the stack's build command, or pulled.

use std::{io, path::Path, process::Stdio};

use bollard::{
    Docker,
    query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, BufReader},
    process::Command,
};

use super::DockerError;
use crate::{
    manifest::DockerTarget,
    target::{Launch, Log, expand, shell_line},
};

/// What is known of a present image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id (`sha256:…`).
    pub id: String,
}

/// Returns when the image and the weights are on this host.
pub async fn ready(
    docker: &Docker,
    launch: &Launch<'_>,
    target: &DockerTarget,
    log: &Log,
) -> Result<Image, DockerError> {
    let weights = expand(&launch.model.manifest.model.path)?;
    let mut image = inspect(docker, &target.image).await?;
    if let (None, Some(archive)) = (&image, &target.archive) {
        load(docker, &target.image, &expand(archive)?, log).await?;
        image = inspect(docker, &target.image).await?;
    }
    if (image.is_none() || !weights.is_dir()) && !target.build.is_empty() {
        build(launch.root, &target.build, log).await?;
        image = inspect(docker, &target.image).await?;
    }
    if image.is_none() {
        pull(docker, &target.image, log).await?;
        image = inspect(docker, &target.image).await?;
    }
    if !weights.is_dir() {
        return Err(DockerError::NoModel(weights.to_string_lossy().into_owned()));
    }
    let reason = "it was made and is still absent".to_owned();
    image.ok_or_else(|| DockerError::NoImage {
        image: target.image.clone(),
        reason,
    })
}

async fn inspect(docker: &Docker, image: &str) -> Result<Option<Image>, DockerError> {
    use bollard::errors::Error::DockerResponseServerError as Response;
    match docker.inspect_image(image).await {
        Ok(found) => Ok(Some(Image {
            id: found.id.unwrap_or_default(),
        })),
        Err(Response { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(DockerError::call(format!("inspect the image {image}"))(error)),
    }
}

/// Runs the stack's build command; its output goes to the log.
async fn build(root: &Path, command: &[String], log: &Log) -> Result<(), DockerError> {
    let line = shell_line(command.iter().map(String::as_str));
    log.line(&format!("harness: making image and model: {line}"));
    let failed = |how: String| DockerError::Build {
        command: line.clone(),
        how,
        log: log.path().display().to_string(),
    };
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let program = if program.contains('/') {
        root.join(program)
    } else {
        program.into()
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let stdout = child.stdout.take().map(|stream| log.pump(stream));
    let stderr = child.stderr.take().map(|stream| log.pump(stream));
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    for pump in stdout.into_iter().chain(stderr) {
        // A pump ends with its pipe; it cannot fail otherwise.
        drop(pump.await);
    }
    if status.success() {
        Ok(())
    } else {
        Err(failed(status.to_string()))
    }
}

/// Loads an archive that `docker save` wrote. An archive without the image is an error: pulling another would not be
/// what the stack asks for.
async fn load(docker: &Docker, image: &str, archive: &Path, log: &Log) -> Result<(), DockerError> {
    log.line(&format!("harness: loading {image} from {}", archive.display()));
    let failed = |reason: String| DockerError::Archive {
        image: image.to_owned(),
        archive: archive.to_owned(),
        reason,
    };
    let file = File::open(archive)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let options = ImportImageOptionsBuilder::new().quiet(true).build();
    let mut progress = docker.import_image_stream(options, pieces(file), None);
    let mut said = Vec::new();
    while let Some(step) = progress.next().await {
        let step = step.map_err(|error| failed(error.to_string()))?;
        if let Some(error) = step.error_detail.and_then(|detail| detail.message) {
            return Err(failed(error));
        }
        said.extend(step.stream.map(|text| text.trim().to_owned()));
    }
    for line in &said {
        log.line(&format!("harness: {line}"));
    }
    if inspect(docker, image).await?.is_none() {
        return Err(failed(format!("it holds another: {}", said.join("; "))));
    }
    Ok(())
}

/// A file in pieces of 1 MiB at most: images are larger than memory.
fn pieces(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    const PIECE_BYTES: usize = 1 << 20;
    stream::unfold(
        BufReader::with_capacity(PIECE_BYTES, file),
        |mut file| async move {
            let mut piece = vec![0; PIECE_BYTES];
            match file.read(&mut piece).await {
                Ok(0) => None,
                Ok(length) => {
                    piece.truncate(length);
                    Some((Ok(Bytes::from(piece)), file))
                }
                Err(error) => Some((Err(error), file)),
            }
        },
    )
}

async fn pull(docker: &Docker, image: &str, log: &Log) -> Result<(), DockerError> {
    log.line(&format!("harness: pulling {image}"));
    let options = CreateImageOptionsBuilder::new().from_image(image).build();
    let mut progress = docker.create_image(Some(options), None, None);
    while let Some(step) = progress.next().await {
        let no_image = |reason| DockerError::NoImage {
            image: image.to_owned(),
            reason,
        };
        let step = step.map_err(|error| no_image(error.to_string()))?;
        if let Some(error) = step.error_detail.and_then(|detail| detail.message) {
            return Err(no_image(error));
        }
        if let Some(status) = step.status {
            log.line(&format!("harness: {} {status}", step.id.unwrap_or_default()));
        }
    }
    Ok(())
}
