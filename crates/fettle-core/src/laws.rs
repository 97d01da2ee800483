//! The laws that hold after every event, as checks. The simulation and the control room's tests call them.

use fettle_model::healing::BUDGET_MAX;
use fettle_model::{Cause, WorkStatus};

use crate::batch::{Batch, Job, JobState, Tier};

/// Every law that the batch breaks, in words; empty when it breaks none.
#[must_use]
pub fn broken(batch: &Batch) -> Vec<String> {
    let mut broken = Vec::new();
    if batch.status.is_terminal() {
        for tier in batch.tiers.iter().filter(|tier| !tier.status.is_terminal()) {
            broken.push(format!(
                "a terminal batch has tier {} {:?}",
                tier.num, tier.status
            ));
        }
        if batch.ended_at.is_none() {
            broken.push("a terminal batch has no end".to_owned());
        }
    }
    for pair in batch.tiers.windows(2) {
        let waits_its_turn = pair[0].status.is_success()
            || matches!(pair[1].status, WorkStatus::Pending | WorkStatus::Skipped)
            || batch.status.is_terminal();
        if !waits_its_turn {
            broken.push(format!(
                "tier {} runs before tier {} ended",
                pair[1].num, pair[0].num
            ));
        }
    }
    let running = batch
        .tiers
        .iter()
        .filter(|t| t.status == WorkStatus::InProgress)
        .count();
    if running > 1 || (running == 0) != batch.is_at_rest() {
        broken.push(format!(
            "{running} tiers are in progress while the batch is {:?}",
            batch.status
        ));
    }
    for tier in &batch.tiers {
        tier_laws(tier, &mut broken);
    }
    broken
}

fn tier_laws(tier: &Tier, broken: &mut Vec<String>) {
    for job in &tier.jobs {
        job_laws(job, broken);
        let rows = job.manifest.as_ref().map(|manifest| manifest.rows);
        if tier.status.is_success() && rows != Some(job.counts.total()) {
            let counted = job.counts.total();
            broken.push(format!(
                "tier {} is {:?} with {counted} of {rows:?} rows",
                tier.num, tier.status
            ));
        }
        if tier.status.is_terminal() && !job.status().is_terminal() {
            broken.push(format!("tier {} ended before its job {}", tier.num, job.id));
        }
    }
    if tier.status == WorkStatus::Completed && tier.jobs.iter().any(|job| job.counts.failed > 0) {
        broken.push(format!("tier {} is COMPLETED with failed rows", tier.num));
    }
}

fn job_laws(job: &Job, broken: &mut Vec<String>) {
    let alive = job
        .attempts
        .iter()
        .filter(|attempt| attempt.status.may_be_alive())
        .count();
    let active = matches!(job.state, JobState::Active);
    if alive != usize::from(active) || active != job.live_attempt().is_some() {
        broken.push(format!(
            "job {} has {alive} live attempts while {:?}",
            job.id, job.state
        ));
    }
    let numbered = job
        .attempts
        .iter()
        .zip(1..)
        .all(|(attempt, n)| attempt.number == n);
    if !numbered {
        broken.push(format!(
            "job {} has attempts that are not numbered in order",
            job.id
        ));
    }
    if let Some(manifest) = &job.manifest
        && job.counts.total() > manifest.rows
    {
        broken.push(format!("job {} has more outcomes than rows", job.id));
    }
    for cause in Cause::ALL {
        let spent = job.budgets.spent(*cause);
        if spent > BUDGET_MAX {
            broken.push(format!(
                "job {} overspent: {spent} for {}",
                job.id,
                cause.as_str()
            ));
        }
    }
    let waits_or_runs = matches!(
        job.state,
        JobState::Waiting(_) | JobState::Preparing | JobState::Active
    );
    if job.remedy.is_some() && !waits_or_runs {
        broken.push(format!("job {} is over and has an open remedy", job.id));
    }
}
