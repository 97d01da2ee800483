//! How far a batch is, from counts and live reports.

use fettle_core::{Batch, Job, JobState, Tier, Wait};
use fettle_diagnose::Awaited;
use fettle_model::{BatchStatus, Stage, StageTimings, UnixMillis, WorkStatus};
use fettle_wire::progress::{
    BatchChunkStats, BatchPhaseDetail, BatchPhases, BatchProgress, BatchStageInfo,
    BatchStageTiming, BatchStepInfo,
};
use fettle_wire::time::Timestamp;

use super::insight::{Insight, Numbers, of_tier};

/// An attempt younger than this has no rate yet.
const RATE_AFTER_MS: u64 = 500;

/// How far a submitted batch is.
pub(super) fn of(
    run: &Batch,
    insight: &Insight,
    queue_position: Option<u64>,
    warnings: Vec<String>,
) -> BatchProgress {
    let tiers: Vec<Numbers> = run
        .tiers
        .iter()
        .map(|tier| of_tier(tier, Some(insight)))
        .collect();
    let begun = tiers.iter().filter(|numbers| numbers.rows.is_some());
    let total: u64 = begun.clone().filter_map(|numbers| numbers.rows).sum();
    let sum = |pick: fn(&Numbers) -> u64| begun.clone().map(pick).sum::<u64>();
    let failed = sum(|numbers| numbers.counts.failed);
    let skipped = sum(|numbers| numbers.counts.skipped);
    let processed = sum(|numbers| numbers.counts.total());
    let documents = sum(|numbers| numbers.documents.unwrap_or(0));
    let rate = rate(run, insight);
    BatchProgress {
        percent: Some(percent(run, &tiers)),
        processed,
        total: Some(total),
        errors: failed,
        objects_extracted: processed - failed - skipped,
        objects_failed: failed,
        objects_skipped: skipped,
        documents_skipped: skipped,
        documents_written: documents,
        items_per_second: rate,
        eta_seconds: eta(run, &tiers, rate),
        current_stage: current_stage(insight),
        active_step: active_step(run, insight.facts.now),
        phases: phases(run, processed, total, documents),
        stage_history: stage_history(&insight.stages(None)),
        queue_position,
        queue_reason: run.jobs().find_map(|(_, job)| waits_for(job, insight)),
        first_error: first_error(insight, |_| true),
        extraction_first_error: first_error(insight, |stage| stage == Stage::Processing),
        chunk_stats: chunk_stats(processed - failed - skipped, documents),
        status_warnings: warnings,
    }
}

/// What the first row of those that failed in such a stage failed of.
fn first_error(insight: &Insight, is_meant: impl Fn(Stage) -> bool) -> Option<String> {
    let groups = insight.facts.error_groups.iter();
    let meant = groups.filter(|group| is_meant(group.stage));
    let first = meant.min_by_key(|group| group.example.at)?;
    Some(first.example.message.clone())
}

fn chunk_stats(rows: u64, documents: u64) -> Option<BatchChunkStats> {
    (rows > 0).then(|| BatchChunkStats {
        unit: "document".to_owned(),
        total_chunks: rows,
        mean_units_per_chunk: Some(documents as f64 / rows as f64),
    })
}

/// Tiers count as equal shares, for the size of those to come is not known.
fn percent(run: &Batch, tiers: &[Numbers]) -> f64 {
    if matches!(
        run.status,
        BatchStatus::Completed | BatchStatus::CompletedWithErrors
    ) {
        return 100.0;
    }
    let share = |(tier, numbers): (&Tier, &Numbers)| match (tier.status, numbers.rows) {
        (WorkStatus::Pending | WorkStatus::Skipped, _) | (_, None) => 0.0,
        (status, _) if status.is_success() => 1.0,
        (_, Some(0)) => 0.0,
        (_, Some(rows)) => (numbers.counts.total() as f64 / rows as f64).min(1.0),
    };
    let done: f64 = run.tiers.iter().zip(tiers).map(share).sum();
    100.0 * done / run.tiers.len().max(1) as f64
}

/// Rows a second of the attempts that run.
fn rate(run: &Batch, insight: &Insight) -> Option<f64> {
    let attempts = run.jobs().filter_map(|(_, job)| job.live_attempt());
    let rates: Vec<f64> = attempts
        .filter_map(|attempt| {
            let beat = insight.live.get(&attempt.id)?;
            let elapsed_ms = beat.at.since(attempt.started_at?);
            (elapsed_ms >= RATE_AFTER_MS)
                .then(|| beat.rows_finished as f64 * 1000.0 / elapsed_ms as f64)
        })
        .collect();
    (!rates.is_empty()).then(|| rates.iter().sum())
}

/// Seconds to the end; known only in the last tier.
fn eta(run: &Batch, tiers: &[Numbers], rate: Option<f64>) -> Option<f64> {
    if run.status.is_terminal() {
        return None;
    }
    let rate = rate.filter(|rate| *rate > 0.0)?;
    let (tier, numbers) = run.tiers.last().zip(tiers.last())?;
    let left = numbers.rows?.saturating_sub(numbers.counts.total());
    (tier.status == WorkStatus::InProgress).then(|| left as f64 / rate)
}

fn current_stage(insight: &Insight) -> Option<BatchStageInfo> {
    let mut stages = StageTimings::default();
    for beat in insight.live.values() {
        stages.add(&beat.stages);
    }
    let (stage, _) = stages.bottleneck()?;
    let began = stages.get(stage).started_at?;
    Some(BatchStageInfo {
        name: stage.as_str().to_owned(),
        index: number(stage),
        total: Stage::ALL.len() as u32,
        stage_elapsed_seconds: insight.facts.now.since(began) as f64 / 1000.0,
    })
}

fn number(stage: Stage) -> u32 {
    match stage {
        Stage::Loading => 0,
        Stage::Processing => 1,
        Stage::Writing => 2,
    }
}

fn active_step(run: &Batch, now: UnixMillis) -> Option<BatchStepInfo> {
    let tier = run
        .tiers
        .iter()
        .find(|tier| tier.status == WorkStatus::InProgress)?;
    Some(BatchStepInfo {
        name: format!("tier {}", tier.num),
        index: tier.num,
        total: u32::try_from(run.tiers.len()).unwrap_or(u32::MAX),
        step_elapsed_seconds: tier
            .started_at
            .map_or(0.0, |at| now.since(at) as f64 / 1000.0),
    })
}

fn phases(run: &Batch, processed: u64, total: u64, documents: u64) -> BatchPhases {
    let jobs = run.jobs().count() as u64;
    let dispatched = run.jobs().filter(|(_, job)| job.manifest.is_some()).count() as u64;
    let over = match run.status {
        BatchStatus::Completed | BatchStatus::CompletedWithErrors => Some("completed"),
        BatchStatus::Failed | BatchStatus::Canceled => Some("failed"),
        _ => None,
    };
    let phase = |processed: u64, total: Option<u64>| BatchPhaseDetail {
        status: over
            .unwrap_or(if processed == 0 {
                "pending"
            } else {
                "in_progress"
            })
            .to_owned(),
        processed,
        total,
    };
    let mut dispatch = phase(dispatched, Some(jobs));
    if dispatched == jobs {
        dispatch.status = "completed".to_owned();
    }
    BatchPhases {
        dispatch,
        extraction: phase(processed, Some(total)),
        write: phase(documents, None),
    }
}

/// Busy time by stage; stages that were never busy are left out.
pub(super) fn stage_history(stages: &StageTimings) -> Vec<BatchStageTiming> {
    let timing = |stage: Stage| {
        let timing = stages.get(stage);
        let (began, ended) = timing
            .started_at
            .zip(timing.ended_at.or(timing.started_at))?;
        Some(BatchStageTiming {
            name: stage.as_str().to_owned(),
            index: number(stage),
            total: Stage::ALL.len() as u32,
            started_at: Timestamp(began).seconds(),
            ended_at: Timestamp(ended).seconds(),
            duration_seconds: timing.busy_ms as f64 / 1000.0,
        })
    };
    Stage::ALL.into_iter().filter_map(timing).collect()
}

/// What a job waits for, in words.
pub(super) fn waits_for(job: &Job, insight: &Insight) -> Option<String> {
    match &job.state {
        JobState::Preparing => Some("its rows are being written down".to_owned()),
        JobState::Waiting(Wait::Backoff { until, cause }) => {
            Some(format!("a pause after {cause} until {}", Timestamp(*until)))
        }
        JobState::Waiting(Wait::Capacity { .. }) => {
            let detail = insight
                .job(&job.id)
                .and_then(|facts| facts.waiting.as_ref()?.detail.clone());
            Some(detail.unwrap_or_else(|| "free cores and memory".to_owned()))
        }
        JobState::Active => {
            let facts = &insight.facts;
            let wait = insight.job(&job.id)?.node_wait.as_ref()?;
            let is_told = wait.what == Awaited::Driver
                && (wait.is_cold_start(facts.now, facts.cold_start_ms)
                    || wait.is_overdue(facts.now, facts.cold_start_ms));
            is_told.then(|| wait.detail.clone())
        }
        JobState::Pending | JobState::Done { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_model::StageTiming;

    #[test]
    fn stages_that_were_never_busy_are_left_out() {
        let stages = StageTimings {
            processing: StageTiming {
                busy_ms: 1500,
                started_at: Some(UnixMillis(1000)),
                ended_at: Some(UnixMillis(2000)),
                ..StageTiming::default()
            },
            ..StageTimings::default()
        };
        let history = stage_history(&stages);
        assert_eq!(history.len(), 1);
        assert_eq!(
            (history[0].name.as_str(), history[0].index),
            ("processing", 1)
        );
        assert!((history[0].duration_seconds - 1.5).abs() < 1e-9);
        assert!((history[0].ended_at - 2.0).abs() < 1e-9);
    }
}
