//! Retry of a batch's failed documents, and its resubmission.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often one document may be retried in all.
pub const MAX_RETRY_COUNT: RangeInclusive<u32> = 1..=10;
/// Documents that one retry may name; a larger choice is made by mode and tier.
pub const DOCUMENTS_PER_RETRY_MAX: usize = 1_000;

/// Which failed documents are retried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryMode {
    /// Those where trying again can help.
    #[default]
    TransientOnly,
    /// All.
    All,
}

/// `POST …/retry`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBatchRequest {
    /// Which failed documents.
    pub retry_mode: RetryMode,
    /// Only of these tiers.
    pub tier_nums: Option<Vec<u32>>,
    /// Passes over documents that were retried this often already.
    #[schemars(range(min = 1, max = 10))]
    pub max_retry_count: u32,
    /// Only these, by `document_id` of `failed-documents`. Beyond the contract.
    pub document_ids: Option<Vec<String>>,
}

impl Default for RetryBatchRequest {
    fn default() -> Self {
        Self {
            retry_mode: RetryMode::default(),
            tier_nums: None,
            max_retry_count: 3,
            document_ids: None,
        }
    }
}

/// What a retry takes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetryBatchResponse {
    /// Always `true`.
    pub success: bool,
    /// The batch.
    pub batch_id: String,
    /// Its task.
    pub task_id: Option<String>,
    /// The batch's status now.
    pub status: String,
    /// As asked for.
    pub retry_mode: RetryMode,
    /// As asked for.
    pub max_retry_count: u32,
    /// Failed documents that are tried again.
    pub documents_retried: u64,
    /// Failed documents that were retried too often already.
    pub documents_exhausted: u64,
    /// The same by tier.
    pub tiers: Vec<RetriedTierInfo>,
    /// For people.
    pub message: String,
}

/// What a retry takes up of a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetriedTierInfo {
    /// The tier.
    pub tier_num: u32,
    /// Failed documents that are tried again.
    pub documents_retried: u64,
    /// Failed documents that were retried too often already.
    pub documents_exhausted: u64,
}

/// `POST …/resubmit`: its query, and its body, over which the query has precedence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResubmitBatchRequest {
    /// The first tier that is done anew; all from the first where it is left out.
    pub from_tier: Option<u32>,
    /// Whether it begins at once, as it does by default; else it is held as DRAFT until it is submitted.
    pub auto_submit: Option<bool>,
    /// The same under an older name.
    pub trigger_processing: Option<bool>,
}

/// What a resubmission does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResubmitBatchResponse {
    /// Always `true`.
    pub success: bool,
    /// The batch.
    pub batch_id: String,
    /// Its task.
    pub task_id: Option<String>,
    /// The batch's status now.
    pub status: String,
    /// The first tier that is done anew.
    pub from_tier: u32,
    /// How many tiers there are.
    pub total_tiers: u32,
    /// Whether it began at once.
    pub auto_submit: bool,
    /// For people.
    pub message: String,
}
