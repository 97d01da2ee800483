//! Stuckness: from the pulses of an attempt's workers to findings, each with its age, its limit and what it rests on.
//!
//! Owns the telling apart of dead, hung, spinning, slow, starved and blocked. It must not end anything: a finding is handed out as an
//! order by the control room, which may decline, and the driver carries it out if the worker still stands where it stood.

mod limit;
mod words;

use fettle_model::report::{Heartbeat, WorkerBeat};
use fettle_model::{AttemptId, KillOrder, Pulse, RowAtWork, StepHistory, UnixMillis};
use serde::{Deserialize, Serialize};

use limit::Work;
pub use limit::{Basis, Limit, StuckLimits};

/// A finding below this confidence is shown to who asks, and nothing is called stuck or ended for it.
pub const CALLED_STUCK_MIN: f64 = 0.9;
/// A driver reports once a second; one that was not heard of for this many idle floors is hung or cut off.
const SILENT_FLOORS: u64 = 2;
/// A process is stopped by somebody, never by its work; this long, in milliseconds, is no debugger's blink.
const STOPPED_MS_MAX: u64 = 3_000;
/// A worker that got less of one core than this and stood in line for more than [`STARVED_WAIT_SHARE`] of the time is starved.
const STARVED_CPU_SHARE: f64 = 0.1;
/// The share of the time that was spent waiting for a CPU, or standing still for want of memory.
const STARVED_WAIT_SHARE: f64 = 0.5;
/// Without a history a finding is believed only when its age is this many times the limit.
const COLD_PATIENCE: u64 = 5;

/// What is wrong with a worker, if anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StuckKind {
    /// Its process has ended and its driver has not said so yet.
    Dead,
    /// It takes no step and uses neither CPU nor IO, or its process is stopped.
    Hung,
    /// It computes without a step and without IO for longer than any row should.
    Spinning,
    /// It waits for CPU or memory that it does not get.
    Starved,
    /// It waits for the store or a blob; ending it would mend nothing.
    Blocked,
    /// It takes long, within what may be.
    SlowRow,
}

impl StuckKind {
    /// The name in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Hung => "hung",
            Self::Spinning => "spinning",
            Self::Starved => "starved",
            Self::Blocked => "blocked",
            Self::SlowRow => "slow_row",
        }
    }

    /// Whether the worker will not go on by itself. Slow, starved and blocked ones will.
    #[must_use]
    pub fn is_stuck(self) -> bool {
        matches!(self, Self::Dead | Self::Hung | Self::Spinning)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StuckFinding {
    /// What it is.
    pub kind: StuckKind,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its tier.
    pub tier_num: u32,
    /// The worker; `None` when it is about the driver.
    pub worker: Option<u32>,
    /// The worker's process.
    pub pid: Option<u32>,
    /// What the worker works on.
    pub row: Option<RowAtWork>,
    /// When it took its last step; a driver's last report.
    pub last_step_at: UnixMillis,
    /// How long it has been like this, in milliseconds.
    pub age_ms: u64,
    /// What it may take, in milliseconds.
    pub limit_ms: u64,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// In one sentence.
    pub summary: String,
    /// What it rests on, one fact a line.
    pub evidence: Vec<String>,
    /// Whether its process was stopped by a signal: setting it going again is the first remedy.
    #[serde(default)]
    pub is_stopped: bool,
}

impl StuckFinding {
    /// Whether ending the worker is the remedy.
    #[must_use]
    pub fn is_killable(&self) -> bool {
        matches!(self.kind, StuckKind::Hung | StuckKind::Spinning) && self.worker.is_some()
    }

    /// Its place among findings: what will not go on by itself comes first, the oldest of it first.
    #[must_use]
    pub fn place(&self) -> impl Ord + use<> {
        (!self.kind.is_stuck(), std::cmp::Reverse(self.age_ms))
    }

    /// Whether the worker, or its driver, is called stuck: it will not go on by itself, and that is as good as certain.
    #[must_use]
    pub fn is_called_stuck(&self) -> bool {
        self.kind.is_stuck() && self.confidence >= CALLED_STUCK_MIN
    }

    /// The order that ends the worker; `None` where that is no remedy. The same finding gives the same order.
    #[must_use]
    pub fn kill_order(&self) -> Option<KillOrder> {
        let (worker, pid) = self.worker.zip(self.pid).filter(|_| self.is_killable())?;
        let row = self
            .row
            .as_ref()
            .map_or_else(|| "none".to_owned(), |at| at.row.to_string());
        Some(KillOrder {
            id: format!("kill-w{worker}-p{pid}-r{row}"),
            worker,
            pid,
            last_step_at: self.last_step_at,
            reason: self.summary.clone(),
        })
    }
}

/// An attempt as it was last heard of.
#[derive(Debug, Clone, Copy)]
pub struct LastWord<'a> {
    /// The attempt.
    pub attempt: &'a AttemptId,
    /// Its tier.
    pub tier_num: u32,
    /// Its last heartbeat.
    pub beat: &'a Heartbeat,
    /// How long steps of this attempt, and of earlier work of the same kind, took.
    pub steps: &'a StepHistory,
    /// How long ago that came, in milliseconds.
    pub silent_ms: u64,
}

/// Looks at all workers of an attempt; what will not go on by itself comes first, the oldest of it first.
#[must_use]
pub fn examine(word: &LastWord<'_>, limits: &StuckLimits) -> Vec<StuckFinding> {
    let silent_max_ms = limits.idle_floor_ms.saturating_mul(SILENT_FLOORS);
    if word.silent_ms > silent_max_ms {
        // What it said of its workers is old, so nothing is concluded from it.
        return vec![silent(word, silent_max_ms)];
    }
    let workers = word.beat.workers.iter();
    let mut found: Vec<StuckFinding> = workers
        .filter_map(|worker| Some((worker, worker.pulse.as_ref()?)))
        .filter_map(|(worker, pulse)| Look::new(word, worker, pulse, limits).finding())
        .collect();
    found.sort_by_key(StuckFinding::place);
    found
}

fn silent(word: &LastWord<'_>, limit_ms: u64) -> StuckFinding {
    let seconds = words::seconds(word.silent_ms);
    StuckFinding {
        kind: StuckKind::Hung,
        attempt: word.attempt.clone(),
        tier_num: word.tier_num,
        worker: None,
        pid: None,
        row: None,
        last_step_at: word.beat.at,
        age_ms: word.silent_ms,
        limit_ms,
        confidence: 0.9,
        summary: format!(
            "the driver has not reported for {seconds}, though it is not known to have ended"
        ),
        evidence: vec![format!(
            "last heartbeat {seconds} ago; one is due each second"
        )],
        is_stopped: false,
    }
}

/// One worker under the eye.
struct Look<'a> {
    word: &'a LastWord<'a>,
    worker: &'a WorkerBeat,
    pulse: &'a Pulse,
    /// Since the last step.
    age_ms: u64,
    /// Since the last step, the last CPU time and the last IO.
    idle_ms: u64,
    idle_limit: Limit,
    spin_limit: Limit,
    floor_ms: u64,
    spin_floor_ms: u64,
}

impl<'a> Look<'a> {
    fn new(
        word: &'a LastWord<'a>,
        worker: &'a WorkerBeat,
        pulse: &'a Pulse,
        limits: &StuckLimits,
    ) -> Self {
        let at = word.beat.at;
        let moved_at = pulse.cpu_moved_at.max(pulse.io_moved_at);
        let row = pulse.row.as_ref();
        let work = Work {
            history: pulse.is_ready.then_some(word.steps),
            size_bytes: row.map_or(0, |row| row.size_bytes),
            stopped_before: row.map_or(0, |row| row.stopped_before),
        };
        Self {
            word,
            worker,
            pulse,
            age_ms: at.since(pulse.last_step_at),
            idle_ms: at.since(pulse.last_step_at.max(moved_at)),
            idle_limit: limits.idle(work),
            spin_limit: limits.spinning(work),
            floor_ms: limits.idle_floor_ms,
            spin_floor_ms: limits.spinning_floor_ms,
        }
    }

    fn finding(&self) -> Option<StuckFinding> {
        if self.worker.state == "Z" {
            return Some(self.found(StuckKind::Dead, self.age_ms, self.floor(), 0.99));
        }
        let has_nothing_to_do = self.pulse.is_ready && self.pulse.rows_held == 0;
        if !has_nothing_to_do && self.worker.state == "T" {
            return self.stopped();
        }
        if has_nothing_to_do || self.age_ms < self.floor_ms {
            return None;
        }
        let found = if self.pulse.waits_for.is_some() {
            self.found(StuckKind::Blocked, self.age_ms, self.floor(), 0.85)
        } else if self.is_starved() {
            self.found(StuckKind::Starved, self.age_ms, self.floor(), 0.85)
        } else if self.idle_ms > self.idle_limit.ms {
            let sure = confidence(self.idle_limit, self.idle_ms);
            self.found(StuckKind::Hung, self.idle_ms, self.idle_limit, sure)
        } else if self.is_spinning() {
            let sure = confidence(self.spin_limit, self.pulse.cpu_ms.unwrap_or(0));
            self.found(StuckKind::Spinning, self.age_ms, self.spin_limit, sure)
        } else {
            self.found(StuckKind::SlowRow, self.age_ms, self.spin_limit, 0.7)
        };
        Some(found)
    }

    fn floor(&self) -> Limit {
        Limit {
            ms: self.floor_ms,
            basis: Basis::Floor,
            longest_ms: 0,
        }
    }

    /// Nothing that is alive and well is stopped, so what rows need does not matter.
    fn stopped(&self) -> Option<StuckFinding> {
        let limit = Limit {
            ms: self.floor_ms.min(STOPPED_MS_MAX),
            basis: Basis::Floor,
            longest_ms: 0,
        };
        (self.idle_ms >= limit.ms).then(|| self.found(StuckKind::Hung, self.idle_ms, limit, 0.98))
    }

    /// Threads of a busy program wait for CPUs too; starved is who gets next to none.
    fn is_starved(&self) -> bool {
        let age_ms = self.age_ms as f64;
        let is_most =
            |ms: Option<u64>| ms.is_some_and(|ms| ms as f64 >= STARVED_WAIT_SHARE * age_ms);
        let gets_little = self
            .pulse
            .cpu_ms
            .is_some_and(|ms| (ms as f64) < STARVED_CPU_SHARE * age_ms);
        gets_little && (is_most(self.pulse.cpu_wait_ms) || is_most(self.pulse.memory_wait_ms))
    }

    /// By CPU time, which a busy machine does not stretch.
    fn is_spinning(&self) -> bool {
        let io_idle_ms = self.word.beat.at.since(self.pulse.io_moved_at);
        let is_long = self.age_ms.min(io_idle_ms) > self.spin_floor_ms;
        is_long && self.pulse.cpu_ms > Some(self.spin_limit.ms)
    }

    fn found(&self, kind: StuckKind, age_ms: u64, limit: Limit, confidence: f64) -> StuckFinding {
        StuckFinding {
            kind,
            attempt: self.word.attempt.clone(),
            tier_num: self.word.tier_num,
            worker: Some(self.worker.worker),
            pid: Some(self.worker.pid),
            row: self.pulse.row.clone(),
            last_step_at: self.pulse.last_step_at,
            age_ms,
            limit_ms: limit.ms,
            confidence,
            summary: words::summary(kind, self.worker, self.pulse, age_ms),
            evidence: words::evidence(self.worker, self.pulse, self.word, limit),
            is_stopped: self.worker.state == "T",
        }
    }
}

/// A limit that rests on what rows took is believed when it is passed; one that is a guess only when it is long past.
fn confidence(limit: Limit, age_ms: u64) -> f64 {
    let is_long_past = age_ms >= limit.ms.saturating_mul(COLD_PATIENCE);
    if limit.basis == Basis::Cold && !is_long_past {
        0.6
    } else {
        0.95
    }
}

#[cfg(test)]
mod tests;
