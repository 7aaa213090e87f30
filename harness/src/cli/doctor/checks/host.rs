//! Docker, images, disks, memory, limits, ports, weights and Kubernetes.

use super::{Check, State};
use crate::{
    cli::doctor::facts::{DockerFacts, Facts, FolderState, ImageFacts, Kubernetes, ModelFolder},
    manifest::{DockerTarget, Stack},
};

/// Oldest Docker API that the harness speaks.
const MIN_DOCKER_API: (u32, u32) = (1, 41);
/// Free space below which builds and images may not fit, GiB.
const LOW_DISK_GIB: f64 = 20.0;
/// Free space below which even a run's record may not fit, GiB.
const NO_DISK_GIB: f64 = 1.0;
/// Memory that a server and the harness need at least, GiB.
const LOW_MEMORY_GIB: f64 = 4.0;
/// Open files: each request in flight is one, beside those of the harness.
const LOW_OPEN_FILES: u64 = 4096;

/// Checks of everything but cards.
pub(super) fn checks(facts: &Facts, stack: Option<&Stack>) -> Vec<Check> {
    let target = stack.and_then(|stack| stack.docker.as_ref());
    let mut checks = vec![docker(&facts.docker, stack.is_none(), target.is_some())];
    checks.extend(facts.images.iter().map(image));
    if let Some(target) = target {
        checks.extend(devices(target, &facts.missing_devices));
    }
    checks.extend(facts.disks.iter().map(|disk| {
        let found = format!(
            "{:.1} of {:.1} GiB free at {}",
            disk.free_gib,
            disk.total_gib,
            disk.path.display()
        );
        let name = format!("disk of {}", disk.purpose);
        let remedy = "make room, or move the folder to a larger disk";
        match disk.free_gib {
            free if free < NO_DISK_GIB => Check::bad(State::Wrong, name, found, remedy),
            free if free < LOW_DISK_GIB => Check::bad(State::Warning, name, found, remedy),
            _ => Check::ok(name, found),
        }
    }));
    checks.push(memory(facts, target));
    checks.push(open_files(facts.open_files));
    checks.push(locked_memory(facts.locked_bytes, target));
    checks.push(match &facts.loopback {
        Ok(()) => Check::ok("ports", "free ports of 127.0.0.1 can be bound and reached"),
        Err(why) => Check::bad(
            State::Wrong,
            "ports",
            format!("127.0.0.1 cannot be used: {why}"),
            "bring the loopback interface up (ip link set lo up)",
        ),
    });
    checks.extend(models(&facts.models, stack));
    if !facts.broken_manifests.is_empty() {
        let found = format!("mistakes in {}", facts.broken_manifests.join(", "));
        checks.push(Check::bad(
            State::Warning,
            "manifests",
            found,
            "see them with `cargo xtask check`",
        ));
    }
    checks.push(kubernetes(&facts.kubernetes));
    checks
}

fn docker(docker: &Result<DockerFacts, String>, no_stack: bool, needed: bool) -> Check {
    match docker {
        Ok(found) => {
            let said = format!("{} with API {}", found.version, found.api);
            match parsed(&found.api) {
                Some(api) if api < MIN_DOCKER_API => {
                    let remedy = format!(
                        "install a Docker with API {}.{} or newer",
                        MIN_DOCKER_API.0, MIN_DOCKER_API.1
                    );
                    Check::bad(State::Wrong, "docker", said, remedy)
                }
                _ => Check::ok("docker", said),
            }
        }
        Err(_) if !needed && !no_stack => Check::ok("docker", "no daemon; this stack needs none"),
        Err(why) => Check::bad(
            if needed { State::Wrong } else { State::Warning },
            "docker",
            why.as_str(),
            "start the daemon, and let this user open its socket (group docker, or DOCKER_HOST)",
        ),
    }
}

fn parsed(api: &str) -> Option<(u32, u32)> {
    let (major, minor) = api.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn image(image: &ImageFacts) -> Check {
    let name = format!("image {}", image.name);
    match (&image.present, &image.build) {
        (Ok(true), _) => Check::ok(name, "is on this host"),
        (Ok(false), Some(build)) if build.program_exists => Check::ok(
            name,
            format!("is not here yet; the first run makes it with `{}`", build.command),
        ),
        (Ok(false), Some(build)) => Check::bad(
            State::Wrong,
            name,
            format!(
                "is not here, and neither is the program that makes it: `{}`",
                build.command
            ),
            "correct `docker.build` of the stack: its program is relative to the repository",
        ),
        (Ok(false), None) => Check::bad(
            State::Warning,
            name,
            "is not on this host; the first run pulls it",
            format!(
                "pull it ahead of the run, or load an archive: docker pull {}",
                image.name
            ),
        ),
        (Err(why), _) => Check::bad(
            State::Warning,
            name,
            format!("cannot be looked for: {why}"),
            "see docker above",
        ),
    }
}

fn devices(target: &DockerTarget, missing: &[String]) -> Option<Check> {
    if target.devices.is_empty() {
        return None;
    }
    if missing.is_empty() {
        return Some(Check::ok(
            "devices",
            format!("{} are there", target.devices.join(", ")),
        ));
    }
    let found = format!("{} not there", missing.join(", "));
    Some(Check::bad(
        State::Wrong,
        "devices",
        found,
        "load the driver that makes them, or correct `docker.devices`",
    ))
}

fn memory(facts: &Facts, target: Option<&DockerTarget>) -> Check {
    let Some(memory) = facts.memory else {
        return Check::bad(State::Warning, "memory", "cannot be read", "see /proc/meminfo");
    };
    let found = format!(
        "{:.1} of {:.1} GiB available",
        memory.available_gib, memory.total_gib
    );
    let needed = target
        .and_then(|target| target.memory_gib)
        .unwrap_or(LOW_MEMORY_GIB);
    if memory.available_gib < needed {
        let found = format!("{found}, and a run takes up to {needed} GiB");
        return Check::bad(
            State::Warning,
            "memory",
            found,
            "end what uses it: the kernel may kill the server",
        );
    }
    match target
        .and_then(|target| target.shm_gib)
        .filter(|shm| *shm > memory.total_gib)
    {
        Some(shm) => Check::bad(
            State::Warning,
            "memory",
            format!("{found}, and the stack gives /dev/shm {shm} GiB"),
            "lower `docker.shm_gib`, or use a host with more memory: what is written there is memory",
        ),
        None => Check::ok("memory", found),
    }
}

fn open_files(limit: u64) -> Check {
    let found = format!("{} files may be open at once", counted(limit));
    if limit < LOW_OPEN_FILES {
        let remedy = format!("raise it (ulimit -n {LOW_OPEN_FILES}) before tests with many requests at once");
        return Check::bad(State::Warning, "open files", found, remedy);
    }
    Check::ok("open files", found)
}

/// Containers get the stack's limit, whatever this shell's is.
fn locked_memory(limit_bytes: u64, target: Option<&DockerTarget>) -> Check {
    let stack = target.and_then(|target| target.ulimits.get("memlock"));
    let found = match (stack, limit_bytes) {
        (Some(-1), _) => "without limit in the container".to_owned(),
        (Some(bytes), _) => format!("{bytes} bytes in the container"),
        (None, u64::MAX) => "without limit".to_owned(),
        (None, bytes) => format!("{bytes} bytes in this shell, the daemon's default in containers"),
    };
    Check::ok("locked memory", found)
}

fn counted(limit: u64) -> String {
    if limit == u64::MAX {
        "any number of".to_owned()
    } else {
        limit.to_string()
    }
}

fn models(models: &[ModelFolder], stack: Option<&Stack>) -> Vec<Check> {
    let simulated = stack.is_some_and(|stack| stack.simulator.is_some());
    if simulated {
        return vec![Check::ok("models", "the simulator needs no weights")];
    }
    let built = stack
        .and_then(|stack| stack.docker.as_ref())
        .is_some_and(|target| !target.build.is_empty());
    let mut checks: Vec<Check> = models.iter().map(|model| folder(model, built)).collect();
    if stack.is_some() && checks.is_empty() {
        let remedy = "name the stack in `stacks` of a manifest";
        checks.push(Check::bad(
            State::Warning,
            "models",
            "no manifest is meant for this stack",
            remedy,
        ));
    }
    // One absent model spoils one run; all of them spoil every run.
    if stack.is_some() && !checks.is_empty() && checks.iter().all(|check| check.state > State::Ok) {
        for check in &mut checks {
            check.state = State::Wrong;
        }
    }
    checks
}

fn folder(model: &ModelFolder, built: bool) -> Check {
    let name = format!("model {}", model.name);
    let remedy = "put the weights there, or correct `model.path` of the manifest";
    match &model.state {
        FolderState::Complete(path) => Check::ok(name, format!("in {}", path.display())),
        FolderState::Absent(path) if built => Check::ok(
            name,
            format!("not in {} yet; made with the stack's image", path.display()),
        ),
        FolderState::Absent(path) => Check::bad(
            State::Warning,
            name,
            format!("there is no folder {}", path.display()),
            remedy,
        ),
        FolderState::Incomplete(path, lacks) => Check::bad(
            State::Warning,
            name,
            format!("{} lacks {lacks}", path.display()),
            remedy,
        ),
        FolderState::Unknown(why) => Check::bad(State::Warning, name, why.as_str(), remedy),
    }
}

fn kubernetes(found: &Kubernetes) -> Check {
    let kubectl = if found.has_kubectl {
        "kubectl is there"
    } else {
        "no kubectl"
    };
    let config = match &found.config {
        Some(path) => format!("configuration {}", path.display()),
        None => "no configuration".to_owned(),
    };
    Check::ok(
        "kubernetes",
        format!("{kubectl}, {config}; nothing here needs it"),
    )
}
