//! What a tenant's batches wait for.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use fettle_control::QueuedJob;
use fettle_core::{Batch, Job, JobState, Wait};
use fettle_diagnose::Awaited;
use fettle_model::{BatchStatus, UnixMillis};
use fettle_ports::{BatchFilter, Page, Room};
use fettle_wire::batch_queue::{QueueCapacity, QueueStatus, QueuedJobInfo};
use fettle_wire::time::Timestamp;
use serde_json::{Map, Value, json};

use super::insight::Insight;
use super::progress;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(super) async fn queue(
    State(state): State<ApiState>,
    tenant: Tenant,
) -> Result<Json<QueueStatus>, ApiError> {
    let control = state.control();
    let (jobs, waiting) = control.queued(&tenant.namespace_id);
    let capacity = control.executor().capacity();
    Ok(Json(QueueStatus {
        queued_batches: count(&state, &tenant, BatchStatus::Queued).await?,
        processing_batches: count(&state, &tenant, BatchStatus::Processing).await?,
        waiting_jobs: jobs.into_iter().map(info).collect(),
        waiting_jobs_of_all: waiting,
        capacity: amounts(capacity.now),
        on_demand: amounts(capacity.on_demand),
    }))
}

fn amounts(room: Room) -> QueueCapacity {
    QueueCapacity {
        num_cpus: room.num_cpus,
        num_gpus: room.num_gpus,
        memory_bytes: room.memory_bytes,
    }
}

/// What a batch waits for and has waited for.
pub(super) fn context(
    state: &ApiState,
    run: &Batch,
    insight: &Insight,
    place: Option<u64>,
) -> Map<String, Value> {
    let waiting: Vec<Value> = run
        .jobs()
        .filter_map(|(tier_num, job)| {
            let reason = progress::waits_for(job, insight)?;
            let is_for_nodes = insight.job(&job.id).is_some_and(|facts| facts.node_wait.is_some());
            let kind = match &job.state {
                JobState::Waiting(Wait::Capacity { .. }) | JobState::Active if is_for_nodes => "nodes",
                JobState::Waiting(Wait::Capacity { .. }) => "capacity",
                JobState::Waiting(Wait::Backoff { .. }) => "backoff",
                _ => "preparing",
            };
            let since = since(insight, job).map(Timestamp);
            Some(json!({"tier_num": tier_num, "ray_job_id": job.id, "waits_for": kind, "reason": reason, "since": since}))
        })
        .collect();
    let first = run.jobs().filter_map(|(_, job)| since(insight, job)).min();
    let waited_ms: u64 = insight
        .diagnosis
        .tiers
        .iter()
        .map(|tier| tier.phases.waiting_ms)
        .sum();
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let context = json!({
        "queued_at": run.started_at.is_none().then_some(Timestamp(run.submitted_at)),
        "admitted_at": run.started_at.map(Timestamp),
        "waited_seconds": seconds(waited_ms),
        "waiting_seconds": first.map(|since| seconds(state.now().since(since))),
        "reason": waiting.first().and_then(|job| job.get("reason")),
        "queue_position": place,
        "batches_ahead": place.map(|_| batches_ahead(state, run)),
        "jobs": waiting,
    });
    context.as_object().cloned().unwrap_or_default()
}

/// Since when a job waits.
fn since(insight: &Insight, job: &Job) -> Option<UnixMillis> {
    let facts = insight.job(&job.id)?;
    match &facts.waiting {
        Some(wait) => wait.since,
        None => {
            let wait = facts.node_wait.as_ref()?;
            (wait.what == Awaited::Driver).then_some(wait.since)
        }
    }
}

/// Other batches of the tenant that are admitted before this one.
fn batches_ahead(state: &ApiState, run: &Batch) -> usize {
    let (queued, _) = state.control().queued(&run.namespace_id);
    let before = queued.into_iter().map(|job| job.batch_id);
    let before = before.take_while(|batch| *batch != run.id);
    before.collect::<BTreeSet<_>>().len()
}

fn info(job: QueuedJob) -> QueuedJobInfo {
    QueuedJobInfo {
        batch_id: job.batch_id.to_string(),
        tier_num: job.tier_num,
        ray_job_id: job.job_id.to_string(),
        queue_position: job.place,
        reason: job.lacks,
        since: job.since.map(Timestamp),
    }
}

async fn count(state: &ApiState, tenant: &Tenant, status: BatchStatus) -> Result<u64, ApiError> {
    let filter = BatchFilter {
        namespace_id: Some(tenant.namespace_id.clone()),
        status: Some(status),
        ..BatchFilter::default()
    };
    let page = Page {
        limit: 1,
        offset: 0,
        after: None,
    };
    let (_, total) = state.control().store().list_batches(&filter, page).await?;
    Ok(total)
}
