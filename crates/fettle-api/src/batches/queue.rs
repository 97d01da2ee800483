//! What a tenant's batches wait for.

use axum::Json;
use axum::extract::State;
use fettle_control::QueuedJob;
use fettle_model::BatchStatus;
use fettle_ports::{BatchFilter, Page};
use fettle_wire::batch_queue::{QueueCapacity, QueueStatus, QueuedJobInfo};
use fettle_wire::time::Timestamp;

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
        capacity: QueueCapacity {
            num_cpus: capacity.now.num_cpus,
            num_gpus: capacity.now.num_gpus,
            memory_bytes: capacity.now.memory_bytes,
        },
    }))
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
