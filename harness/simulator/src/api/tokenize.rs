//! `POST /tokenize` and `POST /detokenize`.

use axum::response::Response;

use super::errors::ApiError;
use super::request::Body;
use super::{App, json_response, template};
use crate::json::Object;

/// Text or messages to tokens.
pub fn tokenize(app: &App, bytes: &[u8]) -> Result<Response, ApiError> {
    let body = Body::parse(bytes, "tokenize")?;
    app.check_model(&body)?;
    let (text, specials) = match body.text("prompt") {
        Ok(Some(prompt)) => (prompt.to_owned(), true),
        _ if body.get("messages").is_some() => (template::render(&body, &app.settings)?, false),
        Ok(None) => return Err(body.missing("prompt")),
        Err(error) => return Err(error),
    };
    let tokens = app.encode(&text, body.flag("add_special_tokens", specials)?);
    let wants_strings = body.flag("return_token_strs", false)?;
    let strings: Vec<_> = tokens
        .iter()
        .map(|token| app.language.tokenizer().piece(*token))
        .collect();
    let answer = Object::new()
        .field("count", tokens.len())
        .field("max_model_len", app.settings.placement.max_model_len)
        .field("tokens", &tokens)
        .when(app.settings.version.token_strings(), |object| {
            object.field("token_strs", wants_strings.then_some(&strings))
        });
    Ok(json_response(app, answer.end()))
}

/// Tokens to text.
pub fn detokenize(app: &App, bytes: &[u8]) -> Result<Response, ApiError> {
    let body = Body::parse(bytes, "detokenize")?;
    app.check_model(&body)?;
    if body.get("tokens").is_none() {
        return Err(body.missing("tokens"));
    }
    let tokens = body.tokens("tokens")?;
    if let Some(token) = tokens
        .iter()
        .find(|token| **token >= app.settings.model.vocab_size)
    {
        return Err(ApiError::Bad(format!("Token id {token} is out of vocabulary")));
    }
    let text = app.language.tokenizer().decode(&tokens, false);
    Ok(json_response(app, Object::new().field("prompt", text).end()))
}
