//! A tier, its jobs and their attempts as they are shown.

use std::collections::{BTreeMap, BTreeSet};

use fettle_core::{Attempt, Batch, Job, Tier, TierSource};
use fettle_model::{
    AttemptExit, AttemptStatus, BackendStatus, InfraEvent, Resources, UnixMillis, WorkStatus,
};
use fettle_ports::BatchRecord;
use fettle_wire::tier::{
    AttemptInfo, ExtractorJobInfo, InfrastructureDetail, SubmissionParams, TierTaskInfo,
};
use fettle_wire::time::Timestamp;
use serde_json::{Map, Value, json};

use super::insight::{Insight, of_job, of_tier};
use super::view_errors::{errors, warnings};
use super::{audit, progress, retries};
use crate::pages;

/// A tier as it is shown.
pub(super) fn tier(
    record: &BatchRecord,
    run: &Batch,
    tier: &Tier,
    insight: Option<&Insight>,
) -> TierTaskInfo {
    let numbers = of_tier(tier, insight);
    let first = tier.jobs.first();
    let attempt = first.and_then(Job::last_attempt);
    let (source_type, source_collection_ids) = source(&tier.source);
    let empty_rows = numbers.counts.skipped.saturating_sub(deduplicated(tier));
    let manifests = tier.jobs.iter().filter_map(|job| job.manifest.as_ref());
    let left_out: u64 = manifests.map(|manifest| manifest.left_out).sum();
    let log = first.and_then(|job| last_log(job, insight?));
    let events = insight.iter().flat_map(|known| known.events(run));
    let errors = tier.jobs.iter().flat_map(|job| errors(job, insight));
    let retries = retries::of(run, tier.jobs.iter());
    TierTaskInfo {
        tier_num: tier.num,
        task_id: record.task_id.as_ref().map(ToString::to_string),
        status: tier.status.as_str().to_owned(),
        collection_ids: collection_ids(tier),
        source_type: source_type.to_owned(),
        source_collection_ids,
        extractor_jobs: tier
            .jobs
            .iter()
            .map(|job| self::job(run, job, insight))
            .collect(),
        ray_job_id: first.map(|job| job.id.to_string()),
        ray_job_status: first.and_then(backend_status),
        ray_job_started_at: attempt
            .and_then(|attempt| attempt.started_at)
            .map(Timestamp),
        ray_job_completed_at: attempt.and_then(|attempt| attempt.ended_at).map(Timestamp),
        requires_gpu: tier.jobs.iter().any(|job| job.resources.requires_gpu),
        started_at: tier.started_at.map(Timestamp),
        completed_at: ended(tier.status, tier.ended_at).map(Timestamp),
        duration_ms: duration_ms(tier.started_at, ended(tier.status, tier.ended_at)),
        source_documents_fetched: numbers.rows.map(|rows| rows + left_out),
        documents_after_source_filter: numbers.rows,
        documents_missing_input_fields: numbers.rows.map(|_| empty_rows),
        documents_before_processing: numbers
            .rows
            .map(|rows| rows.saturating_sub(numbers.counts.skipped)),
        documents_submitted_to_engine: numbers.rows,
        documents_written: numbers.documents,
        documents_replaced: numbers.replaced,
        documents_deleted: numbers.deleted,
        errors: errors.collect(),
        error_summary: insight.and_then(|known| known.error_summary(Some(tier.num))),
        performance: insight.map(|known| performance(known, tier.num)),
        infrastructure_events: events
            .filter(|(num, _)| *num == Some(tier.num))
            .map(|(num, event)| infrastructure_event(num, event))
            .collect(),
        submission_params: first.map(submission_params),
        worker_groups: machines(tier, insight),
        ray_job_logs: log.clone().map(|(_, text)| text),
        ray_job_logs_captured_at: log.map(|(at, _)| Timestamp(at)),
        audit: audit::of(tier, numbers),
        last_activity_at: last_activity(tier, insight),
        retry_count: retries.count,
        max_retries: retries.max,
        last_retry_at: retries.last_at,
        retry_reason: retries.reason,
        kept_work: retries.kept,
    }
}

/// The collections that a tier feeds.
pub(super) fn collection_ids(tier: &Tier) -> Vec<String> {
    tier.jobs
        .iter()
        .flat_map(|job| job.collection_ids.iter().map(ToString::to_string))
        .collect()
}

fn source(source: &TierSource) -> (&'static str, Vec<String>) {
    match source {
        TierSource::Bucket => ("bucket", Vec::new()),
        TierSource::Collections { collection_ids } => (
            "collection",
            collection_ids.iter().map(ToString::to_string).collect(),
        ),
    }
}

fn last_activity(tier: &Tier, insight: Option<&Insight>) -> Option<Timestamp> {
    let jobs = tier.jobs.iter();
    let known = jobs.filter_map(|job| insight?.last_activity(&job.id));
    known.max().map(Timestamp)
}

/// Rows that were skipped because their collection has documents of them.
fn deduplicated(tier: &Tier) -> u64 {
    let tallies = tier.jobs.iter().flat_map(|job| job.dedup.values());
    tallies.map(|tally| tally.skipped).sum()
}

/// The machines that a tier's attempts ran on, with the GPUs that their workers saw.
fn machines(tier: &Tier, insight: Option<&Insight>) -> Vec<String> {
    let jobs = tier.jobs.iter().filter_map(|job| insight?.job(&job.id));
    let attempts = jobs.flat_map(|facts| &facts.attempts);
    let evidence = attempts.filter_map(|attempt| attempt.evidence.as_ref());
    let mut gpus: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for evidence in evidence {
        let own = evidence.node.iter().map(|node| (node, ""));
        let others = evidence.worker_nodes.iter();
        for (node, key) in own.chain(others.map(|node| (node, node.as_str()))) {
            let seen = evidence.worker_gpus.get(key).into_iter().flatten();
            let of_node = gpus.entry(node).or_default();
            of_node.extend(seen.map(String::as_str));
        }
    }
    gpus.into_iter()
        .map(|(node, gpus)| match gpus.is_empty() {
            true => node.to_owned(),
            false => format!("{node} (GPU {})", Vec::from_iter(gpus).join(", ")),
        })
        .collect()
}

/// What the last attempt of a job left in its driver's log, and when.
fn last_log(job: &Job, insight: &Insight) -> Option<(UnixMillis, String)> {
    let attempt = insight.job(&job.id)?.attempts.last()?;
    let text = &attempt.evidence.as_ref()?.driver_log_tail;
    let at = attempt.ended_at?;
    (!text.is_empty()).then(|| (at, text.clone()))
}

/// The end of something that is over; what was taken up again has none.
pub(super) fn ended(status: WorkStatus, at: Option<UnixMillis>) -> Option<UnixMillis> {
    at.filter(|_| status.is_terminal())
}

fn duration_ms(from: Option<UnixMillis>, to: Option<UnixMillis>) -> Option<f64> {
    from.zip(to).map(|(from, to)| to.since(from) as f64)
}

fn performance(insight: &Insight, tier_num: u32) -> Map<String, Value> {
    let stages = insight.stages(Some(tier_num));
    let found = insight
        .diagnosis
        .tiers
        .iter()
        .find(|tier| tier.tier_num == tier_num);
    let bottleneck = found.and_then(|tier| tier.bottleneck.as_ref());
    let bottleneck = bottleneck
        .map(|b| json!({"stage": b.stage.as_str(), "share": b.share, "meaning": b.meaning}));
    let mut performance = Map::new();
    performance.insert(
        "stage_history".to_owned(),
        json!(progress::stage_history(&stages)),
    );
    performance.insert("bottleneck".to_owned(), json!(bottleneck));
    performance
}

/// An event as it is shown.
pub(super) fn infrastructure_event(
    tier_num: Option<u32>,
    event: &InfraEvent,
) -> InfrastructureDetail {
    let split = event.attempt.split();
    InfrastructureDetail {
        event_type: event.event_type.as_str().to_owned(),
        detected_at: Some(Timestamp(event.detected_at)),
        raw_signal: Some(event.raw_signal.clone()),
        node_id: event.node_id.clone(),
        pod_name: None,
        tier_num,
        ray_job_id: split.as_ref().map(|(job, _)| job.to_string()),
        attempt: split.map(|(_, number)| number),
        docs_url: Some(pages::event_url(event.event_type)),
    }
}

fn job(run: &Batch, job: &Job, insight: Option<&Insight>) -> ExtractorJobInfo {
    let numbers = of_job(job, insight);
    let status = job.status();
    let retries = retries::of(run, std::iter::once(job));
    ExtractorJobInfo {
        extractor_type: job.extractor.name.clone(),
        extractor_id: job.extractor.id(),
        ray_job_id: job.id.to_string(),
        ray_job_status: backend_status(job),
        collection_ids: job.collection_ids.iter().map(ToString::to_string).collect(),
        status: status.as_str().to_owned(),
        execution_mode: job
            .last_attempt()
            .map(|attempt| attempt.params.deployment_mode.clone()),
        started_at: job.started_at.map(Timestamp),
        completed_at: ended(status, job.ended_at).map(Timestamp),
        duration_ms: duration_ms(job.started_at, ended(status, job.ended_at)),
        documents_written: numbers.documents,
        documents_skipped: Some(numbers.counts.skipped),
        error: job.reason().map(str::to_owned),
        errors: errors(job, insight),
        warnings: warnings(job),
        submission_params: Some(submission_params(job)),
        last_activity_at: insight
            .and_then(|known| known.last_activity(&job.id))
            .map(Timestamp),
        retry_count: retries.count,
        max_retries: retries.max,
        last_retry_at: retries.last_at,
        retry_reason: retries.reason,
        kept_work: retries.kept,
        budgets: retries::budgets(job, &run.healing),
        attempts: job.attempts.iter().map(attempt_info).collect(),
    }
}

fn attempt_info(attempt: &Attempt) -> AttemptInfo {
    AttemptInfo {
        attempt_id: attempt.id.to_string(),
        number: attempt.number,
        status: attempt_status(attempt.status).to_owned(),
        cause: attempt.cause.clone(),
        exit: attempt.exit.as_ref().map(|exit| exit_word(exit).to_owned()),
        planned_at: attempt.planned_at.into(),
        started_at: attempt.started_at.map(Timestamp),
        ended_at: attempt.ended_at.map(Timestamp),
        memory_bytes: attempt.params.resources.memory_bytes,
    }
}

/// An attempt's status as it is shown.
pub(super) fn attempt_status(status: AttemptStatus) -> &'static str {
    match status {
        AttemptStatus::Planned => "planned",
        AttemptStatus::Submitted => "submitted",
        AttemptStatus::Running => "running",
        AttemptStatus::Cancelling => "cancelling",
        AttemptStatus::Ended => "ended",
        AttemptStatus::Lost => "lost",
    }
}

/// An attempt's end as it is shown.
pub(super) fn exit_word(exit: &AttemptExit) -> &'static str {
    match exit {
        AttemptExit::Finished => "finished",
        AttemptExit::Cancelled => "cancelled",
        AttemptExit::OutOfMemory => "out_of_memory",
        AttemptExit::WorkersKeepDying => "workers_keep_dying",
        AttemptExit::ExtractorFailed => "extractor_failed",
        AttemptExit::DriverFailed => "driver_failed",
        AttemptExit::DriverDied => "driver_died",
    }
}

/// The backend's word for where a job's last attempt stands; none before the first and none to come.
fn backend_status(job: &Job) -> Option<String> {
    let Some(attempt) = job.last_attempt() else {
        return (!job.status().is_terminal()).then(|| BackendStatus::Pending.as_str().to_owned());
    };
    let status = match (attempt.status, &attempt.exit) {
        (AttemptStatus::Planned | AttemptStatus::Submitted, _) => BackendStatus::Pending,
        (AttemptStatus::Running | AttemptStatus::Cancelling, _) => BackendStatus::Running,
        (AttemptStatus::Ended, Some(AttemptExit::Finished)) => BackendStatus::Succeeded,
        (AttemptStatus::Ended, Some(AttemptExit::Cancelled)) => BackendStatus::Stopped,
        (AttemptStatus::Ended | AttemptStatus::Lost, _) => BackendStatus::Failed,
    };
    Some(status.as_str().to_owned())
}

/// What the last attempt was submitted with; before the first, what it will be.
pub(super) fn submission_params(job: &Job) -> SubmissionParams {
    let Some(attempt) = job.last_attempt() else {
        let manifest_key = job.manifest.as_ref().map(|manifest| manifest.key.clone());
        return SubmissionParams {
            entrypoint: None,
            image_uri: None,
            deployment_mode: None,
            plugin_archives: Vec::new(),
            plugin_dependencies: Vec::new(),
            extractor_name: job.extractor.name.clone(),
            extractor_version: job.extractor.version.clone(),
            env_vars_keys: Vec::new(),
            manifest_key,
            submitted_at: None,
            ..resources(&job.resources)
        };
    };
    attempt_params(&attempt.params)
}

/// What an attempt was submitted with.
pub(super) fn attempt_params(params: &fettle_model::SubmissionParams) -> SubmissionParams {
    SubmissionParams {
        entrypoint: Some(params.entrypoint.clone()),
        image_uri: None,
        deployment_mode: Some(params.deployment_mode.clone()),
        plugin_archives: params.plugin_archives.clone(),
        plugin_dependencies: params.plugin_dependencies.clone(),
        extractor_name: params.extractor_name.clone(),
        extractor_version: params.extractor_version.clone(),
        env_vars_keys: params.env_vars_keys.clone(),
        manifest_key: params.manifest_key.clone(),
        submitted_at: Some(params.submitted_at.into()),
        ..resources(&params.resources)
    }
}

fn resources(resources: &Resources) -> SubmissionParams {
    SubmissionParams {
        entrypoint: None,
        image_uri: None,
        deployment_mode: None,
        requires_gpu: resources.requires_gpu,
        num_cpus: resources.num_cpus,
        num_gpus: resources.num_gpus,
        memory_bytes: resources.memory_bytes,
        priority: resources.priority,
        plugin_archives: Vec::new(),
        plugin_dependencies: Vec::new(),
        extractor_name: String::new(),
        extractor_version: String::new(),
        env_vars_keys: Vec::new(),
        manifest_key: None,
        submitted_at: None,
    }
}
