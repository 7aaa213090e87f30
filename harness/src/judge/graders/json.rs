//! Graders by JSON schema: `json` in the text, `tool_call` by the server's parser.

use serde_json::Value;

use super::code::fenced_blocks;
use super::{Said, brief};
use crate::manifest::{Json, ToolCall, ToolCallGrade};

/// Schema errors that a finding lists.
const LISTED: usize = 5;

pub fn json(wanted: &Json, text: &str) -> Said {
    match value_in(text) {
        Err(wrong) => Said::Wrong(wrong),
        Ok(value) => against(&wanted.schema, &value, "the answer"),
    }
}

/// The answer as JSON: all of it, or its only code fence.
fn value_in(text: &str) -> Result<Value, String> {
    let blocks = fenced_blocks(text);
    let source = match blocks.as_slice() {
        [] => text.trim(),
        [block] => block.text.trim(),
        several => {
            return Err(format!(
                "wanted one JSON value, found {} code fences",
                several.len()
            ));
        }
    };
    serde_json::from_str(source)
        .map_err(|error| format!("wanted JSON alone or in a code fence, but: {error}"))
}

pub fn tool_call(wanted: &ToolCallGrade, calls: &[ToolCall], text: &str) -> Said {
    match calls {
        [call] if call.name == wanted.name => {
            let arguments = call.arguments.clone().into_iter().collect();
            against(
                &wanted.arguments,
                &Value::Object(arguments),
                &format!("the call of {}", wanted.name),
            )
        }
        [call] => Said::Wrong(format!(
            "wanted a call of {}, it calls {}",
            wanted.name,
            brief(&call.name)
        )),
        [] if text.contains(&wanted.name) => Said::Wrong(format!(
            "wanted a call of {}, which the text only names: the server's tool parser may be off or another model's",
            wanted.name
        )),
        [] => Said::Wrong(format!("wanted a call of {}, nothing is called", wanted.name)),
        several => {
            let names: Vec<_> = several.iter().map(|call| brief(&call.name)).collect();
            Said::Wrong(format!(
                "wanted one call of {}, it calls {}",
                wanted.name,
                names.join(", ")
            ))
        }
    }
}

fn against(schema: &Value, value: &Value, what: &str) -> Said {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => return Said::NotRun(format!("the case's schema is broken: {error}")),
    };
    let errors: Vec<_> = validator
        .iter_errors(value)
        .map(|error| {
            let place = error.instance_path().to_string();
            format!("{}: {error}", if place.is_empty() { "/" } else { &place })
        })
        .collect();
    match errors.len() {
        0 => Said::Right(format!("the schema accepts {what}")),
        count => {
            let more = if count > LISTED {
                format!(" and {} more", count - LISTED)
            } else {
                String::new()
            };
            let listed = errors.iter().take(LISTED).cloned().collect::<Vec<_>>().join("; ");
            Said::Wrong(format!("the schema does not accept {what}: {listed}{more}"))
        }
    }
}
