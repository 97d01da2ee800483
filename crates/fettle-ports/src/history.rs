//! The history of attempts as it is written and read.

use fettle_model::{AttemptId, HistoryCell, HistoryKey, JobId, UnixMillis};

/// An ended attempt, to be added to the history with the step that ended it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// What it is compared by.
    pub key: HistoryKey,
    /// The attempt; it is added once.
    pub attempt_id: AttemptId,
    /// Its job.
    pub job_id: JobId,
    /// When it ended.
    pub at: UnixMillis,
    /// What it measured. Rows, documents and errors are left out: the store knows them.
    pub cell: HistoryCell,
}

/// How long a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistorySpan {
    /// An hour; kept for `HOURS_KEPT_DAYS`.
    Hour,
    /// A day; kept for `DAYS_KEPT`.
    Day,
}

/// Hours can be asked for as far back as the contract goes (720 hours), and a day more.
pub const HOURS_KEPT_DAYS: u64 = 31;
/// A year and a month, so that a year can be compared with the one before at its turn.
pub const DAYS_KEPT: u64 = 396;

impl HistorySpan {
    /// Its length, in milliseconds.
    #[must_use]
    pub fn length_ms(self) -> i64 {
        match self {
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The beginning of the one that holds `at`, in UTC.
    #[must_use]
    pub fn start_of(self, at: UnixMillis) -> UnixMillis {
        UnixMillis(at.0.div_euclid(self.length_ms()) * self.length_ms())
    }
}

/// Which cells to read.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryQuery {
    /// Of which length.
    pub span: HistorySpan,
    /// Those that end after this.
    pub from: UnixMillis,
    /// Those that begin before this.
    pub until: UnixMillis,
    /// Only of this key.
    pub key: Option<HistoryKey>,
}

/// A cell in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    /// When it begins.
    pub starts_at: UnixMillis,
    /// Whose it is.
    pub key: HistoryKey,
    /// What is in it.
    pub cell: HistoryCell,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_begin_at_whole_hours_and_days_before_and_after_1970() {
        let at = UnixMillis(86_400_000 + 3_600_000 * 5 + 17);
        assert_eq!(HistorySpan::Hour.start_of(at).0, 86_400_000 + 3_600_000 * 5);
        assert_eq!(HistorySpan::Day.start_of(at).0, 86_400_000);
        assert_eq!(HistorySpan::Day.start_of(UnixMillis(-1)).0, -86_400_000);
    }
}
