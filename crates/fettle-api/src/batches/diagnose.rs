//! Why a batch ended as it did, what to know of it while it runs, and what would mend it.
//!
//! Owns turning the diagnosis into public JSON and its remedies into calls that can be sent as they stand.

use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as OpenApiResponse};
use aide::operation::OperationOutput;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use fettle_core::{Batch, TimelineEntry};
use fettle_diagnose::{
    Difference, ErrorGroup as Group, EvidenceLine as Line, JobComparison, RemedyAction, RemedyKind,
};
use fettle_ports::{BatchRecord, RowErrorQuery, TrackRecord};
use fettle_wire::diagnose::{
    ComparedJob, ComparedRuns, DiagnoseResponse, ErrorGroup, EvidenceLine, FAILED_DOCUMENTS_SAMPLE,
    RecommendedAction, RemedyRecord, RunDifference, TIMELINE_SHOWN_MAX, TimelineLine,
};
use fettle_wire::time::Timestamp;
use serde_json::{Map, Value, json};

use super::diagnose_markdown::markdown;
use super::diagnose_tier::per_tier;
use super::insight::Insight;
use super::view_tier::infrastructure_event;
use super::{At, audit, batch_at, failed};
use crate::body::InPath;
use crate::error::ApiError;
use crate::pages;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(super) async fn diagnose(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    headers: HeaderMap,
) -> Result<Told, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let told = match &run {
        Some(run) => of_run(&state, &record, run).await?,
        None => of_draft(&record),
    };
    Ok(if pages::wants_markdown(&headers) {
        Told::Markdown(markdown(&told, &pages::own_address(&headers)))
    } else {
        Told::Json(Box::new(told))
    })
}

/// The answer in the form that was asked for.
pub(super) enum Told {
    Json(Box<DiagnoseResponse>),
    Markdown(String),
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        match self {
            Self::Json(told) => Json(told).into_response(),
            Self::Markdown(text) => pages::markdown(text),
        }
    }
}

impl OperationOutput for Told {
    type Inner = DiagnoseResponse;

    fn operation_response(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Option<OpenApiResponse> {
        let mut response = Json::<DiagnoseResponse>::operation_response(context, operation)?;
        let text = MediaType::default();
        response.content.insert(pages::MARKDOWN.to_owned(), text);
        Some(response)
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, OpenApiResponse)> {
        let response = Self::operation_response(context, operation);
        response.into_iter().map(|it| (Some(200), it)).collect()
    }
}

async fn of_run(
    state: &ApiState,
    record: &BatchRecord,
    run: &Batch,
) -> Result<DiagnoseResponse, ApiError> {
    let insight = Insight::load_with_last_good(state, record, run).await?;
    let store = state.control().store();
    let sample = RowErrorQuery {
        limit: FAILED_DOCUMENTS_SAMPLE,
        ..RowErrorQuery::default()
    };
    let (errors, failed_document_count) = store.row_errors(&record.batch_id, &sample).await?;
    let timeline = store.timeline(&record.batch_id).await?;
    let records = store.track_record(&record.namespace_id).await?;
    let diagnosis = &insight.diagnosis;
    let verdict = &diagnosis.verdict;
    Ok(DiagnoseResponse {
        status: run.status.as_str().to_owned(),
        failure_category: verdict
            .failure_category
            .map(|category| category.as_str().to_owned()),
        failure_reason: verdict.failure_reason.clone(),
        summary: verdict.summary.clone(),
        confidence: verdict.confidence,
        docs_url: verdict.failure_category.map(pages::category_url),
        case: verdict.case.map(|case| case.as_str().to_owned()),
        case_docs_url: verdict.case.map(pages::case_url),
        would_decide: verdict.would_decide.clone(),
        infrastructure_events: insight
            .events(run)
            .map(|(num, event)| infrastructure_event(num, event))
            .collect(),
        per_tier: run
            .tiers
            .iter()
            .map(|tier| per_tier(tier, &insight))
            .collect(),
        failed_document_count,
        failed_documents_sample: errors.into_iter().map(failed::view).collect(),
        recommendations: diagnosis.recommendations.clone(),
        recommended_actions: actions(record, &diagnosis.recommended_actions, &records),
        evidence: diagnosis.evidence.iter().map(evidence).collect(),
        error_groups: diagnosis.error_groups.iter().map(error_group).collect(),
        timeline: latest(&timeline).iter().map(timeline_line).collect(),
        audit: audit::of_batch(record, Some(run), Some(&insight)),
        compared_with_last_good: compared(&diagnosis.compared),
        batch_id: record.batch_id.to_string(),
    })
}

fn of_draft(record: &BatchRecord) -> DiagnoseResponse {
    DiagnoseResponse {
        batch_id: record.batch_id.to_string(),
        status: "DRAFT".to_owned(),
        failure_category: None,
        failure_reason: None,
        summary: "The batch is a draft: nothing has run yet.".to_owned(),
        confidence: None,
        docs_url: None,
        case: None,
        case_docs_url: None,
        would_decide: Vec::new(),
        infrastructure_events: Vec::new(),
        per_tier: Vec::new(),
        failed_document_count: 0,
        failed_documents_sample: Vec::new(),
        recommendations: vec!["Submit the batch.".to_owned()],
        recommended_actions: vec![RecommendedAction {
            method: "POST".to_owned(),
            path: format!("{}/submit", path(record)),
            body: Map::new(),
            reason: "Nothing runs before a batch is submitted.".to_owned(),
            expected_effect: "The batch is planned and its first tier begins.".to_owned(),
            confidence: 1.0,
            track_record: None,
        }],
        evidence: Vec::new(),
        error_groups: Vec::new(),
        timeline: Vec::new(),
        audit: audit::of_batch(record, None, None),
        compared_with_last_good: None,
    }
}

fn path(record: &BatchRecord) -> String {
    format!(
        "/v1/buckets/{}/batches/{}",
        record.bucket_id, record.batch_id
    )
}

fn latest(timeline: &[TimelineEntry]) -> &[TimelineEntry] {
    &timeline[timeline.len().saturating_sub(TIMELINE_SHOWN_MAX)..]
}

/// Remedies as calls.
fn actions(
    record: &BatchRecord,
    actions: &[RemedyAction],
    records: &[TrackRecord],
) -> Vec<RecommendedAction> {
    let call = |action: &RemedyAction| {
        let (path, body) = call_of(record, &action.kind);
        RecommendedAction {
            method: "POST".to_owned(),
            path,
            body,
            reason: action.reason.clone(),
            expected_effect: action.expected_effect.clone(),
            confidence: action.confidence,
            track_record: track_record(&action.kind, records),
        }
    };
    actions.iter().map(call).collect()
}

/// How often the like of a remedy has worked, whatever the cause was.
fn track_record(kind: &RemedyKind, records: &[TrackRecord]) -> Option<RemedyRecord> {
    let remedy = match kind {
        RemedyKind::RetryTier { overrides, .. } if overrides.memory_bytes.is_some() => {
            "raise_memory"
        }
        RemedyKind::RetryTier { .. } => "retry",
        RemedyKind::RetryFailedDocuments { .. } => "retry_failed_rows",
        RemedyKind::HealTier { .. } | RemedyKind::CancelBatch => return None,
    };
    let like = records.iter().filter(|record| record.remedy == remedy);
    Some(
        like.fold(RemedyRecord::default(), |sum, record| RemedyRecord {
            worked: sum.worked + record.worked,
            failed: sum.failed + record.failed,
        }),
    )
}

fn call_of(record: &BatchRecord, kind: &RemedyKind) -> (String, Map<String, Value>) {
    let base = path(record);
    match kind {
        RemedyKind::RetryTier {
            tier_num,
            overrides,
        } => {
            let set = |(key, value): (String, Value)| (!value.is_null()).then_some((key, value));
            let body = match json!(overrides) {
                Value::Object(map) => map.into_iter().filter_map(set).collect(),
                _ => Map::new(),
            };
            (format!("{base}/tiers/{tier_num}/retry"), body)
        }
        RemedyKind::RetryFailedDocuments { tier_nums, mode } => {
            let keys = [("retry_mode", json!(mode)), ("tier_nums", json!(tier_nums))];
            let body = keys.map(|(key, value)| (key.to_owned(), value));
            (format!("{base}/retry"), body.into_iter().collect())
        }
        RemedyKind::CancelBatch => (format!("{base}/cancel"), Map::new()),
        RemedyKind::HealTier { tier_num, action } => {
            let body = Map::from_iter([("action".to_owned(), json!(action))]);
            (format!("{base}/tiers/{tier_num}/heal"), body)
        }
    }
}

fn evidence(line: &Line) -> EvidenceLine {
    EvidenceLine {
        at: line.at.map(Timestamp),
        tier_num: line.tier_num,
        attempt_id: line.attempt.as_ref().map(ToString::to_string),
        worker: line.worker,
        what: line.what.clone(),
        source: line.source.clone(),
        raw: line.raw.clone(),
        log_offset: line.log_offset,
        rule_ids: line.rule_ids.clone(),
        supports: line.supports.as_str().to_owned(),
        docs_url: pages::case_url(line.supports),
    }
}

fn error_group(group: &Group) -> ErrorGroup {
    ErrorGroup {
        tier_num: group.tier_num,
        category: group.category.as_str().to_owned(),
        error_type: group.class.as_str().to_owned(),
        stage: group.stage.as_str().to_owned(),
        component: group.component.clone(),
        fingerprint: group.fingerprint.clone(),
        count: group.count,
        ray_job_id: group.job_id.to_string(),
        example: group.example.message.clone(),
        example_document_id: group.example.source_id.clone(),
        docs_url: pages::class_url(group.class),
    }
}

/// The comparison; none where no job has an earlier good run.
fn compared(jobs: &[JobComparison]) -> Option<ComparedRuns> {
    let difference = |found: &Difference| RunDifference {
        what: found.what.clone(),
        last_good: found.last_good.clone(),
        now: found.now.clone(),
    };
    let job = |found: &JobComparison| ComparedJob {
        tier_num: found.tier_num,
        ray_job_id: found.job_id.to_string(),
        last_good_batch_id: found.good_batch_id.to_string(),
        last_good_ray_job_id: found.good_job_id.to_string(),
        last_good_completed_at: found.good_ended_at.map(Timestamp),
        differences: found.differences.iter().map(difference).collect(),
    };
    (!jobs.is_empty()).then(|| ComparedRuns {
        jobs: jobs.iter().map(job).collect(),
    })
}

fn timeline_line(entry: &TimelineEntry) -> TimelineLine {
    TimelineLine {
        at: entry.at.into(),
        kind: json!(entry.kind).as_str().unwrap_or_default().to_owned(),
        message: entry.message.clone(),
        tier_num: entry.tier_num,
        ray_job_id: entry.job_id.as_ref().map(ToString::to_string),
        attempt_id: entry.attempt_id.as_ref().map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_diagnose::{ResourceOverrides, RetryMode};
    use fettle_model::{BatchId, BucketId, NamespaceId, UnixMillis};

    fn record() -> BatchRecord {
        BatchRecord {
            namespace_id: NamespaceId::from_entropy([1; 15]),
            bucket_id: BucketId::from_entropy([2; 15]),
            batch_id: BatchId::from_entropy([3; 15]),
            batch_name: None,
            collection_ids: vec![],
            metadata: Map::new(),
            dedup_strategy: "replace".into(),
            created_by: None,
            task_id: None,
            webhook_url: None,
            resource_overrides: Map::new(),
            healing: None,
            object_count: 1,
            batch_group_id: None,
            documents_deleted: 0,
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
        }
    }

    #[test]
    fn a_remedy_becomes_a_call_with_only_what_it_changes() {
        let record = record();
        let overrides = ResourceOverrides {
            memory_bytes: Some(1 << 30),
            ..ResourceOverrides::default()
        };
        let (path, body) = call_of(
            &record,
            &RemedyKind::RetryTier {
                tier_num: 1,
                overrides,
            },
        );
        assert_eq!(
            path,
            format!(
                "/v1/buckets/{}/batches/{}/tiers/1/retry",
                record.bucket_id, record.batch_id
            )
        );
        assert_eq!(Value::Object(body), json!({"memory_bytes": 1 << 30}));
        let failed = RemedyKind::RetryFailedDocuments {
            tier_nums: vec![2, 1],
            mode: RetryMode::All,
        };
        let (path, body) = call_of(&record, &failed);
        assert!(path.ends_with("/retry") && !path.contains("/tiers/"));
        assert_eq!(
            Value::Object(body),
            json!({"retry_mode": "all", "tier_nums": [2, 1]})
        );
        let heal = RemedyKind::HealTier {
            tier_num: 0,
            action: fettle_diagnose::HealAction::DetectStuck,
        };
        let (path, body) = call_of(&record, &heal);
        assert!(path.ends_with("/tiers/0/heal"));
        assert_eq!(Value::Object(body), json!({"action": "detect_stuck"}));
    }
}
