//! The life of an attempt, and what its end means for its job.

use fettle_model::{
    AttemptExit, AttemptId, AttemptStatus, BatchStatus, JobId, RowCounts, SubmissionParams,
    WorkStatus,
};

use crate::batch::{Attempt, Batch, Job, JobState, Wait};
use crate::effect::Effect;
use crate::event::not_before;
use crate::step::settle::{end_job, end_job_by_counts, settle_tier};
use crate::step::{Context, Refusal, describe, find_job};
use crate::timeline::TimelineKind;

/// Retries after a driver vanished: enough to outlive a reboot or two kills, few enough that a driver that always dies is noticed.
pub const INFRASTRUCTURE_RETRIES_MAX: u32 = 3;
/// Retries after the driver itself failed, for example because a disk was full for a moment.
pub const DRIVER_RETRIES_MAX: u32 = 2;
/// Retries after the backend could not start an attempt: about a minute with the back-off below.
pub const START_RETRIES_MAX: u32 = 5;
/// Retries after the rows could not be prepared: about a minute with the back-off below.
pub const MANIFEST_RETRIES_MAX: u32 = 5;

/// The first back-off; a vanished driver is restarted while its user still looks at the screen.
const BACKOFF_FIRST_MS: u64 = 500;
/// The longest back-off: longer ones only hide that something is wrong.
const BACKOFF_LONGEST_MS: u64 = 60_000;

/// How long to wait before retry `number` (from one), in milliseconds: doubled each time, capped.
pub(crate) fn backoff_ms(number: u32) -> u64 {
    let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << number.saturating_sub(1).min(20));
    doubled.min(BACKOFF_LONGEST_MS)
}

/// What the control room knows of a submission and the core keeps.
pub(super) struct Submission {
    pub(super) entrypoint: String,
    pub(super) deployment_mode: String,
    pub(super) env_vars_keys: Vec<String>,
    pub(super) plugin_archives: Vec<String>,
    pub(super) plugin_dependencies: Vec<String>,
}

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
    let number = u32::try_from(job.attempts.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let attempt = Attempt {
        id: AttemptId::of(&job.id, number),
        number,
        status: AttemptStatus::Planned,
        params: params(job, submission, context),
        cause: cause(job),
        planned_at: context.now,
        started_at: None,
        ended_at: None,
        exit: None,
    };
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    let message = format!("attempt {number} planned ({})", attempt.cause);
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

/// Why a next attempt is made, from how the last one ended.
fn cause(job: &Job) -> String {
    let spent = job.budgets.infrastructure + job.budgets.driver + job.budgets.start;
    match job.last_attempt() {
        None => "first".to_owned(),
        Some(_) if spent == 0 => "retry was requested".to_owned(),
        Some(last) => match &last.exit {
            Some(AttemptExit::DriverFailed) => "the driver failed".to_owned(),
            Some(_) | None if last.status == AttemptStatus::Lost => {
                "the attempt was lost".to_owned()
            }
            Some(_) => "the driver died".to_owned(),
            None => "the backend did not start it".to_owned(),
        },
    }
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
fn find_live<'a>(
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

pub(super) fn submitted(batch: &mut Batch, id: &AttemptId) -> Result<(), Refusal> {
    let (_, job) = find_live(batch, id, "a submission")?;
    let attempt = live(job);
    if attempt.status != AttemptStatus::Planned {
        return Err(Refusal::Stale {
            what: "a submission",
            present: describe(job),
        });
    }
    attempt.status = AttemptStatus::Submitted;
    Ok(())
}

pub(super) fn refused(
    batch: &mut Batch,
    id: &AttemptId,
    message: String,
    retryable: bool,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_live(batch, id, "a refused submission")?;
    let attempt = live(job);
    if attempt.status == AttemptStatus::Running {
        return Err(Refusal::Stale {
            what: "a refused submission",
            present: describe(job),
        });
    }
    attempt.status = AttemptStatus::Ended;
    attempt.ended_at = Some(not_before(context.now, Some(attempt.planned_at)));
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    let reason = format!("the backend did not start it: {message}");
    context.note_attempt(TimelineKind::AttemptEnded, tier_num, id, reason.clone());
    if canceled(job, tier_num, context) {
    } else if retryable && job.budgets.start < START_RETRIES_MAX {
        job.budgets.start += 1;
        back_off(job, tier_num, job.budgets.start, reason, context);
    } else {
        end_job(job, tier_num, WorkStatus::Failed, Some(reason), context);
    }
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
    exit: AttemptExit,
    counts: RowCounts,
    summary: String,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_live(batch, id, "an end")?;
    close(job, AttemptStatus::Ended, Some(exit.clone()), context);
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    context.note_attempt(TimelineKind::AttemptEnded, tier_num, id, summary.clone());
    context.act(Effect::ForgetAttempt {
        attempt: id.clone(),
    });
    job.counts = counts;
    decide(job, tier_num, &exit, &summary, context);
    settle_tier(batch, at, context);
    Ok(())
}

pub(super) fn lost(
    batch: &mut Batch,
    id: &AttemptId,
    counts: RowCounts,
    context: &mut Context,
) -> Result<(), Refusal> {
    let (at, job) = find_live(batch, id, "a loss")?;
    close(job, AttemptStatus::Lost, None, context);
    let tier_num = u32::try_from(at).unwrap_or(u32::MAX);
    let summary = "the backend knows nothing of it".to_owned();
    context.note_attempt(TimelineKind::AttemptEnded, tier_num, id, summary.clone());
    job.counts = counts;
    decide(job, tier_num, &AttemptExit::DriverDied, &summary, context);
    settle_tier(batch, at, context);
    Ok(())
}

fn close(job: &mut Job, status: AttemptStatus, exit: Option<AttemptExit>, context: &Context) {
    let attempt = live(job);
    attempt.status = status;
    attempt.exit = exit;
    let earlier = attempt.started_at.or(Some(attempt.planned_at));
    attempt.ended_at = Some(not_before(context.now, earlier));
}

/// What the end of an attempt means for its job. Every cause has its own budget.
fn decide(job: &mut Job, tier: u32, exit: &AttemptExit, summary: &str, context: &mut Context) {
    if job.unfinished_rows() == 0 {
        return end_job_by_counts(job, tier, context);
    }
    if canceled(job, tier, context) {
        return;
    }
    let left = job.unfinished_rows();
    match exit {
        AttemptExit::Finished => {
            // Law of accounting: a job that says it is done and is not must not look well.
            let reason = format!("{left} row(s) have no outcome although the attempt finished");
            end_job(job, tier, WorkStatus::Failed, Some(reason), context);
        }
        AttemptExit::DriverDied | AttemptExit::Cancelled
            if job.budgets.infrastructure < INFRASTRUCTURE_RETRIES_MAX =>
        {
            job.budgets.infrastructure += 1;
            back_off(
                job,
                tier,
                job.budgets.infrastructure,
                summary.to_owned(),
                context,
            );
        }
        AttemptExit::DriverFailed if job.budgets.driver < DRIVER_RETRIES_MAX => {
            job.budgets.driver += 1;
            back_off(job, tier, job.budgets.driver, summary.to_owned(), context);
        }
        AttemptExit::DriverDied
        | AttemptExit::Cancelled
        | AttemptExit::DriverFailed
        | AttemptExit::OutOfMemory
        | AttemptExit::WorkersKeepDying
        | AttemptExit::ExtractorFailed => {
            end_job(
                job,
                tier,
                WorkStatus::Failed,
                Some(summary.to_owned()),
                context,
            );
        }
    }
}

/// Ends a job that a user cancelled; says whether it did.
fn canceled(job: &mut Job, tier: u32, context: &mut Context) -> bool {
    let Some(cancel) = &job.cancel else {
        return false;
    };
    let reason = cancel.reason.clone();
    end_job(job, tier, WorkStatus::Canceled, reason, context);
    true
}

fn back_off(job: &mut Job, tier: u32, number: u32, cause: String, context: &mut Context) {
    let wait_ms = backoff_ms(number);
    let message = format!("retry in {wait_ms} ms: {cause}");
    context.note_job(TimelineKind::JobWaiting, tier, &job.id, message);
    job.state = JobState::Waiting(Wait::Backoff {
        until: context.now.plus_ms(wait_ms),
        cause,
    });
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
