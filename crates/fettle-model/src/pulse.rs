//! The pulse of a worker: what it does now and since its last step, as its driver reads it from the kernel once a second.
//!
//! Owns the signals that a finding of stuckness rests on, and the summary of past steps that says how long a step may take.

use serde::{Deserialize, Serialize};

use crate::{RowNumber, Stage, UnixMillis};

/// The slowest steps that are kept: enough for the tail to be fitted (Hill's estimator needs the top order statistics alone),
/// little enough for each heartbeat.
pub const SLOWEST_STEPS_MAX: usize = 64;
/// Sizes from which the median is taken; the latest ones count.
pub const SIZES_KEPT_MAX: usize = 64;

/// What a worker that stands in its code or in the kernel waits for, as far as its rows' stages say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// All its rows are extracted, and `serve` has not taken them in: the store or the index is slow, or away.
    Store,
    /// No row is being extracted, and the blobs of those that it has are not here.
    Blob,
}

impl WaitsFor {
    /// For people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Store => "for serve to take its results in",
            Self::Blob => "for the blobs of its rows",
        }
    }
}

/// The row that a worker works on: of those furthest ahead of writing the one that has been there longest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowAtWork {
    /// The row.
    pub row: RowNumber,
    /// Object or document id of its source.
    pub source_id: String,
    /// Size of its blobs as far as known, in bytes.
    pub size_bytes: u64,
    /// Where it is.
    pub stage: Stage,
    /// Since when it is there.
    pub stage_since: UnixMillis,
    /// How often it has stopped a worker before.
    #[serde(default)]
    pub stopped_before: u32,
}

/// One worker's pulse. A step is any word of it about a row: taken up, reached a stage, finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Whether it has loaded its extractor.
    pub is_ready: bool,
    /// Rows that it holds, taken up or not; with none it has nothing to do and cannot be stuck.
    pub rows_held: u32,
    /// What it works on.
    pub row: Option<RowAtWork>,
    /// When it last took a step; when it was given rows, where it had none.
    pub last_step_at: UnixMillis,
    /// CPU time of it and its children since then, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Bytes that they read and wrote by any means since then.
    pub io_bytes: Option<u64>,
    /// When they last used CPU worth the name.
    pub cpu_moved_at: UnixMillis,
    /// When they last read or wrote more than a beating heart does.
    pub io_moved_at: UnixMillis,
    /// How long their threads stood in line for a CPU since the step, added up, in milliseconds.
    pub cpu_wait_ms: Option<u64>,
    /// How long all of them stood still for want of memory since the step (`memory.pressure`, full), in milliseconds.
    pub memory_wait_ms: Option<u64>,
    /// What it waits for.
    pub waits_for: Option<WaitsFor>,
    /// The kernel function in which its main thread waits, where the kernel tells.
    pub wchan: Option<String>,
}

/// How long steps of an attempt took so far. It is small and two of them can be added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepHistory {
    /// Rows that were finished.
    pub rows: u64,
    /// The longest times without a step, in milliseconds, longest first. What was spent computing, or in line for a CPU, is not in them: how
    /// busy the machine is says nothing about how long a silent row may be silent.
    pub slowest_ms: Vec<u64>,
    /// The most CPU time without a step, in milliseconds, most first.
    #[serde(default)]
    pub most_cpu_ms: Vec<u64>,
    /// Sizes of the rows finished last, in bytes.
    pub sizes: Vec<u64>,
}

impl StepHistory {
    /// A worker took a step after so many milliseconds of waiting and of CPU time without one.
    pub fn step(&mut self, waited_ms: u64, cpu_ms: u64) {
        keep_largest(&mut self.slowest_ms, waited_ms);
        keep_largest(&mut self.most_cpu_ms, cpu_ms);
    }

    /// A row of this size was finished.
    pub fn row_finished(&mut self, size_bytes: u64) {
        let place = usize::try_from(self.rows % SIZES_KEPT_MAX as u64).unwrap_or(0);
        match self.sizes.get_mut(place) {
            Some(old) => *old = size_bytes,
            None => self.sizes.push(size_bytes),
        }
        self.rows += 1;
    }

    /// Adds what another attempt learned of the same work.
    pub fn add(&mut self, other: &Self) {
        for ms in &other.slowest_ms {
            keep_largest(&mut self.slowest_ms, *ms);
        }
        for ms in &other.most_cpu_ms {
            keep_largest(&mut self.most_cpu_ms, *ms);
        }
        self.rows += other.rows;
        let room = SIZES_KEPT_MAX.saturating_sub(self.sizes.len());
        self.sizes.extend(other.sizes.iter().take(room));
    }

    /// The median size of rows, in bytes; `None` before any row was finished.
    #[must_use]
    pub fn median_bytes(&self) -> Option<u64> {
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).copied()
    }
}

/// Takes `ms` into a list of the largest, largest first.
fn keep_largest(list: &mut Vec<u64>, ms: u64) {
    let place = list.partition_point(|known| *known >= ms);
    if place < SLOWEST_STEPS_MAX {
        list.insert(place, ms);
        list.truncate(SLOWEST_STEPS_MAX);
    }
}

/// What `serve` wants a driver to do with a worker that is stuck. It is carried out at most once, and not at all when the worker has
/// taken a step since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillOrder {
    /// Follows from the worker, its process and its last step, so the same finding gives the same order.
    pub id: String,
    /// The worker.
    pub worker: u32,
    /// Its process.
    pub pid: u32,
    /// Its last step when it was found stuck.
    pub last_step_at: UnixMillis,
    /// What was found, in one sentence.
    pub reason: String,
}

/// Why and where a worker stood when it was ended for being stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckEvidence {
    /// The order's id.
    pub order_id: String,
    /// What was found, in one sentence.
    pub reason: String,
    /// How long it had taken no step, in milliseconds.
    pub age_ms: u64,
    /// Where its processes stood: kernel wait channels and stacks, native and Python stacks as far as tools for them are here.
    pub stand: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_steps_the_slowest_are_kept_in_order() {
        let mut history = StepHistory::default();
        for ms in (0..1_000).rev().chain([5_000]) {
            history.step(ms, 2 * ms);
        }
        assert_eq!(history.slowest_ms.len(), SLOWEST_STEPS_MAX);
        assert_eq!(history.most_cpu_ms[..2], [10_000, 1_998]);
        assert_eq!(history.slowest_ms[..3], [5_000, 999, 998]);
        assert!(history.slowest_ms.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn two_histories_add_up_and_the_median_is_that_of_late_rows() {
        let mut history = StepHistory::default();
        assert_eq!(history.median_bytes(), None);
        (0..1_000).for_each(|size| history.row_finished(size));
        assert!(history.median_bytes() > Some(900));
        let mut other = StepHistory::default();
        other.step(7, 0);
        other.row_finished(1);
        history.add(&other);
        assert_eq!((history.rows, history.slowest_ms.clone()), (1_001, vec![7]));
        assert_eq!(history.sizes.len(), SIZES_KEPT_MAX);
    }
}
