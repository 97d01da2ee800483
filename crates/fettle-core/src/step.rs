//! The one entry: `step` takes an event and returns what is to be done, or refuses.
//!
//! One file per family of events stands below; this one dispatches and holds what they share.

mod adopt;
mod attempt;
mod cancel;
mod manifest;
mod resubmit;
mod retry;
mod settle;
mod stop;
mod verdict;

use fettle_model::{AttemptId, JobId, UnixMillis};

use crate::batch::{Batch, Job, JobState, Wait};
use crate::effect::{Effect, Effects, ReopenRows, SkipRows, WhichRows};
use crate::event::Event;
use crate::healing::Remedy;
use crate::timeline::{TimelineEntry, TimelineKind};

pub use adopt::can_be_adopted;
pub(crate) use settle::begin_tier;

/// Why an event changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The event is about something that is over: a late or doubled report. Harmless.
    #[error("{what} is stale: {present}")]
    Stale {
        /// The event.
        what: &'static str,
        /// Where the thing stands.
        present: String,
    },
    /// A user asked for what the present state does not allow.
    #[error("{what} is not possible: {present}")]
    NotPossible {
        /// The request.
        what: &'static str,
        /// Where the thing stands, and what would be possible.
        present: String,
    },
    /// The event names a tier, job or attempt that the batch does not have.
    #[error("the batch has no {kind} `{id}`")]
    NoSuch {
        /// Tier, job or attempt.
        kind: &'static str,
        /// Its id.
        id: String,
    },
}

/// Applies one event. A refusal leaves the batch as it was.
pub fn step(batch: &mut Batch, now: UnixMillis, event: Event) -> Result<Effects, Refusal> {
    let mut collected = Context::new(now);
    let context = &mut collected;
    match event {
        Event::ManifestBuilt { job, rows } => manifest::built(batch, &job, rows, context),
        Event::ManifestFailed {
            job,
            message,
            retryable,
        } => manifest::failed(batch, &job, message, retryable, context),
        Event::JobAdmitted { job, submission } => {
            attempt::admitted(batch, &job, submission, context)
        }
        Event::AttemptAdopted {
            attempt,
            submission,
        } => adopt::adopted(batch, &attempt, submission, context),
        Event::JobRefused { job, message } => attempt::job_refused(batch, &job, message, context),
        Event::AttemptSubmitted { attempt, is_found } => {
            attempt::submitted(batch, &attempt, is_found, context)
        }
        Event::AttemptRefused {
            attempt,
            message,
            retryable,
        } => attempt::refused(batch, &attempt, message, retryable, context),
        Event::AttemptReported { attempt } => attempt::reported(batch, &attempt, context),
        Event::AttemptEnded {
            attempt,
            exit,
            counts,
            summary,
            advice,
        } => attempt::ended(batch, &attempt, (exit, counts), (summary, advice), context),
        Event::AttemptLost { attempt, counts } => attempt::lost(batch, &attempt, counts, context),
        Event::PolicySet { policy } => stop::policy_set(batch, policy, context),
        Event::RestartRequested {
            attempt,
            cause,
            by,
            reason,
        } => stop::restart_requested(batch, &attempt, (cause, by), reason, context),
        Event::RowsCounted { job, counts } => stop::rows_counted(batch, &job, counts, context),
        Event::RowsQuarantined { job, counts } => stop::rows_quarantined(batch, &job, counts),
        Event::BackoffElapsed { job } => attempt::backoff_elapsed(batch, &job, context),
        Event::CancelRequested { scope, reason } => {
            cancel::requested(batch, &scope, reason, context)
        }
        Event::RetryRequested {
            tier_num,
            overrides,
        } => retry::requested(batch, tier_num, overrides, context),
        Event::FailedRowsRetryRequested {
            version,
            which,
            jobs,
        } => retry::failed_rows_requested(batch, version, &which, &jobs, context),
        Event::ResubmitRequested { from_tier, hold } => {
            resubmit::requested(batch, from_tier, hold, context)
        }
        Event::HeldBatchSubmitted { overrides } => resubmit::released(batch, &overrides, context),
    }?;
    batch.version += 1;
    Ok(collected.finish())
}

/// What a step collects.
pub(crate) struct Context {
    pub(crate) now: UnixMillis,
    effects: Effects,
}

impl Context {
    pub(crate) fn new(now: UnixMillis) -> Self {
        Self {
            now,
            effects: Effects::default(),
        }
    }

    pub(crate) fn finish(self) -> Effects {
        self.effects
    }

    /// A remedy was applied, or it is known what became of it.
    pub(crate) fn remedy(&mut self, remedy: Remedy, message: String) {
        self.entry(
            TimelineKind::Remedy,
            message,
            Some(remedy.tier_num),
            Some(remedy.job_id.clone()),
            remedy.after.clone(),
        );
        self.effects.remedies.push(remedy);
    }

    pub(crate) fn act(&mut self, effect: Effect) {
        self.effects.effects.push(effect);
    }

    pub(crate) fn skip_rows(&mut self, rows: SkipRows) {
        self.effects.skip_rows.push(rows);
    }

    pub(crate) fn reopen_rows(&mut self, job: &JobId, which: WhichRows) {
        let job = job.clone();
        self.effects.reopen_rows.push(ReopenRows { job, which });
    }

    /// An entry about the whole batch.
    pub(crate) fn note(&mut self, kind: TimelineKind, message: String) {
        self.entry(kind, message, None, None, None);
    }

    /// An entry about a tier.
    pub(crate) fn note_tier(&mut self, kind: TimelineKind, tier_num: u32, message: String) {
        self.entry(kind, message, Some(tier_num), None, None);
    }

    /// An entry about a job.
    pub(crate) fn note_job(&mut self, kind: TimelineKind, tier: u32, job: &JobId, message: String) {
        self.entry(kind, message, Some(tier), Some(job.clone()), None);
    }

    /// An entry about an attempt.
    pub(crate) fn note_attempt(
        &mut self,
        kind: TimelineKind,
        tier_num: u32,
        attempt: &AttemptId,
        message: String,
    ) {
        let job = attempt.split().map(|(job, _)| job);
        self.entry(kind, message, Some(tier_num), job, Some(attempt.clone()));
    }

    fn entry(
        &mut self,
        kind: TimelineKind,
        message: String,
        tier_num: Option<u32>,
        job_id: Option<JobId>,
        attempt_id: Option<AttemptId>,
    ) {
        let at = self.now;
        self.effects.timeline.push(TimelineEntry {
            at,
            kind,
            message,
            tier_num,
            job_id,
            attempt_id,
        });
    }
}

/// The job with its tier's position.
pub(crate) fn find_job<'a>(
    batch: &'a mut Batch,
    id: &JobId,
) -> Result<(usize, &'a mut Job), Refusal> {
    batch
        .tiers
        .iter_mut()
        .enumerate()
        .find_map(|(at, tier)| Some((at, tier.jobs.iter_mut().find(|job| job.id == *id)?)))
        .ok_or_else(|| Refusal::NoSuch {
            kind: "job",
            id: id.to_string(),
        })
}

/// For people: where a job stands.
pub(crate) fn describe(job: &Job) -> String {
    let state = match &job.state {
        JobState::Pending => "is pending".to_owned(),
        JobState::Preparing => "is preparing its rows".to_owned(),
        JobState::Waiting(Wait::Capacity { .. }) => "waits for capacity".to_owned(),
        JobState::Waiting(Wait::Backoff { .. }) => "waits for a back-off to elapse".to_owned(),
        JobState::Active => match job.last_attempt() {
            Some(attempt) => format!("has attempt {} alive", attempt.number),
            None => "is active".to_owned(),
        },
        JobState::Done { status, .. } => format!("is {}", status.as_str()),
    };
    format!("job {} {state}", job.id)
}
