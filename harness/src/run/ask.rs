//! Asking a case: from the case to the request, and the answer.

use std::{fs, io, path::PathBuf};

use crate::{
    manifest::{Haystack, LoadedCase, Manifest},
    prompt,
    vllm::{Answer, Client, ClientError, Request},
};

/// Alternatives asked for with each token of an answer that has, or is to have, a golden.
const TOP_LOGPROBS: u8 = 20;
/// Sentences of the haystack whose length in tokens is measured before it is cut to size.
const SAMPLE_SENTENCES: usize = 60;

/// Why a case could not be asked or got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A picture cannot be read.
    #[error("cannot read the picture {path}: {source}")]
    Image {
        /// The picture.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Builds the request of a case. `golden` asks for token ids and logprobs.
pub async fn request(
    client: &Client,
    loaded: &LoadedCase,
    manifest: &Manifest,
    golden: bool,
) -> Result<Request, AskError> {
    let case = &loaded.case;
    let images = case.images.iter().map(|image| {
        let path = loaded.folder.join(image);
        fs::read(&path).map_err(|source| AskError::Image { path, source })
    });
    let images = images.collect::<Result<Vec<_>, _>>()?;
    let haystack = match &case.haystack {
        Some(wanted) => Some(haystack(client, wanted).await?),
        None => None,
    };
    let endpoint = manifest.model.endpoint;
    let prompt = prompt::build(case, endpoint, haystack.as_deref(), images);
    Ok(Request {
        stop: prompt::stops(case, endpoint),
        seed: manifest.serve.seed,
        top_logprobs: golden.then_some(TOP_LOGPROBS),
        tools: case.tools.clone(),
        structured: case.structured.clone(),
        thinking: manifest
            .model
            .reasoning
            .as_ref()
            .map(|reasoning| reasoning.enabled),
        ..Request::greedy(prompt, case.max_tokens)
    })
}

/// Asks.
pub async fn ask(client: &Client, request: &Request) -> Result<Answer, AskError> {
    Ok(client.ask(request).await?)
}

/// Filler as long as is wanted, by the server's own tokenizer: the length of a sample tells how many sentences.
async fn haystack(client: &Client, wanted: &Haystack) -> Result<String, AskError> {
    let sample = prompt::haystack(wanted, SAMPLE_SENTENCES);
    let tokens = client.tokenize(&sample, false).await?.len().max(1);
    let sentences = wanted.tokens as usize * SAMPLE_SENTENCES / tokens;
    Ok(prompt::haystack(wanted, sentences))
}
