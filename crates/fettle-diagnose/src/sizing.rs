//! How much memory a worker gets: at first, after an attempt, and when more would not help.
//!
//! Owns the only formulas for memory. It must not decide whether memory was the cause; the memory engine does.
//!
//! What it goes by, best first: a line that explains needs (a row's bytes, or the rows of a leak), the heaps in which earlier needs lie,
//! and without a history the measured peak or, where the limit cut the curve off, a search by doubling.

mod grant;
mod past;
#[cfg(test)]
mod tests;

use fettle_model::RowNumber;
use fettle_model::history::MemoryProfile;

pub use self::grant::MemoryGrant;
use self::grant::cap;
use self::past::{Past, with_margin};
use crate::words;

/// A peak that was measured in full is met again within a half: other rows, another allocator's mood.
const PEAK_FACTOR: f64 = 1.5;
/// Where the limit cut the curve off, the peak equals the limit and says nothing of the need, so the search doubles; it ends after
/// log2(need ÷ limit) attempts.
const CUT_OFF_FACTOR: f64 = 2.0;
/// Somewhat more than all of a history needed is probably little more; a second time the history does not hold any more.
const BEYOND_HISTORY_FACTOR: f64 = 1.25;
/// A limit is lowered when it is more than this many times what a first attempt would be given: less is not worth the risk.
const SHRINK_FACTOR: f64 = 2.0;

/// What is known when a size is to be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct SizingInput<'a> {
    /// How the last attempt ended.
    pub ended: Ended,
    /// Who needs the memory.
    pub demand: Demand,
    /// The limit of each worker at that time, in bytes.
    pub limit_bytes: u64,
    /// The highest use of a worker, in bytes, with an allocation that was refused on top of it.
    pub peak_bytes: u64,
    /// Whether the process was ended while its use still rose; then the peak is only a lower bound of what it needs.
    pub was_still_climbing: bool,
    /// Attempts of the job that memory has ended, this one among them.
    pub ooms: u32,
    /// Rows that were in work when memory ended workers.
    pub suspects: Vec<RowNumber>,
    /// Bytes of the largest of them.
    pub suspect_bytes: u64,
    /// What is to be done.
    pub workload: Workload,
    /// What earlier attempts of such jobs needed.
    pub history: Option<&'a MemoryProfile>,
    /// How many workers an attempt starts.
    pub workers: u32,
    /// What all workers of an attempt may have together, in bytes; `None` when it is not known.
    pub node_memory_bytes: Option<u64>,
}

/// How an attempt ended, as far as memory is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Memory ended workers.
    OutOfMemory,
    /// With all rows done.
    Well,
    /// By anything else: a preemption, a crash, a cancel.
    Otherwise,
}

/// Who needs the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Every worker.
    Steady,
    /// A worker needs more with each row that it finishes.
    Leak {
        /// What it had before the first row, in bytes.
        base_bytes: u64,
        /// Rows that it had finished when it was ended.
        rows_finished: u64,
    },
    /// Single rows, the suspects.
    BigRow,
    /// The evidence does not tell.
    Unclear,
}

/// What an attempt has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Workload {
    /// Rows for each worker.
    pub rows_per_worker: u64,
    /// Sizes of its rows, where they are known.
    pub row_bytes: Option<RowBytes>,
}

/// Sizes of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowBytes {
    /// Nineteen of twenty are not larger, in bytes.
    pub p95: u64,
    /// The largest, in bytes.
    pub max: u64,
}

/// What the next attempt gets.
#[derive(Debug, Clone, PartialEq)]
pub enum NextMemory {
    /// What the last one had.
    Keep,
    /// Every worker of the job gets this.
    Job(MemoryGrant),
    /// Only these rows need it; the others go on with what they have.
    RowsLane {
        /// What a worker of the lane gets.
        grant: MemoryGrant,
        /// The rows.
        rows: Vec<RowNumber>,
    },
    /// More memory would not end it well.
    WillNotHelp {
        /// The most that one worker could have, in bytes.
        most_bytes: u64,
        /// Why, as a clause.
        why: String,
    },
}

impl NextMemory {
    /// The grant, for the job or the rows.
    #[must_use]
    pub fn grant(&self) -> Option<&MemoryGrant> {
        match self {
            Self::Job(grant) | Self::RowsLane { grant, .. } => Some(grant),
            Self::Keep | Self::WillNotHelp { .. } => None,
        }
    }
}

/// A size with where it comes from.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    bytes: u64,
    basis: String,
    /// Whether only the suspects need it.
    is_lane: bool,
}

/// What the next attempt gets after one has ended. What was raised stays raised whatever ends later attempts; it is lowered only when an
/// attempt ended well and the history shows that needs stay far below.
#[must_use]
pub fn next_memory(input: &SizingInput<'_>) -> NextMemory {
    match input.ended {
        Ended::Otherwise => NextMemory::Keep,
        Ended::Well => shrink(input),
        Ended::OutOfMemory => cap(input, wanted(input)),
    }
}

/// What the first attempt of a job gets by what earlier ones needed; `None` where too little is known.
#[must_use]
pub fn first_memory(history: &MemoryProfile, workload: Workload) -> Option<u64> {
    let past = Past::of(history)?;
    let bytes = past.of_workload(workload).or_else(|| past.common_need())?;
    Some(grant::round_up(bytes))
}

fn shrink(input: &SizingInput<'_>) -> NextMemory {
    let known = input
        .history
        .and_then(|history| first_memory(history, input.workload));
    let far_below = |bytes: u64| bytes as f64 * SHRINK_FACTOR <= input.limit_bytes as f64;
    match known.filter(|bytes| far_below((*bytes).max(input.peak_bytes))) {
        Some(memory_bytes) => NextMemory::Job(MemoryGrant {
            memory_bytes,
            workers: None,
            is_capped: false,
            basis: "what earlier attempts needed, which stayed far below the limit".to_owned(),
        }),
        None => NextMemory::Keep,
    }
}

fn wanted(input: &SizingInput<'_>) -> Wanted {
    let is_big_row = input.demand == Demand::BigRow;
    let past = input.history.and_then(Past::of);
    let from_past = match &past {
        Some(past) => of_past(input, past),
        None => of_few(input),
    };
    let wanted = from_past
        .or_else(|| extrapolated(input))
        .unwrap_or_else(|| searched(input, past.is_some()));
    Wanted {
        is_lane: (wanted.is_lane || is_big_row) && !input.suspects.is_empty(),
        ..wanted
    }
}

/// By what earlier attempts needed, if that is more than this one had.
fn of_past(input: &SizingInput<'_>, past: &Past<'_>) -> Option<Wanted> {
    let is_enough = |bytes: &u64| *bytes > least(input);
    let job = |bytes, basis: &str| Wanted {
        bytes,
        basis: basis.to_owned(),
        is_lane: false,
    };
    if let Demand::Leak { .. } = input.demand {
        let by_rows = past
            .of_rows(input.workload.rows_per_worker)
            .filter(is_enough);
        return by_rows.map(|bytes| job(bytes, "what earlier workers needed for as many rows"));
    }
    if let Some(bytes) = past.of_row_bytes(input.suspect_bytes).filter(is_enough) {
        let basis = format!(
            "what earlier rows of {} needed",
            words::bytes(input.suspect_bytes)
        );
        return Some(Wanted {
            bytes,
            basis,
            is_lane: true,
        });
    }
    let is_steady = input.demand == Demand::Steady;
    let above = past.need_above(input.limit_bytes, is_steady)?;
    is_enough(&above.bytes).then(|| Wanted {
        bytes: above.bytes,
        basis: format!(
            "what {} of {} earlier workers needed",
            above.workers,
            past.workers()
        ),
        is_lane: above.is_apart,
    })
}

/// By the most that one or two earlier workers needed: too few to size a first attempt by, and better than a search.
fn of_few(input: &SizingInput<'_>) -> Option<Wanted> {
    if !matches!(input.demand, Demand::Steady | Demand::Unclear) {
        return None;
    }
    let known = past::most(&input.history?.peak_bytes);
    (known > least(input)).then(|| Wanted {
        bytes: known,
        basis: "the most that an earlier worker needed".to_owned(),
        is_lane: false,
    })
}

/// A leak goes on as it began.
fn extrapolated(input: &SizingInput<'_>) -> Option<Wanted> {
    let Demand::Leak {
        base_bytes,
        rows_finished,
    } = input.demand
    else {
        return None;
    };
    let grown = input.peak_bytes.checked_sub(base_bytes)?;
    let per_row = grown as f64 / rows_finished.max(1) as f64;
    let rows = input.workload.rows_per_worker.max(rows_finished + 1);
    let bytes = with_margin(base_bytes as f64 + per_row * rows as f64);
    (bytes > least(input)).then(|| Wanted {
        bytes,
        basis: format!(
            "{} and {} for each of {} of a worker",
            words::bytes(base_bytes),
            words::bytes(per_row as u64),
            words::count(rows, "row")
        ),
        is_lane: false,
    })
}

/// By this attempt alone.
fn searched(input: &SizingInput<'_>, has_past: bool) -> Wanted {
    let (peak, limit) = (
        words::bytes(input.peak_bytes),
        words::bytes(input.limit_bytes),
    );
    if !input.was_still_climbing {
        return Wanted {
            bytes: times(input.peak_bytes, PEAK_FACTOR),
            basis: format!("{PEAK_FACTOR} × the measured peak ({peak})"),
            is_lane: false,
        };
    }
    let (factor, because) = if has_past && input.ooms <= 1 {
        (
            BEYOND_HISTORY_FACTOR,
            "which is more than any earlier worker needed",
        )
    } else {
        (
            CUT_OFF_FACTOR,
            "because the process was still growing when it was stopped",
        )
    };
    Wanted {
        bytes: times(input.limit_bytes, factor)
            .max(times(input.peak_bytes, PEAK_FACTOR.min(factor))),
        basis: format!("{factor} × limit ({limit}), {because}"),
        is_lane: false,
    }
}

/// No size at or below this can do.
fn least(input: &SizingInput<'_>) -> u64 {
    if input.was_still_climbing {
        input.limit_bytes.max(input.peak_bytes)
    } else {
        input.peak_bytes
    }
}

fn times(bytes: u64, factor: f64) -> u64 {
    // The cast saturates.
    (bytes as f64 * factor) as u64
}
