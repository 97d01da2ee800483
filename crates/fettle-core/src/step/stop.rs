//! The orchestrator itself has an attempt stopped: to begin it again, or because too many rows fail. And the policy that allows it.

use fettle_model::{
    AppliedBy, AttemptId, AttemptStatus, Cause, HealingPolicy, JobId, RowCounts, WorkStatus,
};

use crate::batch::{Batch, Job, JobState};
use crate::effect::Effect;
use crate::healing::{Stop, fails_too_much};
use crate::step::attempt::find_live;
use crate::step::settle::{end_job, settle_tier};
use crate::step::verdict::{limit, too_many_failures};
use crate::step::{Context, Refusal, describe, find_job};
use crate::timeline::TimelineKind;

pub(super) fn policy_set(
    batch: &mut Batch,
    policy: HealingPolicy,
    context: &mut Context,
) -> Result<(), Refusal> {
    if batch.healing == policy {
        return Err(Refusal::Stale {
            what: "a policy",
            present: "it is in force already".to_owned(),
        });
    }
    let message = format!("healing is {}", policy.mode.as_str());
    context.note(TimelineKind::Note, message);
    batch.healing = policy;
    Ok(())
}

/// Refused without a budget: an attempt that is ended and not followed would be a job that healing has failed.
pub(super) fn restart_requested(
    batch: &mut Batch,
    id: &AttemptId,
    (cause, by): (Cause, AppliedBy),
    reason: String,
    context: &mut Context,
) -> Result<(), Refusal> {
    let policy = batch.healing.clone();
    let (at, job) = find_live(batch, id, "a restart")?;
    let (spent, limit) = (job.budgets.spent(cause), limit(&policy, cause, by));
    if spent >= limit {
        let what = cause.as_str();
        return Err(Refusal::NotPossible {
            what: "restarting the attempt",
            present: format!(
                "{spent} of {limit} restarts for {what} are spent; retry the tier, or change the policy"
            ),
        });
    }
    if !can_stop(job) {
        return Err(Refusal::Stale {
            what: "a restart",
            present: describe(job),
        });
    }
    let message = format!("the attempt is ended and tried again: {reason}");
    context.note_attempt(TimelineKind::Remedy, tier_num(at), id, message);
    stop(job, Stop::Restart { cause, by, reason }, context);
    Ok(())
}

/// Ends the tier's jobs when more rows of one of them failed than the policy allows.
pub(super) fn rows_counted(
    batch: &mut Batch,
    id: &JobId,
    counts: RowCounts,
    context: &mut Context,
) -> Result<(), Refusal> {
    let policy = batch.healing.clone();
    let (at, job) = find_job(batch, id)?;
    let rows = job.manifest.as_ref().map_or(0, |manifest| manifest.rows);
    if !can_stop(job) || !fails_too_much(&policy, rows, &counts) {
        return Err(Refusal::Stale {
            what: "a count of rows",
            present: describe(job),
        });
    }
    job.counts = counts;
    let reason = too_many_failures(job, &policy);
    context.note_job(
        TimelineKind::Remedy,
        tier_num(at),
        id,
        format!("stopped: {reason}"),
    );
    for job in &mut batch.tiers[at].jobs {
        if can_stop(job) {
            let reason = reason.clone();
            stop(job, Stop::TooManyFailures { reason }, context);
        } else if matches!(job.state, JobState::Preparing | JobState::Waiting(_)) {
            end_job(
                job,
                tier_num(at),
                WorkStatus::Failed,
                Some(reason.clone()),
                context,
            );
        }
    }
    settle_tier(batch, at, context);
    Ok(())
}

/// Only rows without an outcome are quarantined, so a count that has not grown is an old one.
pub(super) fn rows_quarantined(
    batch: &mut Batch,
    id: &JobId,
    counts: RowCounts,
) -> Result<(), Refusal> {
    let (_, job) = find_job(batch, id)?;
    let rows = job.manifest.as_ref().map_or(0, |manifest| manifest.rows);
    let is_over = matches!(job.state, JobState::Done { .. });
    let has_grown = counts.total() > job.counts.total() && counts.total() <= rows;
    if !is_over || !has_grown {
        return Err(Refusal::Stale {
            what: "a quarantine",
            present: describe(job),
        });
    }
    job.counts = counts;
    Ok(())
}

/// Whether an attempt is alive that nobody has had stopped yet.
fn can_stop(job: &Job) -> bool {
    job.live_attempt()
        .is_some_and(|attempt| attempt.status != AttemptStatus::Cancelling)
}

fn stop(job: &mut Job, why: Stop, context: &mut Context) {
    let attempt = job
        .attempts
        .last_mut()
        .expect("can_stop saw a live attempt");
    attempt.status = AttemptStatus::Cancelling;
    attempt.stop = Some(why);
    context.act(Effect::StopAttempt {
        attempt: attempt.id.clone(),
    });
}

fn tier_num(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
