//! What follows when a job ends: the tier, the next tier, the batch.

use fettle_model::{BatchStatus, RemedyOutcome, WorkStatus};

use crate::batch::{Batch, Job, JobState};
use crate::effect::Effect;
use crate::step::Context;
use crate::step::verdict::end_remedy;
use crate::timeline::TimelineKind;

/// Begins the tier at position `at`: its jobs prepare their rows.
pub(crate) fn begin_tier(batch: &mut Batch, at: usize, context: &mut Context) {
    let tier = &mut batch.tiers[at];
    tier.status = WorkStatus::InProgress;
    tier.started_at = Some(context.now);
    tier.ended_at = None;
    context.note_tier(TimelineKind::TierStarted, tier.num, "started".to_owned());
    for job in &mut tier.jobs {
        job.prepare();
        job.started_at = Some(context.now);
        job.ended_at = None;
        context.act(Effect::BuildManifest {
            job: job.id.clone(),
        });
    }
}

/// Ends a job whose rows all have an outcome.
pub(super) fn end_job_by_counts(job: &mut Job, tier_num: u32, context: &mut Context) {
    let (status, reason) = match job.counts.failed {
        0 => (WorkStatus::Completed, None),
        failed => (
            WorkStatus::CompletedWithErrors,
            Some(format!("{failed} row(s) failed")),
        ),
    };
    end_job(job, tier_num, status, reason, context);
}

pub(super) fn end_job(
    job: &mut Job,
    tier_num: u32,
    status: WorkStatus,
    reason: Option<String>,
    context: &mut Context,
) {
    let message = match &reason {
        Some(reason) => format!("{}: {reason}", status.as_str()),
        None => status.as_str().to_owned(),
    };
    context.note_job(TimelineKind::JobEnded, tier_num, &job.id, message);
    end_remedy(job, RemedyOutcome::Untried, context);
    job.state = JobState::Done { status, reason };
    job.ended_at = Some(context.now);
}

/// Ends the tier at position `at` when all its jobs have ended, and goes on from there.
pub(super) fn settle_tier(batch: &mut Batch, at: usize, context: &mut Context) {
    let tier = &mut batch.tiers[at];
    if !tier.jobs.iter().all(|job| job.status().is_terminal()) {
        return;
    }
    tier.status = tier_status(&tier.jobs);
    tier.ended_at = Some(context.now);
    context.note_tier(
        TimelineKind::TierEnded,
        tier.num,
        tier.status.as_str().to_owned(),
    );
    let status = tier.status;
    if batch.cancel.is_some() || status == WorkStatus::Canceled {
        end_batch(batch, BatchStatus::Canceled, context);
    } else if status == WorkStatus::Failed {
        end_batch(batch, BatchStatus::Failed, context);
    } else if at + 1 < batch.tiers.len() {
        begin_tier(batch, at + 1, context);
    } else {
        let errors = batch
            .tiers
            .iter()
            .any(|t| t.status == WorkStatus::CompletedWithErrors);
        let status = if errors {
            BatchStatus::CompletedWithErrors
        } else {
            BatchStatus::Completed
        };
        end_batch(batch, status, context);
    }
}

/// A tier is as bad as its worst job: failed before cancelled before errors.
fn tier_status(jobs: &[Job]) -> WorkStatus {
    let any = |status| jobs.iter().any(|job| job.status() == status);
    [
        WorkStatus::Failed,
        WorkStatus::Canceled,
        WorkStatus::CompletedWithErrors,
    ]
    .into_iter()
    .find(|status| any(*status))
    .unwrap_or(WorkStatus::Completed)
}

fn end_batch(batch: &mut Batch, status: BatchStatus, context: &mut Context) {
    for tier in batch
        .tiers
        .iter_mut()
        .filter(|tier| tier.status == WorkStatus::Pending)
    {
        tier.status = WorkStatus::Skipped;
        for job in &mut tier.jobs {
            job.state = JobState::Done {
                status: WorkStatus::Skipped,
                reason: None,
            };
        }
    }
    batch.status = status;
    batch.ended_at = Some(context.now);
    context.note(TimelineKind::BatchEnded, status.as_str().to_owned());
}
