//! What earlier workers needed, read for a size.
//!
//! Owns the reading of a history. It must not know of limits and nodes.

use fettle_model::Sketch;
use fettle_model::history::MemoryProfile;
use fettle_model::line::Line;

use super::Workload;

/// Fewer workers than this are no history.
const WORKERS_MIN: u64 = 3;
/// Needs that are apart by more than this factor are different kinds of need.
const GAP: f64 = 1.3;
/// A first attempt is sized for the kinds of need that this share of workers stayed within; the rarer, larger kinds are given theirs
/// when they show: a retry of a few is cheaper than a limit that most do not need.
const COMMON_SHARE: f64 = 1.0 / 3.0;
/// Of a heap of needs, the share that its size is for at first; the rest is given the most that was ever needed. Sized for all at once,
/// most would have more than a fifth too much.
const HEAP_SHARE: f64 = 0.95;
/// On top of what was needed: sketches are 2 % off, and the next need is not quite an earlier one.
const MARGIN: f64 = 1.04;
/// A row this many times larger than nineteen of twenty is not what a job is sized for.
const OUTLIER_FACTOR: u64 = 4;

/// A history that says something.
pub(super) struct Past<'a> {
    memory: &'a MemoryProfile,
    heaps: Vec<Sketch>,
}

/// A size by the history.
pub(super) struct Need {
    pub(super) bytes: u64,
    /// How many earlier workers needed as much.
    pub(super) workers: u64,
    /// Whether it is apart from what most need.
    pub(super) is_apart: bool,
}

impl<'a> Past<'a> {
    /// The history, if there is enough of it.
    pub(super) fn of(memory: &'a MemoryProfile) -> Option<Self> {
        (memory.peak_bytes.count() >= WORKERS_MIN).then(|| Self {
            memory,
            heaps: memory.peak_bytes.modes(GAP),
        })
    }

    /// How many workers it is of.
    pub(super) fn workers(&self) -> u64 {
        self.memory.peak_bytes.count()
    }

    /// What `workload` needs, where a line explains needs.
    pub(super) fn of_workload(&self, workload: Workload) -> Option<u64> {
        let by_bytes = || {
            let sizes = workload.row_bytes?;
            let is_outlier = sizes.max > sizes.p95.saturating_mul(OUTLIER_FACTOR);
            self.of_row_bytes(if is_outlier { sizes.p95 } else { sizes.max })
        };
        by_bytes().or_else(|| self.of_rows(workload.rows_per_worker))
    }

    /// What a row of `bytes` needs, where its bytes explain it.
    pub(super) fn of_row_bytes(&self, bytes: u64) -> Option<u64> {
        on_line(self.memory.by_row_bytes.line()?, bytes)
    }

    /// What a worker needs for `rows`, where their number explains it.
    pub(super) fn of_rows(&self, rows: u64) -> Option<u64> {
        on_line(self.memory.by_rows.line()?, rows)
    }

    /// What most workers stay within.
    pub(super) fn common_need(&self) -> Option<u64> {
        let common = self.workers() as f64 * COMMON_SHARE;
        let mut seen = 0;
        let heap = self.heaps.iter().find(|heap| {
            seen += heap.count();
            seen as f64 >= common
        })?;
        Some(upper(heap))
    }

    /// The next larger need above a limit that was not enough: when it was too little for `all` rows alike the most that their kind ever
    /// needed, and else the next larger kind.
    pub(super) fn need_above(&self, limit_bytes: u64, all: bool) -> Option<Need> {
        let mut sizes = self.heaps.iter().enumerate().flat_map(|(at, heap)| {
            let rarely = if all || at + 1 == self.heaps.len() {
                most(heap)
            } else {
                0
            };
            [(at, heap, upper(heap)), (at, heap, rarely)]
        });
        let (at, heap, bytes) = sizes.find(|(.., bytes)| *bytes > limit_bytes)?;
        Some(Need {
            bytes,
            workers: heap.count(),
            is_apart: at > 0 && heap.quantile(0.0)? > limit_bytes,
        })
    }
}

/// What most needs of one kind stay within.
fn upper(heap: &Sketch) -> u64 {
    with_margin(heap.quantile(HEAP_SHARE).unwrap_or(0) as f64)
}

/// What all needs of one kind stay within.
pub(super) fn most(heap: &Sketch) -> u64 {
    with_margin(with_margin(heap.max() as f64) as f64)
}

fn on_line(line: Line, at: u64) -> Option<u64> {
    let bytes = line.at(at);
    // Points lie on both sides of their line, so the margin counts twice.
    (bytes > 0.0).then(|| with_margin(with_margin(bytes) as f64))
}

/// A need with its margin, in bytes.
pub(super) fn with_margin(bytes: f64) -> u64 {
    // The cast saturates.
    (bytes * MARGIN) as u64
}
