//! How often work was tried again, why, and what was kept: of a job, a tier or a batch.

use fettle_core::{Attempt, Batch, Job};
use fettle_model::{Cause, HealingPolicy};
use fettle_wire::tier::{CauseBudget, KeptWork};
use fettle_wire::time::Timestamp;

/// What is told of the retries of some jobs.
pub(super) struct Retries {
    pub(super) count: u64,
    pub(super) max: u64,
    pub(super) last_at: Option<Timestamp>,
    pub(super) reason: Option<String>,
    pub(super) kept: Option<KeptWork>,
}

/// Retries of some jobs of a batch, together.
pub(super) fn of<'a>(run: &Batch, jobs: impl Iterator<Item = &'a Job> + Clone) -> Retries {
    let last = last_retry(jobs.clone());
    let limits = Cause::ALL
        .iter()
        .map(|cause| u64::from(run.healing.limit(*cause)));
    Retries {
        count: jobs.clone().map(retries).sum(),
        max: limits.sum::<u64>() * jobs.clone().count() as u64,
        last_at: last.map(|attempt| attempt.planned_at.into()),
        reason: last.map(|attempt| attempt.cause.clone()),
        kept: last.map(|_| kept(jobs)),
    }
}

fn retries(job: &Job) -> u64 {
    job.attempts.len().saturating_sub(1) as u64
}

/// The latest attempt that was not a job's first.
fn last_retry<'a>(jobs: impl Iterator<Item = &'a Job>) -> Option<&'a Attempt> {
    jobs.flat_map(|job| &job.attempts)
        .filter(|attempt| attempt.number > 1)
        .max_by_key(|attempt| attempt.planned_at)
}

fn kept<'a>(jobs: impl Iterator<Item = &'a Job>) -> KeptWork {
    let nothing = KeptWork {
        rows: 0,
        seconds_saved: 0.0,
    };
    jobs.map(Job::kept_work)
        .fold(nothing, |sum, kept| KeptWork {
            rows: sum.rows + kept.rows,
            seconds_saved: sum.seconds_saved + kept.saved_ms as f64 / 1000.0,
        })
}

/// The budgets of a job that a cause has touched, or that are not empty.
pub(super) fn budgets(job: &Job, policy: &HealingPolicy) -> Vec<CauseBudget> {
    let budget = |cause: &Cause| CauseBudget {
        cause: cause.as_str().to_owned(),
        spent: job.budgets.spent(*cause),
        limit: policy.limit(*cause),
    };
    let all = Cause::ALL.iter().map(budget);
    all.filter(|budget| budget.spent > 0 || budget.limit > 0)
        .collect()
}
