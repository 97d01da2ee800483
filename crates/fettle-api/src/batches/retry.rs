//! What is asked of a batch that is over: its failed documents again, everything anew, its documents away.

use axum::Json;
use axum::extract::State;
use fettle_core::{Batch, FailedRows};
use fettle_model::DocumentErrorClass;
use fettle_wire::batch::DeleteBatchDocumentsResponse;
use fettle_wire::batch_retry::{
    DOCUMENTS_PER_RETRY_MAX, MAX_RETRY_COUNT, ResubmitBatchRequest, ResubmitBatchResponse,
    RetriedTierInfo, RetryBatchRequest, RetryBatchResponse, RetryMode,
};

use super::{At, batch_at, submitted};
use crate::body::{InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(super) async fn retry(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    OptionalBody(body): OptionalBody<RetryBatchRequest>,
) -> Result<Json<RetryBatchResponse>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let before = submitted(run, "retrying failed documents")?;
    let which = which(&body)?;
    check_tiers(&before, body.tier_nums.as_deref())?;
    let retried = state
        .control()
        .retry_failed_rows(
            &tenant.namespace_id,
            &record.batch_id,
            body.tier_nums.as_deref(),
            which,
        )
        .await;
    let (run, tiers) = retried.map_err(|error| ApiError::from(error).with_status(before.status))?;
    let retried: u64 = tiers.iter().map(|tier| tier.retried).sum();
    let exhausted: u64 = tiers.iter().map(|tier| tier.exhausted).sum();
    Ok(Json(RetryBatchResponse {
        success: true,
        batch_id: record.batch_id.to_string(),
        task_id: record.task_id.map(|task| task.to_string()),
        status: run.status.as_str().to_owned(),
        retry_mode: body.retry_mode,
        max_retry_count: body.max_retry_count,
        documents_retried: retried,
        documents_exhausted: exhausted,
        tiers: tiers
            .iter()
            .map(|tier| RetriedTierInfo {
                tier_num: tier.tier_num,
                documents_retried: tier.retried,
                documents_exhausted: tier.exhausted,
            })
            .collect(),
        message: message(retried, exhausted, body.max_retry_count),
    }))
}

fn which(body: &RetryBatchRequest) -> Result<FailedRows, ApiError> {
    if !MAX_RETRY_COUNT.contains(&body.max_retry_count) {
        let message = format!(
            "must be from {} to {}",
            MAX_RETRY_COUNT.start(),
            MAX_RETRY_COUNT.end()
        );
        return Err(ApiError::invalid(&["max_retry_count"], message));
    }
    let source_ids = match &body.document_ids {
        Some(ids) if !(1..=DOCUMENTS_PER_RETRY_MAX).contains(&ids.len()) => {
            let message = format!(
                "has {} ids; from 1 to {DOCUMENTS_PER_RETRY_MAX} are allowed",
                ids.len()
            );
            return Err(ApiError::invalid(&["document_ids"], message));
        }
        Some(ids) => ids.clone(),
        None => Vec::new(),
    };
    let classes = match body.retry_mode {
        RetryMode::TransientOnly => vec![DocumentErrorClass::Transient],
        RetryMode::All => Vec::new(),
    };
    Ok(FailedRows {
        classes,
        source_ids,
        retries_max: Some(body.max_retry_count),
    })
}

fn check_tiers(run: &Batch, wanted: Option<&[u32]>) -> Result<(), ApiError> {
    let Some(wanted) = wanted else { return Ok(()) };
    if wanted.is_empty() {
        let message = "names no tier; leave it out for all tiers";
        return Err(ApiError::invalid(&["tier_nums"], message));
    }
    match wanted
        .iter()
        .find(|num| run.tiers.iter().all(|tier| tier.num != **num))
    {
        None => Ok(()),
        Some(num) => {
            let message = format!(
                "the batch has no tier {num}; it has {} tier(s), from 0",
                run.tiers.len()
            );
            Err(ApiError::invalid(&["tier_nums"], message))
        }
    }
}

fn message(retried: u64, exhausted: u64, max_retry_count: u32) -> String {
    let message = format!("{retried} failed document(s) are tried again");
    match exhausted {
        0 => message,
        _ => format!("{message}; {exhausted} were retried {max_retry_count} times already"),
    }
}

pub(super) async fn resubmit(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Params(query): Params<ResubmitBatchRequest>,
    OptionalBody(body): OptionalBody<ResubmitBatchRequest>,
) -> Result<Json<ResubmitBatchResponse>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let before = submitted(run, "resubmitting the batch")?;
    let from_tier = query.from_tier.or(body.from_tier).unwrap_or(0);
    let wishes = [
        query.auto_submit,
        body.auto_submit,
        query.trigger_processing,
        body.trigger_processing,
    ];
    let submits = wishes.into_iter().flatten().next().unwrap_or(true);
    let resubmitted = state
        .control()
        .resubmit(&tenant.namespace_id, &record.batch_id, from_tier, !submits)
        .await;
    let run = resubmitted.map_err(|error| ApiError::from(error).with_status(before.status))?;
    let message = if submits {
        format!("everything from tier {from_tier} on is done anew")
    } else {
        format!("the batch is held; submit it to do everything from tier {from_tier} on anew")
    };
    Ok(Json(ResubmitBatchResponse {
        success: true,
        batch_id: record.batch_id.to_string(),
        task_id: record.task_id.map(|task| task.to_string()),
        status: run.status.as_str().to_owned(),
        from_tier,
        total_tiers: u32::try_from(run.tiers.len()).unwrap_or(u32::MAX),
        auto_submit: submits,
        message,
    }))
}

pub(super) async fn delete_documents(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
) -> Result<Json<DeleteBatchDocumentsResponse>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let before = submitted(run, "deleting the batch's documents")?;
    let deleted = state
        .control()
        .delete_batch_documents(&tenant.namespace_id, &record.batch_id)
        .await;
    let deleted = deleted.map_err(|error| ApiError::from(error).with_status(before.status))?;
    let count: u64 = deleted.values().sum();
    Ok(Json(DeleteBatchDocumentsResponse {
        success: true,
        batch_id: record.batch_id.to_string(),
        deleted_count: count,
        collections: deleted
            .into_iter()
            .map(|(collection, count)| (collection.to_string(), count))
            .collect(),
        message: format!("{count} document(s) were deleted; the batch and its objects stay"),
    }))
}
