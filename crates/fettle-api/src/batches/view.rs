//! A batch as it is shown.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use fettle_core::{Batch, Job};
use fettle_diagnose::Verdict;
use fettle_diagnose::stuck::{StuckFinding, StuckKind};
use fettle_model::{BatchStatus, Cause, HealingPolicy, UnixMillis};
use fettle_ports::{ApiKeyRecord, BatchRecord, StoreExt as _};
use fettle_wire::batch::{BatchModel, DedupAudit};
use fettle_wire::progress::BatchProgress;
use fettle_wire::time::Timestamp;
use serde_json::{Map, Value, json};

use super::insight::{Insight, Numbers, of_tier};
use super::{At, batch_at, failures, progress, queue, queue_position, retries, view_tier};
use crate::body::InPath;
use crate::error::ApiError;
use crate::healing;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(super) async fn read(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
) -> Result<Json<BatchModel>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    full(&state, record, run).await.map(Json)
}

/// A batch with all that is known of it.
pub(super) async fn full(
    state: &ApiState,
    record: BatchRecord,
    run: Option<Batch>,
) -> Result<BatchModel, ApiError> {
    let objects = state
        .control()
        .store()
        .batch_objects(&record.batch_id)
        .await?;
    let insight = match &run {
        Some(run) => Some(Insight::load(state, &record, run).await?),
        None => None,
    };
    let mut model = shown(state, &record, run.as_ref(), insight.as_ref());
    model.submitted_by_key_prefix = key_prefix(state, &record).await?;
    model.object_ids = Some(objects.into_iter().map(String::from).collect());
    if let Some(run) = &run {
        failures::add(state, &record, run, &mut model).await?;
    }
    Ok(model)
}

/// A batch for lists: from its state alone.
pub(super) fn brief(state: &ApiState, record: &BatchRecord, run: Option<&Batch>) -> BatchModel {
    shown(state, record, run, None)
}

/// A batch with what is known of it, without its objects.
pub(super) fn shown(
    state: &ApiState,
    record: &BatchRecord,
    run: Option<&Batch>,
    insight: Option<&Insight>,
) -> BatchModel {
    let place = run.and_then(|run| queue_position(state, run));
    let base = draft(record);
    let Some(run) = run else { return base };
    let jobs: Vec<_> = run.jobs().map(|(_, job)| job).collect();
    let retries = retries::of(run, jobs.iter().copied());
    let verdict = insight.map(|known| &known.diagnosis.verdict);
    let tiers: Vec<_> = run
        .tiers
        .iter()
        .map(|tier| view_tier::tier(record, run, tier, insight))
        .collect();
    let lost: u64 = tiers.iter().map(|tier| tier.audit.lost).sum();
    let progress = insight.map(|known| progress::of(run, known, place, warnings(state, run)));
    let completion = completion(state, progress.as_ref());
    let collections: Vec<Vec<String>> = run.tiers.iter().map(view_tier::collection_ids).collect();
    BatchModel {
        status: run.status.as_str().to_owned(),
        status_message: status_message(run, insight),
        status_diagnostics: verdict.map(status_diagnostics),
        health: health(state, run).to_owned(),
        dedup_audit: dedup_audit(run),
        collection_ids: collections.iter().flatten().cloned().collect(),
        manifest_key: first_manifest(run),
        error: run
            .jobs()
            .find_map(|(_, job)| job.reason().map(str::to_owned)),
        failure_category: verdict
            .and_then(|verdict| verdict.failure_category)
            .map(|category| category.as_str().to_owned()),
        failure_reason: verdict.and_then(|verdict| verdict.failure_reason.clone()),
        error_summary: insight.and_then(|known| known.error_summary(None)),
        unaccounted_object_count: (lost > 0).then_some(lost),
        dag_tiers: collections,
        current_tier: Some(run.current_tier()),
        total_tiers: u32::try_from(run.tiers.len()).unwrap_or(u32::MAX),
        tier_tasks: tiers,
        progress,
        queue_context: insight.map(|known| queue::context(state, run, known, place)),
        documents_written: total(run, insight, |numbers| numbers.documents),
        documents_replaced: total(run, insight, |numbers| numbers.replaced),
        documents_deleted: deleted(record, run, insight).or(base.documents_deleted),
        documents_resolvable: run.status.is_terminal(),
        retry_count: retries.count,
        max_retries: retries.max,
        retry_reason: retries.reason,
        last_retry_at: retries.last_at,
        kept_work: retries.kept,
        healing: Some(healing::view(&run.healing)),
        max_node_death_resubmits: run.healing.limit(Cause::DriverDied),
        max_deploy_resubmits: run.healing.limit(Cause::Preempted),
        node_death_resubmit_count: jobs.iter().map(|job| node_deaths(job)).sum(),
        deploy_resubmit_count: jobs.iter().map(|job| preemptions(job)).sum(),
        last_activity_at: Some(last_activity(run, insight).into()),
        estimated_completion: completion,
        updated_at: last_activity(run, insight).max(record.updated_at).into(),
        submitted_at: Some(run.submitted_at.into()),
        started_at: run.started_at.map(Timestamp),
        completed_at: run
            .ended_at
            .filter(|_| run.status.is_terminal())
            .map(Timestamp),
        ..base
    }
}

fn draft(record: &BatchRecord) -> BatchModel {
    let standard = HealingPolicy::default();
    BatchModel {
        batch_id: record.batch_id.to_string(),
        batch_name: record.batch_name.clone(),
        namespace_id: record.namespace_id.to_string(),
        bucket_id: record.bucket_id.to_string(),
        batch_type: "BUCKET".to_owned(),
        status: BatchStatus::Draft.as_str().to_owned(),
        status_message: Some("a draft: add objects and submit it".to_owned()),
        status_diagnostics: None,
        health: "healthy".to_owned(),
        object_ids: None,
        object_count: record.object_count,
        collection_ids: record
            .collection_ids
            .iter()
            .map(ToString::to_string)
            .collect(),
        dedup_strategy: record.dedup_strategy.clone(),
        effective_dedup_strategy: (record.dedup_strategy == "force").then(|| "replace".to_owned()),
        dedup_audit: None,
        batch_group_id: record.batch_group_id.as_ref().map(ToString::to_string),
        documents_deleted: (record.documents_deleted > 0).then_some(record.documents_deleted),
        submitted_by_key_id: record.created_by.as_ref().map(ToString::to_string),
        submitted_by_key_prefix: None,
        task_id: record.task_id.as_ref().map(ToString::to_string),
        webhook_url: record.webhook_url.clone(),
        manifest_key: None,
        metadata: record.metadata.clone(),
        error: None,
        failure_category: None,
        failure_reason: None,
        error_summary: None,
        failed_objects: Vec::new(),
        failed_object_count: 0,
        partial_objects: Vec::new(),
        partial_object_count: None,
        unaccounted_object_count: None,
        dag_tiers: Vec::new(),
        current_tier: None,
        total_tiers: 1,
        tier_tasks: Vec::new(),
        progress: None,
        queue_context: None,
        documents_written: None,
        documents_replaced: None,
        documents_resolvable: false,
        retry_count: 0,
        retry_reason: None,
        last_retry_at: None,
        max_retries: 0,
        kept_work: None,
        healing: record.healing.as_ref().map(healing::view),
        max_node_death_resubmits: standard.limit(Cause::DriverDied),
        max_deploy_resubmits: standard.limit(Cause::Preempted),
        node_death_resubmit_count: 0,
        deploy_resubmit_count: 0,
        lifecycle: None,
        lifecycle_reason: None,
        last_activity_at: None,
        estimated_completion: None,
        created_at: record.created_at.into(),
        updated_at: record.updated_at.into(),
        submitted_at: None,
        started_at: None,
        completed_at: None,
    }
}

fn status_message(run: &Batch, insight: Option<&Insight>) -> Option<String> {
    if run.status == BatchStatus::Draft {
        let tier = run.current_tier();
        return Some(format!("held: submit it to go on from tier {tier}"));
    }
    insight.map(|known| known.diagnosis.verdict.summary.clone())
}

fn dedup_audit(run: &Batch) -> Option<BTreeMap<String, DedupAudit>> {
    let mut audit: BTreeMap<String, DedupAudit> = BTreeMap::new();
    for (collection, tally) in run.jobs().flat_map(|(_, job)| &job.dedup) {
        audit.insert(
            collection.to_string(),
            DedupAudit {
                dedup_strategy: "skip".to_owned(),
                total_input: tally.total,
                skipped: tally.skipped,
                processed: tally.total.saturating_sub(tally.skipped),
                skipped_object_ids: tally.sample.clone(),
                reason: "the collection has documents of them already".to_owned(),
            },
        );
    }
    (!audit.is_empty()).then_some(audit)
}

fn completion(state: &ApiState, progress: Option<&BatchProgress>) -> Option<Timestamp> {
    let seconds = progress?.eta_seconds?;
    Some(state.now().plus_ms((seconds * 1000.0) as u64).into())
}

fn status_diagnostics(verdict: &Verdict) -> Map<String, Value> {
    Map::from_iter([
        ("case".to_owned(), json!(verdict.case)),
        ("confidence".to_owned(), json!(verdict.confidence)),
        ("would_decide".to_owned(), json!(verdict.would_decide)),
    ])
}

/// How the key that made a batch begins.
async fn key_prefix(state: &ApiState, record: &BatchRecord) -> Result<Option<String>, ApiError> {
    let Some(id) = &record.created_by else {
        return Ok(None);
    };
    let store = state.control().store();
    let key: Option<ApiKeyRecord> = store.find(None, id.as_str()).await?;
    Ok(key.map(|key| key.prefix))
}

/// What a watcher of a running batch should know.
fn warnings(state: &ApiState, run: &Batch) -> Vec<String> {
    let found = match run.status.is_terminal() {
        true => Vec::new(),
        false => state.control().detect_stuck(&run.id, None),
    };
    found.into_iter().map(|finding| finding.summary).collect()
}

/// One word; what needs somebody's eye most comes first.
fn health(state: &ApiState, run: &Batch) -> &'static str {
    let has_failed_rows = run.jobs().any(|(_, job)| job.counts.failed > 0);
    // Lists show many batches that are over; nothing in them can be stuck.
    let found = if run.status.is_terminal() {
        Vec::new()
    } else {
        state.control().detect_stuck(&run.id, None)
    };
    let waits = state.control().node_waits(run);
    let (now, cold_start_ms) = (state.now(), state.control().cold_start_ms());
    let any = |kind| found.iter().any(|finding| finding.kind == kind);
    match run.status {
        BatchStatus::Failed => "failed",
        BatchStatus::CompletedWithErrors => "degraded",
        _ if found.iter().any(StuckFinding::is_called_stuck) => "stuck",
        _ if waits.iter().any(|wait| wait.is_overdue(now, cold_start_ms)) => "stuck",
        _ if has_failed_rows => "degraded",
        _ if any(StuckKind::Starved) => "starved",
        _ if !found.is_empty() => "slow",
        _ if waits
            .iter()
            .any(|wait| wait.is_cold_start(now, cold_start_ms)) =>
        {
            "scaling"
        }
        _ => "healthy",
    }
}

/// How often a lost driver or node was replaced in a row.
fn node_deaths(job: &Job) -> u32 {
    job.budgets.spent(Cause::DriverDied) + job.budgets.spent(Cause::AttemptLost)
}

/// How often an attempt was replaced in a row because its node was taken away or updated.
fn preemptions(job: &Job) -> u32 {
    job.budgets.spent(Cause::Preempted)
}

/// Documents that its tiers removed, and those that somebody had removed of it since.
fn deleted(record: &BatchRecord, run: &Batch, insight: Option<&Insight>) -> Option<u64> {
    let of_tiers = total(run, insight, |numbers| numbers.deleted)?;
    Some(of_tiers + record.documents_deleted)
}

/// A number over all tiers; none while a tier's is not known.
fn total(
    run: &Batch,
    insight: Option<&Insight>,
    number: impl Fn(Numbers) -> Option<u64>,
) -> Option<u64> {
    let of = |tier| number(of_tier(tier, insight));
    run.tiers.iter().map(of).sum()
}

fn first_manifest(run: &Batch) -> Option<String> {
    let job = run.tiers.first()?.jobs.first()?;
    job.manifest.as_ref().map(|manifest| manifest.key.clone())
}

fn last_activity(run: &Batch, insight: Option<&Insight>) -> UnixMillis {
    let known = insight.iter().flat_map(|known| {
        run.jobs()
            .filter_map(|(_, job)| known.last_activity(&job.id))
    });
    let own = [run.started_at, run.ended_at].into_iter().flatten();
    known.chain(own).max().unwrap_or(run.submitted_at)
}
