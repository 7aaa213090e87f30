//! The routes that each release announces when it is ready.

use crate::version::Version;

const DOCS: &[(&str, &str)] = &[
    ("/openapi.json", "HEAD, GET"),
    ("/docs", "HEAD, GET"),
    ("/docs/oauth2-redirect", "HEAD, GET"),
    ("/redoc", "HEAD, GET"),
];

const COMMON: &[(&str, &str)] = &[
    ("/health", "GET"),
    ("/load", "GET"),
    ("/tokenize", "POST"),
    ("/detokenize", "POST"),
    ("/v1/models", "GET"),
    ("/version", "GET"),
];

const GENERATION: &[(&str, &str)] = &[("/v1/chat/completions", "POST"), ("/v1/completions", "POST")];

const FIRST: &[(&str, &str)] = &[
    ("/v1/embeddings", "POST"),
    ("/pooling", "POST"),
    ("/score", "POST"),
    ("/v1/score", "POST"),
    ("/v1/audio/transcriptions", "POST"),
    ("/rerank", "POST"),
    ("/v1/rerank", "POST"),
    ("/v2/rerank", "POST"),
    ("/invocations", "POST"),
    ("/metrics", "GET"),
];

const LATER: &[(&str, &str)] = &[
    ("/ping", "GET"),
    ("/ping", "POST"),
    ("/invocations", "POST"),
    ("/metrics", "GET"),
    ("/classify", "POST"),
    ("/v1/embeddings", "POST"),
    ("/score", "POST"),
    ("/rerank", "POST"),
    ("/pooling", "POST"),
];

/// Path and methods of every announced route.
pub fn announced(version: &Version) -> Vec<(&'static str, &'static str)> {
    let last = if version.at_least(10, 0) { LATER } else { FIRST };
    let ping: &[(&str, &str)] = if version.at_least(10, 0) {
        &[]
    } else {
        &[("/ping", "GET, POST")]
    };
    [DOCS, COMMON, ping, GENERATION, last].concat()
}
