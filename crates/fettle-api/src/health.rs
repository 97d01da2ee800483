//! Health: whether the process lives, and whether what it stands on answers. No key is needed.

use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::get;
use axum::Json;
use axum::extract::State;
use fettle_wire::task::{HealthCheckResponse, HealthServiceErrors, HealthServiceStatus};
use serde_json::{Map, Value, json};

use crate::state::ApiState;

/// A part that does not answer within this counts as away.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/health", get(light))
        .api_route("/health/deep", get(deep))
        .api_route("/health/liveness", get(liveness))
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

async fn deep(State(state): State<ApiState>) -> Json<HealthCheckResponse> {
    let control = state.control();
    let (store, blobs, index) = tokio::join!(
        checked("the state database", control.store().check()),
        checked("the blob store", control.blobs().check()),
        checked("the document index", control.index().check()),
    );
    let capacity = control.executor().capacity();
    let backend = (capacity.now.num_cpus <= 0.0).then(|| "the backend has no cores".to_owned());
    let data = HealthServiceStatus {
        cache: true,
        inference: backend.is_none(),
        metadata: store.is_none(),
        object_storage: blobs.is_none(),
        task_queue: store.is_none(),
        vector_store: index.is_none(),
    };
    let is_well = data.inference && data.metadata && data.object_storage && data.vector_store;
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
    Json(HealthCheckResponse {
        status: if is_well { "OK" } else { "DEGRADED" }.to_owned(),
        data,
        errors: HealthServiceErrors {
            metadata: store,
            object_storage: blobs,
            vector_store: index,
            inference: backend,
        },
        meta,
    })
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
