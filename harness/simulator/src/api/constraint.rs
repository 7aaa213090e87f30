//! Structured output: what a constraint of a request makes the model say.

use serde_json::Value;

use super::errors::ApiError;
use super::job::Forced;
use super::request::Body;
use super::schema;
use crate::settings::Settings;

fn json(value: &Value) -> Forced {
    Forced {
        fallback: value.to_string(),
        json: true,
    }
}

/// The constraint of a request, if the release honours it.
pub fn forced(body: &Body, settings: &Settings) -> Result<Option<Forced>, ApiError> {
    if let Some(format) = body.get("response_format") {
        return response_format(body, format);
    }
    if settings.version.guided_fields() {
        if let Some(given) = body.get("guided_json") {
            return Ok(Some(json(&schema::instance(&parsed(given)))));
        }
        if let Some(choice) = body.get("guided_choice") {
            return Ok(first_choice(choice));
        }
    }
    let Some(outputs) = body
        .get("structured_outputs")
        .filter(|_| settings.version.structured_outputs())
    else {
        return Ok(None);
    };
    if let Some(given) = outputs.get("json") {
        return Ok(Some(json(&schema::instance(&parsed(given)))));
    }
    if outputs.get("json_object").and_then(Value::as_bool) == Some(true) {
        return Ok(Some(json(&Value::Object(serde_json::Map::new()))));
    }
    Ok(outputs.get("choice").and_then(first_choice))
}

fn response_format(body: &Body, format: &Value) -> Result<Option<Forced>, ApiError> {
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json(&Value::Object(serde_json::Map::new())))),
        Some("json_schema") => {
            let given = format.get("json_schema").and_then(|outer| outer.get("schema"));
            let given = given.ok_or_else(|| body.broken("response_format.json_schema needs a `schema`"))?;
            Ok(Some(json(&schema::instance(given))))
        }
        _ => Err(body.broken("response_format.type must be text, json_object or json_schema")),
    }
}

/// A schema may come as text.
fn parsed(given: &Value) -> Value {
    given
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| given.clone())
}

fn first_choice(choices: &Value) -> Option<Forced> {
    let first = choices.as_array()?.first()?.as_str()?;
    Some(Forced {
        fallback: first.to_owned(),
        json: false,
    })
}
