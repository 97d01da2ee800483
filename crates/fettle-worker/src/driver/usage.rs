//! What a worker with its children has used, sampled while it lives: when it has died nobody can be asked any more.
//!
//! Owns the difference between "in all", "since the last finished row" and "since the last step", and when it last moved at all. It must
//! not read anything itself.

use fettle_model::UnixMillis;

use super::glimpse::{Reading, Waits};

/// Over this long it is looked whether a worker moved, in milliseconds: as long as the kernel's CPU ticks are coarse.
const WINDOW_MS: u64 = 1_000;
/// CPU time in a window that is no more than a heart that beats, in milliseconds: timers and frames take less than 5.
const STILL_CPU_MS: u64 = 20;
/// Bytes in a window that are no more than that: the worker's word on its timings takes about 1,000.
const STILL_IO_BYTES: u64 = 4_096;

/// Readings of one worker's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    now: Option<Reading>,
    /// At the last finished row; at the start before the first.
    at_row: Reading,
    /// At the last step.
    at_step: Reading,
    /// When the window of movement began, and what was used then.
    window: (UnixMillis, Reading),
    waits: Waits,
    /// The first reading of waits after the last step.
    waits_at_step: Option<Waits>,
    /// When CPU time was last used.
    pub(super) cpu_moved_at: UnixMillis,
    /// When bytes were last read or written.
    pub(super) io_moved_at: UnixMillis,
    /// When the last row was finished.
    pub(super) last_finished_at: Option<UnixMillis>,
    /// How many rows were finished.
    pub(super) rows_finished: u64,
}

impl Usage {
    /// Of a worker that was started now.
    pub(super) fn new(now: UnixMillis) -> Self {
        Self {
            now: None,
            at_row: Reading::default(),
            at_step: Reading::default(),
            window: (now, Reading::default()),
            waits: Waits::default(),
            waits_at_step: None,
            cpu_moved_at: now,
            io_moved_at: now,
            last_finished_at: None,
            rows_finished: 0,
        }
    }

    /// Takes a reading. Children that have ended drop out of the sums; what was used stays used.
    pub(super) fn take(&mut self, seen: Reading, at: UnixMillis) {
        let known = self.now.unwrap_or_default();
        let now = Reading {
            cpu_ms: known.cpu_ms.max(seen.cpu_ms),
            io_bytes: known.io_bytes.max(seen.io_bytes),
        };
        self.now = Some(now);
        let (began, before) = self.window;
        let length_ms = at.since(began);
        if length_ms < WINDOW_MS {
            return;
        }
        let windows = length_ms.div_ceil(WINDOW_MS);
        if now.cpu_ms.saturating_sub(before.cpu_ms) > STILL_CPU_MS * windows {
            self.cpu_moved_at = at;
        }
        let io_bytes = |reading: Reading| reading.io_bytes.unwrap_or(0);
        if io_bytes(now).saturating_sub(io_bytes(before)) > STILL_IO_BYTES * windows {
            self.io_moved_at = at;
        }
        self.window = (at, now);
    }

    /// Takes how long it has waited for CPU and memory.
    pub(super) fn take_waits(&mut self, waits: Waits) {
        self.waits = waits;
        self.waits_at_step.get_or_insert(waits);
    }

    /// A step was taken.
    pub(super) fn stepped(&mut self) {
        self.at_step = self.now.unwrap_or_default();
        self.waits_at_step = None;
    }

    /// A row has its outcome.
    pub(super) fn row_finished(&mut self, now: UnixMillis) {
        self.at_row = self.now.unwrap_or_default();
        self.last_finished_at = Some(now);
        self.rows_finished += 1;
    }

    /// CPU time so far, in milliseconds.
    pub(super) fn cpu_ms(&self) -> Option<u64> {
        Some(self.now?.cpu_ms)
    }

    /// Bytes read and written so far.
    pub(super) fn io_bytes(&self) -> Option<u64> {
        self.now?.io_bytes
    }

    /// CPU time since the last finished row, or since the start, in milliseconds.
    pub(super) fn cpu_ms_since_row(&self) -> Option<u64> {
        self.cpu_ms_since(self.at_row)
    }

    /// Bytes read and written since then.
    pub(super) fn io_bytes_since_row(&self) -> Option<u64> {
        self.io_bytes_since(self.at_row)
    }

    /// CPU time since the last step, in milliseconds.
    pub(super) fn cpu_ms_since_step(&self) -> Option<u64> {
        self.cpu_ms_since(self.at_step)
    }

    /// Bytes read and written since the last step.
    pub(super) fn io_bytes_since_step(&self) -> Option<u64> {
        self.io_bytes_since(self.at_step)
    }

    /// Time in line for a CPU since the last step, in milliseconds.
    pub(super) fn cpu_wait_ms_since_step(&self) -> Option<u64> {
        let before = self.waits_at_step?.cpu_ms?;
        Some(self.waits.cpu_ms?.saturating_sub(before))
    }

    /// Time without memory since the last step, in milliseconds.
    pub(super) fn memory_wait_ms_since_step(&self) -> Option<u64> {
        let before = self.waits_at_step?.memory_ms?;
        Some(self.waits.memory_ms?.saturating_sub(before))
    }

    fn cpu_ms_since(&self, before: Reading) -> Option<u64> {
        Some(self.now?.cpu_ms.saturating_sub(before.cpu_ms))
    }

    fn io_bytes_since(&self, before: Reading) -> Option<u64> {
        let before = before.io_bytes.unwrap_or(0);
        Some(self.now?.io_bytes?.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu_ms: u64, io_bytes: u64) -> Reading {
        Reading {
            cpu_ms,
            io_bytes: Some(io_bytes),
        }
    }

    #[test]
    fn use_is_told_in_all_and_since_the_last_row_and_step() {
        let mut usage = Usage::new(UnixMillis(0));
        assert_eq!((usage.cpu_ms(), usage.cpu_ms_since_row()), (None, None));
        usage.take(reading(100, 1_000), UnixMillis(1));
        assert_eq!(usage.cpu_ms_since_row(), Some(100));
        usage.row_finished(UnixMillis(5));
        usage.take(reading(400, 1_200), UnixMillis(6));
        usage.stepped();
        usage.take(reading(700, 1_500), UnixMillis(7));
        assert_eq!(
            (
                usage.cpu_ms(),
                usage.cpu_ms_since_row(),
                usage.cpu_ms_since_step()
            ),
            (Some(700), Some(600), Some(300))
        );
        assert_eq!(
            (
                usage.io_bytes(),
                usage.io_bytes_since_row(),
                usage.io_bytes_since_step()
            ),
            (Some(1_500), Some(500), Some(300))
        );
        assert_eq!(
            (usage.rows_finished, usage.last_finished_at),
            (1, Some(UnixMillis(5)))
        );
    }

    #[test]
    fn a_child_that_ended_takes_nothing_back() {
        let mut usage = Usage::new(UnixMillis(0));
        usage.take(reading(700, 1_500), UnixMillis(1));
        usage.take(reading(200, 300), UnixMillis(2));
        assert_eq!((usage.cpu_ms(), usage.io_bytes()), (Some(700), Some(1_500)));
    }

    #[test]
    fn a_beating_heart_is_no_movement_and_work_is() {
        let mut usage = Usage::new(UnixMillis(0));
        let at = |tick: u64| UnixMillis(tick as i64 * 100);
        for tick in 1..=100 {
            usage.take(reading(tick, tick * 100), at(tick));
        }
        assert_eq!((usage.cpu_moved_at, usage.io_moved_at), (at(0), at(0)));
        for tick in 101..=110 {
            usage.take(reading(100 + (tick - 100) * 10, 10_000), at(tick));
        }
        assert_eq!((usage.cpu_moved_at, usage.io_moved_at), (at(110), at(0)));
        for tick in 111..=120 {
            usage.take(reading(200, 10_000 + (tick - 110) * 1_000), at(tick));
        }
        assert_eq!((usage.cpu_moved_at, usage.io_moved_at), (at(110), at(120)));
    }
}
