//! The simulator as a target: hands it the model's figures and the cases' reference answers, and starts it like vLLM.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Launch, LaunchError, Log, env_words, process::Process, shell_line};
use crate::{
    manifest::{Case, Endpoint, LoadedModel, Modality, SimulatorTarget},
    prompt,
};

/// Starts the simulator.
pub fn start(launch: &Launch<'_>, target: &SimulatorTarget, log: &Log) -> Result<Process, LaunchError> {
    let program = program();
    if !program.is_file() {
        return Err(LaunchError::NoSimulator(program));
    }
    write_config(launch, target)?;
    let mut command = Command::new(&program);
    // It ends with the harness, even with one that was killed.
    command
        .args(arguments(launch))
        .arg("--sim-exit-with-stdin")
        .envs(&launch.settings.env);
    Process::spawn(command, log).map_err(|source| LaunchError::Io {
        action: "start",
        path: program,
        source,
    })
}

/// The equal command line: the same server, which does not end with its standard input. It reads the file that
/// [`write_config`] writes.
pub fn command_line(launch: &Launch<'_>) -> String {
    let mut words = env_words(&launch.settings.env);
    words.push(program().to_string_lossy().into_owned());
    words.extend(arguments(launch));
    shell_line(words.iter().map(String::as_str))
}

/// Writes the file that tells the simulator what it plays.
pub fn write_config(launch: &Launch<'_>, target: &SimulatorTarget) -> Result<(), LaunchError> {
    let path = config_path(launch);
    let text = format!("{:#}\n", config(launch, target));
    fs::write(&path, text).map_err(|source| LaunchError::Io {
        action: "write",
        path,
        source,
    })
}

/// `HARNESS_SIMULATOR`, otherwise beside this program: cargo puts programs into one folder and tests one below.
pub fn program() -> PathBuf {
    if let Some(path) = env::var_os("HARNESS_SIMULATOR") {
        return path.into();
    }
    let own = env::current_exe().unwrap_or_default();
    let mut folder = own.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") {
        folder = folder.parent().unwrap_or(folder);
    }
    folder.join("simulator")
}

fn config_path(launch: &Launch<'_>) -> PathBuf {
    launch.folder.join(format!("{}.simulator.json", launch.session))
}

fn arguments(launch: &Launch<'_>) -> Vec<String> {
    let mut words: Vec<String> = [
        "serve",
        &launch.model.manifest.model.id,
        "--host",
        "127.0.0.1",
        "--port",
    ]
    .map(str::to_owned)
    .into();
    words.push(launch.port.to_string());
    words.extend(launch.settings.args.iter().cloned());
    words.extend([
        "--sim-config".to_owned(),
        config_path(launch).to_string_lossy().into_owned(),
    ]);
    words
}

fn config(launch: &Launch<'_>, target: &SimulatorTarget) -> Value {
    let manifest = &launch.model.manifest;
    let shape = &manifest.model.architecture;
    json!({
        "vllm_version": launch.settings.version.to_string(),
        "profile": target.profile,
        "clock": target.clock,
        "seed": manifest.serve.seed,
        "model": {
            "architecture": shape.class,
            "parameters": shape.parameters,
            "active_parameters": shape.active_parameters,
            "layers": shape.layers,
            "hidden_size": shape.hidden_size,
            "heads": shape.heads,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "ffn_size": shape.ffn_size,
            "vocab_size": shape.vocab_size,
            "max_position": shape.max_position,
            "bytes_per_parameter": launch.settings.dtype.bytes(),
            "mla": shape.mla.as_ref().map(|mla| json!({
                "kv_lora_rank": mla.kv_lora_rank,
                "rope_head_dim": mla.rope_head_dim,
            })),
            "chat_template": manifest.model.endpoint == Endpoint::Chat,
            "images": manifest.model.modalities.contains(&Modality::Image),
            "reasoning": manifest.model.reasoning.as_ref().is_some_and(|reasoning| reasoning.enabled),
        },
        "answers": answers(launch.model),
        "faults": target.faults,
    })
}

/// Reference answers, keyed by the text that the harness will send.
fn answers(model: &LoadedModel) -> Vec<Value> {
    let endpoint = model.manifest.model.endpoint;
    model
        .cases
        .iter()
        .filter_map(|loaded| answer(&loaded.case, endpoint))
        .collect()
}

fn answer(case: &Case, endpoint: Endpoint) -> Option<Value> {
    let calls: Vec<Value> = case
        .reference_call
        .iter()
        .map(|call| json!({"name": call.name, "arguments": call.arguments}))
        .collect();
    if case.reference.is_none() && calls.is_empty() {
        return None;
    }
    let answer = case.reference.clone().unwrap_or_default();
    Some(match endpoint {
        Endpoint::Chat => json!({"prompt": prompt::question(case), "answer": answer, "tool_calls": calls}),
        Endpoint::Completions => {
            let prompt = prompt::completion(case);
            // A model that continues `Answer:` begins with a space; one that continues a line of code does not.
            let space = if prompt.ends_with(':') { " " } else { "" };
            json!({"prompt": prompt, "answer": format!("{space}{answer}"), "tool_calls": calls})
        }
    })
}
