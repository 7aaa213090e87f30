//! What this host is, in words, for the record.

use std::{collections::BTreeMap, fs, path::Path, thread};

/// Operating system, kernel, processor, cores and memory. What cannot be read is left out.
pub fn facts() -> BTreeMap<String, String> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let after = |text: &str, key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)).map(|value| {
            value
                .trim_start_matches([':', '=', '\t', ' '])
                .trim_matches('"')
                .trim()
                .to_owned()
        })
    };
    let cores = thread::available_parallelism()
        .ok()
        .map(|cores| cores.to_string());
    let memory = read("/proc/meminfo").and_then(|text| after(&text, "MemTotal"));
    [
        (
            "os",
            read("/etc/os-release").and_then(|text| after(&text, "PRETTY_NAME")),
        ),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        ),
        (
            "processor",
            read("/proc/cpuinfo").and_then(|text| after(&text, "model name")),
        ),
        ("cores", cores),
        ("memory", memory),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// Whether this host has a MetaX card.
pub fn has_c500() -> bool {
    Path::new("/dev/mxcd").exists()
}
