//! A user wants a batch, a tier or a job to end.

use fettle_model::{AttemptStatus, WorkStatus};

use crate::batch::{Batch, Cancel, Job, JobState};
use crate::effect::Effect;
use crate::event::Scope;
use crate::step::settle::{end_job, settle_tier};
use crate::step::{Context, Refusal, describe, find_job};
use crate::timeline::TimelineKind;

const WHAT: &str = "cancelling";

pub(super) fn requested(
    batch: &mut Batch,
    scope: &Scope,
    reason: Option<String>,
    context: &mut Context,
) -> Result<(), Refusal> {
    if batch.is_at_rest() {
        let present = format!("the batch is {}", batch.status.as_str());
        return Err(Refusal::NotPossible {
            what: WHAT,
            present,
        });
    }
    let cancel = Cancel {
        reason,
        at: context.now,
    };
    let at = match scope {
        Scope::Batch => whole_batch(batch, cancel, context),
        Scope::Tier { tier_num } => one_tier(batch, *tier_num, &cancel, context)?,
        Scope::Job { job } => {
            let (at, job) = find_job(batch, job)?;
            if !matches!(job.status(), WorkStatus::InProgress) {
                return Err(Refusal::NotPossible {
                    what: WHAT,
                    present: describe(job),
                });
            }
            cancel_job(job, tier_num(at), &cancel, context);
            Some(at)
        }
    };
    if let Some(at) = at {
        settle_tier(batch, at, context);
    }
    Ok(())
}

fn whole_batch(batch: &mut Batch, cancel: Cancel, context: &mut Context) -> Option<usize> {
    let message = match &cancel.reason {
        Some(reason) => format!("cancel of the batch: {reason}"),
        None => "cancel of the batch".to_owned(),
    };
    context.note(TimelineKind::Requested, message);
    let at = batch
        .tiers
        .iter()
        .position(|tier| tier.status == WorkStatus::InProgress)?;
    for job in &mut batch.tiers[at].jobs {
        cancel_job(job, tier_num(at), &cancel, context);
    }
    batch.cancel = Some(cancel);
    Some(at)
}

fn one_tier(
    batch: &mut Batch,
    num: u32,
    cancel: &Cancel,
    context: &mut Context,
) -> Result<Option<usize>, Refusal> {
    let found = batch
        .tiers
        .iter_mut()
        .enumerate()
        .find(|(_, tier)| tier.num == num);
    let (at, tier) = found.ok_or_else(|| Refusal::NoSuch {
        kind: "tier",
        id: num.to_string(),
    })?;
    if tier.status != WorkStatus::InProgress {
        let present = format!("tier {num} is {}", tier.status.as_str());
        return Err(Refusal::NotPossible {
            what: WHAT,
            present,
        });
    }
    context.note_tier(
        TimelineKind::Requested,
        num,
        "cancel of the tier".to_owned(),
    );
    for job in &mut tier.jobs {
        cancel_job(job, num, cancel, context);
    }
    Ok(Some(at))
}

/// Asking twice changes nothing.
fn cancel_job(job: &mut Job, tier_num: u32, cancel: &Cancel, context: &mut Context) {
    match job.state {
        JobState::Done { .. } => {}
        JobState::Pending | JobState::Preparing | JobState::Waiting(_) => {
            job.cancel = Some(cancel.clone());
            end_job(
                job,
                tier_num,
                WorkStatus::Canceled,
                cancel.reason.clone(),
                context,
            );
        }
        JobState::Active => {
            job.cancel.get_or_insert_with(|| cancel.clone());
            let attempt = job
                .attempts
                .last_mut()
                .expect("an active job has an attempt");
            if attempt.status != AttemptStatus::Cancelling {
                attempt.status = AttemptStatus::Cancelling;
                context.act(Effect::StopAttempt {
                    attempt: attempt.id.clone(),
                });
            }
        }
    }
}

fn tier_num(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
