//! What the end of an attempt means for its job: it is over, or another attempt follows within the budget of the cause.

use fettle_model::{
    AppliedBy, AttemptExit, AttemptId, Cause, DocumentErrorClass, HealingMode, HealingPolicy,
    RemedyOutcome, RemedyTaken, WorkStatus,
};

use crate::batch::{Job, JobState, Wait};
use crate::effect::{FailedRows, WhichRows};
use crate::healing::{Advice, Remedy, Stop, backoff_ms, fails_too_much};
use crate::step::Context;
use crate::step::settle::{end_job, end_job_by_counts};
use crate::timeline::TimelineKind;

/// The end of an attempt.
pub(super) struct End {
    /// How; none when the backend lost it or never started it.
    pub(super) exit: Option<AttemptExit>,
    /// The cause that the event itself tells, in place of what `exit` says.
    pub(super) cause: Option<Cause>,
    /// In one sentence.
    pub(super) summary: String,
    /// What the diagnosis says of it.
    pub(super) advice: Advice,
}

/// Decides after the last attempt was closed. Every cause has its own budget.
pub(super) fn decide(
    job: &mut Job,
    policy: &HealingPolicy,
    tier: u32,
    end: &End,
    context: &mut Context,
) {
    let stop = job.last_attempt().and_then(|attempt| attempt.stop.clone());
    let is_adopted = job.last_attempt().is_some_and(|attempt| attempt.is_adopted);
    let cause = cause(end, stop.as_ref());
    settle_remedy(job, cause, &end.advice, context);
    shrink(job, policy, tier, &end.advice, context);
    if job.unfinished_rows() == 0 {
        let may_be_tried_again = stop.is_none() && job.cancel.is_none();
        if may_be_tried_again
            && (give_back(job, policy, tier, end.advice.transient_rows, context)
                || open_lane(job, policy, tier, &end.advice, context))
        {
            return;
        }
        return all_have_an_outcome(job, policy, tier, context);
    }
    if canceled(job, tier, context) {
        return;
    }
    match (stop, cause) {
        (Some(Stop::TooManyFailures { reason }), _) => fail(job, tier, reason, context),
        (Some(Stop::Restart { by, reason, .. }), Some(cause)) => {
            retry(
                job,
                policy,
                tier,
                Reason {
                    cause,
                    by,
                    text: reason,
                },
                &end.advice,
                context,
            );
        }
        (_, Some(cause)) => {
            let reason = Reason {
                cause,
                by: AppliedBy::Policy,
                text: end.summary.clone(),
            };
            retry(job, policy, tier, reason, &end.advice, context);
        }
        // Rows that it finished before were told to a memory that was lost; they are done again, which is harmless.
        (_, None) if end.exit == Some(AttemptExit::Finished) && is_adopted => {
            let left = job.unfinished_rows();
            let reason = Reason {
                cause: Cause::AttemptLost,
                by: AppliedBy::Policy,
                text: format!("{left} row(s) of an attempt that was taken over have no outcome"),
            };
            retry(job, policy, tier, reason, &end.advice, context);
        }
        // Law of accounting: a job that says it is done and is not must not look well.
        (_, None) if end.exit == Some(AttemptExit::Finished) => {
            let left = job.unfinished_rows();
            let reason = format!("{left} row(s) have no outcome although the attempt finished");
            fail(job, tier, reason, context);
        }
        (_, None) => fail(job, tier, end.summary.clone(), context),
    }
}

/// Which budget an end is paid from; none when nothing follows it.
fn cause(end: &End, stop: Option<&Stop>) -> Option<Cause> {
    if let Some(Stop::Restart { cause, .. }) = stop {
        return Some(*cause);
    }
    end.cause.or(match end.exit.as_ref()? {
        AttemptExit::Finished | AttemptExit::ExtractorFailed => None,
        AttemptExit::Cancelled => Some(Cause::Preempted),
        AttemptExit::OutOfMemory => Some(Cause::OutOfMemory),
        AttemptExit::WorkersKeepDying => Some(Cause::WorkersKeepDying),
        AttemptExit::DriverFailed => Some(Cause::DriverFailed),
        AttemptExit::DriverDied => Some(Cause::DriverDied),
    })
}

/// Ends a job whose rows all have an outcome, unless more of them failed than the policy bears.
pub(super) fn all_have_an_outcome(
    job: &mut Job,
    policy: &HealingPolicy,
    tier: u32,
    context: &mut Context,
) {
    let rows = job.manifest.as_ref().map_or(0, |manifest| manifest.rows);
    if fails_too_much(policy, rows, &job.counts) {
        let reason = too_many_failures(job, policy);
        fail(job, tier, reason, context);
    } else {
        end_job_by_counts(job, tier, context);
    }
}

/// For people: what the policy does not bear.
pub(super) fn too_many_failures(job: &Job, policy: &HealingPolicy) -> String {
    let rows = job.manifest.as_ref().map_or(0, |manifest| manifest.rows);
    let percent = policy.failed_percent_max.unwrap_or(100.0);
    let failed = job.counts.failed;
    format!("{failed} of {rows} row(s) failed; the policy allows {percent} %")
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

fn fail(job: &mut Job, tier: u32, reason: String, context: &mut Context) {
    end_job(job, tier, WorkStatus::Failed, Some(reason), context);
}

/// Why another attempt is wanted.
pub(super) struct Reason {
    pub(super) cause: Cause,
    pub(super) by: AppliedBy,
    pub(super) text: String,
}

/// Lets another attempt follow after a wait, or ends the job: the budget is spent, or nothing would be different.
pub(super) fn retry(
    job: &mut Job,
    policy: &HealingPolicy,
    tier: u32,
    reason: Reason,
    advice: &Advice,
    context: &mut Context,
) {
    let limit = limit(policy, reason.cause, reason.by);
    let spent = job.budgets.spent(reason.cause);
    if spent >= limit {
        let tried = match spent {
            0 => String::new(),
            1 => "; another attempt did not help".to_owned(),
            more => format!("; {more} more attempts did not help"),
        };
        return fail(job, tier, format!("{}{tried}", reason.text), context);
    }
    let Some(taken) = apply(job, policy, reason.cause, advice) else {
        let text = format!(
            "{}; no higher limit is known to help, or allowed",
            reason.text
        );
        return fail(job, tier, text, context);
    };
    wait(job, tier, reason, taken, context);
}

/// Gives back failed rows whose error may pass, to be tried again after a wait. Says whether it does: the budget may be spent.
fn give_back(
    job: &mut Job,
    policy: &HealingPolicy,
    tier: u32,
    transient_rows: u64,
    context: &mut Context,
) -> bool {
    let cause = Cause::TransientErrors;
    let rows = transient_rows.min(job.counts.failed);
    if rows == 0 || job.budgets.spent(cause) >= policy.limit(cause) {
        return false;
    }
    reopen(job, rows, DocumentErrorClass::Transient, context);
    let reason = Reason {
        cause,
        by: AppliedBy::Policy,
        text: format!("{rows} row(s) failed of what may pass"),
    };
    let taken = RemedyTaken::RetryFailedRows { rows };
    wait(job, tier, reason, taken, context);
    true
}

/// Gives back rows that were failed for lack of memory, to be tried again with as much as they need. All other rows are done by then, so
/// nothing else is given more. Says whether it does.
fn open_lane(
    job: &mut Job,
    policy: &HealingPolicy,
    tier: u32,
    advice: &Advice,
    context: &mut Context,
) -> bool {
    let cause = Cause::OutOfMemory;
    let rows = advice.resource_rows.min(job.counts.failed);
    if rows == 0 || job.budgets.spent(cause) >= policy.limit(cause) {
        return false;
    }
    let Some(RemedyTaken::RaiseMemory {
        from_bytes,
        to_bytes,
    }) = apply(job, policy, cause, advice)
    else {
        return false;
    };
    reopen(job, rows, DocumentErrorClass::Resource, context);
    let reason = Reason {
        cause,
        by: AppliedBy::Policy,
        text: format!("{rows} row(s) failed for lack of memory"),
    };
    let taken = RemedyTaken::Lane {
        rows,
        from_bytes,
        to_bytes,
    };
    wait(job, tier, reason, taken, context);
    true
}

/// `rows` failed rows of a class lose their outcome.
fn reopen(job: &mut Job, rows: u64, class: DocumentErrorClass, context: &mut Context) {
    job.counts.failed -= rows;
    let which = FailedRows {
        classes: vec![class],
        ..FailedRows::default()
    };
    context.reopen_rows(&job.id, WhichRows::Failed(which));
}

/// Lowers what later attempts get, where the policy wants that and less is known to be enough.
fn shrink(
    job: &mut Job,
    policy: &HealingPolicy,
    tier: u32,
    advice: &Advice,
    context: &mut Context,
) {
    let may = policy.memory_shrinks && policy.mode == HealingMode::Auto;
    let from_bytes = job.resources.memory_bytes;
    let enough = advice.memory_enough_bytes.filter(|to| *to < from_bytes);
    let Some(to_bytes) = enough.filter(|_| may) else {
        return;
    };
    job.resources.memory_bytes = to_bytes;
    let message = format!(
        "later attempts get {} MiB for each worker, not {}: the need stays far below",
        mib(to_bytes),
        mib(from_bytes)
    );
    context.note_job(TimelineKind::Remedy, tier, &job.id, message);
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Spends the budget, records the remedy, and lets the next attempt wait for its back-off.
fn wait(job: &mut Job, tier: u32, reason: Reason, taken: RemedyTaken, context: &mut Context) {
    let number = job.budgets.spend(reason.cause);
    let seed = job
        .last_attempt()
        .map_or(job.id.as_str(), |attempt| attempt.id.as_str());
    let wait_ms = backoff_ms(reason.cause, number, seed);
    record(job, tier, &reason, taken, context);
    let message = format!("retry in {wait_ms} ms: {}", reason.text);
    context.note_job(TimelineKind::JobWaiting, tier, &job.id, message);
    job.state = JobState::Waiting(Wait::Backoff {
        until: context.now.plus_ms(wait_ms),
        cause: reason.text,
    });
}

/// Attempts that `cause` may be followed by.
pub(super) fn limit(policy: &HealingPolicy, cause: Cause, by: AppliedBy) -> u32 {
    match by {
        AppliedBy::Policy => policy.limit(cause),
        AppliedBy::User => policy.budget(cause),
    }
}

/// Changes what the next attempt gets; none when it would be the same again and that is known not to help.
fn apply(
    job: &mut Job,
    policy: &HealingPolicy,
    cause: Cause,
    advice: &Advice,
) -> Option<RemedyTaken> {
    let from_bytes = job.resources.memory_bytes;
    let most = policy.memory_bytes_after(from_bytes);
    let raised = advice.overrides.memory_bytes.map(|bytes| bytes.min(most));
    match (cause, raised.filter(|to| *to > from_bytes)) {
        (Cause::OutOfMemory | Cause::WorkersKeepDying, Some(to_bytes)) => {
            // Raised memory sticks.
            job.resources.memory_bytes = to_bytes;
            let fewer = advice
                .overrides
                .num_cpus
                .filter(|n| *n < job.resources.num_cpus);
            job.resources.num_cpus = fewer.unwrap_or(job.resources.num_cpus);
            Some(RemedyTaken::RaiseMemory {
                from_bytes,
                to_bytes,
            })
        }
        (Cause::OutOfMemory, None) => None,
        (Cause::Stuck, _) => Some(RemedyTaken::Restart),
        _ => Some(RemedyTaken::Retry),
    }
}

fn record(
    job: &mut Job,
    tier_num: u32,
    reason: &Reason,
    taken: RemedyTaken,
    context: &mut Context,
) {
    job.remedies = job.remedies.saturating_add(1);
    let after: Option<AttemptId> = job.last_attempt().map(|attempt| attempt.id.clone());
    let remedy = Remedy {
        job_id: job.id.clone(),
        tier_num,
        number: job.remedies,
        after,
        cause: reason.cause,
        taken,
        by: reason.by,
        reason: reason.text.clone(),
        at: context.now,
        outcome: None,
        ended_at: None,
    };
    context.remedy(
        remedy.clone(),
        format!("{} after {}", describe(taken), reason.cause.as_str()),
    );
    job.remedy = Some(remedy);
}

fn describe(taken: RemedyTaken) -> String {
    match taken {
        RemedyTaken::Retry => "another attempt".to_owned(),
        RemedyTaken::RaiseMemory {
            from_bytes,
            to_bytes,
        } => format!(
            "another attempt with {} MiB for each worker, not {}",
            mib(to_bytes),
            mib(from_bytes)
        ),
        RemedyTaken::Lane {
            rows,
            from_bytes,
            to_bytes,
        } => format!(
            "{rows} failed row(s) alone with {} MiB for each worker, not {}",
            mib(to_bytes),
            mib(from_bytes)
        ),
        RemedyTaken::RetryFailedRows { rows } => format!("{rows} failed row(s) given back"),
        RemedyTaken::Restart => "the attempt ended and another".to_owned(),
    }
}

/// Tells what became of the last remedy, now that the attempt after it has ended by `cause`, with what is advised about its failed rows.
fn settle_remedy(job: &mut Job, cause: Option<Cause>, advice: &Advice, context: &mut Context) {
    let Some(remedy) = &job.remedy else { return };
    let has_done = job
        .last_attempt()
        .is_some_and(|attempt| attempt.rows_done > 0);
    let outcome = match cause {
        None if is_in_vain(remedy.taken, advice) => RemedyOutcome::Failed,
        _ if job.unfinished_rows() == 0 => RemedyOutcome::Worked,
        Some(cause) if cause == remedy.cause => RemedyOutcome::Failed,
        _ if has_done => RemedyOutcome::Worked,
        _ => RemedyOutcome::Untried,
    };
    end_remedy(job, outcome, context);
}

/// Whether none of the rows that were given back did better.
fn is_in_vain(taken: RemedyTaken, advice: &Advice) -> bool {
    match taken {
        RemedyTaken::RetryFailedRows { rows } => advice.transient_rows >= rows,
        RemedyTaken::Lane { rows, .. } => advice.resource_rows >= rows,
        _ => false,
    }
}

/// The last remedy has come to this.
pub(super) fn end_remedy(job: &mut Job, outcome: RemedyOutcome, context: &mut Context) {
    if let Some(mut remedy) = job.remedy.take() {
        remedy.outcome = Some(outcome);
        remedy.ended_at = Some(context.now);
        let message = format!("{}: {}", describe(remedy.taken), outcome.as_str());
        context.remedy(remedy, message);
    }
}
