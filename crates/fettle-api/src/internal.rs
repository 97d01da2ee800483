//! Reports of drivers and workers, and what those on other machines fetch, each with its attempt's own token; and what the backend
//! tells of itself.
//!
//! Owns the door only: what a report means is the control room's.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use fettle_model::{AttemptId, AttemptSpec};
use fettle_wire::internal::{
    ExitReport, Heartbeat, HeartbeatAck, ROWS_BODY_BYTES_MAX, RowsAck, RowsReport,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::{bearer, unauthorized};
use crate::body::{Body, InPath};
use crate::error::ApiError;
use crate::state::ApiState;

/// A heartbeat or an exit holds at most the evidence of 64 worker deaths with log tails and memory curves.
const REPORT_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An artifact is a picture or a sound that an extractor has cut out or made smaller.
const ARTIFACT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Ray sends a thousand events at once at most, and what is refused again and again.
const EVENTS_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

pub(crate) fn routes() -> Router<ApiState> {
    let large = Router::new()
        .route("/internal/attempts/{attempt}/rows", post(rows))
        .layer(DefaultBodyLimit::max(ROWS_BODY_BYTES_MAX));
    let small = Router::new()
        .route("/internal/attempts/{attempt}/heartbeat", post(heartbeat))
        .route("/internal/attempts/{attempt}/exit", post(exit))
        .route("/internal/attempts/{attempt}/spec", get(spec))
        .route("/internal/attempts/{attempt}/model/{file}", get(model))
        .layer(DefaultBodyLimit::max(REPORT_BODY_BYTES_MAX));
    let blobs = Router::new()
        .route(
            "/internal/attempts/{attempt}/blobs/{*key}",
            get(blob).put(put_blob),
        )
        .layer(DefaultBodyLimit::max(ARTIFACT_BYTES_MAX));
    let events = Router::new()
        .route("/internal/backend-events/{token}", post(events))
        .layer(DefaultBodyLimit::max(EVENTS_BODY_BYTES_MAX));
    large.merge(small).merge(blobs).merge(events)
}

/// The attempt in the path, whatever else is in it.
#[derive(Deserialize)]
struct AttemptPath {
    attempt: AttemptId,
}

/// What the path names below the attempt.
#[derive(Deserialize)]
struct BlobPath {
    key: String,
}

#[derive(Deserialize)]
struct ModelPath {
    file: String,
}

/// The attempt that reports, proven by its token.
struct Reporter(AttemptId);

impl FromRequestParts<ApiState> for Reporter {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Response> {
        let path = InPath::<AttemptPath>::from_request_parts(parts, state).await;
        let InPath(AttemptPath { attempt }) = path.map_err(IntoResponse::into_response)?;
        let token = bearer(&parts.headers).unwrap_or_default();
        if state.control().attempt_token_is(&attempt, token) {
            Ok(Self(attempt))
        } else {
            Err(unauthorized("this is not the attempt's token"))
        }
    }
}

async fn rows(
    State(state): State<ApiState>,
    Reporter(attempt): Reporter,
    Body(report): Body<RowsReport>,
) -> Result<Json<RowsAck>, ApiError> {
    Ok(Json(state.control().record_rows(&attempt, report).await?))
}

async fn spec(
    State(state): State<ApiState>,
    Reporter(attempt): Reporter,
) -> Result<Json<AttemptSpec>, ApiError> {
    Ok(Json(state.control().attempt_spec(&attempt).await?))
}

async fn blob(
    State(state): State<ApiState>,
    Reporter(attempt): Reporter,
    InPath(BlobPath { key }): InPath<BlobPath>,
) -> Result<Bytes, ApiError> {
    Ok(state.control().attempt_blob(&attempt, &key).await?)
}

async fn put_blob(
    State(state): State<ApiState>,
    Reporter(attempt): Reporter,
    InPath(BlobPath { key }): InPath<BlobPath>,
    content: Bytes,
) -> Result<StatusCode, ApiError> {
    let control = state.control();
    control.put_attempt_blob(&attempt, &key, content).await?;
    Ok(StatusCode::CREATED)
}

async fn model(
    State(state): State<ApiState>,
    Reporter(attempt): Reporter,
    InPath(ModelPath { file }): InPath<ModelPath>,
) -> Result<Bytes, ApiError> {
    Ok(state.control().attempt_model(&attempt, &file).await?)
}

/// The backend can send no header of ours, so its token is in the path.
#[derive(Deserialize)]
struct BackendPath {
    token: String,
}

async fn events(
    State(state): State<ApiState>,
    InPath(BackendPath { token }): InPath<BackendPath>,
    events: Bytes,
) -> Result<StatusCode, ApiError> {
    if !state.control().backend_token_is(&token) {
        return Err(ApiError::not_found("address", "of the backend's events"));
    }
    state.control().executor().hear(events).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn heartbeat(
    State(state): State<ApiState>,
    Reporter(attempt): Reporter,
    Body(beat): Body<Heartbeat>,
) -> Result<Json<HeartbeatAck>, ApiError> {
    Ok(Json(state.control().heartbeat(&attempt, beat).await?))
}

async fn exit(
    State(state): State<ApiState>,
    Reporter(attempt): Reporter,
    Body(report): Body<ExitReport>,
) -> Result<Json<Value>, ApiError> {
    state.control().exited(&attempt, report).await?;
    Ok(Json(json!({ "success": true })))
}
