//! Stacks: whether there is exactly one target, and whether what is under test is pinned.

use std::sync::LazyLock;

use regex::Regex;

use super::Document;
use crate::manifest::{diagnostics::Diagnostic, wording::quoted};

/// Sections that name a target.
const TARGETS: [&str; 4] = ["docker", "process", "endpoint", "simulator"];

/// A version as tools print it: `3.0.11`, `2.4.0+metax3.1.0.4`, `570.86.15`.
static VERSION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[0-9]+(\.[0-9A-Za-z]+)*([-+][0-9A-Za-z.]+)?$").ok());

/// A name, then a tag or a digest (the grammar of the OCI distribution specification, without a port's bounds).
static IMAGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // The first part is a host only if it has a dot or a port, or is `localhost`.
    let label = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
    let host = format!(r"(?:(?:localhost|{label}(?:\.{label})+|{label}(?::[0-9]+))(?::[0-9]+)?/)?");
    let part = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*";
    let pin = r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?";
    Regex::new(&format!("^{host}{part}(?:/{part})*{pin}$")).ok()
});

/// Checks a stack.
pub(in crate::manifest) fn stack(document: &Document, problems: &mut Vec<Diagnostic>) {
    one_target(document, problems);
    image(document, problems);
    url(document, problems);
    profile(document, problems);
    for name in ["smi", "driver", "maca", "bios", "torch"] {
        version(document, &format!("/expect/{name}"), problems);
    }
}

fn one_target(document: &Document, problems: &mut Vec<Diagnostic>) {
    let places = TARGETS.map(|target| format!("/{target}"));
    let found: Vec<&String> = places.iter().filter(|place| document.has(place)).collect();
    if let [first, others @ ..] = &found[..]
        && !others.is_empty()
    {
        let message = format!("a stack has one target, and this one has {}", found.len());
        let mut several = Diagnostic::error(message).at(document.key(first), "one here");
        for other in others {
            several = several.see(document.key(other), "another here");
        }
        problems.push(several.help("make a stack of each"));
    }
    if document.lacks("", &TARGETS) {
        let none = document.wrong_part("", "this stack has no target");
        problems.push(none.help(
            "add `docker:` (a container), `process:` (a command on this host), `endpoint:` (a server that runs \
             already) or `simulator:` (a process that plays vLLM)",
        ));
    }
}

/// Only what the client can ask; a path would be cut off.
fn url(document: &Document, problems: &mut Vec<Diagnostic>) {
    let place = "/endpoint/url";
    let Some(url) = document.read::<String>(place) else {
        return;
    };
    let rest = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
    if !rest.is_some_and(is_host) {
        let wrong = document.wrong(place, format!("{} is not the address of a server", quoted(&url)));
        problems.push(wrong.help("write `http://HOST:PORT`; reach a server behind TLS through a tunnel"));
    }
}

fn image(document: &Document, problems: &mut Vec<Diagnostic>) {
    let place = "/docker/image";
    let (Some(image), Some(pattern)) = (document.read::<String>(place), IMAGE.as_ref()) else {
        return;
    };
    let Some(parts) = pattern.captures(&image) else {
        let wrong = document.wrong(place, format!("{} is not the name of an image", quoted(&image)));
        problems.push(wrong.help("write `[registry/]name:tag`, the name in lower case"));
        return;
    };
    let tag = parts.name("tag").map(|tag| tag.as_str());
    if parts.name("digest").is_none() && matches!(tag, None | Some("latest")) {
        let floating = document.wrong(place, format!("{} may be another image tomorrow", quoted(&image)));
        problems.push(floating.help("name the tag of a release, or a digest"));
    }
}

/// Figures of one card must not be held against the budgets of another.
fn profile(document: &Document, problems: &mut Vec<Diagnostic>) {
    let [place, accelerator_place] = ["/simulator/profile", "/accelerator"];
    let (Some(profile), Some(accelerator)) = (
        document.read::<String>(place),
        document.read::<String>(accelerator_place),
    ) else {
        return;
    };
    if profile != accelerator {
        let message = format!(
            "the simulator plays {}, but the stack's accelerator is {}",
            quoted(&profile),
            quoted(&accelerator)
        );
        problems.push(
            document
                .wrong(place, message)
                .see(document.place(accelerator_place), "")
                .help("write the same in both"),
        );
    }
}

fn version(document: &Document, place: &str, problems: &mut Vec<Diagnostic>) {
    let (Some(version), Some(pattern)) = (document.read::<String>(place), VERSION.as_ref()) else {
        return;
    };
    if !pattern.is_match(&version) {
        let wrong = document.wrong(place, format!("{} is not a version", quoted(&version)));
        problems.push(
            wrong.help("write it as the tool prints it, such as `3.0.11`; leave it out if any will do"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tools_print() {
        let version = VERSION.as_ref().unwrap();
        for text in [
            "2.2.8",
            "3.1.0.14",
            "1.27.5.0",
            "2.6.0+cpu",
            "2.4.0+metax3.1.0.4",
            "570.86.15",
        ] {
            assert!(version.is_match(text), "{text}");
        }
        for text in ["", "v1", "1..2", "1.2 ", "any"] {
            assert!(!version.is_match(text), "{text}");
        }
    }

    #[test]
    fn knows_names_of_images() {
        let image = IMAGE.as_ref().unwrap();
        for name in [
            "vllm:1",
            "a/b:1",
            "localhost:5000/a/b:1",
            "cr.example.com/a/vllm:maca.ai3.1.0.7-torch2.6-py310",
            "a",
        ] {
            assert!(image.is_match(name), "{name}");
        }
        for name in ["", "A/b", "a:", "a b:1", "a@sha256:12", "-a:1"] {
            assert!(!image.is_match(name), "{name}");
        }
    }
}
