//! Health: whether the process lives, and whether what it stands on answers. No key is needed.

use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::get;
use axum::Json;
use axum::extract::State;
use fettle_wire::task::{
    BeatResponse, HealthCheckResponse, HealthServiceErrors, HealthServiceStatus,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body::Params;
use crate::error::ApiError;
use crate::state::ApiState;

/// A part that does not answer within this counts as away.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The loop comes round a few times a second; a store that is slow to commit can hold it up for seconds.
const BEAT_AGE_MAX_MS: u64 = 30_000;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/health", get(light))
        .api_route("/health/deep", get(deep))
        .api_route("/health/liveness", get(liveness))
        .api_route("/health/beat", get(beat))
}

async fn liveness() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// Says that requests are answered; asks nothing else, so that it can be called often.
async fn light(State(state): State<ApiState>) -> Json<Value> {
    let uptime_seconds = state.now().since(state.started_at()) / 1000;
    Json(
        json!({ "status": "OK", "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": uptime_seconds }),
    )
}

/// Says whether the control loop still turns.
async fn beat(State(state): State<ApiState>) -> Json<BeatResponse> {
    let at = state.control().last_beat_at();
    let age_ms = state.now().since(at);
    Json(BeatResponse {
        status: word(age_ms <= BEAT_AGE_MAX_MS).to_owned(),
        last_beat_at: at.into(),
        age_seconds: age_ms as f64 / 1000.0,
        age_seconds_max: BEAT_AGE_MAX_MS as f64 / 1000.0,
    })
}

fn word(is_well: bool) -> &'static str {
    if is_well { "OK" } else { "DEGRADED" }
}

#[derive(Deserialize, JsonSchema)]
struct DeepQuery {
    /// Has no effect: every part is asked in any case.
    #[serde(rename = "deep")]
    _deep: Option<bool>,
    /// Whether `meta` has numbers too: attempts that run and jobs that wait.
    metrics: Option<bool>,
}

async fn deep(
    State(state): State<ApiState>,
    Params(query): Params<DeepQuery>,
) -> Result<Json<HealthCheckResponse>, ApiError> {
    let control = state.control();
    let (store, blobs, index) = tokio::join!(
        checked("the state database", control.store().check()),
        checked("the blob store", control.blobs().check()),
        checked("the document index", control.index().check()),
    );
    let capacity = control.executor().capacity();
    let backend = (capacity.total().num_cpus <= 0.0).then(|| "the backend has no cores".to_owned());
    let is_turning = state.now().since(control.last_beat_at()) <= BEAT_AGE_MAX_MS;
    let loop_stands = (!is_turning).then(|| "the control loop stands still".to_owned());
    let data = HealthServiceStatus {
        analytics: store.is_none(),
        cache: true,
        inference: backend.is_none(),
        metadata: store.is_none(),
        object_storage: blobs.is_none(),
        task_queue: store.is_none() && is_turning,
        vector_store: index.is_none(),
    };
    let is_well = data.inference && data.task_queue && data.object_storage && data.vector_store;
    let mut meta = Map::new();
    meta.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    meta.insert("backend".to_owned(), json!(control.executor().name()));
    meta.insert(
        "capacity".to_owned(),
        json!({
            "num_cpus": capacity.now.num_cpus,
            "num_gpus": capacity.now.num_gpus,
            "memory_bytes": capacity.now.memory_bytes,
            "memory_per_worker_max_bytes": capacity.memory_per_worker_max_bytes,
        }),
    );
    if query.metrics.unwrap_or(false) {
        let (running, waiting) = control.load();
        let metrics = json!({ "running_attempts": running, "waiting_jobs": waiting });
        meta.insert("metrics".to_owned(), metrics);
    }
    Ok(Json(HealthCheckResponse {
        status: word(is_well).to_owned(),
        data,
        errors: HealthServiceErrors {
            analytics: store.clone(),
            metadata: store,
            object_storage: blobs,
            vector_store: index,
            inference: backend,
            task_queue: loop_stands,
        },
        meta,
    }))
}

/// Why a part does not work; none when it does. What it says of the machine goes to the log.
async fn checked<E: std::fmt::Display>(
    what: &str,
    check: impl Future<Output = Result<(), E>>,
) -> Option<String> {
    match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "{what} failed its check");
            Some(format!(
                "{what} failed its check; the server's log tells why"
            ))
        }
        Err(_elapsed) => Some(format!(
            "{what} did not answer within {} s",
            CHECK_TIMEOUT.as_secs()
        )),
    }
}
