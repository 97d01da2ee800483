//! Manifest rows, their outcomes and their accounting.

use serde::{Deserialize, Serialize};

/// The position of a row in its job's manifest, from zero.
pub type RowNumber = u32;

/// What became of a row. It is recorded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    /// Its documents are in the index.
    Processed,
    /// It has a `RowError`.
    Failed,
    /// It asked for nothing (deduplicated, or filtered out).
    Skipped,
}

/// How many rows came to which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows whose documents are in the index.
    pub processed: u64,
    /// Rows with an error.
    pub failed: u64,
    /// Rows that asked for nothing.
    pub skipped: u64,
}

impl RowCounts {
    /// Rows with any outcome.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.processed + self.failed + self.skipped
    }
}

/// A sorted set of rows as half-open ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowRanges(Vec<(RowNumber, RowNumber)>);

impl RowRanges {
    /// All rows below `end`.
    #[must_use]
    pub fn below(end: RowNumber) -> Self {
        Self(if end == 0 { Vec::new() } else { vec![(0, end)] })
    }

    /// The rows of `sorted`, which must ascend.
    pub fn from_sorted(sorted: impl IntoIterator<Item = RowNumber>) -> Self {
        let mut ranges: Vec<(RowNumber, RowNumber)> = Vec::new();
        for row in sorted {
            match ranges.last_mut() {
                Some((_, end)) if *end == row => *end = row + 1,
                _ => ranges.push((row, row + 1)),
            }
        }
        Self(ranges)
    }

    /// How many rows.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .map(|(start, end)| u64::from(end - start))
            .sum()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = RowNumber> + '_ {
        self.0.iter().flat_map(|(start, end)| *start..*end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_neighbours_and_count() {
        let rows = RowRanges::from_sorted([0, 1, 2, 5, 7, 8]);
        assert_eq!(rows.0, vec![(0, 3), (5, 6), (7, 9)]);
        assert_eq!(rows.count(), 6);
        assert_eq!(rows.iter().collect::<Vec<_>>(), vec![0, 1, 2, 5, 7, 8]);
        assert!(RowRanges::below(0).is_empty());
    }
}
