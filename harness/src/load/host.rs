//! What this host did to the client: whether its threads got a processor when they wanted one.

use std::{fs, path::PathBuf};

/// Nanoseconds that this thread was ready to run and waited for a processor; `None` where the kernel does not tell
/// (`/proc/thread-self/schedstat`, proc(5)).
pub fn thread_waited() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// Seconds that the control group of this process was held back by its processor quota; `None` where there is no quota
/// or no group.
pub fn throttled_s() -> Option<f64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    stat_files(&groups)
        .into_iter()
        .find_map(|file| throttled(&fs::read_to_string(file).ok()?))
}

/// Where the processor statistics of a process's groups lie: version 2, then version 1 (cgroups(7)).
fn stat_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let roots: &[&str] = if controllers.is_empty() {
            &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        } else if controllers.split(',').any(|name| name == "cpu") {
            &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]
        } else {
            &[]
        };
        for root in roots {
            // Inside a container the path is that of the host, and the group itself is the root.
            files.push(PathBuf::from(format!("{root}{path}/cpu.stat")));
            files.push(PathBuf::from(format!("{root}/cpu.stat")));
        }
    }
    files
}

fn throttled(stat: &str) -> Option<f64> {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<f64>().ok()
    };
    value("throttled_usec ")
        .map(|us| us * 1e-6)
        .or_else(|| value("throttled_time ").map(|ns| ns * 1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_read() {
        assert_eq!(
            throttled("usage_usec 5\nnr_throttled 3\nthrottled_usec 1500000\n"),
            Some(1.5)
        );
        assert_eq!(throttled("nr_periods 1\nthrottled_time 2000000000\n"), Some(2.0));
        assert_eq!(throttled("usage_usec 5\n"), None);
        let files = stat_files("4:cpu,cpuacct:/docker/a\n3:memory:/b\n0::/user\n");
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        insta::assert_snapshot!(files.join("\n"));
    }
}
