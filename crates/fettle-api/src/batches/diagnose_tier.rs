//! One tier of a diagnosis: times, what was asked for and used, jobs, attempts and the ends of their workers.

use fettle_core::{Job, Tier};
use fettle_diagnose::AttemptFacts;
use fettle_model::WorkerDeath;
use fettle_wire::diagnose::{
    AttemptDiagnosis, BottleneckInfo, JobDiagnosis, RequestedResources, TierDiagnosis,
    TierResources, UsedResources,
};
use fettle_wire::time::Timestamp;
use serde_json::{Value, json};

use super::insight::{Insight, of_job};
use super::progress;
use super::view_tier::{attempt_status, ended, exit_word, submission_params};

/// One tier of a diagnosis.
pub(super) fn per_tier(tier: &Tier, insight: &Insight) -> TierDiagnosis {
    let finding = insight
        .diagnosis
        .tiers
        .iter()
        .find(|finding| finding.tier_num == tier.num);
    let over = ended(tier.status, tier.ended_at);
    let until = over.unwrap_or(insight.facts.now);
    let last = tier.jobs.first().map(submission_params);
    let peak = finding.and_then(|finding| finding.memory_peak_bytes);
    let limit = finding.and_then(|finding| finding.memory_limit_bytes);
    TierDiagnosis {
        tier_num: tier.num,
        status: tier.status.as_str().to_owned(),
        started_at: tier.started_at.map(Timestamp),
        completed_at: over.map(Timestamp),
        duration_seconds: tier
            .started_at
            .map(|from| until.since(from) as f64 / 1000.0),
        resources: TierResources {
            requested: last.as_ref().map(|params| RequestedResources {
                num_cpus: params.num_cpus,
                num_gpus: params.num_gpus,
                memory_bytes: params.memory_bytes,
            }),
            used: UsedResources {
                memory_peak_bytes: peak,
                memory_limit_bytes: limit,
                memory_share: peak
                    .zip(limit)
                    .filter(|(_, limit)| *limit > 0)
                    .map(|(peak, limit)| peak as f64 / limit as f64),
            },
        },
        submission_params: last,
        stage_history: progress::stage_history(&insight.stages(Some(tier.num))),
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
        attempts: attempts.iter().map(attempt).collect(),
    }
}

fn attempt(facts: &AttemptFacts) -> AttemptDiagnosis {
    let evidence = facts.evidence.as_ref();
    AttemptDiagnosis {
        attempt_id: facts.attempt_id.to_string(),
        number: facts.number,
        status: attempt_status(facts.status).to_owned(),
        exit: facts.exit.as_ref().map(|exit| exit_word(exit).to_owned()),
        started_at: facts.started_at.map(Timestamp),
        ended_at: facts.ended_at.map(Timestamp),
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
        "memory_curve": memory.curve.iter().map(|point| json!([Timestamp(point.at), point.bytes])).collect::<Vec<_>>(),
        "in_flight": rows.collect::<Vec<_>>(),
        "killed_by_driver": death.killed_by_driver,
        "stuck": death.stuck,
        "log_tail": death.log_tail,
        "log": death.log,
        "kernel_lines": death.kernel_lines,
    })
}
