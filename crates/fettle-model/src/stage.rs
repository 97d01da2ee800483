//! The three stages of a worker and their timing.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;

/// What a worker does with a row, in order; stages of different rows overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Fetching and decoding blobs.
    Loading,
    /// Extracting.
    Processing,
    /// Writing documents to the index.
    Writing,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 3] = [Self::Loading, Self::Processing, Self::Writing];

    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Processing => "processing",
            Self::Writing => "writing",
        }
    }
}

/// How one stage spent its time, summed over the workers of an attempt or job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StageTiming {
    /// Time spent working, in milliseconds; of several workers the sum.
    pub busy_ms: u64,
    /// Time spent waiting for the stage before or after, in milliseconds.
    pub wait_ms: u64,
    /// Rows that went through.
    pub rows: u64,
    /// Bytes that went through.
    pub bytes: u64,
    /// When the first row entered.
    pub started_at: Option<UnixMillis>,
    /// When the last row left.
    pub ended_at: Option<UnixMillis>,
}

impl StageTiming {
    /// Adds another worker's or attempt's share.
    pub fn add(&mut self, other: &Self) {
        self.busy_ms += other.busy_ms;
        self.wait_ms += other.wait_ms;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.started_at = match (self.started_at, other.started_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.ended_at = self.ended_at.max(other.ended_at);
    }
}

/// The timing of all three stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StageTimings {
    /// Fetching and decoding blobs.
    pub loading: StageTiming,
    /// Extracting.
    pub processing: StageTiming,
    /// Writing documents.
    pub writing: StageTiming,
}

impl StageTimings {
    /// The timing of one stage.
    #[must_use]
    pub fn get(&self, stage: Stage) -> &StageTiming {
        match stage {
            Stage::Loading => &self.loading,
            Stage::Processing => &self.processing,
            Stage::Writing => &self.writing,
        }
    }

    /// The timing of one stage, to be changed.
    pub fn get_mut(&mut self, stage: Stage) -> &mut StageTiming {
        match stage {
            Stage::Loading => &mut self.loading,
            Stage::Processing => &mut self.processing,
            Stage::Writing => &mut self.writing,
        }
    }

    /// Adds another worker's or attempt's timings.
    pub fn add(&mut self, other: &Self) {
        for stage in Stage::ALL {
            self.get_mut(stage).add(other.get(stage));
        }
    }

    /// The stage that was busy longest, and its share of all busy time; `None` before any work.
    #[must_use]
    pub fn bottleneck(&self) -> Option<(Stage, f64)> {
        let total: u64 = Stage::ALL
            .iter()
            .map(|stage| self.get(*stage).busy_ms)
            .sum();
        let longest = Stage::ALL
            .into_iter()
            .max_by_key(|stage| self.get(*stage).busy_ms)?;
        (total > 0).then(|| (longest, self.get(longest).busy_ms as f64 / total as f64))
    }
}
