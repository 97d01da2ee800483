//! One tier of a diagnosis: times, what was asked for and used, jobs, attempts and the ends of their workers.

use fettle_core::{Job, Tier};
use fettle_diagnose::{AttemptFacts, TierFinding};
use fettle_model::{MemoryEvidence, Stage, StageTimings, WorkerDeath};
use fettle_wire::diagnose::{
    AttemptDiagnosis, BottleneckInfo, JobDiagnosis, RequestedResources, StageShare, TierDiagnosis,
    TierPhases, TierResources, UsedResources,
};
use fettle_wire::tier::SubmissionParams;
use fettle_wire::time::Timestamp;
use serde_json::{Value, json};

use super::insight::{Insight, of_job};
use super::progress;
use super::view_tier::{attempt_params, attempt_status, ended, exit_word, submission_params};

/// One tier of a diagnosis.
pub(super) fn per_tier(tier: &Tier, insight: &Insight) -> TierDiagnosis {
    let finding = insight
        .diagnosis
        .tiers
        .iter()
        .find(|finding| finding.tier_num == tier.num);
    let over = ended(tier.status, tier.ended_at);
    let until = over.unwrap_or(insight.facts.now);
    let requested = tier.jobs.first().map(submission_params);
    let stages = insight.stages(Some(tier.num));
    TierDiagnosis {
        tier_num: tier.num,
        status: tier.status.as_str().to_owned(),
        started_at: tier.started_at.map(Timestamp),
        completed_at: over.map(Timestamp),
        duration_seconds: tier
            .started_at
            .map(|from| until.since(from) as f64 / 1000.0),
        phases: finding.map(phases).unwrap_or_default(),
        resources: TierResources {
            requested: requested.as_ref().map(|params| RequestedResources {
                num_cpus: params.num_cpus,
                num_gpus: params.num_gpus,
                memory_bytes: params.memory_bytes,
            }),
            used: finding
                .map(|found| used(found, requested.as_ref()))
                .unwrap_or_default(),
        },
        submission_params: requested,
        stage_history: progress::stage_history(&stages),
        stages: shares(&stages),
        bottleneck: finding
            .and_then(|finding| finding.bottleneck.as_ref())
            .map(|found| BottleneckInfo {
                stage: found.stage.as_str().to_owned(),
                share: found.share,
                meaning: found.meaning.clone(),
            }),
        last_activity_at: tier
            .jobs
            .iter()
            .filter_map(|job| insight.last_activity(&job.id))
            .max()
            .map(Timestamp),
        jobs: tier
            .jobs
            .iter()
            .map(|job| job_diagnosis(job, insight))
            .collect(),
    }
}

fn phases(finding: &TierFinding) -> TierPhases {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    TierPhases {
        waiting_seconds: seconds(finding.phases.waiting_ms),
        starting_seconds: seconds(finding.phases.starting_ms),
        running_seconds: seconds(finding.phases.running_ms),
        finalising_seconds: seconds(finding.phases.finalising_ms),
    }
}

fn used(finding: &TierFinding, requested: Option<&SubmissionParams>) -> UsedResources {
    let (peak, limit) = (finding.memory_peak_bytes, finding.memory_limit_bytes);
    let cores = finding.usage.and_then(|usage| usage.cores_per_worker());
    // As many workers run at once as cores were asked for, and at least one.
    let workers = requested.map(|params| params.num_cpus.ceil().max(1.0));
    UsedResources {
        memory_peak_bytes: peak,
        memory_limit_bytes: limit,
        memory_share: peak
            .zip(limit)
            .filter(|(_, limit)| *limit > 0)
            .map(|(peak, limit)| peak as f64 / limit as f64),
        cpu_seconds: finding.usage.map(|usage| usage.cpu_ms as f64 / 1000.0),
        num_cpus: cores.zip(workers).map(|(cores, workers)| cores * workers),
        num_gpus: None,
        io_bytes: finding.usage.map(|usage| usage.io_bytes),
    }
}

fn shares(stages: &StageTimings) -> Vec<StageShare> {
    let busy = |stage: Stage| stages.get(stage).busy_ms;
    let all: u64 = Stage::ALL.into_iter().map(busy).sum();
    let share = |stage: Stage| {
        let timing = stages.get(stage);
        StageShare {
            name: stage.as_str().to_owned(),
            share: timing.busy_ms as f64 / all.max(1) as f64,
            busy_seconds: timing.busy_ms as f64 / 1000.0,
            wait_seconds: timing.wait_ms as f64 / 1000.0,
            rows: timing.rows,
            bytes: timing.bytes,
        }
    };
    if all == 0 {
        return Vec::new();
    }
    Stage::ALL.into_iter().map(share).collect()
}

fn job_diagnosis(job: &Job, insight: &Insight) -> JobDiagnosis {
    let numbers = of_job(job, Some(insight));
    let attempts = insight
        .job(&job.id)
        .map_or(&[][..], |facts| facts.attempts.as_slice());
    JobDiagnosis {
        ray_job_id: job.id.to_string(),
        extractor_id: job.extractor.id(),
        status: job.status().as_str().to_owned(),
        reason: job.reason().map(str::to_owned),
        waits_for: progress::waits_for(job, insight),
        rows: numbers.rows,
        processed: numbers.counts.processed,
        failed: numbers.counts.failed,
        skipped: numbers.counts.skipped,
        attempts: attempts.iter().map(|facts| attempt(facts, job)).collect(),
    }
}

fn attempt(facts: &AttemptFacts, job: &Job) -> AttemptDiagnosis {
    let evidence = facts.evidence.as_ref();
    let mut attempts = job.attempts.iter();
    let known = attempts.find(|attempt| attempt.id == facts.attempt_id);
    let group = evidence.and_then(|evidence| evidence.attempt_memory.as_ref());
    let highest = evidence.and_then(|evidence| evidence.memory.as_ref());
    AttemptDiagnosis {
        attempt_id: facts.attempt_id.to_string(),
        number: facts.number,
        status: attempt_status(facts.status).to_owned(),
        exit: facts.exit.as_ref().map(|exit| exit_word(exit).to_owned()),
        planned_at: Some(Timestamp(facts.planned_at)),
        started_at: facts.started_at.map(Timestamp),
        ended_at: facts.ended_at.map(Timestamp),
        submission_params: known.map(|attempt| attempt_params(&attempt.params)),
        memory: highest.map(memory),
        attempt_memory: group.map(memory),
        cpu_seconds: facts.usage.map(|usage| usage.cpu_ms as f64 / 1000.0),
        io_bytes: facts.usage.map(|usage| usage.io_bytes),
        worker_deaths: evidence
            .iter()
            .flat_map(|evidence| &evidence.worker_deaths)
            .map(death)
            .collect(),
        worker_deaths_dropped: evidence.map_or(0, |evidence| evidence.worker_deaths_dropped),
        node: evidence.and_then(|evidence| evidence.node.clone()),
        node_facts: evidence
            .and_then(|evidence| evidence.node_facts.as_ref().map(|facts| json!(facts))),
        driver_version: evidence.and_then(|evidence| evidence.version.clone()),
        worker_version: evidence.and_then(|evidence| evidence.worker_version.clone()),
        env_vars_keys: evidence.map_or_else(Vec::new, |evidence| evidence.env_keys.clone()),
        driver_exit: evidence
            .and_then(|evidence| evidence.driver_exit)
            .map(|exit| exit.describe()),
        driver_log_tail: evidence.map_or_else(String::new, |e| e.driver_log_tail.clone()),
        driver_log: evidence
            .and_then(|evidence| evidence.driver_log.as_ref().map(|log| json!(log))),
        backend_messages: evidence.map_or_else(Vec::new, |e| e.backend_messages.clone()),
    }
}

/// What was counted or sampled of memory, with the curve.
fn memory(memory: &MemoryEvidence) -> Value {
    json!({
        "enforcement": memory.enforcement,
        "limit_bytes": memory.limit_bytes,
        "peak_bytes": memory.peak_bytes,
        "oom_kills": memory.oom_kills,
        "limit_hits": memory.limit_hits,
        "curve": curve(memory),
    })
}

fn curve(memory: &MemoryEvidence) -> Vec<Value> {
    let points = memory.curve.iter();
    points
        .map(|point| json!([Timestamp(point.at), point.bytes]))
        .collect()
}

fn death(death: &WorkerDeath) -> Value {
    let memory = &death.memory;
    let rows = death.in_flight.iter().map(
        |row| json!({"row": row.row, "source_id": row.source_id, "size_bytes": row.size_bytes, "since": Timestamp(row.since)}),
    );
    json!({
        "worker": death.worker,
        "pid": death.pid,
        "exit": death.exit.describe(),
        "at": Timestamp(death.at),
        "started_at": Timestamp(death.started_at),
        "was_ready": death.ready,
        "rows_finished": death.rows_finished,
        "last_finished_row": death.last_finished_row,
        "last_finished_at": death.last_finished_at.map(Timestamp),
        "cpu_ms": death.cpu_ms,
        "cpu_ms_since_row": death.cpu_ms_since_row,
        "io_bytes": death.io_bytes,
        "io_bytes_since_row": death.io_bytes_since_row,
        "memory_limit_bytes": memory.limit_bytes,
        "memory_peak_bytes": memory.peak_bytes,
        "oom_kills": memory.oom_kills,
        "limit_hits": memory.limit_hits,
        "memory_enforcement": memory.enforcement,
        "memory_curve": curve(memory),
        "in_flight": rows.collect::<Vec<_>>(),
        "killed_by_driver": death.killed_by_driver,
        "stuck": death.stuck,
        "log_tail": death.log_tail,
        "log": death.log,
        "kernel_lines": death.kernel_lines,
    })
}
