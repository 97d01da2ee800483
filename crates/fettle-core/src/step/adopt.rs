//! An attempt runs that the batch does not know: it becomes the job's, if the job has none and the attempt is its next one.

use fettle_model::{AttemptId, AttemptStatus, BatchStatus};

use crate::batch::{Batch, Job, JobState};
use crate::event::Submission;
use crate::step::attempt::next;
use crate::step::{Context, Refusal, describe, find_job};
use crate::timeline::TimelineKind;

pub(super) fn adopted(
    batch: &mut Batch,
    id: &AttemptId,
    submission: Submission,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (job_id, _) = id.split().ok_or_else(|| Refusal::NoSuch {
        kind: "attempt",
        id: id.to_string(),
    })?;
    let (at, job) = find_job(batch, &job_id)?;
    if !can_be_adopted(job, id) {
        return Err(Refusal::Stale {
            what: "an adoption",
            present: describe(job),
        });
    }
    let cause = "it was found running".to_owned();
    let mut attempt = next(job, AttemptStatus::Submitted, cause, submission, context);
    attempt.is_adopted = true;
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    let message = format!(
        "attempt {} was found running and is taken over",
        attempt.number
    );
    context.note_attempt(TimelineKind::Remedy, tier_num, id, message);
    job.attempts.push(attempt);
    job.state = JobState::Active;
    batch.status = BatchStatus::Processing;
    batch.started_at.get_or_insert(context.now);
    Ok(())
}

/// Whether an unknown attempt that runs can become the job's: the job waits, knows its rows, and this would be its next attempt.
#[must_use]
pub fn can_be_adopted(job: &Job, attempt: &AttemptId) -> bool {
    let waits = matches!(job.state, JobState::Waiting(_)) && job.manifest.is_some();
    waits && *attempt == AttemptId::of(&job.id, job.next_number())
}
