//! The command line: `simulator serve MODEL [any vLLM server flag] --sim-config FILE …`.
//!
//! vLLM's flags are read as its parser reads them: `--x v` and `--x=v`, dashes or underscores, `--no-x` for
//! switches, and an unknown flag is refused with the parser's words and exit status 2. Flags that came or went
//! between releases are only known to the releases that have them.

mod flags;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use flags::Kind;

use crate::config::{ConfigError, SimConfig};
use crate::faults::Fault;
use crate::until::Until;

/// A flag's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A switch.
    Switch(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text, JSON too.
    Text(String),
    /// One or more texts.
    List(Vec<String>),
}

/// A parsed command line.
#[derive(Debug)]
pub struct ServeArgs {
    /// The simulator's configuration.
    pub config: SimConfig,
    /// Faults of the configuration and of the command line.
    pub faults: Vec<Fault>,
    /// Where the truth about timing is written.
    pub truth: Option<PathBuf>,
    /// Whether the end of standard input ends the simulator.
    pub exit_with_stdin: bool,
    /// The positional model.
    pub model: String,
    /// Flags that were given, by their Python name (`max_model_len`).
    pub given: BTreeMap<String, Value>,
}

/// A command line that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// Refused by the played parser: printed as it prints, exit status 2.
    #[error("usage: {usage}\n{program}: error: {message}")]
    Usage {
        /// Usage line.
        usage: &'static str,
        /// `vllm` or `vllm serve`.
        program: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The simulator's own flags.
    #[error("simulator: {0}")]
    Own(String),
    /// The configuration.
    #[error("simulator: {0}")]
    Config(#[from] ConfigError),
}

const USAGE: &str = "vllm [-h] [-v] {chat,complete,serve,bench,collect-env,run-batch} ...";
const SERVE_USAGE: &str = "vllm serve [model_tag] [options]";

fn refused(message: String) -> ArgsError {
    ArgsError::Usage {
        usage: SERVE_USAGE,
        program: "vllm serve",
        message,
    }
}

/// The simulator's own flags, taken out before the rest is read as vLLM's.
#[derive(Default)]
struct OwnFlags {
    config: Option<PathBuf>,
    faults: Vec<Fault>,
    truth: Option<PathBuf>,
    exit_with_stdin: bool,
}

fn split_own(words: Vec<String>) -> Result<(OwnFlags, Vec<String>), ArgsError> {
    let mut own = OwnFlags::default();
    let mut rest = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--sim-") => (name.to_owned(), Some(value.to_owned())),
            _ => (word.clone(), None),
        };
        if !name.starts_with("--sim-") {
            rest.push(word);
            continue;
        }
        if name == "--sim-exit-with-stdin" {
            own.exit_with_stdin = true;
            continue;
        }
        let value = inline
            .or_else(|| words.next())
            .ok_or_else(|| ArgsError::Own(format!("{name} needs a value")))?;
        match name.as_str() {
            "--sim-config" => own.config = Some(value.into()),
            "--sim-truth" => own.truth = Some(value.into()),
            "--sim-fault" => {
                own.faults.push(
                    value
                        .parse()
                        .map_err(|error| ArgsError::Own(format!("{name}: {error}")))?,
                );
            }
            _ => {
                let message = format!(
                    "no flag {name}: there are --sim-config, --sim-fault, --sim-truth, --sim-exit-with-stdin"
                );
                return Err(ArgsError::Own(message));
            }
        }
    }
    Ok((own, rest))
}

impl ServeArgs {
    /// Parses the words after the program's name.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let mut words: Vec<String> = words.into_iter().collect();
        if words.first().map(String::as_str) != Some("serve") {
            let message = "the only command is `simulator serve MODEL … --sim-config FILE`".to_owned();
            return Err(ArgsError::Own(message));
        }
        words.remove(0);
        let (own, words) = split_own(words)?;
        let path = own
            .config
            .ok_or_else(|| ArgsError::Own("--sim-config FILE is needed".to_owned()))?;
        let config = SimConfig::load(&path)?;
        let mut faults = config.faults()?;
        faults.extend(own.faults);
        let mut args = Self {
            config,
            faults,
            truth: own.truth,
            exit_with_stdin: own.exit_with_stdin,
            model: String::new(),
            given: BTreeMap::new(),
        };
        args.read_flags(words)?;
        let (faults, given) = (std::mem::take(&mut args.faults), &args.given);
        let holds = |until: &Until| until.is_met(given, |name| std::env::var(name).ok());
        args.faults = faults
            .into_iter()
            .filter_map(|fault| fault.uncured(holds))
            .collect();
        Ok(args)
    }

    fn read_flags(&mut self, words: Vec<String>) -> Result<(), ArgsError> {
        let mut unknown = Vec::new();
        let mut model = None;
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let short = || {
                word.strip_prefix('-')
                    .filter(|name| matches!(*name, "tp" | "pp" | "dp"))
            };
            let Some(flag) = word.strip_prefix("--").or_else(short) else {
                match model {
                    None => model = Some(word),
                    Some(_) => unknown.push(word),
                }
                continue;
            };
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let name = name.replace('_', "-");
            let Some((known, kind, negated)) = flags::find(&name, &self.config.vllm_version) else {
                unknown.push(word.clone());
                while let Some(value) = words.next_if(|next| !next.starts_with("--")) {
                    unknown.push(value);
                }
                continue;
            };
            let values = if kind == Kind::Switch {
                Vec::new()
            } else {
                take_values(kind, inline, &mut words)
            };
            let value = read_value(known, kind, negated, values)?;
            self.given.insert(known.replace('-', "_"), value);
        }
        if !unknown.is_empty() {
            let message = format!("unrecognized arguments: {}", unknown.join(" "));
            return Err(ArgsError::Usage {
                usage: USAGE,
                program: "vllm",
                message,
            });
        }
        let named = self.given.remove("model").and_then(|value| match value {
            Value::Text(name) => Some(name),
            _ => None,
        });
        self.model = model
            .or(named)
            .ok_or_else(|| refused("the following arguments are required: model_tag".to_owned()))?;
        Ok(())
    }

    /// A whole number, if the flag was given.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.given.get(name)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A number, if the flag was given.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.given.get(name)? {
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A text, if the flag was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.given.get(name)? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    /// A switch, if the flag was given.
    pub fn switch(&self, name: &str) -> Option<bool> {
        match self.given.get(name)? {
            Value::Switch(value) => Some(*value),
            _ => None,
        }
    }

    /// A list, if the flag was given.
    pub fn list(&self, name: &str) -> Option<&[String]> {
        match self.given.get(name)? {
            Value::List(values) => Some(values),
            _ => None,
        }
    }
}

fn take_values(
    kind: Kind,
    inline: Option<String>,
    words: &mut std::iter::Peekable<std::vec::IntoIter<String>>,
) -> Vec<String> {
    if let Some(value) = inline {
        return vec![value];
    }
    let mut values = Vec::new();
    let is_negative_number = |word: &str| word.parse::<f64>().is_ok();
    while let Some(value) = words.next_if(|next| !next.starts_with('-') || is_negative_number(next)) {
        values.push(value);
        if kind != Kind::List {
            break;
        }
    }
    values
}

fn read_value(name: &str, kind: Kind, negated: bool, mut values: Vec<String>) -> Result<Value, ArgsError> {
    if kind == Kind::Switch {
        return Ok(Value::Switch(!negated));
    }
    if kind == Kind::List && !values.is_empty() {
        return Ok(Value::List(values));
    }
    let expected = if kind == Kind::List {
        "at least one argument"
    } else {
        "one argument"
    };
    let value = values
        .pop()
        .ok_or_else(|| refused(format!("argument --{name}: expected {expected}")))?;
    let invalid = |kind: &str| refused(format!("argument --{name}: invalid {kind} value: '{value}'"));
    match kind {
        Kind::Int => human_int(&value).map(Value::Int).ok_or_else(|| invalid("int")),
        Kind::Float => value.parse().map(Value::Float).map_err(|_| invalid("float")),
        Kind::Choice(choices) if !choices.contains(&value.as_str()) => {
            let listed: Vec<_> = choices.iter().map(|choice| format!("'{choice}'")).collect();
            let listed = listed.join(", ");
            Err(refused(format!(
                "argument --{name}: invalid choice: '{value}' (choose from {listed})"
            )))
        }
        _ => Ok(Value::Text(value)),
    }
}

/// vLLM's integers: `8k` is 8000, `8K` is 8192; `auto` is -1.
fn human_int(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    if text == "auto" {
        return Some(-1);
    }
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "k" => 1_000,
        "K" => 1 << 10,
        "m" => 1_000_000,
        "M" => 1 << 20,
        "g" => 1_000_000_000,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::mistral;

    fn read(version: &str, words: &[&str]) -> Result<ServeArgs, ArgsError> {
        let mut config = mistral();
        config.vllm_version = version.parse().unwrap();
        let mut args = ServeArgs {
            config,
            faults: vec![],
            truth: None,
            exit_with_stdin: false,
            model: String::new(),
            given: BTreeMap::new(),
        };
        args.read_flags(words.iter().map(|word| (*word).to_owned()).collect())?;
        Ok(args)
    }

    #[test]
    fn flags_are_read_in_all_their_spellings() {
        let args = read(
            "0.8.5",
            &[
                "--max-model-len=8K",
                "/model",
                "--gpu_memory_utilization",
                "0.85",
                "--no-enable-prefix-caching",
                "--served-model-name",
                "a",
                "b",
                "--enforce-eager",
            ],
        )
        .unwrap();
        assert_eq!(args.model, "/model");
        assert_eq!(args.int("max_model_len"), Some(8192));
        assert_eq!(args.float("gpu_memory_utilization"), Some(0.85));
        assert_eq!(args.switch("enable_prefix_caching"), Some(false));
        assert_eq!(args.switch("enforce_eager"), Some(true));
        assert_eq!(args.list("served_model_name").unwrap(), ["a", "b"]);
    }

    #[test]
    fn mistakes_read_like_the_parsers() {
        let problem = |version: &str, words: &[&str]| read(version, words).unwrap_err().to_string();
        insta::assert_snapshot!(
            [
                problem("0.8.5", &["/model", "--no-such-flag", "3", "--port", "80"]),
                problem("0.8.5", &["/model", "--port", "eighty"]),
                problem("0.8.5", &["/model", "--port"]),
                problem("0.8.5", &["/model", "--dtype", "int3"]),
                problem("0.8.5", &["--port", "80"]),
                problem("0.12.0", &["/model", "--guided-decoding-backend", "xgrammar"]),
                problem("0.8.5", &["/model", "--attention-backend", "FLASH_ATTN"]),
            ]
            .join("\n\n")
        );
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(human_int("8k"), Some(8000));
        assert_eq!(human_int("2M"), Some(2 << 20));
        assert_eq!(human_int("k"), None);
        assert_eq!(human_int(""), None);
        assert_eq!(human_int("8中"), None);
    }
}
