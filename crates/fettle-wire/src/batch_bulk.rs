//! Many batches at once.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::DedupStrategy;
use crate::filter::SentFilter;

/// Objects of one batch.
pub const BULK_CHUNK_SIZE: RangeInclusive<u64> = 1..=50_000;
/// Batches of one bulk submission: the answer names each, and each costs some milliseconds.
pub const BULK_BATCHES_MAX: usize = 1_000;

/// `POST …/batches/bulk-submit`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BulkSubmitBatchesRequest {
    /// Objects of each batch.
    #[schemars(range(min = 1, max = 50_000))]
    pub chunk_size: u64,
    /// Collections that they are limited to, by id or name.
    pub collection_ids: Option<Vec<String>>,
    /// What becomes of objects that have documents already.
    pub dedup_strategy: Option<DedupStrategy>,
    /// Only the objects that match.
    pub filters: Option<SentFilter>,
    /// Only this many objects.
    #[schemars(range(min = 1))]
    pub max_objects: Option<u64>,
}

impl Default for BulkSubmitBatchesRequest {
    fn default() -> Self {
        Self {
            chunk_size: 1_000,
            collection_ids: None,
            dedup_strategy: None,
            filters: None,
            max_objects: None,
        }
    }
}

/// What became of a bulk submission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BulkSubmitBatchesResponse {
    /// Stands on each of the batches.
    pub batch_group_id: String,
    /// Objects in all batches together.
    pub total_objects: u64,
    /// As asked for.
    pub chunk_size: u64,
    /// Batches that were made.
    pub total_batches: u64,
    /// Those that were submitted.
    pub submitted: u64,
    /// Those that are drafts, for the reason in `error`.
    pub failed: u64,
    /// The batches.
    pub batches: Vec<BulkSubmittedBatch>,
}

/// One of many batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BulkSubmittedBatch {
    /// Its id.
    pub batch_id: String,
    /// How many objects it has.
    pub object_count: u64,
    /// Where it stands.
    pub status: String,
    /// Its place among what waits for capacity, from one.
    pub queue_position: Option<u64>,
    /// Why it was not submitted.
    pub error: Option<String>,
}

/// `POST …/batches/submit-all`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubmitAllResponse {
    /// Whether every draft was submitted.
    pub success: bool,
    /// Drafts that there were.
    pub total: u64,
    /// Those that were submitted.
    pub submitted: u64,
    /// Those that were not.
    pub failed: u64,
    /// The drafts.
    pub batches: Vec<BulkSubmittedBatch>,
    /// For people.
    pub message: String,
}
