//! What a worker with its children has used, sampled while it lives: when it has died nobody can be asked any more.
//!
//! Owns the difference between "in all" and "since the last finished row". It must stay cheap: a sample reads two small files for each
//! process.

use fettle_confine::{WorkerGroup, sample};
use fettle_model::UnixMillis;

/// Readings of one worker's use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    now: Option<Reading>,
    /// At the last finished row; at the start before the first.
    at_row: Reading,
    /// When the last row was finished.
    pub(super) last_finished_at: Option<UnixMillis>,
    /// How many rows were finished.
    pub(super) rows_finished: u64,
}

/// CPU time and bytes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reading {
    cpu_ms: u64,
    io_bytes: Option<u64>,
}

impl Usage {
    /// Takes a sample.
    pub(super) fn look(&mut self, group: &WorkerGroup) {
        let seen: Vec<_> = group.pids().into_iter().filter_map(sample).collect();
        if seen.is_empty() {
            return;
        }
        let io = |one: &fettle_confine::ProcessSample| {
            Some(one.read_bytes?.saturating_add(one.written_bytes?))
        };
        let ios: Vec<u64> = seen.iter().filter_map(io).collect();
        let cpu_ms = seen.iter().map(|one| one.cpu_ms).sum();
        self.take(Reading {
            cpu_ms: group.counted_cpu_ms().unwrap_or(cpu_ms),
            io_bytes: (!ios.is_empty()).then(|| ios.iter().sum()),
        });
    }

    /// Children that have ended drop out of the sums; what was used stays used.
    fn take(&mut self, seen: Reading) {
        let known = self.now.unwrap_or_default();
        self.now = Some(Reading {
            cpu_ms: known.cpu_ms.max(seen.cpu_ms),
            io_bytes: known.io_bytes.max(seen.io_bytes),
        });
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
        Some(self.now?.cpu_ms.saturating_sub(self.at_row.cpu_ms))
    }

    /// Bytes read and written since then.
    pub(super) fn io_bytes_since_row(&self) -> Option<u64> {
        let at_row = self.at_row.io_bytes.unwrap_or(0);
        Some(self.now?.io_bytes?.saturating_sub(at_row))
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
    fn use_is_told_in_all_and_since_the_last_row() {
        let mut usage = Usage::default();
        assert_eq!((usage.cpu_ms(), usage.cpu_ms_since_row()), (None, None));
        usage.take(reading(100, 1_000));
        assert_eq!(usage.cpu_ms_since_row(), Some(100));
        usage.row_finished(UnixMillis(5));
        usage.take(reading(700, 1_500));
        assert_eq!(
            (usage.cpu_ms(), usage.cpu_ms_since_row()),
            (Some(700), Some(600))
        );
        assert_eq!(
            (usage.io_bytes(), usage.io_bytes_since_row()),
            (Some(1_500), Some(500))
        );
        assert_eq!(
            (usage.rows_finished, usage.last_finished_at),
            (1, Some(UnixMillis(5)))
        );
    }

    #[test]
    fn a_child_that_ended_takes_nothing_back() {
        let mut usage = Usage::default();
        usage.take(reading(700, 1_500));
        usage.take(reading(200, 300));
        assert_eq!((usage.cpu_ms(), usage.io_bytes()), (Some(700), Some(1_500)));
    }
}
