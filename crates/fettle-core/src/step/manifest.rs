//! The rows of a job become known, or cannot.

use fettle_model::{JobId, ManifestRef, RowCounts, WorkStatus};

use crate::batch::{Batch, JobState, Wait};
use crate::step::attempt::{MANIFEST_RETRIES_MAX, backoff_ms};
use crate::step::settle::{end_job, end_job_by_counts, settle_tier};
use crate::step::{Context, Refusal, describe, find_job};
use crate::timeline::TimelineKind;

pub(super) fn built(
    batch: &mut Batch,
    id: &JobId,
    manifest: ManifestRef,
    counts: RowCounts,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_job(batch, id)?;
    if job.state != JobState::Preparing {
        return Err(Refusal::Stale {
            what: "a manifest",
            present: describe(job),
        });
    }
    let rows = manifest.rows;
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    context.note_job(
        TimelineKind::ManifestBuilt,
        tier_num,
        id,
        format!("{rows} row(s) to do"),
    );
    job.manifest = Some(manifest);
    job.counts = counts;
    if job.unfinished_rows() == 0 {
        end_job_by_counts(job, tier_num, context);
        settle_tier(batch, at, context);
    } else {
        job.state = JobState::Waiting(Wait::Capacity { since: context.now });
    }
    Ok(())
}

pub(super) fn failed(
    batch: &mut Batch,
    id: &JobId,
    message: String,
    retryable: bool,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_job(batch, id)?;
    if job.state != JobState::Preparing {
        return Err(Refusal::Stale {
            what: "a manifest failure",
            present: describe(job),
        });
    }
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    if retryable && job.budgets.manifest < MANIFEST_RETRIES_MAX {
        job.budgets.manifest += 1;
        let until = context.now.plus_ms(backoff_ms(job.budgets.manifest));
        let cause = format!("its rows could not be prepared: {message}");
        context.note_job(TimelineKind::JobWaiting, tier_num, id, cause.clone());
        job.state = JobState::Waiting(Wait::Backoff { until, cause });
    } else {
        let reason = format!("its rows could not be prepared: {message}");
        end_job(job, tier_num, WorkStatus::Failed, Some(reason), context);
        settle_tier(batch, at, context);
    }
    Ok(())
}
