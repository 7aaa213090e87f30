//! Arguments and variables of other systems' servers, sorted: what a manifest has a key for, what it takes as an
//! argument, and what has no place in it.

use std::ops::Range;

use semver::Version;

use crate::{
    capacity::Layout,
    manifest::{Dtype, VersionedArgs},
    vllm::translate,
};

use super::{draft::Wishes, import::Reader};

/// A word of a command and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// The word.
    pub(super) text: String,
    /// Its place in the list.
    pub(super) range: Range<usize>,
}

/// A flag with its values.
struct Group {
    flag: String,
    values: Vec<String>,
    range: Range<usize>,
}

/// What the harness does by itself, with the same meaning.
const OWN: [&str; 7] = [
    "-m",
    "--host",
    "--port",
    "--model",
    "--served-model-name",
    "--enable-auto-tool-choice",
    "--no-enable-prefix-caching",
];

/// Flags that have no place, and why.
const PLACELESS: [(&str, &str); 11] = [
    (
        "--enable-prefix-caching",
        "runs are measured without a prefix cache, which repeated prompts would warm",
    ),
    (
        "--data-parallel-size",
        "a session is one engine: serve each replica by itself",
    ),
    ("-dp", "a session is one engine: serve each replica by itself"),
    ("--data-parallel-size-local", "a session is one engine"),
    ("--data-parallel-start-rank", "a session is one engine"),
    ("--data-parallel-address", "a session is one engine"),
    ("--data-parallel-rpc-port", "a session is one engine"),
    (
        "--api-server-count",
        "a session is one engine with one API server",
    ),
    ("--headless", "a session is one engine"),
    ("--additional-config", "it is read by the plugin for Ascend"),
    (
        "--generation-config",
        "it is pinned to `vllm`, so that the checkpoint's file cannot change sampling",
    ),
];

/// Beginnings of variables that only Ascend reads.
const ASCEND: [&str; 8] = [
    "HCCL_",
    "ASCEND_",
    "VLLM_ASCEND_",
    "PYTORCH_NPU_",
    "NPU_",
    "TASK_QUEUE_ENABLE",
    "PAGED_ATTENTION_MASK_LEN",
    "MSMONITOR_",
];

/// Variables that have no place, and why.
const PLACELESS_VARIABLES: [(&str, &str); 6] = [
    ("SERVER_PORT", "the harness chooses the port"),
    ("VLLM_VERSION", "the stack says the version"),
    (
        "VLLM_USE_MODELSCOPE",
        "weights are read from `model.path`, never downloaded",
    ),
    ("CUDA_VISIBLE_DEVICES", "the harness leases the cards"),
    ("MACA_VISIBLE_DEVICES", "the harness leases the cards"),
    ("ASCEND_RT_VISIBLE_DEVICES", "the harness leases the cards"),
];

/// Takes the words of a command. `versions` are those of the stacks: an argument that only some of them know is written
/// for these alone.
pub(super) fn take(
    reader: &mut Reader,
    model: &str,
    words: &[Word],
    versions: &[Version],
    wishes: &mut Wishes,
) {
    for group in groups(reader, model, words) {
        let flag = group.flag.as_str();
        if OWN.contains(&flag) {
            continue;
        }
        let what = format!("{model}: {flag}");
        if let Some((_, why)) = PLACELESS.iter().find(|(placeless, _)| *placeless == flag) {
            reader.leave(&group.range, what, *why);
        } else if group.values.iter().any(|value| value.contains('$')) {
            reader.leave(&group.range, what, "its value is a variable of the other system");
        } else if flag == "--chat-template" {
            reader.leave(
                &group.range,
                what,
                "copy the template to models.d/templates and name it in `model.chat_template`",
            );
        } else if matches!(flag, "--quantization" | "-q") && group.values == ["ascend"] {
            reader.leave(
                &group.range,
                what,
                "weights quantized for Ascend do not load elsewhere",
            );
        } else if !owned(reader, &group, wishes) {
            keep(reader, &what, &group, versions, wishes);
        }
    }
}

/// Flags with their values. `--flag=value` is taken apart; underscores become dashes, as vLLM reads them.
fn groups(reader: &mut Reader, model: &str, words: &[Word]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for word in words {
        let is_flag = word.text.starts_with('-') && word.text.parse::<f64>().is_err();
        if !is_flag {
            match groups.last_mut() {
                Some(group) => group.values.push(word.text.clone()),
                None => reader.leave(
                    &word.range,
                    format!("{model}: {}", word.text),
                    "it belongs to no flag",
                ),
            }
            continue;
        }
        let (name, joined) = match word.text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.text.as_str(), None),
        };
        groups.push(Group {
            flag: name.replace('_', "-"),
            values: joined.into_iter().collect(),
            range: word.range.clone(),
        });
    }
    groups
}

/// Takes a flag that a manifest has a key for; `false`: it has none.
fn owned(reader: &mut Reader, group: &Group, wishes: &mut Wishes) -> bool {
    let (flag, range) = (group.flag.as_str(), &group.range);
    let text = group.values.first().map_or("", String::as_str);
    match flag {
        "--tensor-parallel-size" | "-tp" => {
            let cards = reader.parsed(flag, text, range, 1_u64, 64);
            layout(wishes).tensor_parallel = cards.unwrap_or(1);
        }
        "--pipeline-parallel-size" | "-pp" => {
            let stages = reader.parsed(flag, text, range, 1_u64, 64);
            layout(wishes).pipeline_parallel = stages.unwrap_or(1);
        }
        "--max-model-len" => wishes.max_model_len = reader.parsed(flag, text, range, 1, u32::MAX),
        "--gpu-memory-utilization" => wishes.utilization = reader.parsed(flag, text, range, 0.01, 1.0),
        "--block-size" => wishes.block_size = reader.parsed(flag, text, range, 1, 1 << 20),
        "--max-num-seqs" => wishes.max_num_seqs = reader.parsed(flag, text, range, 1, 1 << 20),
        "--seed" => wishes.seed = reader.parsed(flag, text, range, 0, u64::MAX),
        "--trust-remote-code" => wishes.trust_remote_code = true,
        "--tool-call-parser" => wishes.tool_parser = Some(text.to_owned()).filter(|text| !text.is_empty()),
        "--reasoning-parser" => wishes.reasoning = Some(text.to_owned()).filter(|text| !text.is_empty()),
        "--dtype" => match Dtype::ALL.into_iter().find(|dtype| dtype.as_str() == text) {
            Some(dtype) => wishes.dtype = Some(dtype),
            None if text == "auto" => {}
            None => reader.wrong(
                range,
                format!("`--dtype {text}` is no number type that manifests know"),
                "write bfloat16, float16, float32 or auto",
            ),
        },
        _ => return false,
    }
    true
}

/// The wished layout, which begins with one card.
fn layout(wishes: &mut Wishes) -> &mut Layout {
    wishes.layout.get_or_insert(Layout {
        tensor_parallel: 1,
        pipeline_parallel: 1,
    })
}

/// Keeps an argument for the versions that know it.
fn keep(reader: &mut Reader, what: &str, group: &Group, versions: &[Version], wishes: &mut Wishes) {
    let mut add = vec![group.flag.clone()];
    add.extend(group.values.iter().cloned());
    let mut refused = None;
    let mut accepted: Vec<&Version> = Vec::new();
    for version in versions {
        match translate(&add, version) {
            Ok(_) => accepted.push(version),
            Err(error) => refused = Some(error.to_string()),
        }
    }
    match refused {
        None => wishes.args.push(VersionedArgs {
            vllm: "*".to_owned(),
            add,
        }),
        Some(error) => {
            let scope = if accepted.is_empty() {
                String::new()
            } else {
                let names: Vec<String> = accepted.iter().map(ToString::to_string).collect();
                format!("; written for {} alone", names.join(" and "))
            };
            reader.leave(&group.range, what, format!("{error}{scope}"));
            wishes
                .args
                .extend(accepted.into_iter().map(|version| VersionedArgs {
                    vllm: format!("={version}"),
                    add: add.clone(),
                }));
        }
    }
}

/// Takes a variable.
pub(super) fn variable(reader: &mut Reader, model: &str, name: &Word, value: &str, wishes: &mut Wishes) {
    let key = name.text.as_str();
    let what = format!("{model}: {key}");
    if let Some((_, why)) = PLACELESS_VARIABLES
        .iter()
        .find(|(placeless, _)| *placeless == key)
    {
        reader.leave(&name.range, what, *why);
    } else if ASCEND.iter().any(|beginning| key.starts_with(beginning)) {
        reader.leave(&name.range, what, "only Ascend reads it");
    } else if value.contains('$') || value == "DEFAULT_PORT" {
        reader.leave(&name.range, what, "its value is a variable of the other system");
    } else if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!("`{}` cannot name a variable", key.replace(char::is_control, " "));
        reader.wrong(&name.range, message, "write letters, digits and `_`");
    } else {
        wishes.env.insert(key.to_owned(), value.to_owned());
    }
}
