//! Who started a container: host, process and the instant it began. A process id alone may be used again.

use std::fs;

/// This process: `host/pid/start`.
pub fn this_process() -> String {
    let pid = std::process::id();
    format!("{}/{pid}/{}", host(), started(pid).unwrap_or_default())
}

/// Whether the process that `owner` names still runs. Another host's processes cannot be seen and count as alive.
pub fn is_alive(owner: &str) -> bool {
    let mut parts = owner.rsplitn(3, '/');
    let (Some(start), Some(pid), Some(named)) = (parts.next(), parts.next(), parts.next()) else {
        return true;
    };
    let Ok(pid) = pid.parse() else { return true };
    named != host() || started(pid).is_some_and(|found| found == start)
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Start time of a process in ticks since boot: field 22 of `/proc/<pid>/stat` (proc(5)), the 20th behind the name.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_living_and_the_dead() {
        let own = this_process();
        assert!(is_alive(&own));
        let (before, start) = own.rsplit_once('/').unwrap();
        assert!(
            !is_alive(&format!("{before}/{start}1")),
            "the id is used again by a later process"
        );
        assert!(!is_alive(&format!("{}/4294967294/5", host())));
        assert!(is_alive("another-host/1/5"));
        assert!(is_alive("nonsense"));
    }
}
