//! The rows of a job become known, or cannot.

use fettle_model::{AppliedBy, Cause, JobId, WorkStatus};

use crate::batch::{Batch, Job, JobState, Wait};
use crate::effect::SkipRows;
use crate::event::{PreparedRows, SkippedRows};
use crate::healing::Advice;
use crate::step::settle::{end_job, settle_tier};
use crate::step::verdict::{Reason, all_have_an_outcome, retry};
use crate::step::{Context, Refusal, describe, find_job};
use crate::timeline::TimelineKind;

pub(super) fn built(
    batch: &mut Batch,
    id: &JobId,
    built: PreparedRows,
    context: &mut Context,
) -> Result<(), Refusal> {
    let policy = batch.healing.clone();
    let (at, job) = find_job(batch, id)?;
    if job.state != JobState::Preparing || job.generation != built.generation {
        return Err(Refusal::Stale {
            what: "a manifest",
            present: describe(job),
        });
    }
    let rows = built.manifest.rows;
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    context.note_job(
        TimelineKind::ManifestBuilt,
        tier_num,
        id,
        format!("{rows} row(s) to do"),
    );
    job.manifest = Some(built.manifest);
    job.counts = built.counts;
    skip(job, tier_num, built.skipped, context);
    if job.unfinished_rows() == 0 {
        all_have_an_outcome(job, &policy, tier_num, context);
        settle_tier(batch, at, context);
    } else {
        job.state = JobState::Waiting(Wait::Capacity { since: context.now });
    }
    Ok(())
}

/// Rows whose documents exist already get their outcome with the manifest.
fn skip(job: &mut Job, tier_num: u32, skipped: SkippedRows, context: &mut Context) {
    for (collection, tally) in &skipped.tally {
        job.dedup.entry(collection.clone()).or_default().add(tally);
    }
    if skipped.rows.is_empty() {
        return;
    }
    let rows = skipped.rows.len();
    let message = format!("{rows} row(s) are skipped: their documents exist already");
    context.note_job(TimelineKind::Note, tier_num, &job.id, message);
    job.counts.skipped += rows as u64;
    context.skip_rows(SkipRows {
        job: job.id.clone(),
        tier_num,
        rows: skipped.rows,
    });
}

pub(super) fn failed(
    batch: &mut Batch,
    id: &JobId,
    message: String,
    retryable: bool,
    context: &mut Context,
) -> Result<(), Refusal> {
    let policy = batch.healing.clone();
    let (at, job) = find_job(batch, id)?;
    if job.state != JobState::Preparing {
        return Err(Refusal::Stale {
            what: "a manifest failure",
            present: describe(job),
        });
    }
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    let text = format!("its rows could not be prepared: {message}");
    if retryable {
        let reason = Reason {
            cause: Cause::NotPrepared,
            by: AppliedBy::Policy,
            text,
        };
        retry(job, &policy, tier_num, reason, &Advice::default(), context);
    } else {
        end_job(job, tier_num, WorkStatus::Failed, Some(text), context);
    }
    settle_tier(batch, at, context);
    Ok(())
}
