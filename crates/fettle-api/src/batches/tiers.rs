//! Tiers and jobs: cancel, retry with other resources.

use axum::Json;
use axum::extract::State;
use fettle_core::{Batch, Scope, Tier};
use fettle_model::JobId;
use fettle_ports::BatchRecord;
use fettle_wire::batch::{ResourceOverrides, TierActionResponse};
use serde_json::{Map, Value, json};

use super::submit::{CancelQuery, checked};
use super::{At, batch_at, submitted};
use crate::body::{InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// The submitted batch and the tier that a path names.
pub(super) async fn tier_at(
    state: &State<ApiState>,
    tenant: &Tenant,
    at: &At,
    what: &str,
) -> Result<(BatchRecord, Batch, u32), ApiError> {
    let (record, run) = batch_at(state, tenant, at).await?;
    let run = submitted(run, what)?;
    let num = at.tier_num.unwrap_or_default();
    tier(&run, num)?;
    Ok((record, run, num))
}

pub(super) fn tier(run: &Batch, num: u32) -> Result<&Tier, ApiError> {
    run.tiers
        .iter()
        .find(|tier| tier.num == num)
        .ok_or_else(|| ApiError::not_found("tier", &num.to_string()))
}

pub(super) async fn cancel(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Params(query): Params<CancelQuery>,
) -> Result<Json<TierActionResponse>, ApiError> {
    let (record, before, num) = tier_at(&state, &tenant, &at, "cancelling the tier").await?;
    let scope = Scope::Tier { tier_num: num };
    let run = state
        .control()
        .cancel(&tenant.namespace_id, &record.batch_id, scope, query.reason)
        .await;
    let run = run.map_err(|error| ApiError::from(error).with_status(before.status))?;
    let message = format!("tier {num} is being cancelled");
    answer(&record, &run, num, None, Map::new(), message).map(Json)
}

pub(super) async fn cancel_job(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Params(query): Params<CancelQuery>,
) -> Result<Json<TierActionResponse>, ApiError> {
    let (record, run, num) = tier_at(&state, &tenant, &at, "cancelling the job").await?;
    let given = at.job_id.unwrap_or_default();
    let job: Option<JobId> = given.parse().ok();
    let in_tier = job.filter(|job| {
        tier(&run, num).is_ok_and(|tier| tier.jobs.iter().any(|other| other.id == *job))
    });
    let job = in_tier.ok_or_else(|| ApiError::not_found("job", &given))?;
    let scope = Scope::Job { job: job.clone() };
    let cancelled = state
        .control()
        .cancel(&tenant.namespace_id, &record.batch_id, scope, query.reason)
        .await;
    let run = cancelled.map_err(|error| ApiError::from(error).with_status(run.status))?;
    let message = format!("job {job} is being cancelled");
    answer(&record, &run, num, Some(&job), Map::new(), message).map(Json)
}

pub(super) async fn retry(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    OptionalBody(body): OptionalBody<ResourceOverrides>,
) -> Result<Json<TierActionResponse>, ApiError> {
    let overrides = checked(&[], body)?;
    let (record, before, num) = tier_at(&state, &tenant, &at, "retrying the tier").await?;
    let run = state
        .control()
        .retry_tier(&tenant.namespace_id, &record.batch_id, num, overrides)
        .await;
    let run = run.map_err(|error| ApiError::from(error).with_status(before.status))?;
    let params = match json!(body) {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        _ => Map::new(),
    };
    let message = format!("tier {num} is tried again: its unfinished and failed rows");
    answer(&record, &run, num, None, params, message).map(Json)
}

fn answer(
    record: &BatchRecord,
    run: &Batch,
    num: u32,
    job: Option<&JobId>,
    params: Map<String, Value>,
    message: String,
) -> Result<TierActionResponse, ApiError> {
    let tier = tier(run, num)?;
    Ok(TierActionResponse {
        success: true,
        batch_id: record.batch_id.to_string(),
        tier_num: num,
        ray_job_id: job.map(ToString::to_string),
        ray_job_ids: tier.jobs.iter().map(|job| job.id.to_string()).collect(),
        status: tier.status.as_str().to_owned(),
        batch_status: run.status.as_str().to_owned(),
        task_id: record.task_id.as_ref().map(ToString::to_string),
        submission_params: params,
        message,
    })
}
