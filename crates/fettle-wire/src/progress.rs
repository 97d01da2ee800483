//! How far a batch is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a batch is. Rows of tiers that have not begun are not known, so `total` can grow; `percent` counts tiers as equal shares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchProgress {
    /// From 0 to 100.
    pub percent: Option<f64>,
    /// Rows with an outcome, in all tiers that have begun.
    pub processed: u64,
    /// Rows of all tiers that have begun.
    pub total: Option<u64>,
    /// Rows that failed.
    pub errors: u64,
    /// Rows that were processed.
    pub objects_extracted: u64,
    /// Rows that failed.
    pub objects_failed: u64,
    /// Rows that were skipped.
    pub objects_skipped: u64,
    /// Rows that were skipped.
    pub documents_skipped: u64,
    /// Documents written.
    pub documents_written: u64,
    /// Rows a second, of the attempts that run.
    pub items_per_second: Option<f64>,
    /// Seconds to the end; none while a later tier's size is not known.
    pub eta_seconds: Option<f64>,
    /// The busiest stage of what runs.
    pub current_stage: Option<BatchStageInfo>,
    /// The tier that runs.
    pub active_step: Option<BatchStepInfo>,
    /// Dispatch, extraction, write.
    pub phases: BatchPhases,
    /// Busy time by stage, over all attempts.
    pub stage_history: Vec<BatchStageTiming>,
    /// Place among what waits for capacity, from one.
    pub queue_position: Option<u64>,
    /// What is waited for.
    pub queue_reason: Option<String>,
    /// The first failed row's error.
    pub first_error: Option<String>,
    /// The same among those that failed in their extractor, not in loading or writing.
    pub extraction_first_error: Option<String>,
    /// Into how many documents rows became; none before the first row.
    pub chunk_stats: Option<BatchChunkStats>,
    /// What a watcher should know.
    pub status_warnings: Vec<String>,
}

/// What rows became.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchChunkStats {
    /// What is counted of a chunk: `document`. A chunk is a row that was processed.
    pub unit: String,
    /// Rows that were processed.
    pub total_chunks: u64,
    /// Documents that a row became on average.
    pub mean_units_per_chunk: Option<f64>,
}

/// A stage that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchStageInfo {
    /// `loading`, `processing` or `writing`.
    pub name: String,
    /// Its number, from zero.
    pub index: u32,
    /// How many there are.
    pub total: u32,
    /// Seconds since it began.
    pub stage_elapsed_seconds: f64,
}

/// A tier that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchStepInfo {
    /// `tier 0`.
    pub name: String,
    /// Its number, from zero.
    pub index: u32,
    /// How many there are.
    pub total: u32,
    /// Seconds since it began.
    pub step_elapsed_seconds: f64,
}

/// The phases of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchPhases {
    /// Tiers whose manifests are written.
    pub dispatch: BatchPhaseDetail,
    /// Rows with an outcome.
    pub extraction: BatchPhaseDetail,
    /// Documents written.
    pub write: BatchPhaseDetail,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchPhaseDetail {
    /// `pending`, `in_progress`, `completed` or `failed`.
    pub status: String,
    /// How many are done.
    pub processed: u64,
    /// Of how many, where known.
    pub total: Option<u64>,
}

impl Default for BatchPhaseDetail {
    fn default() -> Self {
        Self {
            status: "pending".to_owned(),
            processed: 0,
            total: None,
        }
    }
}

/// A stage and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchStageTiming {
    /// `loading`, `processing` or `writing`.
    pub name: String,
    /// Its number, from zero.
    pub index: u32,
    /// How many there are.
    pub total: u32,
    /// When it was first busy, in seconds since 1970.
    pub started_at: f64,
    /// When it was last busy, in seconds since 1970.
    pub ended_at: f64,
    /// Seconds that workers were busy with it, added up: stages overlap, so this is not `ended_at` minus `started_at`.
    pub duration_seconds: f64,
}
