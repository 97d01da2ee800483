//! The life of an attempt, from its admission to its end.

use fettle_model::{
    AttemptExit, AttemptId, AttemptStatus, BatchStatus, Cause, JobId, RowCounts, SubmissionParams,
    WorkStatus,
};

use crate::batch::{Attempt, Batch, Job, JobState, Wait};
use crate::effect::Effect;
use crate::event::{Submission, not_before};
use crate::healing::Advice;
use crate::step::settle::{end_job, settle_tier};
use crate::step::verdict::{End, decide};
use crate::step::{Context, Refusal, describe, find_job};
use crate::timeline::TimelineKind;

pub(super) fn admitted(
    batch: &mut Batch,
    id: &JobId,
    submission: Submission,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_job(batch, id)?;
    if !matches!(job.state, JobState::Waiting(Wait::Capacity { .. })) {
        return Err(Refusal::Stale {
            what: "an admission",
            present: describe(job),
        });
    }
    let cause = cause(job);
    let attempt = next(job, AttemptStatus::Planned, cause, submission, context);
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    let message = format!("attempt {} planned ({})", attempt.number, attempt.cause);
    context.note_attempt(TimelineKind::AttemptPlanned, tier_num, &attempt.id, message);
    context.act(Effect::StartAttempt {
        attempt: attempt.id.clone(),
    });
    job.attempts.push(attempt);
    job.state = JobState::Active;
    batch.status = BatchStatus::Processing;
    batch.started_at.get_or_insert(context.now);
    Ok(())
}

/// The job's next attempt.
pub(super) fn next(
    job: &Job,
    status: AttemptStatus,
    cause: String,
    submission: Submission,
    context: &Context,
) -> Attempt {
    let number = job.next_number();
    Attempt {
        id: AttemptId::of(&job.id, number),
        number,
        status,
        params: params(job, submission, context),
        cause,
        planned_at: context.now,
        started_at: None,
        ended_at: None,
        exit: None,
        stop: None,
        is_adopted: false,
        rows_before: job.counts.total(),
        rows_done: 0,
    }
}

fn params(job: &Job, submission: Submission, context: &Context) -> SubmissionParams {
    SubmissionParams {
        resources: job.resources.clone(),
        entrypoint: submission.entrypoint,
        extractor_name: job.extractor.name.clone(),
        extractor_version: job.extractor.version.clone(),
        manifest_key: job.manifest.as_ref().map(|manifest| manifest.key.clone()),
        deployment_mode: submission.deployment_mode,
        env_vars_keys: submission.env_vars_keys,
        plugin_archives: submission.plugin_archives,
        plugin_dependencies: submission.plugin_dependencies,
        submitted_at: context.now,
    }
}

/// Why a next attempt is made, from what was done about how the last one ended.
fn cause(job: &Job) -> String {
    let remedy = job.remedy.as_ref().filter(|remedy| remedy.after.is_some());
    let text = match remedy.map(|remedy| remedy.cause) {
        None if job.attempts.is_empty() => "first",
        None => "retry was requested",
        Some(Cause::OutOfMemory) => "workers ran out of memory",
        Some(Cause::Preempted) => "the attempt was stopped from outside",
        Some(Cause::DriverDied) => "the driver died",
        Some(Cause::AttemptLost) => "the attempt was lost",
        Some(Cause::DriverFailed) => "the driver failed",
        Some(Cause::NotStarted | Cause::NotPrepared) => "the backend did not start it",
        Some(Cause::WorkersKeepDying) => "workers kept dying",
        Some(Cause::Stuck) => "the attempt was stuck",
        Some(Cause::TransientErrors) => "rows failed of what may pass",
    };
    text.to_owned()
}

pub(super) fn job_refused(
    batch: &mut Batch,
    id: &JobId,
    message: String,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_job(batch, id)?;
    if !matches!(job.state, JobState::Waiting(_)) {
        return Err(Refusal::Stale {
            what: "a refusal",
            present: describe(job),
        });
    }
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    end_job(job, tier_num, WorkStatus::Failed, Some(message), context);
    settle_tier(batch, at, context);
    Ok(())
}

/// The live attempt with this id, its job, and the tier's position.
pub(super) fn find_live<'a>(
    batch: &'a mut Batch,
    id: &AttemptId,
    what: &'static str,
) -> Result<(usize, &'a mut Job), Refusal> {
    let no_such = || Refusal::NoSuch {
        kind: "attempt",
        id: id.to_string(),
    };
    let (job_id, number) = id.split().ok_or_else(no_such)?;
    let (at, job) = find_job(batch, &job_id)?;
    if job.is_current(id) {
        return Ok((at, job));
    }
    if job.attempts.iter().any(|attempt| attempt.number == number) {
        return Err(Refusal::Stale {
            what,
            present: describe(job),
        });
    }
    Err(no_such())
}

fn live(job: &mut Job) -> &mut Attempt {
    job.attempts
        .last_mut()
        .expect("find_live returned a job with a live attempt")
}

pub(super) fn submitted(
    batch: &mut Batch,
    id: &AttemptId,
    is_found: bool,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_live(batch, id, "a submission")?;
    let attempt = live(job);
    let is_news = is_found && !attempt.is_adopted;
    // One that was found may have reported first.
    if attempt.status != AttemptStatus::Planned && !is_news {
        return Err(Refusal::Stale {
            what: "a submission",
            present: describe(job),
        });
    }
    if attempt.status == AttemptStatus::Planned {
        attempt.status = AttemptStatus::Submitted;
    }
    if is_news {
        found(attempt, at, context);
    }
    Ok(())
}

/// It was not begun by this start: rows that it finished before may have been told to a memory that was lost.
fn found(attempt: &mut Attempt, at: usize, context: &mut Context) {
    attempt.is_adopted = true;
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    let message = format!(
        "attempt {} had been begun before and is taken over",
        attempt.number
    );
    context.note_attempt(TimelineKind::Remedy, tier_num, &attempt.id, message);
}

pub(super) fn refused(
    batch: &mut Batch,
    id: &AttemptId,
    message: String,
    retryable: bool,
    context: &mut Context,
) -> Result<(), Refusal> {
    let policy = batch.healing.clone();
    let (at, job) = find_live(batch, id, "a refused submission")?;
    let attempt = live(job);
    if attempt.status == AttemptStatus::Running && attempt.is_adopted {
        return Err(Refusal::Stale {
            what: "a refused submission",
            present: describe(job),
        });
    }
    // It reports, whatever the backend says of it.
    if attempt.status == AttemptStatus::Running {
        found(attempt, at, context);
        return Ok(());
    }
    attempt.status = AttemptStatus::Ended;
    attempt.ended_at = Some(not_before(context.now, Some(attempt.planned_at)));
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    let summary = format!("the backend did not start it: {message}");
    context.note_attempt(TimelineKind::AttemptEnded, tier_num, id, summary.clone());
    let end = End {
        exit: None,
        cause: retryable.then_some(Cause::NotStarted),
        summary,
        advice: Advice::default(),
    };
    decide(job, &policy, tier_num, &end, context);
    settle_tier(batch, at, context);
    Ok(())
}

pub(super) fn reported(
    batch: &mut Batch,
    id: &AttemptId,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_live(batch, id, "a report")?;
    let attempt = live(job);
    if !matches!(
        attempt.status,
        AttemptStatus::Planned | AttemptStatus::Submitted
    ) {
        return Err(Refusal::Stale {
            what: "a first report",
            present: describe(job),
        });
    }
    attempt.status = AttemptStatus::Running;
    attempt.started_at = Some(not_before(context.now, Some(attempt.planned_at)));
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    context.note_attempt(
        TimelineKind::AttemptStarted,
        tier_num,
        id,
        "the driver reported".into(),
    );
    Ok(())
}

pub(super) fn ended(
    batch: &mut Batch,
    id: &AttemptId,
    (exit, counts): (AttemptExit, RowCounts),
    (summary, advice): (String, Advice),
    context: &mut Context,
) -> Result<(), Refusal> {
    context.act(Effect::ForgetAttempt {
        attempt: id.clone(),
    });
    let end = End {
        exit: Some(exit),
        cause: None,
        summary,
        advice,
    };
    let what = ("an end", AttemptStatus::Ended);
    over(batch, id, what, counts, &end, context)
}

pub(super) fn lost(
    batch: &mut Batch,
    id: &AttemptId,
    counts: RowCounts,
    context: &mut Context,
) -> Result<(), Refusal> {
    let end = End {
        exit: None,
        cause: Some(Cause::AttemptLost),
        summary: "the backend knows nothing of it".to_owned(),
        advice: Advice::default(),
    };
    over(
        batch,
        id,
        ("a loss", AttemptStatus::Lost),
        counts,
        &end,
        context,
    )
}

fn over(
    batch: &mut Batch,
    id: &AttemptId,
    (what, status): (&'static str, AttemptStatus),
    counts: RowCounts,
    end: &End,
    context: &mut Context,
) -> Result<(), Refusal> {
    let policy = batch.healing.clone();
    let (at, job) = find_live(batch, id, what)?;
    let attempt = live(job);
    attempt.status = status;
    attempt.exit = end.exit.clone();
    attempt.rows_done = counts.total().saturating_sub(attempt.rows_before);
    let earlier = attempt.started_at.or(Some(attempt.planned_at));
    attempt.ended_at = Some(not_before(context.now, earlier));
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    context.note_attempt(
        TimelineKind::AttemptEnded,
        tier_num,
        id,
        end.summary.clone(),
    );
    job.counts = counts;
    decide(job, &policy, tier_num, end, context);
    settle_tier(batch, at, context);
    Ok(())
}

pub(super) fn backoff_elapsed(
    batch: &mut Batch,
    id: &JobId,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (_, job) = find_job(batch, id)?;
    if !matches!(job.state, JobState::Waiting(Wait::Backoff { .. })) {
        return Err(Refusal::Stale {
            what: "the end of a back-off",
            present: describe(job),
        });
    }
    if job.manifest.is_some() {
        job.state = JobState::Waiting(Wait::Capacity { since: context.now });
    } else {
        job.prepare();
        context.act(Effect::BuildManifest { job: id.clone() });
    }
    Ok(())
}
