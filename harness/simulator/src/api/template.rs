//! Chat messages to a prompt, in the style of ChatML, and images to patches.

use serde_json::Value;

use super::errors::ApiError;
use super::request::Body;
use crate::language::{NO_THINKING, TOOLS_MARKER};
use crate::settings::Settings;

/// Text of one image patch.
const PATCH: &str = "<|image_pad|>";
/// Side of a patch that one token stands for, pixels.
const PATCH_SIDE: u32 = 28;
/// Most patches of an image.
const MOST_PATCHES: u32 = 1_280;

/// The prompt of a chat request.
pub fn render(body: &Body, settings: &Settings) -> Result<String, ApiError> {
    if !settings.chat_template && body.get("chat_template").is_none() {
        return Err(ApiError::Bad(
            "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat \
             template if the tokenizer does not define one."
                .to_owned(),
        ));
    }
    let messages = body.get("messages").ok_or_else(|| body.missing("messages"))?;
    let messages = messages
        .as_array()
        .ok_or_else(|| body.broken("Input should be a valid list"))?;
    let continues = body.flag("continue_final_message", false)?;
    let opens = body.flag("add_generation_prompt", true)?;
    if continues && opens && body.get("add_generation_prompt").is_some() {
        let text = "Cannot set both `continue_final_message` and `add_generation_prompt` to True.";
        return Err(body.broken(text));
    }
    let tools = offered_tools(body);
    let mut prompt = tools.map_or_else(String::new, |tools| {
        format!("<|im_start|>system\n# Tools\n{TOOLS_MARKER}\n{tools}\n</tools><|im_end|>\n")
    });
    for (at, message) in messages.iter().enumerate() {
        let role = message.get("role").and_then(Value::as_str);
        let role = role.ok_or_else(|| body.broken("each message needs a `role`"))?;
        let content = content(message, settings)?;
        let open = continues && at + 1 == messages.len();
        let end = if open { "" } else { "<|im_end|>\n" };
        prompt.extend(["<|im_start|>", role, "\n", &content, end]);
    }
    if opens && !continues {
        prompt += "<|im_start|>assistant\n";
        if settings.model.reasoning && !thinks(body) {
            prompt += NO_THINKING;
        }
    }
    Ok(prompt)
}

/// `chat_template_kwargs.enable_thinking`, true unless it says false.
fn thinks(body: &Body) -> bool {
    let switch = body
        .get("chat_template_kwargs")
        .and_then(|kwargs| kwargs.get("enable_thinking"));
    switch.and_then(Value::as_bool).unwrap_or(true)
}

/// The tools that the model is told of, as lines of JSON.
fn offered_tools(body: &Body) -> Option<String> {
    if body.get("tool_choice").and_then(Value::as_str) == Some("none") {
        return None;
    }
    let tools = body.get("tools")?.as_array()?;
    let lines: Vec<_> = tools.iter().map(ToString::to_string).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn content(message: &Value, settings: &Settings) -> Result<String, ApiError> {
    match message.get("content") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let parts: Result<Vec<_>, _> = parts.iter().map(|part| part_text(part, settings)).collect();
            Ok(parts?.join(""))
        }
        _ => Ok(message
            .get("tool_calls")
            .map(ToString::to_string)
            .unwrap_or_default()),
    }
}

fn part_text(part: &Value, settings: &Settings) -> Result<String, ApiError> {
    match part.get("type").and_then(Value::as_str) {
        Some("text") => Ok(part
            .get("text")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()),
        Some("image_url") => {
            if !settings.model.images {
                return Err(ApiError::Bad(no_images(settings)));
            }
            let url = part
                .get("image_url")
                .and_then(|image| image.get("url"))
                .and_then(Value::as_str);
            image_patches(url.unwrap_or_default())
        }
        other => Err(ApiError::Bad(format!(
            "Unknown part type: {}",
            other.unwrap_or("None")
        ))),
    }
}

fn no_images(settings: &Settings) -> String {
    if settings.version.at_least(9, 0) {
        format!("{} is not a multimodal model", settings.model_path)
    } else {
        let family = settings
            .model
            .architecture
            .trim_end_matches("ForCausalLM")
            .to_lowercase();
        format!("Unknown image model type: {family}")
    }
}

/// Patches of a PNG in a `data:` URL. Other URLs are refused: the simulator reaches nothing.
fn image_patches(url: &str) -> Result<String, ApiError> {
    let refused = |text: &str| ApiError::Bad(text.to_owned());
    let data = url.strip_prefix("data:").ok_or_else(|| {
        refused("The URL must be either a HTTP, data or file URL; this server takes data: only.")
    })?;
    let (_, encoded) = data
        .split_once(";base64,")
        .ok_or_else(|| refused("Only base64 data URLs are supported for now."))?;
    let bytes = decode_base64(encoded).ok_or_else(|| refused("Invalid base64-encoded string"))?;
    let (width, height) =
        png_size(&bytes).ok_or_else(|| refused("cannot identify image file <_io.BytesIO object>"))?;
    let patches = width
        .div_ceil(PATCH_SIDE)
        .saturating_mul(height.div_ceil(PATCH_SIDE))
        .clamp(1, MOST_PATCHES);
    Ok(PATCH.repeat(patches as usize))
}

/// Width and height of a PNG, from its first chunk.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes
        .strip_prefix(b"\x89PNG\r\n\x1a\n")?
        .get(4..)?
        .strip_prefix(b"IHDR")?;
    let number = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    Some((number(0)?, number(4)?)).filter(|(width, height)| *width > 0 && *height > 0)
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let value = |byte: u8| {
        Some(u32::from(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        }))
    };
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut word = 0;
        for byte in group {
            word = word << 6 | value(*byte)?;
        }
        word <<= 6 * (4 - group.len());
        let all = word.to_be_bytes();
        bytes.extend_from_slice(all.get(1..group.len())?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_all_lengths() {
        assert_eq!(decode_base64("TQ==").unwrap(), b"M");
        assert_eq!(decode_base64("TWE=").unwrap(), b"Ma");
        assert_eq!(decode_base64("TWFu").unwrap(), b"Man");
        assert_eq!(decode_base64("T*"), None);
    }

    #[test]
    fn an_image_becomes_patches() {
        let url = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAADkAAAAcCAIAAAA=";
        assert_eq!(image_patches(url).unwrap().matches(PATCH).count(), 3);
        assert!(image_patches("http://example.com/a.png").is_err());
        assert!(image_patches("data:image/png;base64,AAAA").is_err());
    }
}
