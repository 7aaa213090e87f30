//! Which vLLM release is played, and what that release does differently.
//!
//! One method answers one question ("are error bodies flat?") by comparing versions, so a further release
//! needs no new code until it changes something. The boundaries are those of vLLM's published wheels.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A vLLM release `0.minor.patch`, with the text it is announced by (`0.8.5.post2` keeps its suffix).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    minor: u32,
    patch: u32,
    text: String,
}

/// Which of vLLM's two engines runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The first engine: prints the memory breakdown at INFO, blocks as `# cuda blocks`.
    V0,
    /// The engine core in a process of its own.
    V1,
}

/// A version text that is not one of the releases that can be played.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot play vLLM `{0}`: use a release from 0.8.5 to 0.33, as in \"0.8.5\" or \"0.12.0\"")]
pub struct UnknownVersion(String);

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownVersion(text.to_owned());
        let mut parts = text.split('.');
        let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
        match (number(), number(), number()) {
            (Some(0), Some(minor), patch) => {
                let patch = patch.unwrap_or(0);
                if (minor, patch) < (8, 5) || minor > 33 {
                    return Err(unknown());
                }
                Ok(Self {
                    minor,
                    patch,
                    text: text.to_owned(),
                })
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Version {
    /// True from release `0.minor.patch` on.
    pub fn at_least(&self, minor: u32, patch: u32) -> bool {
        (self.minor, self.patch) >= (minor, patch)
    }

    /// V0 was the default of 0.8.5 on anything V1 did not support, MACA among it.
    pub fn default_generation(&self) -> Generation {
        if self.at_least(9, 0) {
            Generation::V1
        } else {
            Generation::V0
        }
    }

    // ---- answers ----

    /// `{"object":"error",…}` at the top level, not inside `{"error":{…}}`.
    pub fn flat_errors(&self) -> bool {
        !self.at_least(10, 2)
    }

    /// `return_token_ids` is understood; before, it is silently ignored.
    pub fn returns_token_ids(&self) -> bool {
        self.at_least(10, 2)
    }

    /// `guided_json` and its kin constrain the output.
    pub fn guided_fields(&self) -> bool {
        !self.at_least(12, 0)
    }

    /// `structured_outputs` constrains the output.
    pub fn structured_outputs(&self) -> bool {
        self.at_least(11, 0)
    }

    /// `message.reasoning_content` is present.
    pub fn reasoning_content(&self) -> bool {
        !self.at_least(16, 0)
    }

    /// `message.reasoning` is present.
    pub fn reasoning(&self) -> bool {
        self.at_least(11, 2)
    }

    /// The message has OpenAI's `refusal`, `annotations`, `audio` and `function_call`.
    pub fn openai_message_fields(&self) -> bool {
        self.at_least(10, 0)
    }

    /// `service_tier` and `system_fingerprint` are at the top level.
    pub fn service_tier(&self) -> bool {
        self.at_least(10, 0)
    }

    /// `kv_transfer_params` is at the top level.
    pub fn kv_transfer_params(&self) -> bool {
        self.at_least(9, 0)
    }

    /// `include_usage` that a present `stream_options` object means when it does not say.
    pub fn include_usage_default(&self) -> bool {
        !self.at_least(18, 0)
    }

    /// Chunks of a completion carry `"usage":null` where there is no usage.
    pub fn null_usage_in_chunks(&self) -> bool {
        !self.at_least(18, 0)
    }

    /// Ids are 16 hexadecimal digits instead of 32.
    pub fn short_ids(&self) -> bool {
        self.at_least(12, 0)
    }

    /// `/tokenize` answers with a `token_strs` key.
    pub fn token_strings(&self) -> bool {
        self.at_least(9, 2)
    }

    /// Endpoints that the model does not support are 404 instead of an error body with status 200.
    pub fn unsupported_is_404(&self) -> bool {
        self.at_least(18, 0)
    }

    /// `/health` of a dead engine: 503 instead of 500.
    pub fn dead_health_is_503(&self) -> bool {
        self.at_least(11, 2)
    }

    /// `prompt_logprobs: -1` asks for the whole vocabulary.
    pub fn whole_vocabulary_logprobs(&self) -> bool {
        self.at_least(10, 2)
    }

    // ---- logs ----

    /// Requests are logged unless that is switched off.
    pub fn logs_requests_by_default(&self) -> bool {
        !self.at_least(10, 2)
    }

    /// The API server's lines carry `(APIServer pid=N)`.
    pub fn api_server_prefix(&self) -> bool {
        self.at_least(10, 2)
    }

    /// The process prefix is part of the record, so output of uvicorn and of tracebacks has none.
    pub fn prefix_in_record(&self) -> bool {
        self.at_least(31, 0)
    }

    /// ANSI colour of the process prefix when stdout is not a terminal and `NO_COLOR` is unset.
    pub fn piped_prefix_colour(&self) -> Option<&'static str> {
        if !self.at_least(12, 0) {
            Some("\x1b[1;36m")
        } else if !self.at_least(16, 0) {
            Some("\x1b[0;36m")
        } else {
            None
        }
    }

    /// `NO_COLOR` is honoured.
    pub fn honours_no_color(&self) -> bool {
        self.at_least(12, 0)
    }

    /// `Model loading took … GiB memory and …` instead of `… GiB and …`.
    pub fn load_line_says_memory(&self) -> bool {
        self.at_least(11, 2)
    }

    /// GiB figures are Python floats rounded to two digits ("14.0") instead of `%.4f` and `%.2f`.
    pub fn rounded_gib(&self) -> bool {
        self.at_least(14, 0)
    }

    /// `GPU KV cache size` and `Maximum concurrency` share one line.
    pub fn merged_kv_line(&self) -> bool {
        self.at_least(28, 0)
    }

    /// `Available KV cache memory` is printed.
    pub fn prints_available_kv(&self) -> bool {
        self.at_least(9, 2)
    }

    /// The long "Actual usage is …" line: at INFO, at DEBUG, or (`None`) not at all.
    pub fn usage_line_at_info(&self) -> Option<bool> {
        self.at_least(10, 2)
            .then(|| !self.at_least(11, 0) || self.at_least(26, 0))
    }

    /// From 0.27 weights and non-torch memory are one figure.
    pub fn consumed_memory_merged(&self) -> bool {
        self.at_least(27, 0)
    }

    /// The multi-line logo replaces `vLLM API server version …`.
    pub fn logo(&self) -> bool {
        self.at_least(15, 0)
    }

    /// Memory a card gives when nothing is said: 0.9, later 0.92.
    pub fn default_gpu_memory_utilization(&self) -> f64 {
        if self.at_least(20, 2) { 0.92 } else { 0.9 }
    }

    /// Only local rank 0 prints memory lines.
    pub fn once_per_node(&self) -> bool {
        self.at_least(11, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_announced_text() {
        let version: Version = "0.8.5.post2".parse().unwrap();
        assert_eq!(version.to_string(), "0.8.5.post2");
        assert!(version.at_least(8, 5) && !version.at_least(9, 0));
    }

    #[test]
    fn refuses_what_cannot_be_played() {
        for text in ["0.8.4", "0.34.0", "1.0.0", "latest", ""] {
            assert_eq!(
                text.parse::<Version>(),
                Err(UnknownVersion(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn boundaries_fall_where_vllm_changed() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("0.10.0").flat_errors() && !version("0.10.2").flat_errors());
        assert!(version("0.11.2").guided_fields() && !version("0.12.0").guided_fields());
        assert_eq!(version("0.10.2").usage_line_at_info(), Some(true));
        assert_eq!(version("0.12.0").usage_line_at_info(), Some(false));
        assert_eq!(version("0.28.0").usage_line_at_info(), Some(true));
    }
}
