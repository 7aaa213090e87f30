//! Translates server arguments to a version: renamed flags are renamed, flags that lost their meaning are left out
//! and said so, and a flag that the version does not know, or that would change results if left out, is refused.
//!
//! The flags that changed are data (`arguments.yaml`, read from vLLM's argument parsers); every other one passes.

use std::sync::LazyLock;

use semver::Version;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::version::at_least;

/// Why arguments do not fit a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// The flag is gone and nothing takes its place by itself.
    #[error("vLLM {version} no longer takes `{flag}`: {advice}")]
    Removed {
        /// The flag.
        flag: String,
        /// The version.
        version: Version,
        /// What to write in its place.
        advice: String,
    },
    /// The flag came later.
    #[error("vLLM {version} does not know `{flag}` yet (it came with {since}): {advice}")]
    NotYet {
        /// The flag.
        flag: String,
        /// The version.
        version: Version,
        /// First examined release that has it.
        since: String,
        /// What to write in its place.
        advice: String,
    },
    /// The table of flags is broken (a test proves that it is not).
    #[error("the table of arguments cannot be read: {cause}")]
    Table {
        /// What the parser said.
        cause: String,
    },
    /// The flag takes a value and has none.
    #[error("`{flag}` has no value")]
    NoValue {
        /// The flag.
        flag: String,
    },
    /// The flag takes no value and has one.
    #[error("`{flag}` takes no value, found `{value}`")]
    StrayValue {
        /// The flag.
        flag: String,
        /// What was found.
        value: String,
    },
    /// The value has no equal in this version.
    #[error("`{flag} {value}` has no equal in vLLM {version}: {advice}")]
    Value {
        /// The flag.
        flag: String,
        /// Its value.
        value: String,
        /// The version.
        version: Version,
        /// What to write in its place.
        advice: String,
    },
}

impl ArgError {
    /// The flag or the variable that does not fit, where it is about one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Removed { flag, .. }
            | Self::NotYet { flag, .. }
            | Self::NoValue { flag }
            | Self::StrayValue { flag, .. }
            | Self::Value { flag, .. } => Some(flag),
            Self::Table { .. } => None,
        }
    }

    /// What was to be written instead, where that is known.
    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::Removed { advice, .. } | Self::NotYet { advice, .. } | Self::Value { advice, .. } => {
                Some(advice)
            }
            Self::NoValue { .. } | Self::StrayValue { .. } | Self::Table { .. } => None,
        }
    }
}

/// The name of the flag that a word of a command line begins, as the table writes it; `None` for a value.
pub fn flag_of(word: &str) -> Option<String> {
    let is_flag = word.starts_with('-') && word.parse::<f64>().is_err();
    is_flag.then(|| dashed(word.split('=').next().unwrap_or(word)))
}

/// Arguments as a version takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// The arguments.
    pub args: Vec<String>,
    /// One sentence for each difference from what was written.
    pub changes: Vec<String>,
}

/// What becomes of a flag.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fate {
    /// Left out, with the reason.
    Drop(String),
    /// It has another name.
    Rename(String),
    /// These arguments say the same.
    Replace(Vec<String>),
    /// Its value moves into the JSON of another flag, under a key.
    Into { flag: String, key: String },
    /// The pooling tasks got two flags of their own.
    Task,
    /// Nothing says the same; what to write instead.
    Refuse(String),
}

/// How many values follow a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Arity {
    None,
    One,
    Many,
}

/// A flag that not every version takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    flag: String,
    values: Arity,
    /// Last release that takes it.
    until: Option<String>,
    /// First release that takes it.
    since: Option<String>,
    fate: Fate,
}

impl Row {
    fn is_taken_by(&self, version: &Version) -> bool {
        let found = [version.major, version.minor, version.patch];
        // A release line (`0.12`) stands for each of its patches.
        let compared_to = |release: &str| {
            let numbers: Vec<u64> = release
                .split('.')
                .filter_map(|number| number.parse().ok())
                .collect();
            found.iter().take(numbers.len()).cmp(&numbers)
        };
        self.until
            .as_deref()
            .is_none_or(|until| compared_to(until).is_le())
            && self
                .since
                .as_deref()
                .is_none_or(|since| compared_to(since).is_ge())
    }
}

fn table() -> Result<&'static [Row], ArgError> {
    static TABLE: LazyLock<Result<Vec<Row>, String>> = LazyLock::new(|| {
        serde_yaml::from_str(include_str!("arguments.yaml")).map_err(|error| error.to_string())
    });
    TABLE
        .as_deref()
        .map_err(|cause| ArgError::Table { cause: cause.clone() })
}

/// A flag with what follows it, or positional arguments (an empty flag).
struct Group<'a> {
    flag: String,
    values: Vec<&'a str>,
    /// Whether the first value was written behind `=`.
    is_joined: bool,
}

/// Translates arguments of `vllm serve` to a version.
pub fn translate(args: &[String], version: &Version) -> Result<Translation, ArgError> {
    let table = table()?;
    let mut out = Translation::default();
    for mut group in groups(args) {
        let row = table
            .iter()
            .find(|row| row.flag == group.flag && !row.is_taken_by(version));
        let Some(row) = row else {
            keep(&group, version, &mut out);
            continue;
        };
        let positional = split_values(&mut group, row.values)?;
        apply(&group, row, version, &mut out)?;
        out.args.extend(positional.into_iter().map(str::to_owned));
    }
    let has = |flag: &str| {
        out.args
            .iter()
            .any(|arg| arg == flag || arg.starts_with(&format!("{flag}=")))
    };
    if has("--reasoning-parser") && !has("--enable-reasoning") && !at_least(version, (0, 9, 0)) {
        out.args.push("--enable-reasoning".to_owned());
        out.changes
            .push("added --enable-reasoning: this version ignores --reasoning-parser without it".to_owned());
    }
    Ok(out)
}

/// Cuts arguments into flags with what follows each. vLLM takes `_` for `-` in names.
fn groups(args: &[String]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for arg in args {
        let is_flag = arg.starts_with('-') && arg.parse::<f64>().is_err();
        match groups.last_mut() {
            _ if is_flag => {
                let (name, value) = arg
                    .split_once('=')
                    .map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
                groups.push(Group {
                    flag: dashed(name),
                    is_joined: value.is_some(),
                    values: value.into_iter().collect(),
                });
            }
            Some(group) => group.values.push(arg),
            None => groups.push(Group {
                flag: String::new(),
                values: vec![arg],
                is_joined: false,
            }),
        }
    }
    groups
}

/// The name with dashes; what follows a dot is a key of a JSON argument and stays.
fn dashed(name: &str) -> String {
    let (flag, key) = name.split_at(name.find('.').unwrap_or(name.len()));
    flag.replace('_', "-") + key
}

/// Leaves the flag its own values and gives back what follows them: positional arguments.
fn split_values<'a>(group: &mut Group<'a>, arity: Arity) -> Result<Vec<&'a str>, ArgError> {
    let own = match arity {
        Arity::None => 0,
        Arity::One => 1,
        Arity::Many => group.values.len().max(1),
    };
    if group.values.len() < own {
        return Err(ArgError::NoValue {
            flag: group.flag.clone(),
        });
    }
    match group.values.first() {
        Some(value) if group.is_joined && own == 0 => Err(ArgError::StrayValue {
            flag: group.flag.clone(),
            value: (*value).to_owned(),
        }),
        _ => Ok(group.values.split_off(own)),
    }
}

fn apply(group: &Group<'_>, row: &Row, version: &Version, out: &mut Translation) -> Result<(), ArgError> {
    let value = group.values.first().copied().unwrap_or_default();
    let written = with_values(&group.flag, &group.values).join(" ");
    let replacement = match &row.fate {
        Fate::Drop(why) => {
            out.changes.push(format!("left out {written}: {why}"));
            return Ok(());
        }
        Fate::Refuse(advice) => return Err(refusal(row, version, advice)),
        Fate::Rename(name) => with_values(name, &group.values),
        Fate::Replace(args) => args.clone(),
        Fate::Into { flag, key } => vec![flag.clone(), json!({ key: value }).to_string()],
        Fate::Task => task(value, version)?,
    };
    out.changes
        .push(format!("wrote {} for {written}", replacement.join(" ")));
    out.args.extend(replacement);
    Ok(())
}

fn with_values(flag: &str, values: &[&str]) -> Vec<String> {
    std::iter::once(&flag)
        .chain(values)
        .map(|word| (*word).to_owned())
        .collect()
}

fn refusal(row: &Row, version: &Version, advice: &str) -> ArgError {
    let (flag, version, advice) = (row.flag.clone(), version.clone(), advice.to_owned());
    match row.since.clone() {
        Some(since) => ArgError::NotYet {
            flag,
            version,
            since,
            advice,
        },
        None => ArgError::Removed {
            flag,
            version,
            advice,
        },
    }
}

/// `--task` in the words that replaced it with 0.13.
fn task(value: &str, version: &Version) -> Result<Vec<String>, ArgError> {
    let words: &[&str] = match value {
        "auto" => &[],
        "generate" | "transcription" => &["--runner", "generate"],
        "embed" | "embedding" => &["--runner", "pooling", "--convert", "embed"],
        "classify" | "score" => &["--runner", "pooling", "--convert", "classify"],
        "reward" => &["--runner", "pooling", "--convert", "reward"],
        _ => {
            return Err(ArgError::Value {
                flag: "--task".to_owned(),
                value: value.to_owned(),
                version: version.clone(),
                advice: "write --runner and --convert".to_owned(),
            });
        }
    };
    Ok(words.iter().map(|word| (*word).to_owned()).collect())
}

/// A flag that the version takes; the compilation settings inside may still have other names.
fn keep(group: &Group<'_>, version: &Version, out: &mut Translation) {
    let mut flag = group.flag.as_str();
    let mut values: Vec<String> = group.values.iter().map(|value| (*value).to_owned()).collect();
    if matches!(flag, "-O" | "-cc" | "--compilation-config")
        && let Some(Ok(Value::Object(config))) = values.first().map(|value| serde_json::from_str(value))
    {
        if let Some(renamed) = compilation(&config, version) {
            out.changes.push(format!("wrote {renamed} for {}", values[0]));
            values[0] = renamed;
        }
        // `-O` became the optimization level with 0.12; the long name always means the configuration.
        flag = "--compilation-config";
    }
    if group.is_joined && !values.is_empty() {
        values[0] = format!("{flag}={}", values[0]);
    } else if !flag.is_empty() {
        out.args.push(flag.to_owned());
    }
    out.args.extend(values);
}

/// `level` of the compilation configuration is `mode` from 0.12 on; 0.12 to 0.16 take both.
fn compilation(config: &Map<String, Value>, version: &Version) -> Option<String> {
    let (from, to) = if at_least(version, (0, 17, 0)) {
        ("level", "mode")
    } else if at_least(version, (0, 12, 0)) {
        return None;
    } else {
        ("mode", "level")
    };
    let mut renamed = config.clone();
    let value = renamed.remove(from)?;
    renamed.insert(to.to_owned(), value);
    Some(Value::Object(renamed).to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn translated(args: &str, version: &str) -> Result<String, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        translate(&args, &Version::parse(version).unwrap())
            .map(|out| out.args.join(" "))
            .map_err(|error| error.to_string())
    }

    fn becomes(args: &str, version: &str, expected: &str) {
        assert_eq!(
            translated(args, version).as_deref(),
            Ok(expected),
            "{args} on {version}"
        );
    }

    #[test]
    fn what_did_not_change_passes() {
        let args = "/models/q --max-model-len 8192 --no-enable-prefix-caching --port=8000 --hf-overrides.a_b 1 -tp 2";
        becomes(args, "0.33.0", args);
        becomes(
            "--max_model_len 8192 --swap_space 4",
            "0.8.5",
            "--max-model-len 8192 --swap-space 4",
        );
    }

    #[test]
    fn flags_that_lost_their_meaning_are_left_out_and_said() {
        becomes("--swap-space 4 --seed 0", "0.17.1", "--swap-space 4 --seed 0");
        becomes("--swap-space 4 --seed 0", "0.18.0", "--seed 0");
        becomes("--num-scheduler-steps=8", "0.10.0", "--num-scheduler-steps=8");
        becomes("--num-scheduler-steps=8", "0.10.1", "");
        becomes("--swap-space 4 /models/q", "0.18.0", "/models/q");
        becomes("--disable-log-requests /models/q", "0.17.0", "/models/q");
        let args = ["--device".to_owned(), "cuda".to_owned()];
        let changes = translate(&args, &Version::new(0, 12, 0)).unwrap().changes;
        assert_eq!(
            changes,
            ["left out --device cuda: the platform is found by itself"]
        );
    }

    #[test]
    fn renamed_flags_are_renamed() {
        becomes(
            "--guided-decoding-backend xgrammar",
            "0.12.0",
            r#"--structured-outputs-config {"backend":"xgrammar"}"#,
        );
        becomes(
            "--cuda-graph-sizes 1 2 4",
            "0.13.0",
            "--cudagraph-capture-sizes 1 2 4",
        );
        becomes(
            "--disable-mm-preprocessor-cache",
            "0.14.1",
            "--mm-processor-cache-gb 0",
        );
        becomes("--task embed", "0.13.0", "--runner pooling --convert embed");
        becomes("--task auto --seed 1", "0.13.0", "--seed 1");
        becomes(
            "--device-memory-utilization 0.9",
            "0.30.0",
            "--gpu-memory-utilization 0.9",
        );
    }

    #[test]
    fn reasoning_needs_two_flags_before_0_9() {
        becomes(
            "--reasoning-parser qwen3",
            "0.8.5",
            "--reasoning-parser qwen3 --enable-reasoning",
        );
        becomes(
            "--enable-reasoning --reasoning-parser qwen3",
            "0.10.2",
            "--reasoning-parser qwen3",
        );
    }

    #[test]
    fn compilation_settings_keep_their_meaning() {
        becomes(
            r#"-O {"level":3}"#,
            "0.8.5",
            r#"--compilation-config {"level":3}"#,
        );
        becomes(
            r#"-O {"mode":3}"#,
            "0.11.2",
            r#"--compilation-config {"level":3}"#,
        );
        becomes(
            r#"-O {"level":3}"#,
            "0.12.0",
            r#"--compilation-config {"level":3}"#,
        );
        becomes(
            r#"-cc {"level":3}"#,
            "0.18.0",
            r#"--compilation-config {"mode":3}"#,
        );
        becomes("-O3", "0.12.0", "-O3");
    }

    #[test]
    fn what_cannot_be_translated_is_refused_with_advice() {
        let told = [
            translated("--rope-theta 1e6", "0.12.0"),
            translated("--attention-backend TRITON_ATTN", "0.12.0"),
            translated("--task draft", "0.13.0"),
            translated("--swap-space", "0.18.0"),
            translated("--enable-reasoning=yes", "0.12.0"),
        ]
        .map(Result::unwrap_err);
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn each_flag_is_listed_once_with_a_release_that_can_be_read() {
        let table = table().unwrap();
        for row in table {
            assert_eq!(
                table.iter().filter(|other| other.flag == row.flag).count(),
                1,
                "{}",
                row.flag
            );
            assert_eq!(row.until.is_some(), row.since.is_none(), "{}", row.flag);
            let release = row.until.as_deref().or(row.since.as_deref()).unwrap();
            let numbers: Vec<u64> = release.split('.').map(|number| number.parse().unwrap()).collect();
            assert!((2..=3).contains(&numbers.len()), "{}", row.flag);
        }
        assert!(table.len() > 50);
    }

    proptest! {
        #[test]
        fn no_arguments_make_it_panic(args in prop::collection::vec("--?[a-z_]{0,12}(=[a-z{}\"]{0,4})?|-O|\\PC{0,6}|--(task|swap-space|rope-theta)", 0..8), minor in 8_u64..40) {
            let _ = translate(&args, &Version::new(0, minor, 0));
        }
    }
}
