//! Submit and cancel, and the task that stands for a submitted batch.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use fettle_control::SubmitOptions;
use fettle_core::{Batch, JobState, Overrides, Scope};
use fettle_model::BatchStatus;
use fettle_ports::{BatchRecord, ResourceKind, StoreError};
use fettle_webhook::batch_secret;
use fettle_wire::batch::{ResourceOverrides, SubmitBatchRequest};
use fettle_wire::task::{CancellationOutcome, TaskResponse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{At, batch_at, create, submitted};
use crate::body::{InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;
use crate::webhooks::check_receiver;

/// More cores than any machine has are a mistake.
const CPUS_MAX: f64 = 4096.0;
/// More GPUs than any machine has are a mistake.
const GPUS_MAX: f64 = 64.0;
/// A worker with less cannot start.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// More memory than any machine has is a mistake.
const MEMORY_BYTES_MAX: u64 = 1 << 45;
/// Priorities lie between this and its negative.
const PRIORITY_MAX: i64 = 1000;

#[derive(Deserialize, JsonSchema)]
pub(super) struct SubmitQuery {
    /// Whether objects may be in flight to the same collections already.
    force: Option<bool>,
}

pub(super) async fn submit(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Params(query): Params<SubmitQuery>,
    OptionalBody(body): OptionalBody<SubmitBatchRequest>,
) -> Result<Json<TaskResponse>, ApiError> {
    let (mut record, run) = batch_at(&state, &tenant, &at).await?;
    let is_held = run
        .as_ref()
        .is_some_and(|run| run.status == BatchStatus::Draft);
    if !is_held || body.collection_ids.is_some() {
        create::must_be_new(run.as_ref(), "submitting the batch")?;
    }
    let options = SubmitOptions {
        overrides: by_tier(body.resources.unwrap_or_default())?,
        force: query.force.unwrap_or(false),
    };
    let is_told = body.webhook_url.is_some();
    let is_changed = is_told || body.collection_ids.is_some();
    if let Some(names) = body.collection_ids {
        record.collection_ids =
            create::collection_ids(&state, &tenant.namespace_id, &names).await?;
    }
    if let Some(address) = body.webhook_url {
        let refused = |message| ApiError::invalid(&["webhook_url"], message);
        check_receiver(&state, &address).map_err(refused)?;
        record.webhook_url = Some(address);
    }
    if is_changed {
        state.control().store().update_batch(&record).await?;
    }
    let (record, run) = state
        .control()
        .submit(&tenant.namespace_id, &record.batch_id, &options)
        .await?;
    let mut task = task_of(&state, &record, Some(&run))?;
    if is_told {
        let secret = batch_secret(&state.control().config().token_secret, &record.batch_id);
        // Here and nowhere else: whoever reads the task later is not told.
        task.additional_data
            .insert("webhook_signing_secret".to_owned(), secret.into());
    }
    Ok(Json(task))
}

fn by_tier(
    sent: BTreeMap<String, ResourceOverrides>,
) -> Result<BTreeMap<u32, Overrides>, ApiError> {
    let mut overrides = BTreeMap::new();
    for (tier, resources) in sent {
        let number: u32 = tier.parse().map_err(|_not_a_number| {
            ApiError::invalid(&["resources", &tier], "keys are tier numbers, from \"0\"")
        })?;
        overrides.insert(number, checked(&["resources", &tier], resources)?);
    }
    Ok(overrides)
}

/// Checks overrides that stand at `location` of the body.
pub(super) fn checked(location: &[&str], sent: ResourceOverrides) -> Result<Overrides, ApiError> {
    let refuse = |name: &str, message: String| {
        let at: Vec<&str> = location.iter().copied().chain([name]).collect();
        Err(ApiError::invalid(&at, message))
    };
    if sent
        .num_cpus
        .is_some_and(|cpus| !(cpus > 0.0 && cpus <= CPUS_MAX))
    {
        return refuse(
            "num_cpus",
            format!("must be more than 0 and at most {CPUS_MAX}"),
        );
    }
    if sent
        .num_gpus
        .is_some_and(|gpus| !(0.0..=GPUS_MAX).contains(&gpus))
    {
        return refuse("num_gpus", format!("must be from 0 to {GPUS_MAX}"));
    }
    if sent
        .memory_bytes
        .is_some_and(|bytes| !(MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&bytes))
    {
        return refuse(
            "memory_bytes",
            format!("must be from {MEMORY_BYTES_MIN} to {MEMORY_BYTES_MAX}"),
        );
    }
    if sent
        .priority
        .is_some_and(|priority| priority.abs() > PRIORITY_MAX)
    {
        return refuse(
            "priority",
            format!("must be from -{PRIORITY_MAX} to {PRIORITY_MAX}"),
        );
    }
    Ok(Overrides {
        num_cpus: sent.num_cpus,
        num_gpus: sent.num_gpus,
        memory_bytes: sent.memory_bytes,
        requires_gpu: sent.requires_gpu,
        priority: sent
            .priority
            .and_then(|priority| i32::try_from(priority).ok()),
    })
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct CancelQuery {
    pub(super) reason: Option<String>,
}

pub(super) async fn cancel(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Params(query): Params<CancelQuery>,
) -> Result<Json<TaskResponse>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let before = submitted(run, "cancelling the batch")?;
    cancel_whole(&state, &record, &before, query.reason)
        .await
        .map(Json)
}

/// Cancels a batch and tells how many jobs that concerned.
pub(crate) async fn cancel_whole(
    state: &ApiState,
    record: &BatchRecord,
    before: &Batch,
    reason: Option<String>,
) -> Result<TaskResponse, ApiError> {
    let open = before
        .jobs()
        .filter(|(_, job)| !job.status().is_terminal())
        .count() as u64;
    let cancelled = state
        .control()
        .cancel(&record.namespace_id, &record.batch_id, Scope::Batch, reason)
        .await;
    let run = cancelled.map_err(|error| ApiError::from(error).with_status(before.status))?;
    let outcome = CancellationOutcome {
        ray_jobs_requested: open,
        ray_jobs_accepted: open,
        ray_jobs_refused: 0,
    };
    let task = task_of(state, record, Some(&run))?;
    Ok(TaskResponse {
        cancellation: Some(outcome),
        ..task
    })
}

/// The task that stands for a submitted batch.
pub(crate) fn task_of(
    state: &ApiState,
    record: &BatchRecord,
    run: Option<&Batch>,
) -> Result<TaskResponse, ApiError> {
    let task_id = record
        .task_id
        .as_ref()
        .ok_or_else(|| ApiError::internal("a submitted batch without a task"))?;
    let failed = run.and_then(|run| {
        run.jobs()
            .find_map(|(_, job)| job.reason().map(str::to_owned))
    });
    let mut additional: Map<String, Value> = Map::new();
    additional.insert("batch_id".to_owned(), json!(record.batch_id));
    additional.insert("bucket_id".to_owned(), json!(record.bucket_id));
    additional.insert("object_count".to_owned(), json!(record.object_count));
    Ok(TaskResponse {
        task_id: task_id.to_string(),
        task_type: "api_buckets_batches_process".to_owned(),
        status: run.map_or("DRAFT", |run| run.status.as_str()).to_owned(),
        inputs: vec![record.batch_id.to_string()],
        outputs: run.map_or_else(Vec::new, collections_of),
        additional_data: additional,
        error: failed,
        cancellation: None,
        queue_position: run.and_then(|run| queue_position(state, run)),
        estimated_wait_minutes: None,
    })
}

fn collections_of(run: &Batch) -> Vec<String> {
    run.jobs()
        .flat_map(|(_, job)| job.collection_ids.iter().map(ToString::to_string))
        .collect()
}

/// The first place, from one, that a job of the batch has among all that wait for capacity.
pub(crate) fn queue_position(state: &ApiState, run: &Batch) -> Option<u64> {
    let waits = run
        .jobs()
        .any(|(_, job)| matches!(job.state, JobState::Waiting(_)));
    if !waits {
        return None;
    }
    let queue = state.control().queue();
    let place = queue.iter().position(|id| run.job(id).is_some())?;
    Some(place as u64 + 1)
}

/// Removes the task of a batch that is being deleted.
pub(super) async fn delete_task(state: &ApiState, record: &BatchRecord) -> Result<(), ApiError> {
    let Some(task) = &record.task_id else {
        return Ok(());
    };
    let store = state.control().store();
    match store
        .delete_resource(ResourceKind::Task, &record.namespace_id, task.as_str())
        .await
    {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_bounded() {
        let none = ResourceOverrides::default();
        for (sent, name) in [
            (
                ResourceOverrides {
                    num_cpus: Some(0.0),
                    ..none
                },
                "num_cpus",
            ),
            (
                ResourceOverrides {
                    num_cpus: Some(f64::NAN),
                    ..none
                },
                "num_cpus",
            ),
            (
                ResourceOverrides {
                    num_gpus: Some(-1.0),
                    ..none
                },
                "num_gpus",
            ),
            (
                ResourceOverrides {
                    memory_bytes: Some(1),
                    ..none
                },
                "memory_bytes",
            ),
            (
                ResourceOverrides {
                    priority: Some(1001),
                    ..none
                },
                "priority",
            ),
        ] {
            let error = checked(&[], sent).unwrap_err();
            assert!(
                error.message().starts_with(&format!("body.{name}")),
                "{}",
                error.message()
            );
        }
        let fits = ResourceOverrides {
            requires_gpu: Some(true),
            priority: Some(50),
            ..none
        };
        assert_eq!(checked(&[], fits).unwrap().priority, Some(50));
        assert!(by_tier(BTreeMap::from([("x".to_owned(), none)])).is_err());
    }
}
