//! Golden → file. The order of sections is the reader's: what a person reads first stands first.

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Golden, GoldenError, Header, base85, text};
use crate::vllm::Position;

/// Prompt ids on one line.
const IDS_A_LINE: usize = 16;

/// The head of insta's format; `info` may be any YAML.
#[derive(Serialize)]
struct Head<'a> {
    source: String,
    expression: &'a str,
    info: &'a Header,
}

impl Golden {
    /// The file's whole text.
    pub fn to_snapshot(&self) -> Result<String, GoldenError> {
        let head = Head {
            source: format!("models.d/{}.yaml", self.header.model),
            expression: &self.header.case,
            info: &self.header,
        };
        let head = serde_yaml::to_string(&head).map_err(|error| self.unwritable(&error))?;
        let body = self.body()?;
        let digest = digest(&self.header, &body).map_err(|error| self.unwritable(&error))?;
        Ok(format!("---\n{head}---\n{body}# sha256\n{digest}\n"))
    }

    /// SHA-256 of header and body: names this golden where another one replaces it.
    pub fn digest(&self) -> Result<String, GoldenError> {
        digest(&self.header, &self.body()?).map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &dyn std::error::Error) -> GoldenError {
        GoldenError::Unrecordable {
            case: self.header.case.clone(),
            what: error.to_string(),
        }
    }

    fn body(&self) -> Result<String, GoldenError> {
        let mut out = String::with_capacity(4_096 + 192 * self.positions.len());
        out.push_str("# prompt\n");
        text::push_lines(&mut out, &self.prompt);
        if let Some(thought) = &self.reasoning {
            out.push_str("\n# thought\n");
            text::push_lines(&mut out, thought);
        }
        if !self.tool_calls.is_empty() {
            out.push_str("\n# tool calls\n");
            for call in &self.tool_calls {
                out.push_str(&serde_json::to_string(call).map_err(|error| self.unwritable(&error))?);
                out.push('\n');
            }
        }
        out.push_str("\n# answer\n");
        text::push_lines(&mut out, &self.answer);
        if !self.prompt_ids.is_empty() {
            out.push_str("\n# prompt ids\n");
            for ids in self.prompt_ids.chunks(IDS_A_LINE) {
                push_ids(&mut out, ids);
            }
        }
        if !self.positions.is_empty() {
            out.push_str("\n# output\n");
            for (at, position) in self.positions.iter().enumerate() {
                push_position(&mut out, position);
                if let Some(piece) = self.pieces.get(at) {
                    out.push(' ');
                    out.push_str(&serde_json::to_string(piece).map_err(|error| self.unwritable(&error))?);
                }
                out.push('\n');
            }
        }
        out.push('\n');
        Ok(out)
    }
}

// Writing to a String does not fail: the results of `write!` below say nothing.

fn push_ids(out: &mut String, ids: &[u32]) {
    for (at, id) in ids.iter().enumerate() {
        let _ = write!(out, "{}{id}", if at == 0 { "" } else { " " });
    }
    out.push('\n');
}

fn push_position(out: &mut String, position: &Position) {
    let _ = write!(out, "{} {:.4} ", position.token.id, position.token.logprob);
    if position.top.is_empty() {
        out.push('-');
    }
    for token in &position.top {
        base85::push(out, token.id);
        base85::push(out, base85::steps_of(token.logprob));
    }
}

/// SHA-256 over the header (as JSON, so that the YAML's layout does not matter: insta writes its own) and the body.
pub fn digest(header: &Header, body: &str) -> Result<String, serde_json::Error> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_string(header)?);
    hash.update(b"\n");
    hash.update(body);
    Ok(hash
        .finalize()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
}
