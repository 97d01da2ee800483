//! A user wants a batch that is over done anew, from a tier on: at once, or held until it is submitted.

use std::collections::BTreeMap;

use fettle_model::{BatchStatus, RowCounts, WorkStatus};

use crate::batch::{Batch, JobState, Tier};
use crate::effect::WhichRows;
use crate::event::Overrides;
use crate::healing::Budgets;
use crate::step::{Context, Refusal, begin_tier};
use crate::timeline::TimelineKind;

const WHAT: &str = "resubmitting the batch";

/// Every row of the tiers from `from_tier` on loses its outcome. What it made is replaced when it is made anew.
pub(super) fn requested(
    batch: &mut Batch,
    from_tier: u32,
    hold: bool,
    context: &mut Context,
) -> Result<(), Refusal> {
    let at = check(batch, from_tier)?;
    let held = if hold {
        ", held until it is submitted"
    } else {
        ""
    };
    let message = format!("resubmission from tier {from_tier}{held}");
    context.note(TimelineKind::Requested, message);
    for tier in &mut batch.tiers[at..] {
        forget(tier, context);
    }
    batch.status = BatchStatus::Draft;
    batch.started_at = None;
    batch.ended_at = None;
    batch.cancel = None;
    if !hold {
        begin(batch, at, context);
    }
    Ok(())
}

/// A held batch is submitted; overrides of resources stick.
pub(super) fn released(
    batch: &mut Batch,
    overrides: &BTreeMap<u32, Overrides>,
    context: &mut Context,
) -> Result<(), Refusal> {
    let refuse = |present: String| Refusal::NotPossible {
        what: "submitting the batch",
        present,
    };
    if batch.status != BatchStatus::Draft {
        return Err(refuse(format!("the batch is {}", batch.status.as_str())));
    }
    let is_next = |tier: &Tier| tier.status == WorkStatus::Pending;
    let Some(at) = batch.tiers.iter().position(is_next) else {
        return Err(refuse("no tier of it is left to do".to_owned()));
    };
    for tier in &mut batch.tiers[at..] {
        for job in &mut tier.jobs {
            overrides
                .get(&tier.num)
                .unwrap_or(&Overrides::default())
                .apply(&mut job.resources);
        }
    }
    begin(batch, at, context);
    Ok(())
}

fn check(batch: &Batch, from_tier: u32) -> Result<usize, Refusal> {
    let refuse = |present: String| Refusal::NotPossible {
        what: WHAT,
        present,
    };
    let at = batch
        .tiers
        .iter()
        .position(|tier| tier.num == from_tier)
        .ok_or_else(|| Refusal::NoSuch {
            kind: "tier",
            id: from_tier.to_string(),
        })?;
    if !batch.status.is_terminal() {
        let status = batch.status.as_str();
        return Err(refuse(format!(
            "the batch is {status}; wait for its end or cancel it first"
        )));
    }
    match batch.tiers[..at].iter().find(|t| !t.status.is_success()) {
        None => Ok(at),
        Some(earlier) => Err(refuse(format!(
            "tier {} is {} and comes before; resubmit from it",
            earlier.num,
            earlier.status.as_str()
        ))),
    }
}

/// The tier stands as it did before its first attempt; the attempts themselves are history and stay.
fn forget(tier: &mut Tier, context: &mut Context) {
    tier.status = WorkStatus::Pending;
    tier.started_at = None;
    tier.ended_at = None;
    for job in &mut tier.jobs {
        job.state = JobState::Pending;
        job.manifest = None;
        job.counts = RowCounts::default();
        job.dedup.clear();
        job.budgets = Budgets::default();
        job.cancel = None;
        job.started_at = None;
        job.ended_at = None;
        context.reopen_rows(&job.id, WhichRows::All);
    }
}

fn begin(batch: &mut Batch, at: usize, context: &mut Context) {
    batch.status = BatchStatus::Queued;
    batch.submitted_at = context.now;
    let message = format!("submitted again, from tier {}", batch.tiers[at].num);
    context.note(TimelineKind::BatchSubmitted, message);
    begin_tier(batch, at, context);
}
