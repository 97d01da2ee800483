//! A user wants unfinished and failed rows tried again: of a tier, or the failed ones of several tiers.

use std::collections::BTreeMap;

use fettle_model::{BatchStatus, JobId, WorkStatus};

use crate::batch::{Batch, Job, JobState, Wait};
use crate::effect::{Effect, FailedRows, WhichRows};
use crate::event::Overrides;
use crate::healing::Budgets;
use crate::step::{Context, Refusal};
use crate::timeline::TimelineKind;

pub(super) fn requested(
    batch: &mut Batch,
    tier_num: u32,
    overrides: Overrides,
    context: &mut Context,
) -> Result<(), Refusal> {
    let at = check(batch, tier_num)?;
    context.note_tier(
        TimelineKind::Requested,
        tier_num,
        format!("retry{}", describe(&overrides)),
    );
    begin_again(batch, at, context);
    for job in batch.tiers[at]
        .jobs
        .iter_mut()
        .filter(|job| job.status() != WorkStatus::Completed)
    {
        overrides.apply(&mut job.resources);
        let failed = job.counts.failed;
        give_back(job, failed, &FailedRows::default(), context);
        take_up(job, context);
    }
    Ok(())
}

/// Gives failed rows back and begins with the first tier that has work; the tiers after it follow in their order.
pub(super) fn failed_rows_requested(
    batch: &mut Batch,
    version: u64,
    which: &FailedRows,
    jobs: &[(JobId, u64)],
    context: &mut Context,
) -> Result<(), Refusal> {
    let wanted: BTreeMap<&JobId, u64> = jobs.iter().map(|(job, rows)| (job, *rows)).collect();
    let at = check_failed_rows(batch, version, &wanted)?;
    let rows: u64 = wanted.values().sum();
    let tier_num = batch.tiers[at].num;
    let message = format!("retry of {rows} failed row(s), from tier {tier_num}");
    context.note(TimelineKind::Requested, message);
    begin_again(batch, at, context);
    for job in batch.tiers[at..].iter_mut().flat_map(|tier| &mut tier.jobs) {
        let rows = wanted.get(&job.id).copied().unwrap_or(0);
        give_back(job, rows, which, context);
    }
    for job in &mut batch.tiers[at].jobs {
        if has_work(job, &wanted) {
            take_up(job, context);
        }
    }
    Ok(())
}

/// The position of the tier to begin with.
fn check_failed_rows(
    batch: &Batch,
    version: u64,
    wanted: &BTreeMap<&JobId, u64>,
) -> Result<usize, Refusal> {
    let refuse = |present: String| Refusal::NotPossible {
        what: "retrying failed documents",
        present,
    };
    must_be_over(batch).map_err(refuse)?;
    if batch.version != version {
        return Err(refuse("the batch changed meanwhile; ask again".to_owned()));
    }
    let at = batch
        .tiers
        .iter()
        .position(|tier| tier.jobs.iter().any(|job| has_work(job, wanted)))
        .ok_or_else(|| {
            refuse("no failed document matches that was not retried too often already".to_owned())
        })?;
    match batch.tiers[..at].iter().find(|t| !t.status.is_success()) {
        None => Ok(at),
        Some(earlier) => Err(refuse(format!(
            "tier {} is {} and comes before; retry it, or both",
            earlier.num,
            earlier.status.as_str()
        ))),
    }
}

/// Whether rows of the job are given back, or it ended before all its rows had an outcome.
fn has_work(job: &Job, wanted: &BTreeMap<&JobId, u64>) -> bool {
    let is_unfinished = matches!(
        job.status(),
        WorkStatus::Failed | WorkStatus::Canceled | WorkStatus::Skipped
    );
    wanted
        .get(&job.id)
        .is_some_and(|rows| *rows > 0 || is_unfinished)
}

fn must_be_over(batch: &Batch) -> Result<(), String> {
    if batch.status.is_terminal() {
        return Ok(());
    }
    let status = batch.status.as_str();
    Err(format!(
        "the batch is {status}; wait for its end or cancel it first"
    ))
}

/// The tier at position `at` runs again, and then those after it.
fn begin_again(batch: &mut Batch, at: usize, context: &Context) {
    let tier = &mut batch.tiers[at];
    tier.status = WorkStatus::InProgress;
    tier.ended_at = None;
    tier.started_at.get_or_insert(context.now);
    // Later tiers read what this one will still write; their finished rows keep their outcomes.
    for tier in &mut batch.tiers[at + 1..] {
        tier.status = WorkStatus::Pending;
        tier.ended_at = None;
        for job in &mut tier.jobs {
            job.state = JobState::Pending;
            job.budgets = Budgets::default();
            job.cancel = None;
        }
    }
    batch.status = BatchStatus::Queued;
    batch.ended_at = None;
    batch.cancel = None;
}

fn check(batch: &Batch, tier_num: u32) -> Result<usize, Refusal> {
    let at = batch
        .tiers
        .iter()
        .position(|tier| tier.num == tier_num)
        .ok_or_else(|| Refusal::NoSuch {
            kind: "tier",
            id: tier_num.to_string(),
        })?;
    let refuse = |present: String| Refusal::NotPossible {
        what: "retrying the tier",
        present,
    };
    must_be_over(batch).map_err(refuse)?;
    match batch.tiers[at].status {
        WorkStatus::Failed | WorkStatus::Canceled | WorkStatus::CompletedWithErrors => Ok(at),
        WorkStatus::Completed => Err(refuse(format!(
            "tier {tier_num} is COMPLETED; it has no unfinished and no failed row"
        ))),
        // A cancel can come after the last row of the tier before.
        WorkStatus::Skipped if batch.tiers[..at].iter().all(|t| t.status.is_success()) => Ok(at),
        WorkStatus::Skipped | WorkStatus::Pending | WorkStatus::InProgress => {
            let ended = batch.tiers[..at]
                .iter()
                .rev()
                .find(|tier| tier.started_at.is_some());
            let earlier = ended.map_or(0, |tier| tier.num);
            Err(refuse(format!(
                "tier {tier_num} never ran; retry tier {earlier}, which ended the batch"
            )))
        }
    }
}

/// `rows` of the job's failed rows lose their outcome.
fn give_back(job: &mut Job, rows: u64, which: &FailedRows, context: &mut Context) {
    if rows > 0 {
        job.counts.failed = job.counts.failed.saturating_sub(rows);
        context.reopen_rows(&job.id, WhichRows::Failed(which.clone()));
    }
}

/// The job does its unfinished rows.
fn take_up(job: &mut Job, context: &mut Context) {
    job.budgets = Budgets::default();
    job.cancel = None;
    job.ended_at = None;
    job.started_at.get_or_insert(context.now);
    // A job whose tier was not reached again has not seen what the earlier tiers wrote since.
    if job.manifest.is_some() && job.status() != WorkStatus::Skipped {
        job.state = JobState::Waiting(Wait::Capacity { since: context.now });
    } else {
        job.prepare();
        context.act(Effect::BuildManifest {
            job: job.id.clone(),
        });
    }
}

fn describe(overrides: &Overrides) -> String {
    let Overrides {
        num_cpus,
        num_gpus,
        memory_bytes,
        requires_gpu,
        priority,
    } = *overrides;
    let parts = [
        num_cpus.map(|v| format!("num_cpus={v}")),
        num_gpus.map(|v| format!("num_gpus={v}")),
        memory_bytes.map(|v| format!("memory_bytes={v}")),
        requires_gpu.map(|v| format!("requires_gpu={v}")),
        priority.map(|v| format!("priority={v}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" with {}", parts.join(", "))
    }
}
