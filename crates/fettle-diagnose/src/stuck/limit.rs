//! How long a worker may take no step: by what the same work has needed before, with a floor, and a wide guess before anything is known.
//!
//! The tail is fitted with Hill's estimator (B. M. Hill, "A simple general approach to inference about the tail of a distribution",
//! Annals of Statistics 3, 1975): of the k largest of n values the mean excess of their logarithms over the (k+1)-th estimates the tail
//! index, and the quantile follows as in I. Weissman, "Estimation of parameters and large quantiles based on the k largest
//! observations", JASA 73, 1978.

use fettle_model::StepHistory;
use serde::{Deserialize, Serialize};

/// The chance, for each row, of a step that is longer than the limit though all is well.
const TAIL_PROBABILITY: f64 = 1e-6;
/// Rows from which on a history counts as one.
const WARM_ROWS: u64 = 20;
/// Below this, in milliseconds, nothing is told apart: a busy disk, a full run queue, a program that starts take as much, whatever the rows do,
/// and a tail that begins there would be extrapolated to hours.
const TAIL_FROM_MS: u64 = 1_000;
/// Of the values a tenth is tail, within these bounds: fewer say too little, more are not tail.
const TAIL_MIN: usize = 5;
/// The estimate of few values is widened by so many of its standard errors.
const STANDARD_ERRORS: f64 = 1.64;
/// Without a history an idle worker is given so many floors…
const COLD_IDLE_FLOORS: u64 = 12;
/// … and one that computes so many of its own.
const COLD_SPINNING_FLOORS: u64 = 10;
/// No step is too long before it has taken so many times as long as the slowest one seen.
const SLOWEST_FACTOR: u64 = 2;
/// A row that stopped its worker before is given so many times as long when it is tried again, so that a row that is only slow is done.
const AGAIN_FACTOR: u64 = 4;
/// A row that is larger than the median is given more time in proportion, up to this; a smaller one is never given less.
const SIZE_FACTOR_MAX: u64 = 16;
/// No limit is longer, in milliseconds: a year, so that no tail overflows.
const LIMIT_MS_MAX: f64 = 365.0 * 86_400_000.0;

/// The floors of the limits, in milliseconds. Nothing below them is called stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckLimits {
    /// Without CPU time and IO.
    pub idle_floor_ms: u64,
    /// In CPU time without IO.
    pub spinning_floor_ms: u64,
}

impl Default for StuckLimits {
    /// Ten seconds without a sign of life are long for any program; a minute of computing is not.
    fn default() -> Self {
        Self::of_floor(10_000)
    }
}

/// What a limit rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The setting.
    Floor,
    /// What rows took before.
    History,
    /// Nothing yet: a guess.
    Cold,
}

/// How long something may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// In milliseconds.
    pub ms: u64,
    /// What it rests on.
    pub basis: Basis,
    /// The longest that it took before, in milliseconds.
    pub longest_ms: u64,
}

/// What is asked of the limits: a worker's work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    /// How long steps took before; `None` while the worker has not loaded its extractor, about which rows say nothing.
    pub(super) history: Option<&'a StepHistory>,
    /// The row's size.
    pub(super) size_bytes: u64,
    /// How often the row has stopped a worker before.
    pub(super) stopped_before: u32,
}

impl StuckLimits {
    /// The floors that belong to an idle floor: computing is given six times as long.
    #[must_use]
    pub fn of_floor(idle_floor_ms: u64) -> Self {
        Self {
            idle_floor_ms,
            spinning_floor_ms: idle_floor_ms.saturating_mul(6),
        }
    }

    /// For a worker that uses neither CPU nor IO.
    pub(super) fn idle(&self, work: Work<'_>) -> Limit {
        let cold_ms = self.idle_floor_ms.saturating_mul(COLD_IDLE_FLOORS);
        limit(self.idle_floor_ms, cold_ms, work, |history| {
            &history.slowest_ms
        })
    }

    /// For a worker that computes, in CPU time.
    pub(super) fn spinning(&self, work: Work<'_>) -> Limit {
        let cold_ms = self.spinning_floor_ms.saturating_mul(COLD_SPINNING_FLOORS);
        limit(self.spinning_floor_ms, cold_ms, work, |history| {
            &history.most_cpu_ms
        })
    }
}

fn limit<'a>(
    floor_ms: u64,
    cold_ms: u64,
    work: Work<'a>,
    longest_of: impl Fn(&'a StepHistory) -> &'a [u64],
) -> Limit {
    let Some(history) = work.history.filter(|history| history.rows >= WARM_ROWS) else {
        return Limit {
            ms: cold_ms,
            basis: Basis::Cold,
            longest_ms: 0,
        };
    };
    let longest = longest_of(history);
    let longest_ms = longest.first().copied().unwrap_or(0);
    let quantile_ms = tail_quantile_ms(longest, history.rows);
    let known_ms = quantile_ms.max(longest_ms.saturating_mul(SLOWEST_FACTOR));
    // The guess fades as rows are finished.
    let known_ms = known_ms.max(cold_ms.saturating_mul(WARM_ROWS) / history.rows);
    let basis = if known_ms > floor_ms {
        Basis::History
    } else {
        Basis::Floor
    };
    let again = AGAIN_FACTOR.saturating_pow(work.stopped_before);
    let factor = size_factor(history, work.size_bytes).saturating_mul(again);
    let ms = known_ms.max(floor_ms).saturating_mul(factor);
    Limit {
        ms,
        basis,
        longest_ms,
    }
}

fn size_factor(history: &StepHistory, size_bytes: u64) -> u64 {
    let median = history.median_bytes().unwrap_or(0).max(1);
    (size_bytes / median).clamp(1, SIZE_FACTOR_MAX)
}

/// The time that a row exceeds with [`TAIL_PROBABILITY`], in milliseconds, by the longest times of so many rows, longest first.
fn tail_quantile_ms(longest: &[u64], rows: u64) -> u64 {
    let told_apart = longest.partition_point(|ms| *ms > TAIL_FROM_MS);
    let wanted = usize::try_from(rows / 10).unwrap_or(usize::MAX);
    let most = longest.len().saturating_sub(1).min(told_apart);
    let k = wanted.max(TAIL_MIN).min(most);
    let (Some(threshold), true) = (longest.get(k), k >= TAIL_MIN) else {
        return longest.first().copied().unwrap_or(0);
    };
    let log = |ms: u64| (ms.max(TAIL_FROM_MS) as f64).ln();
    let excess: f64 = longest
        .iter()
        .take(k)
        .map(|ms| log(*ms) - log(*threshold))
        .sum();
    let index = excess / k as f64 * (1.0 + STANDARD_ERRORS / (k as f64).sqrt());
    let beyond = (k as f64 / (rows as f64 * TAIL_PROBABILITY)).max(1.0);
    let quantile = (log(*threshold) + index * beyond.ln()).exp();
    quantile.min(LIMIT_MS_MAX) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(rows: u64, step_ms: impl Fn(u64) -> u64) -> StepHistory {
        let mut history = StepHistory::default();
        for row in 0..rows {
            history.step(step_ms(row), step_ms(row));
            history.row_finished(1_000);
        }
        history
    }

    fn work(history: &StepHistory, size_bytes: u64) -> Work<'_> {
        Work {
            history: Some(history),
            size_bytes,
            stopped_before: 0,
        }
    }

    #[test]
    fn the_guess_fades_into_the_floor_while_rows_are_quick() {
        let limits = StuckLimits::default();
        let idle = |rows| limits.idle(work(&history(rows, |_| 50), 1_000));
        let nothing = Work {
            history: None,
            ..work(&StepHistory::default(), 0)
        };
        assert_eq!(limits.idle(nothing).ms, 120_000);
        assert_eq!((idle(19).ms, idle(19).basis), (120_000, Basis::Cold));
        assert_eq!((idle(40).ms, idle(40).basis), (60_000, Basis::History));
        assert_eq!((idle(240).ms, idle(240).basis), (10_000, Basis::Floor));
        assert_eq!(limits.spinning(nothing).ms, 600_000);
        let warm = history(1_000, |_| 50);
        assert_eq!(limits.spinning(work(&warm, 1_000)).ms, 60_000);
    }

    #[test]
    fn a_pareto_tail_gives_its_own_quantile_and_some() {
        // The quantiles of a Pareto distribution with index 2 and least value 100 ms.
        let pareto = |row: u64| (100.0 / ((row as f64 + 0.5) / 1_000.0).sqrt()) as u64;
        let limits = StuckLimits::of_floor(1_000);
        let known = history(1_000, pareto);
        let exact = 100.0 * 1_000.0;
        for limit in [
            limits.idle(work(&known, 1_000)),
            limits.spinning(work(&known, 1_000)),
        ] {
            assert!(limit.ms as f64 > exact, "{limit:?}");
            assert!((limit.ms as f64) < 12.0 * exact, "{limit:?}");
        }
    }

    #[test]
    fn hiccups_among_quick_rows_are_no_tail() {
        let limits = StuckLimits::default();
        let known = history(1_000, |row| if row % 70 == 0 { 600 } else { 5 });
        assert_eq!(limits.idle(work(&known, 1_000)).ms, 10_000);
        assert_eq!(limits.spinning(work(&known, 1_000)).ms, 60_000);
    }

    #[test]
    fn what_was_seen_once_may_be_seen_again_and_be_twice_as_long() {
        let limits = StuckLimits::default();
        let one_slow = history(10_000, |row| if row == 5_000 { 60_000 } else { 50 });
        assert!(limits.idle(work(&one_slow, 1_000)).ms >= 120_000);
        let equal = history(1_000, |_| 30_000);
        assert_eq!(limits.idle(work(&equal, 1_000)).ms, 60_000);
    }

    #[test]
    fn a_large_row_is_given_more_and_a_small_one_not_less() {
        let limits = StuckLimits::default();
        let warm = history(1_000, |_| 50);
        let of = |bytes| limits.idle(work(&warm, bytes)).ms;
        assert_eq!((of(1), of(1_000), of(3_000)), (10_000, 10_000, 30_000));
        assert_eq!(of(1 << 40), 160_000);
    }

    #[test]
    fn a_row_that_stopped_a_worker_is_given_four_times_as_long_when_it_is_tried_again() {
        let limits = StuckLimits::default();
        let warm = history(1_000, |_| 50);
        let again = Work {
            stopped_before: 1,
            ..work(&warm, 1_000)
        };
        assert_eq!(
            (limits.idle(again).ms, limits.spinning(again).ms),
            (40_000, 240_000)
        );
    }
}
