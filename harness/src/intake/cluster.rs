//! The cluster file of MetaX's `batched_test`: hosts by SSH, and the network interface of each.
//!
//! Only the interfaces come into manifests. Who may log in where is never repeated, not even in messages.

use std::path::Path;

use crate::manifest::Diagnostics;

use super::{
    import::Reader,
    yaml::{self, Content},
};

/// What manifests need of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    /// Hosts.
    pub(super) hosts: u64,
    /// Interface of all hosts; `None` where they differ or none is named.
    pub(super) interface: Option<String>,
}

/// Reads a cluster; the reader tells what was left out.
pub(super) fn read(path: &Path) -> Result<(Cluster, Reader), Diagnostics> {
    let (source, root) = yaml::read(path, path.display().to_string())?;
    let mut reader = Reader::new(source);
    if !matches!(root.content, Content::List(_)) {
        reader.wrong(
            &root.range,
            format!("a cluster is a list of hosts, found {}", root.described()),
            "begin each host with `- ssh:`",
        );
    }
    let mut interfaces: Vec<String> = Vec::new();
    for host in root.items() {
        if !matches!(host.content, Content::Map(_)) {
            let message = format!("a host is a map of settings, found {}", host.described());
            reader.wrong(&host.range, message, "write `ssh:` and `ray:`");
            continue;
        }
        if let Some(entry) = host.entries().iter().find(|entry| entry.key == "ssh") {
            reader.leave(
                &entry.at,
                "host: ssh",
                "manifests name no hosts and hold no passwords: start Ray on each host yourself",
            );
        }
        reader.leave_others("host", host, &["ssh", "ray"], "no manifest has a place for it");
        if let Some(ray) = host.get("ray") {
            reader.leave_others("host: ray", ray, &["nic"], "no manifest has a place for it");
            interfaces.extend(ray.get("nic").and_then(|nic| nic.text()).map(str::to_owned));
        }
    }
    let hosts = root.items().len();
    interfaces.dedup();
    let is_one = interfaces.len() == 1;
    if interfaces.len() > 1 {
        let why = "the hosts' interfaces differ: set GLOO_SOCKET_IFNAME and MCCL_SOCKET_IFNAME on each host";
        reader.leave(&root.range, "ray: nic", why);
    }
    let cluster = Cluster {
        hosts: hosts as u64,
        interface: interfaces.into_iter().next().filter(|_| is_one),
    };
    Ok((cluster, reader))
}
