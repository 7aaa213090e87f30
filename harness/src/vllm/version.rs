//! What changed when, from vLLM 0.8.5 to 0.33: how a version is asked, and which of its defaults moved.
//!
//! Read from the Python sources of the released wheels. A boundary says the first examined release that behaves the
//! new way.

use semver::{BuildMetadata, Prerelease, Version};

/// Reads a version as vLLM prints it (PEP 440): `0.8.5.post2`, `0.10.2rc1`, `0.32.0+cpu`, `0.11.1.dev12+g1a2b3c`.
/// Post-releases and local labels become build metadata, pre-releases stay below their release.
pub fn parse_version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let (public, local) = text
        .split_once('+')
        .map_or((text, None), |(public, local)| (public, Some(local)));
    let numbers_end = public
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || (c == '.' && starts_with_digit(&public[at + 1..]))))
        .map_or(public.len(), |(at, _)| at);
    let (numbers, suffix) = public.split_at(numbers_end);
    let mut numbers = numbers.split('.').map(str::parse);
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    let mut version = Version::new(next()?, next()?, next()?);
    let suffix = suffix.trim_start_matches(['.', '-', '_']);
    let mut build: Vec<&str> = Vec::new();
    if suffix.starts_with("post") {
        build.push(suffix);
    } else if !suffix.is_empty() {
        version.pre = Prerelease::new(suffix).ok()?;
    }
    build.extend(local);
    version.build = BuildMetadata::new(&build.join(".")).ok()?;
    Some(version)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether `version` is at least release `major.minor.patch`; pre-releases of it count as it.
pub(crate) fn at_least(version: &Version, (major, minor, patch): (u64, u64, u64)) -> bool {
    (version.major, version.minor, version.patch) >= (major, minor, patch)
}

/// Field that constrains a completion to a JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructuredField {
    /// `guided_json`, up to 0.10; silently ignored from 0.12 on.
    GuidedJson,
    /// `structured_outputs`, from 0.11.0 on.
    StructuredOutputs,
}

/// How a version is asked. What only differs in answers is not here: answers are read by their shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Field for a JSON schema on the completions endpoint.
    pub structured: StructuredField,
    /// Whether `return_token_ids` is known (0.10.2).
    pub token_ids: bool,
}

impl Dialect {
    /// The dialect of a version.
    pub fn of(version: &Version) -> Self {
        let structured = if at_least(version, (0, 11, 0)) {
            StructuredField::StructuredOutputs
        } else {
            StructuredField::GuidedJson
        };
        Self {
            structured,
            token_ids: at_least(version, (0, 10, 2)),
        }
    }
}

/// A difference between releases that changes what the same manifest gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// First release that behaves so: major, minor, patch.
    pub since: (u64, u64, u64),
    /// What it is about.
    pub subject: &'static str,
    /// How it was.
    pub before: &'static str,
    /// How it is.
    pub after: &'static str,
}

/// Changes in the order of their releases.
pub const CHANGES: &[Change] = &[
    Change {
        since: (0, 10, 2),
        subject: "error bodies",
        before: "flat",
        after: "nested under `error`",
    },
    Change {
        since: (0, 10, 2),
        subject: "request logging",
        before: "on",
        after: "off",
    },
    Change {
        since: (0, 11, 2),
        subject: "engine",
        before: "V1, or V0 where V1 does not serve",
        after: "V1 only",
    },
    Change {
        since: (0, 11, 2),
        subject: "field of the thought",
        before: "reasoning_content",
        after: "reasoning",
    },
    Change {
        since: (0, 12, 0),
        subject: "guided_json and its kin",
        before: "constrain the output",
        after: "are ignored without an error",
    },
    Change {
        since: (0, 12, 0),
        subject: "default seed",
        before: "none",
        after: "0",
    },
    Change {
        since: (0, 12, 0),
        subject: "metric of KV-cache usage",
        before: "vllm:gpu_cache_usage_perc",
        after: "vllm:kv_cache_usage_perc",
    },
    Change {
        since: (0, 14, 0),
        subject: "asynchronous scheduling",
        before: "off",
        after: "on",
    },
    Change {
        since: (0, 15, 0),
        subject: "VLLM_ATTENTION_BACKEND",
        before: "chooses the attention backend",
        after: "is ignored: use --attention-backend",
    },
    Change {
        since: (0, 18, 0),
        subject: "stream_options.include_usage when not given",
        before: "true",
        after: "false",
    },
    Change {
        since: (0, 20, 2),
        subject: "default gpu_memory_utilization",
        before: "0.90",
        after: "0.92",
    },
    Change {
        since: (0, 20, 2),
        subject: "CUDA-graph memory",
        before: "outside the KV-cache budget",
        after: "taken out of the KV cache",
    },
    Change {
        since: (0, 20, 2),
        subject: "printed KV-cache size",
        before: "blocks × block size",
        after: "maximum concurrency × max_model_len",
    },
    Change {
        since: (0, 25, 0),
        subject: "model runner of dense models",
        before: "V1 (V2 for a few families from 0.22 on)",
        after: "V2",
    },
    Change {
        since: (0, 27, 0),
        subject: "printed memory breakdown",
        before: "weights and non-torch apart",
        after: "weights and non-torch as one figure",
    },
    Change {
        since: (0, 29, 0),
        subject: "model runner of all models",
        before: "V1 for mixture-of-experts and hybrid models",
        after: "V2 wherever it can",
    },
];

/// Changes that lie between two versions, whichever is the newer.
pub fn changes_between<'a>(a: &'a Version, b: &'a Version) -> impl Iterator<Item = &'static Change> + 'a {
    let (older, newer) = if a <= b { (a, b) } else { (b, a) };
    CHANGES
        .iter()
        .filter(|change| !at_least(older, change.since) && at_least(newer, change.since))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_versions_that_vllm_prints() {
        let read = |text: &str| parse_version(text).map(|version| version.to_string());
        assert_eq!(read("0.8.5.post2").as_deref(), Some("0.8.5+post2"));
        assert_eq!(read("v0.12.0").as_deref(), Some("0.12.0"));
        assert_eq!(read("0.10.2rc1").as_deref(), Some("0.10.2-rc1"));
        assert_eq!(read("0.32.0+cpu").as_deref(), Some("0.32.0+cpu"));
        assert_eq!(read("0.8.5.post2+cpu").as_deref(), Some("0.8.5+post2.cpu"));
        assert_eq!(
            read("0.11.1.dev12+g1a2b3c").as_deref(),
            Some("0.11.1-dev12+g1a2b3c")
        );
        assert_eq!(read("0.17").as_deref(), Some("0.17.0"));
        for text in ["", "dev", "x.y", "0.8.5.post2+ü"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn post_releases_are_newer_and_candidates_older() {
        let version = |text| parse_version(text).unwrap();
        assert!(version("0.8.5.post2") > version("0.8.5"));
        assert!(version("0.10.2rc1") < version("0.10.2"));
        assert!(at_least(&version("0.10.2rc1"), (0, 10, 2)));
    }

    #[test]
    fn the_dialect_turns_where_the_releases_did() {
        let dialect = |text| Dialect::of(&parse_version(text).unwrap());
        assert_eq!(dialect("0.8.5").structured, StructuredField::GuidedJson);
        assert_eq!(dialect("0.11.0").structured, StructuredField::StructuredOutputs);
        assert!(!dialect("0.10.0").token_ids);
        assert!(dialect("0.10.2").token_ids);
    }

    #[test]
    fn an_upgrade_lists_what_it_changes() {
        assert!(CHANGES.is_sorted_by_key(|change| change.since));
        let version = |text| parse_version(text).unwrap();
        let subjects = |a, b| {
            changes_between(&version(a), &version(b))
                .map(|change| change.subject)
                .collect::<Vec<_>>()
        };
        assert_eq!(subjects("0.20.1", "0.20.2").len(), 3);
        assert_eq!(subjects("0.14.0", "0.12.0"), ["asynchronous scheduling"]);
        assert!(subjects("0.12.0", "0.12.0").is_empty());
        assert_eq!(subjects("0.8.5", "0.33.0").len(), CHANGES.len());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,20}|[0-9.vpost+-]{0,20}") {
            let _ = parse_version(&text);
        }
    }
}
