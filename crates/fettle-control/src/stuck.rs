//! Stuck workers: found in the last words of live attempts, and ended through their drivers.
//!
//! Owns the orders to end a worker. A verdict does not kill by itself: the order names the process and its last step, the driver refuses it
//! when the worker has gone on, and the death is reported with its evidence like any other. It must not touch a process.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fettle_core::{Event, TimelineEntry, TimelineKind};
use fettle_diagnose::stuck::{LastWord, StuckFinding, examine};
use fettle_model::report::Heartbeat;
use fettle_model::{
    AppliedBy, AttemptId, AttemptStatus, BatchId, Cause, HealingPolicy, HistoryKey, KillOrder,
    NamespaceId, StepHistory,
};

use crate::config::StuckMode;
use crate::control::{Control, Live, Shared};
use crate::error::RequestError;
use crate::fence::{Fence, LiveAttempt};
use crate::history::HISTORY_DAYS;
use crate::orchestrator::{is_settled, tell};

/// How often live attempts are looked at: as often as they report, and a look costs microseconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Kinds of work whose past steps are kept in memory; one that is dropped is read again from the history.
const PAST_STEPS_MAX: usize = 256;

/// How long steps of attempts that have ended took, by namespace and kind of work, as the history has it.
pub(crate) type PastSteps = BTreeMap<(NamespaceId, HistoryKey), StepHistory>;

/// What became of a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StuckRemedy {
    /// The driver is told with its next heartbeat.
    Ordered {
        /// The order's id, which follows from the finding.
        command_id: String,
    },
    /// The same order was given before and the process is not gone yet.
    AlreadyOrdered {
        /// Its id.
        command_id: String,
    },
    /// Nothing is done.
    Declined {
        /// Why.
        why: String,
    },
}

impl Control {
    /// What is stuck, starved, blocked or slow in the live attempts of a batch, or of one of its tiers; what is stuck comes first. The
    /// caller has checked whose batch it is.
    #[must_use]
    pub fn detect_stuck(&self, batch: &BatchId, tier: Option<u32>) -> Vec<StuckFinding> {
        let live = self.shared.fences.all();
        let wanted = live.into_iter().filter(|(_, attempt)| {
            let fence = &attempt.fence;
            fence.batch_id == *batch && tier.is_none_or(|num| fence.tier_num == num)
        });
        let mut found: Vec<StuckFinding> = wanted
            .flat_map(|(id, attempt)| self.shared.look_at(&id, &attempt))
            .collect();
        found.sort_by_key(StuckFinding::place);
        found
    }

    /// Ends the worker that a finding is about. The same finding a second time changes nothing, and an old one is declined.
    ///
    /// # Errors
    /// The store's, when the step cannot be noted; the order is given all the same.
    pub async fn apply_stuck_remedy(
        &self,
        finding: &StuckFinding,
    ) -> Result<StuckRemedy, RequestError> {
        apply(&self.shared, finding).await
    }
}

impl Shared {
    fn look_at(&self, id: &AttemptId, attempt: &LiveAttempt) -> Vec<StuckFinding> {
        // One that is being ended need not move.
        if attempt.status == AttemptStatus::Cancelling {
            return Vec::new();
        }
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((live, heard_at)) = live.get(id).and_then(|live| Some((live, live.heard_at?)))
        else {
            return Vec::new();
        };
        let mut steps = self.past_steps(&attempt.fence);
        steps.add(&live.beat.steps);
        let word = LastWord {
            attempt: id,
            tier_num: attempt.fence.tier_num,
            beat: &live.beat,
            steps: &steps,
            silent_ms: self.ports.clock.now().since(heard_at),
        };
        examine(&word, &self.config.stuck.limits)
    }

    fn past_steps(&self, fence: &Fence) -> StepHistory {
        let past = self
            .past_steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        past.get(&key_of(fence)).cloned().unwrap_or_default()
    }

    fn knows_past_steps(&self, fence: &Fence) -> bool {
        let past = self
            .past_steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        past.contains_key(&key_of(fence))
    }

    /// An attempt has ended and is in the history, which is read again for those of its kind.
    pub(crate) fn forget_steps(&self, fence: &Fence) {
        let mut past = self
            .past_steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        past.remove(&key_of(fence));
    }

    fn keep_steps(&self, fence: &Fence, steps: StepHistory) {
        let mut past = self
            .past_steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if past.len() >= PAST_STEPS_MAX {
            past.pop_first();
        }
        past.insert(key_of(fence), steps);
    }

    /// Adds the order, if the worker still stands where it stood.
    fn order(&self, attempt: &AttemptId, order: &KillOrder) -> Result<bool, String> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(live) = live.get_mut(attempt) else {
            return Err("the attempt has not reported".to_owned());
        };
        if live.kills.iter().any(|known| known.id == order.id) {
            return Ok(false);
        }
        if !stands(&live.beat, order) {
            return Err("the worker has taken a step since, or has ended".to_owned());
        }
        live.kills.push(order.clone());
        Ok(true)
    }

    /// Whether the finding is new to the timeline.
    fn note_once(&self, finding: &StuckFinding) -> bool {
        let key = format!(
            "{}-{:?}-{}",
            finding.kind.as_str(),
            finding.pid,
            finding.last_step_at.0
        );
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get_mut(&finding.attempt)
            .is_some_and(|live| live.noted.insert(key))
    }
}

impl Live {
    /// Orders whose process is gone, or which has gone on by itself, need not be repeated.
    pub(crate) fn forget_carried_out(&mut self) {
        self.kills.retain(|order| stands(&self.beat, order));
    }
}

fn key_of(fence: &Fence) -> (NamespaceId, HistoryKey) {
    (fence.namespace_id.clone(), fence.history_key.clone())
}

/// Reads what work of this kind took before, unless that is known.
async fn learn_steps(control: &Control, fence: &Fence) {
    if control.shared.knows_past_steps(fence) {
        return;
    }
    let key = &fence.history_key;
    match control
        .history(&fence.namespace_id, key, HISTORY_DAYS)
        .await
    {
        Ok(cell) => {
            let sizes = cell.profile.row_bytes.quantile(0.5).into_iter().collect();
            let steps = cell.profile.steps;
            control
                .shared
                .keep_steps(fence, StepHistory { sizes, ..steps });
        }
        Err(error) => tracing::warn!(%error, "the history of an attempt's kind is not known"),
    }
}

/// Whether the worker of an order stands where it stood.
fn stands(beat: &Heartbeat, order: &KillOrder) -> bool {
    beat.workers.iter().any(|worker| {
        let last_step_at = worker.pulse.as_ref().map(|pulse| pulse.last_step_at);
        worker.pid == order.pid && last_step_at == Some(order.last_step_at)
    })
}

/// Looks at all live attempts until `serve` stops.
pub(crate) async fn watch(shared: Arc<Shared>) {
    if shared.config.stuck.mode == StuckMode::Off {
        return;
    }
    let control = Control { shared };
    let shared = &control.shared;
    while shared.pause(LOOK_EVERY).await {
        for (id, attempt) in shared.fences.all() {
            learn_steps(&control, &attempt.fence).await;
            for finding in shared.look_at(&id, &attempt) {
                if !finding.is_called_stuck() {
                    continue;
                }
                if let Err(error) = deal_with(shared, &attempt.fence, &finding).await {
                    tracing::warn!(attempt = %id, %error, "a finding could not be noted");
                }
            }
        }
    }
}

async fn deal_with(
    shared: &Shared,
    fence: &Fence,
    finding: &StuckFinding,
) -> Result<(), RequestError> {
    let may_act = shared.config.stuck.mode == StuckMode::Kill;
    let batch = shared.batch(&fence.batch_id).filter(|_| may_act);
    let policy = batch.as_ref().map(|batch| &batch.healing);
    if finding.is_killable() && policy.is_some_and(HealingPolicy::may_end_workers) {
        return apply(shared, finding).await.map(drop);
    }
    if finding.worker.is_none() && policy.is_some_and(|policy| policy.limit(Cause::Stuck) > 0) {
        let event = Event::RestartRequested {
            attempt: finding.attempt.clone(),
            cause: Cause::Stuck,
            by: AppliedBy::Policy,
            reason: finding.summary.clone(),
        };
        match tell(shared, &fence.batch_id, event).await {
            // Its budget is spent, or it is being ended already.
            Err(error) if is_settled(&error) => {}
            other => return other.map(drop),
        }
    }
    if shared.note_once(finding) {
        return note(shared, fence, finding, "nothing is done about it by itself").await;
    }
    Ok(())
}

async fn apply(shared: &Shared, finding: &StuckFinding) -> Result<StuckRemedy, RequestError> {
    let declined = |why: String| Ok(StuckRemedy::Declined { why });
    let Some(order) = finding.kill_order() else {
        return declined(format!(
            "ending what is {} mends nothing",
            finding.kind.as_str()
        ));
    };
    let live = shared.fences.get(&finding.attempt);
    let live = live.filter(|live| live.status != AttemptStatus::Cancelling);
    let Some(live) = live else {
        return declined("the attempt has ended, or is being ended".to_owned());
    };
    let command_id = order.id.clone();
    match shared.order(&finding.attempt, &order) {
        Err(why) => declined(why),
        Ok(false) => Ok(StuckRemedy::AlreadyOrdered { command_id }),
        Ok(true) => {
            tracing::warn!(attempt = %finding.attempt, command_id, "{}", finding.summary);
            let remedy = if finding.is_stopped {
                "it is set going again, or ended where that is in vain"
            } else {
                "it is ended and its rows are tried again"
            };
            let done = format!("{remedy} ({command_id})");
            note(shared, &live.fence, finding, &done).await?;
            Ok(StuckRemedy::Ordered { command_id })
        }
    }
}

async fn note(
    shared: &Shared,
    fence: &Fence,
    finding: &StuckFinding,
    done: &str,
) -> Result<(), RequestError> {
    let entry = TimelineEntry {
        at: shared.ports.clock.now(),
        kind: TimelineKind::FoundStuck,
        message: format!("{}: {}; {done}", finding.kind.as_str(), finding.summary),
        tier_num: Some(fence.tier_num),
        job_id: Some(fence.job_id.clone()),
        attempt_id: Some(finding.attempt.clone()),
    };
    let store = &shared.ports.store;
    Ok(store.append_timeline(&fence.batch_id, vec![entry]).await?)
}
