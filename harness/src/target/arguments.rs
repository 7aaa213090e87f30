//! The server's arguments and environment, from manifest × stack. Pure.
//!
//! What decides answers is pinned on every version, whatever its defaults: type, seed, the generation config (vLLM's
//! default lets the model's own file override sampling), and prefix caching off (it makes repeated runs too fast).

use std::collections::BTreeMap;

use semver::{Version, VersionReq};

use crate::{
    manifest::{Accelerator, Dtype, LoadedModel, LoadedStack, Manifest, Stack},
    vllm::{ArgError, translate, translate_env},
};

/// Why no command can be made.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    /// A version or a range of versions cannot be read.
    #[error("`{text}` is not a version or a range of versions: {source}")]
    Version {
        /// The text.
        text: String,
        /// What is wrong.
        source: semver::Error,
    },
    /// An argument does not exist in this version.
    #[error("the arguments do not fit vLLM {version}: {source}")]
    Argument {
        /// Version of the stack.
        version: Version,
        /// Which, and what to write instead.
        source: Box<ArgError>,
    },
}

/// What a server is started with, besides the model's place, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Version of vLLM.
    pub version: Version,
    /// Name under which the model is served: the manifest's.
    pub served_name: String,
    /// Arguments, in order, in the words of this version.
    pub args: Vec<String>,
    /// What was renamed or left out for this version, in sentences.
    pub changes: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Number type.
    pub dtype: Dtype,
}

/// Puts together what a server of `model` on `stack` is started with. `template` is where the server will find the
/// manifest's chat template.
pub fn settings(
    model: &LoadedModel,
    stack: &LoadedStack,
    template: Option<&str>,
    dtype: Dtype,
) -> Result<ServerSettings, ArgumentError> {
    let (manifest, stack) = (&model.manifest, &stack.stack);
    let version = parse::<Version>(&stack.vllm)?;
    let mut args = pinned(&model.name, manifest, dtype);
    args.extend(model_needs(manifest, template));
    args.extend(stack.args.iter().cloned());
    for addition in &manifest.serve.args {
        if parse::<VersionReq>(&addition.vllm)?.matches(&version) {
            args.extend(addition.add.iter().cloned());
        }
    }
    let refused = |source| {
        let (version, source) = (version.clone(), Box::new(source));
        ArgumentError::Argument { version, source }
    };
    let mut env = environment(manifest, stack, &version)?;
    let moved = translate_env(&mut env, &version).map_err(refused)?;
    args.extend(moved.args);
    let translation = translate(&args, &version).map_err(refused)?;
    let mut changes = moved.changes;
    changes.extend(translation.changes);
    let args = translation.args;
    Ok(ServerSettings {
        version,
        served_name: model.name.clone(),
        args,
        changes,
        env,
        dtype,
    })
}

/// All words of a server's command: those of the target, the model's place, where to listen, and the settings.
/// `vllm serve` takes the model first, the API server's module as `--model`.
pub(super) fn server_words(
    command: &[String],
    model: &str,
    port: u16,
    settings: &ServerSettings,
) -> Vec<String> {
    let mut words = command.to_vec();
    if words.last().is_none_or(|word| word != "serve") {
        words.push("--model".to_owned());
    }
    words.push(model.to_owned());
    words.extend(["--host", "127.0.0.1", "--port"].map(str::to_owned));
    words.push(port.to_string());
    words.extend(settings.args.iter().cloned());
    words
}

/// The settings' environment with the cards that the server may use; a variable that stack or manifest set stays.
///
/// vLLM's plugin for MACA reads `CUDA_VISIBLE_DEVICES`, the libraries below it `MACA_VISIBLE_DEVICES`: the two must
/// not differ.
pub(super) fn server_env(
    settings: &ServerSettings,
    accelerator: Accelerator,
    cards: &[u32],
) -> BTreeMap<String, String> {
    let names: &[&str] = match accelerator {
        Accelerator::C500 => &["CUDA_VISIBLE_DEVICES", "MACA_VISIBLE_DEVICES"],
        Accelerator::A100_40gb => &["CUDA_VISIBLE_DEVICES"],
        Accelerator::Cpu => &[],
    };
    let mut env = settings.env.clone();
    let list: Vec<String> = cards.iter().map(u32::to_string).collect();
    // One of the two set by hand, and the other by us, might name different cards.
    if !cards.is_empty() && !names.iter().any(|&name| env.contains_key(name)) {
        env.extend(names.iter().map(|&name| (name.to_owned(), list.join(","))));
    }
    env
}

fn parse<T: std::str::FromStr<Err = semver::Error>>(text: &str) -> Result<T, ArgumentError> {
    text.parse().map_err(|source| ArgumentError::Version {
        text: text.to_owned(),
        source,
    })
}

/// Arguments that every server gets.
fn pinned(name: &str, manifest: &Manifest, dtype: Dtype) -> Vec<String> {
    let serve = &manifest.serve;
    let mut args: Vec<String> = [
        ("--served-model-name", name.to_owned()),
        ("--dtype", dtype.as_str().to_owned()),
        ("--seed", serve.seed.to_string()),
        ("--max-model-len", serve.max_model_len.to_string()),
        (
            "--gpu-memory-utilization",
            serve.gpu_memory_utilization.to_string(),
        ),
        ("--tensor-parallel-size", serve.tensor_parallel.to_string()),
        ("--pipeline-parallel-size", serve.pipeline_parallel.to_string()),
        ("--generation-config", "vllm".to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    args.push("--no-enable-prefix-caching".to_owned());
    for (flag, value) in [
        ("--block-size", serve.block_size),
        ("--max-num-seqs", serve.max_num_seqs),
    ] {
        if let Some(value) = value {
            args.extend([flag.to_owned(), value.to_string()]);
        }
    }
    args
}

/// Arguments that the model itself asks for.
fn model_needs(manifest: &Manifest, template: Option<&str>) -> Vec<String> {
    let mut args = Vec::new();
    if manifest.serve.trust_remote_code {
        args.push("--trust-remote-code".to_owned());
    }
    if let Some(template) = template {
        args.extend(["--chat-template".to_owned(), template.to_owned()]);
    }
    // A parser would take an answer without thought for a thought. Where it needs a flag of its own (before 0.9) the
    // translation adds it.
    if let Some(reasoning) = manifest
        .model
        .reasoning
        .as_ref()
        .filter(|reasoning| reasoning.enabled)
    {
        args.extend(["--reasoning-parser".to_owned(), reasoning.parser.clone()]);
    }
    if let Some(parser) = &manifest.model.tool_parser {
        args.extend(["--enable-auto-tool-choice", "--tool-call-parser", parser].map(str::to_owned));
    }
    args
}

fn environment(
    manifest: &Manifest,
    stack: &Stack,
    version: &Version,
) -> Result<BTreeMap<String, String>, ArgumentError> {
    // Colour codes would only have to be stripped again, the banner's boxes hide the version, and nobody counts us.
    let mut env: BTreeMap<String, String> = [
        ("NO_COLOR", "1"),
        ("VLLM_DISABLE_LOG_LOGO", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    env.extend(stack.env.clone());
    for addition in &manifest.serve.env {
        if parse::<VersionReq>(&addition.vllm)?.matches(version) {
            env.extend(addition.set.clone());
        }
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ServerSettings {
        ServerSettings {
            version: Version::new(0, 12, 0),
            served_name: "m".to_owned(),
            args: vec!["--seed".to_owned(), "0".to_owned()],
            changes: Vec::new(),
            env: BTreeMap::from([("NO_COLOR".to_owned(), "1".to_owned())]),
            dtype: Dtype::Bfloat16,
        }
    }

    #[test]
    fn the_model_stands_where_the_command_takes_it() {
        let words = |command: &[&str]| {
            let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
            server_words(&command, "/m", 8000, &settings()).join(" ")
        };
        assert_eq!(
            words(&["vllm", "serve"]),
            "vllm serve /m --host 127.0.0.1 --port 8000 --seed 0"
        );
        assert_eq!(words(&[]), "--model /m --host 127.0.0.1 --port 8000 --seed 0");
    }

    #[test]
    fn cards_are_named_to_every_library_that_reads_them() {
        let env = |accelerator, cards: &[u32]| server_env(&settings(), accelerator, cards);
        let metax = env(Accelerator::C500, &[0, 1]);
        assert_eq!(metax["CUDA_VISIBLE_DEVICES"], "0,1");
        assert_eq!(metax["MACA_VISIBLE_DEVICES"], "0,1");
        let nvidia = env(Accelerator::A100_40gb, &[3]);
        assert_eq!(nvidia["CUDA_VISIBLE_DEVICES"], "3");
        assert!(!nvidia.contains_key("MACA_VISIBLE_DEVICES"));
        assert_eq!(env(Accelerator::Cpu, &[0]), settings().env);
        assert_eq!(env(Accelerator::C500, &[]), settings().env);
    }

    #[test]
    fn cards_that_were_chosen_by_hand_stay() {
        let mut settings = settings();
        settings
            .env
            .insert("CUDA_VISIBLE_DEVICES".to_owned(), "7".to_owned());
        assert_eq!(server_env(&settings, Accelerator::C500, &[0]), settings.env);
    }
}
