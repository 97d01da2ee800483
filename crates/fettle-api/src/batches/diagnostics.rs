//! A batch at a glance for the performance pages: tiers, collections, what stands out.

use axum::Json;
use axum::extract::State;
use fettle_core::{Batch, Tier};
use fettle_model::{BatchStatus, CollectionId, UnixMillis, WorkStatus};
use fettle_ports::{BatchRecord, CollectionRecord, DocumentQuery, IndexError, StoreExt as _};
use fettle_wire::batch::BatchModel;
use fettle_wire::performance::{
    BatchDiagnostics, CollectionDiagnostic, PerformanceInsight, TaskProgress, TierDiagnostic,
};
use fettle_wire::tier::TierTaskInfo;
use serde_json::{Map, Value, json};

use super::insight::{Insight, of_tier};
use super::{At, batch_at, view};
use crate::body::InPath;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// A stage that takes a larger share of all work is told as the bottleneck.
const BOTTLENECK_SHARE: f64 = 0.5;

pub(super) async fn diagnostics(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
) -> Result<Json<BatchDiagnostics>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let insight = match &run {
        Some(run) => Some(Insight::load(&state, &record, run).await?),
        None => None,
    };
    let model = view::shown(&state, &record, run.as_ref(), insight.as_ref());
    let collections = collections(&state, &record, run.as_ref()).await?;
    let status = run.as_ref().map_or(BatchStatus::Draft, |run| run.status);
    let until = model.completed_at.map_or(state.now(), |at| at.0);
    let failed_tiers = run.iter().flat_map(|run| &run.tiers);
    let failed_tiers = failed_tiers.filter(|tier| tier.status == WorkStatus::Failed);
    let failed_tier_count = failed_tiers.count() as u64;
    let errors = model
        .progress
        .as_ref()
        .map_or(0, |progress| progress.errors);
    Ok(Json(BatchDiagnostics {
        batch_name: record
            .batch_name
            .clone()
            .unwrap_or_else(|| record.batch_id.to_string()),
        status: status.as_str().to_owned(),
        current_tier: model.current_tier.unwrap_or(0),
        total_tiers: model.total_tiers,
        overall_progress: model
            .progress
            .as_ref()
            .and_then(|progress| progress.percent)
            .unwrap_or(0.0),
        created_at: record.created_at.into(),
        submitted_at: model.submitted_at,
        started_at: model.started_at,
        completed_at: model.completed_at,
        duration_seconds: model
            .started_at
            .map(|from| until.since(from.0) as f64 / 1000.0),
        estimated_completion: model.estimated_completion,
        tiers: tiers(&model, run.as_ref(), insight.as_ref()),
        collections,
        performance_summary: performance(&model),
        insights: insights(insight.as_ref()),
        has_failures: errors > 0 || failed_tier_count > 0,
        failed_tier_count,
        health: health(&model).to_owned(),
        blocked_reason: blocked_reason(&state, run.as_ref(), &model),
        stuck_seconds: stuck_seconds(&model, until),
        total_objects: record.object_count,
        next_actions: next_actions(insight.as_ref()),
        batch_id: model.batch_id,
        bucket_id: model.bucket_id,
    }))
}

/// The batch's health in this answer's words.
fn health(model: &BatchModel) -> &'static str {
    match model.health.as_str() {
        "failed" | "degraded" => "degraded",
        "stuck" => "stuck",
        "scaling" => "scaling",
        _ if blocked(model).is_some() => "scaling",
        _ => "ok",
    }
}

/// What it waits for: machines before anything else.
fn blocked_reason(state: &ApiState, run: Option<&Batch>, model: &BatchModel) -> Option<String> {
    let waits = run.map(|run| state.control().node_waits(run));
    let first = waits.into_iter().flatten().min_by_key(|wait| wait.since);
    let told = first.filter(|_| matches!(model.health.as_str(), "scaling" | "stuck"));
    told.map(|wait| format!("cluster_cold_start: it lacks {}", wait.detail))
        .or_else(|| blocked(model))
}

/// How long a stuck batch has not moved.
fn stuck_seconds(model: &BatchModel, now: UnixMillis) -> Option<f64> {
    let last = model.last_activity_at.filter(|_| model.health == "stuck")?;
    Some(now.since(last.0) as f64 / 1000.0)
}

fn blocked(model: &BatchModel) -> Option<String> {
    let reason = model.queue_context.as_ref()?.get("reason")?;
    reason.as_str().map(str::to_owned)
}

fn tiers(
    model: &BatchModel,
    run: Option<&Batch>,
    insight: Option<&Insight>,
) -> Vec<TierDiagnostic> {
    let of_run = run.iter().flat_map(|run| &run.tiers);
    let shown = of_run.zip(&model.tier_tasks);
    shown
        .map(|(of_run, shown)| tier(of_run, shown, insight))
        .collect()
}

fn tier(of_run: &Tier, shown: &TierTaskInfo, insight: Option<&Insight>) -> TierDiagnostic {
    let numbers = of_tier(of_run, insight);
    let (done, rows) = (numbers.counts.total(), numbers.rows.unwrap_or(0));
    let error = shown.errors.first();
    TierDiagnostic {
        tier_num: shown.tier_num,
        task_id: shown.task_id.clone(),
        status: shown.status.clone(),
        started_at: shown.started_at,
        completed_at: shown.completed_at,
        duration_seconds: shown.duration_ms.map(|ms| ms / 1000.0),
        progress: TaskProgress {
            processed_documents: done,
            total_documents: rows,
            percentage: if of_run.status.is_success() {
                100.0
            } else {
                100.0 * done as f64 / rows.max(1) as f64
            },
        },
        ray_job_id: shown.ray_job_id.clone(),
        ray_dashboard_url: None,
        error: error.map(|error| error.message.clone()),
        error_type: error.map(|error| error.error_type.clone()),
        requires_gpu: shown.requires_gpu,
        ray_job_status: shown.ray_job_status.clone(),
        submission_params: shown.submission_params.clone(),
    }
}

async fn collections(
    state: &ApiState,
    record: &BatchRecord,
    run: Option<&Batch>,
) -> Result<Vec<CollectionDiagnostic>, ApiError> {
    let of_run = run.iter().flat_map(|run| run.jobs());
    let mut wanted: Vec<(CollectionId, bool)> = of_run
        .flat_map(|(_, job)| {
            let is_over = job.status().is_terminal();
            job.collection_ids
                .iter()
                .map(move |id| (id.clone(), is_over))
        })
        .collect();
    if run.is_none() {
        wanted = record
            .collection_ids
            .iter()
            .map(|id| (id.clone(), true))
            .collect();
    }
    let mut shown = Vec::with_capacity(wanted.len());
    for (id, is_over) in wanted {
        shown.push(collection(state, record, &id, is_over).await?);
    }
    Ok(shown)
}

async fn collection(
    state: &ApiState,
    record: &BatchRecord,
    id: &CollectionId,
    is_over: bool,
) -> Result<CollectionDiagnostic, ApiError> {
    let control = state.control();
    let namespace = &record.namespace_id;
    let found: Option<CollectionRecord> =
        control.store().find(Some(namespace), id.as_str()).await?;
    let all = DocumentQuery::default();
    let documents = match control.index().count(namespace, id, &all).await {
        Err(IndexError::NoCollection { .. }) => 0,
        counted => counted?,
    };
    let status = match (is_over, documents) {
        (false, _) => "processing",
        (true, 0) => "empty",
        (true, _) => "ready",
    };
    Ok(CollectionDiagnostic {
        collection_id: id.to_string(),
        // A collection that was deleted meanwhile has no name any more.
        collection_name: found.map_or_else(|| id.to_string(), |found| found.collection_name),
        document_count: documents,
        expected_documents: None,
        status: status.to_owned(),
    })
}

fn performance(model: &BatchModel) -> Map<String, Value> {
    let mut summary = Map::new();
    if let Some(progress) = &model.progress {
        summary.insert("stage_history".to_owned(), json!(progress.stage_history));
        summary.insert(
            "rows_processed".to_owned(),
            json!(progress.objects_extracted),
        );
        summary.insert("rows_failed".to_owned(), json!(progress.objects_failed));
        summary.insert(
            "documents_written".to_owned(),
            json!(progress.documents_written),
        );
        summary.insert(
            "items_per_second".to_owned(),
            json!(progress.items_per_second),
        );
    }
    summary
}

/// The bottleneck, memory near its limit, and failed rows.
fn insights(insight: Option<&Insight>) -> Vec<PerformanceInsight> {
    let mut found = Vec::new();
    for tier in insight.iter().flat_map(|known| &known.diagnosis.tiers) {
        let bottleneck = tier.bottleneck.as_ref();
        if let Some(stage) = bottleneck.filter(|found| found.share >= BOTTLENECK_SHARE) {
            found.push(PerformanceInsight {
                kind: "bottleneck".to_owned(),
                severity: "info".to_owned(),
                message: format!(
                    "tier {}: {:.0} % of the work is {}",
                    tier.tier_num,
                    stage.share * 100.0,
                    stage.stage.as_str()
                ),
                stage: Some(stage.stage.as_str().to_owned()),
                metric_value: Some(stage.share),
                recommendation: Some(stage.meaning.clone()),
            });
        }
    }
    let errors = insight
        .iter()
        .flat_map(|known| &known.diagnosis.error_groups);
    found.extend(errors.map(|group| PerformanceInsight {
        kind: "warning".to_owned(),
        severity: "warning".to_owned(),
        message: format!("{} row(s) failed: {}", group.count, group.example.message),
        stage: Some(group.stage.as_str().to_owned()),
        metric_value: Some(group.count as f64),
        recommendation: None,
    }));
    found
}

fn next_actions(insight: Option<&Insight>) -> Vec<String> {
    insight.map_or_else(
        || vec!["Submit the batch.".to_owned()],
        |known| known.diagnosis.recommendations.clone(),
    )
}
