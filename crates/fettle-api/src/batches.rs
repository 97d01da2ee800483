//! Batches: made, filled, submitted, watched, stopped and mended. Every path exists below its bucket and by the batch's id alone.

mod audit;
mod bulk;
mod create;
mod diagnose;
mod diagnose_markdown;
mod diagnose_tier;
mod diagnostics;
mod estimate;
mod failed;
mod failures;
mod heal;
mod insight;
mod list;
mod logs;
mod progress;
mod queue;
mod retries;
mod retry;
mod submit;
mod tiers;
mod view;
mod view_errors;
mod view_tier;

use aide::axum::ApiRouter;
use aide::axum::routing::{delete, get, post};
use axum::extract::State;
use fettle_core::Batch;
use fettle_ports::BatchRecord;
use serde::Deserialize;

use crate::error::ApiError;
use crate::lookup;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) use create::submit_objects;
pub(crate) use list::status as status_named;
pub(crate) use submit::{cancel_whole, queue_position, task_of};

/// The parameters of a batch's paths.
#[derive(Debug, Deserialize)]
struct At {
    bucket: Option<String>,
    batch_id: String,
    tier_num: Option<u32>,
    job_id: Option<String>,
}

pub(crate) fn routes() -> ApiRouter<ApiState> {
    let below_bucket = ApiRouter::new()
        .api_route("/", post(create::create).get(list::of_bucket_get))
        .api_route("/list", post(list::of_bucket_post))
        .api_route("/bulk-submit", post(bulk::submit_bucket))
        .api_route("/submit-all", post(bulk::submit_all))
        .merge(of_one());
    let by_id = ApiRouter::new()
        .api_route("/", get(list::all_get))
        .api_route("/list", post(list::all_post))
        .api_route("/queue", get(queue::queue))
        .merge(of_one());
    ApiRouter::new()
        .nest("/buckets/{bucket}/batches", below_bucket)
        .nest("/batches", by_id)
        .api_route(
            "/analytics/performance/batches/{batch_id}/diagnostics",
            get(diagnostics::diagnostics),
        )
}

fn of_one() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route(
            "/{batch_id}",
            get(view::read).patch(create::patch).delete(create::delete),
        )
        .api_route("/{batch_id}/objects", post(create::add_objects))
        .api_route("/{batch_id}/submit", post(submit::submit))
        .api_route("/{batch_id}/cancel", post(submit::cancel))
        .api_route("/{batch_id}/retry", post(retry::retry))
        .api_route("/{batch_id}/documents", delete(retry::delete_documents))
        .api_route("/{batch_id}/resubmit", post(retry::resubmit))
        .api_route("/{batch_id}/diagnose", get(diagnose::diagnose))
        .api_route("/{batch_id}/audit", get(audit::audit))
        .api_route("/{batch_id}/estimate-cost", post(estimate::estimate))
        .api_route("/{batch_id}/logs", get(logs::logs))
        .api_route(
            "/{batch_id}/failed-documents",
            get(failed::failed_documents),
        )
        .api_route("/{batch_id}/tiers/{tier_num}/cancel", post(tiers::cancel))
        .api_route("/{batch_id}/tiers/{tier_num}/retry", post(tiers::retry))
        .api_route("/{batch_id}/tiers/{tier_num}/heal", post(heal::heal))
        .api_route(
            "/{batch_id}/tiers/{tier_num}/jobs/{job_id}/cancel",
            post(tiers::cancel_job),
        )
}

/// The batch that a path names.
async fn batch_at(
    State(state): &State<ApiState>,
    tenant: &Tenant,
    at: &At,
) -> Result<(BatchRecord, Option<Batch>), ApiError> {
    lookup::batch(
        state,
        &tenant.namespace_id,
        at.bucket.as_deref(),
        &at.batch_id,
    )
    .await
}

/// The run of a batch that was submitted.
fn submitted(run: Option<Batch>, what: &str) -> Result<Batch, ApiError> {
    run.ok_or_else(|| {
        ApiError::conflict(what, "the batch is DRAFT; submit it first").with("status", "DRAFT")
    })
}
