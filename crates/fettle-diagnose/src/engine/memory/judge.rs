//! Whether one process died of memory, and how surely.
//!
//! Owns the weighing of the kernel's counter, the peak and the log. It asserts an out-of-memory end with 0.95 or more only from the
//! kernel's counter of that very worker; it must not read anything into exit status 137 or SIGKILL alone.

use fettle_model::evidence::{KilledByDriver, MemoryEnforcement};
use fettle_model::{AttemptEvidence, AttemptStatus, MemoryEvidence, WorkerDeath};

use crate::engine::log_text;
use crate::facts::AttemptFacts;
use crate::signals::{self, AllocationFailure};

/// Why a death is put down to memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) proof: Proof,
    pub(crate) confidence: f64,
}

/// What the judgement rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The kernel counted a kill in the worker's own cgroup.
    KernelCounter { kills: u64 },
    /// The log says that an allocation was refused.
    AllocationRefused(AllocationFailure),
    /// The driver measured it above its limit and ended it for that, where no kernel does.
    OverLimit,
    /// No counter and no log: it ended near its limit.
    NearLimit,
}

/// The kernel counted it and the process ended by SIGKILL.
const COUNTED_AND_KILLED: f64 = 0.98;
/// The kernel counted it and the worker ended otherwise: a child was killed and the worker followed.
const COUNTED_AND_FOLLOWED: f64 = 0.95;
/// The kernel counted it, and the worker crashed of something of its own, perhaps later.
const COUNTED_AND_CRASHED: f64 = 0.8;
/// An allocation was refused near the limit.
const REFUSED_NEAR_LIMIT: f64 = 0.85;
/// An allocation was refused, and how far the limit was is not known or it was far: the request may have been absurd.
const REFUSED: f64 = 0.65;
/// The driver measured the resident set, which may hold pages that others share.
const OVER_LIMIT: f64 = 0.9;
/// Near the limit, with nothing else to go on.
const NEAR_LIMIT: f64 = 0.5;
/// The attempt's cgroup, not the driver's own, has a kill that belongs to no recorded worker death, and the driver was killed.
const ATTEMPT_COUNTED: f64 = 0.85;
/// The same, and nobody saw how the driver ended.
const ATTEMPT_COUNTED_UNSEEN: f64 = 0.7;

/// From here on an event is called an OOM; below it the cause stays unknown.
pub(crate) const OOM_CONFIDENCE_MIN: f64 = 0.6;
/// A sampled peak misses the last moment; this near to the limit counts as having reached it.
const NEAR_LIMIT_SHARE: f64 = 0.9;

const SIGKILL: i32 = 9;

/// Whether this worker died of memory.
pub(crate) fn worker(death: &WorkerDeath) -> Option<Judgement> {
    match (death.driver_s_reason(), &death.killed_by_driver) {
        (Some(KilledByDriver::OverLimit), _) => {
            return Some(Judgement {
                proof: Proof::OverLimit,
                confidence: OVER_LIMIT,
            });
        }
        (_, Some(_)) => return None,
        (_, None) => {}
    }
    let signal = signals::signal_of(&death.exit);
    if let Some(kills) = death.memory.oom_kills.filter(|kills| *kills > 0) {
        let confidence = match signal {
            Some(SIGKILL) => COUNTED_AND_KILLED,
            None => COUNTED_AND_FOLLOWED,
            Some(_) => COUNTED_AND_CRASHED,
        };
        return Some(Judgement {
            proof: Proof::KernelCounter { kills },
            confidence,
        });
    }
    if let Some(refused) = signals::allocation_failure(&log_text::log_of(death)) {
        let reached = peak_with(&death.memory, Some(&refused));
        let confidence = if is_near_limit(&death.memory, reached) {
            REFUSED_NEAR_LIMIT
        } else {
            REFUSED
        };
        return Some(Judgement {
            proof: Proof::AllocationRefused(refused),
            confidence,
        });
    }
    // With a counter that stands at zero the kernel says that it was not memory; only without one is the peak a hint.
    let has_counter = death.memory.oom_kills.is_some();
    let by_rlimit = death.memory.enforcement == MemoryEnforcement::Rlimit && !has_counter;
    let near = by_rlimit && is_near_limit(&death.memory, death.memory.peak_bytes);
    (near && !death.exit.is_success()).then_some(Judgement {
        proof: Proof::NearLimit,
        confidence: NEAR_LIMIT,
    })
}

/// Whether the driver, or a worker whose death nobody was left to report, died of memory: kills in the attempt's cgroup beyond those
/// that the recorded deaths account for.
pub(crate) fn driver(attempt: &AttemptFacts) -> Option<Judgement> {
    let evidence = attempt.evidence.as_ref()?;
    let counted = evidence.attempt_memory.as_ref()?.oom_kills?;
    let deaths = evidence.worker_deaths.iter();
    let explained: u64 = deaths.filter_map(|death| death.memory.oom_kills).sum();
    let confidence = match evidence.driver_exit.as_ref().map(signals::signal_of) {
        Some(Some(SIGKILL)) => ATTEMPT_COUNTED,
        None | Some(None) if was_unseen(evidence) => ATTEMPT_COUNTED_UNSEEN,
        _ => return None,
    };
    let is_over = matches!(attempt.status, AttemptStatus::Ended | AttemptStatus::Lost);
    let kills = counted
        .checked_sub(explained)
        .filter(|kills| *kills > 0 && is_over)?;
    Some(Judgement {
        proof: Proof::KernelCounter { kills },
        confidence,
    })
}

/// Whether nobody saw how the driver ended.
fn was_unseen(evidence: &AttemptEvidence) -> bool {
    evidence
        .driver_exit
        .is_none_or(|exit| exit.code.is_none() && exit.signal.is_none())
}

/// The peak, with an allocation that was refused on top of it: that much was needed at least.
pub(crate) fn peak_with(
    memory: &MemoryEvidence,
    refused: Option<&AllocationFailure>,
) -> Option<u64> {
    let asked = refused.and_then(|refused| refused.requested_bytes);
    match (memory.peak_bytes, asked) {
        (Some(peak), Some(asked)) => Some(peak.saturating_add(asked)),
        (peak, asked) => peak.or(asked),
    }
}

fn is_near_limit(memory: &MemoryEvidence, reached: Option<u64>) -> bool {
    let (Some(limit), Some(reached)) = (memory.limit_bytes, reached) else {
        return false;
    };
    reached as f64 >= limit as f64 * NEAR_LIMIT_SHARE
}
