//! How the stages of one worker spend their time.
//!
//! Owns the measuring: a stage is busy while at least one row is in it, and waits otherwise, from its first row to its last.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fettle_model::history::StageSketches;
use fettle_model::{Sketch, Stage, StageTiming, StageTimings, UnixMillis};

use crate::clock;

/// The meters of the three stages.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    loading: Meter,
    processing: Meter,
    writing: Meter,
}

impl Meters {
    /// The meter of a stage.
    pub(crate) fn of(&self, stage: Stage) -> &Meter {
        match stage {
            Stage::Loading => &self.loading,
            Stage::Processing => &self.processing,
            Stage::Writing => &self.writing,
        }
    }

    /// The time spent so far.
    pub(crate) fn read(&self) -> StageTimings {
        let now = Instant::now();
        StageTimings {
            loading: self.loading.read(now),
            processing: self.processing.read(now),
            writing: self.writing.read(now),
        }
    }

    /// The work on each row so far.
    pub(crate) fn work(&self) -> StageSketches {
        StageSketches {
            loading: self.loading.lock().row_us.clone(),
            processing: self.processing.lock().row_us.clone(),
            writing: self.writing.lock().row_us.clone(),
        }
    }
}

/// The meter of one stage.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    active: u32,
    active_since: Option<Instant>,
    busy: Duration,
    first: Option<(Instant, UnixMillis)>,
    last: Option<(Instant, UnixMillis)>,
    rows: u64,
    bytes: u64,
    row_us: Sketch,
}

impl Meter {
    /// Counts as busy until the guard is dropped.
    pub(crate) fn enter(&self) -> Busy<'_> {
        let now = Instant::now();
        let mut state = self.lock();
        state.active += 1;
        state.active_since.get_or_insert(now);
        state.first.get_or_insert_with(|| (now, clock::now()));
        Busy(self)
    }

    /// Counts what has gone through; rows that were worked on together share the time.
    pub(crate) fn count(&self, rows: u64, bytes: u64, took: Duration) {
        let mut state = self.lock();
        state.rows += rows;
        state.bytes += bytes;
        let row_us = took.as_micros() / u128::from(rows.max(1));
        let row_us = u64::try_from(row_us).unwrap_or(u64::MAX);
        state.row_us.record(row_us, rows);
    }

    fn leave(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.active = state.active.saturating_sub(1);
        if state.active == 0
            && let Some(since) = state.active_since.take()
        {
            state.busy += now.duration_since(since);
        }
        state.last = Some((now, clock::now()));
    }

    fn read(&self, now: Instant) -> StageTiming {
        let state = self.lock();
        let running = state
            .active_since
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        let busy = state.busy + running;
        let end = if state.active > 0 {
            Some(now)
        } else {
            state.last.map(|(at, _)| at)
        };
        let elapsed = state
            .first
            .zip(end)
            .map_or(Duration::ZERO, |((first, _), end)| {
                end.duration_since(first)
            });
        StageTiming {
            busy_ms: ms(busy),
            wait_ms: ms(elapsed.saturating_sub(busy)),
            rows: state.rows,
            bytes: state.bytes,
            started_at: state.first.map(|(_, at)| at),
            ended_at: state.last.map(|(_, at)| at),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stage counts as busy while this lives.
#[derive(Debug)]
pub(crate) struct Busy<'m>(&'m Meter);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_rows_count_once_and_pauses_count_as_waiting() {
        let meter = Meter::default();
        let first = meter.enter();
        let second = meter.enter();
        drop(first);
        drop(second);
        drop(meter.enter());
        meter.count(3, 10, Duration::from_millis(6));
        let read = meter.read(Instant::now());
        let state = meter.lock();
        let span = state.last.unwrap().0.duration_since(state.first.unwrap().0);
        assert!(read.busy_ms + read.wait_ms <= ms(span));
        assert_eq!((read.rows, read.bytes, state.active), (3, 10, 0));
        assert!(read.started_at <= read.ended_at);
        assert_eq!((state.row_us.count(), state.row_us.max()), (3, 2_000));
    }

    #[test]
    fn a_stage_that_never_ran_has_no_times() {
        assert_eq!(
            Meter::default().read(Instant::now()),
            StageTiming::default()
        );
    }
}
