//! Routes, and what happens around every request: the answer while the server boots, and the access log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;

use super::errors::ApiError;
use super::{App, chat, completions, info, json_response, metrics, tokenize};
use crate::faults::Fault;
use crate::json::{Object, list};

type Shared = State<Arc<App>>;

/// All routes of the played server, and the simulator's own.
pub fn router(app: Arc<App>) -> Router {
    let mut routes = Router::new()
        .route("/health", get(health))
        .route("/ping", get(health).post(health))
        .route(
            "/load",
            get(async || json_text(Object::new().field("server_load", 0).end())),
        )
        .route("/version", get(version))
        .route("/metrics", get(render_metrics))
        .route("/v1/models", get(models))
        .route("/v1/completions", post(completions_route))
        .route("/v1/chat/completions", post(chat_route))
        .route("/tokenize", post(tokenize_route))
        .route("/detokenize", post(detokenize_route))
        .route(
            "/simulator/info",
            get(async |State(app): Shared| json_text(info(&app))),
        )
        .route("/simulator/faults", post(set_faults));
    for (path, name) in [
        ("/v1/embeddings", "Embeddings"),
        ("/pooling", "Pooling"),
        ("/score", "Score"),
        ("/v1/score", "Score"),
        ("/rerank", "Rerank"),
    ] {
        let unsupported = async move |State(app): Shared| {
            let text = format!("The model does not support {name} API");
            ApiError::Unsupported(text).respond(&app.settings.version)
        };
        routes = routes.route(path, post(unsupported));
    }
    if app.settings.environment.dev_mode {
        routes = routes.route("/reset_prefix_cache", post(reset_prefix_cache));
    }
    routes
        .fallback(async || detail(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), around))
        .layer(DefaultBodyLimit::max(256 << 20))
        .with_state(app)
}

fn json_text(json: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

fn detail(status: StatusCode, text: &str) -> Response {
    (status, json_text(Object::new().field("detail", text).end())).into_response()
}

/// Refuses while the server boots; else answers, with uvicorn's name and a line in the access log.
async fn around(State(app): Shared, request: Request, next: Next) -> Response {
    let own = request.uri().path().starts_with("/simulator/");
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0);
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let method = request.method().clone();
    let ready = app.ready.load(Ordering::Acquire);
    let mut response = if ready || own {
        next.run(request).await
    } else {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    };
    response
        .headers_mut()
        .insert(header::SERVER, HeaderValue::from_static("uvicorn"));
    if ready && !own && app.settings.log_access {
        let status = response.status();
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        let (code, reason) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
        app.logger.uvicorn(&format!(
            "{peer} - \"{method} {target} HTTP/1.1\" {code} {reason}"
        ));
    }
    response
}

async fn health(State(app): Shared) -> Response {
    let status = if !app.engine.is_dead() {
        StatusCode::OK
    } else if app.settings.version.dead_health_is_503() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    status.into_response()
}

async fn version(State(app): Shared) -> Response {
    json_text(
        Object::new()
            .field("version", app.settings.version.to_string())
            .end(),
    )
}

async fn render_metrics(State(app): Shared) -> Response {
    let text = metrics::render(&app.settings, &app.metrics.lock(), app.started_s);
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

async fn models(State(app): Shared) -> Response {
    let created = super::unix_seconds();
    let cards = app.settings.served_names.iter().map(|name| {
        let permission = Object::new()
            .field("id", app.new_id("modelperm-"))
            .field("object", "model_permission")
            .field("created", created)
            .field("allow_create_engine", false)
            .field("allow_sampling", true)
            .field("allow_logprobs", true)
            .field("allow_search_indices", false)
            .field("allow_view", true)
            .field("allow_fine_tuning", false)
            .field("organization", "*")
            .null("group")
            .field("is_blocking", false);
        Object::new()
            .field("id", name)
            .field("object", "model")
            .field("created", created)
            .field("owned_by", "vllm")
            .field("root", &app.settings.model_path)
            .null("parent")
            .field("max_model_len", app.settings.placement.max_model_len)
            .raw("permission", &list([permission.end()]))
            .end()
    });
    json_text(
        Object::new()
            .field("object", "list")
            .raw("data", &list(cards))
            .end(),
    )
}

fn answer(app: &App, result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|error| error.respond(&app.settings.version))
}

async fn completions_route(State(app): Shared, bytes: Bytes) -> Response {
    let result = match app.gate() {
        Ok(()) => completions::handle(Arc::clone(&app), &bytes).await,
        Err(error) => Err(error),
    };
    answer(&app, result)
}

async fn chat_route(State(app): Shared, bytes: Bytes) -> Response {
    let result = match app.gate() {
        Ok(()) => chat::handle(Arc::clone(&app), &bytes).await,
        Err(error) => Err(error),
    };
    answer(&app, result)
}

async fn tokenize_route(State(app): Shared, bytes: Bytes) -> Response {
    answer(&app, tokenize::tokenize(&app, &bytes))
}

async fn detokenize_route(State(app): Shared, bytes: Bytes) -> Response {
    answer(&app, tokenize::detokenize(&app, &bytes))
}

async fn reset_prefix_cache(State(app): Shared) -> StatusCode {
    app.engine.reset_prefix_cache();
    StatusCode::OK
}

/// Body of `POST /simulator/faults`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultSet {
    faults: Vec<String>,
}

async fn set_faults(State(app): Shared, bytes: Bytes) -> Response {
    let parsed: Result<Vec<Fault>, String> = serde_json::from_slice::<FaultSet>(&bytes)
        .map_err(|error| error.to_string())
        .and_then(|set| {
            set.faults
                .iter()
                .map(|text| text.parse::<Fault>().map_err(|error| error.to_string()))
                .collect()
        });
    match parsed {
        Ok(faults) => {
            app.set_faults(faults);
            json_response(&app, Object::new().field("faults", app.fault_texts()).end())
        }
        Err(error) => (
            StatusCode::BAD_REQUEST,
            json_text(Object::new().field("error", error).end()),
        )
            .into_response(),
    }
}
