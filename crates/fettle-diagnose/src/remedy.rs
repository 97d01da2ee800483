//! Remedies as data: what could be asked of the API, why, and what is to be expected of it.
//!
//! Owns the vocabulary of mends. It must not carry anything out, and it names no URL: the API turns an action into an executable request.

use serde::{Deserialize, Serialize};

/// One thing that could be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemedyAction {
    /// What.
    pub kind: RemedyKind,
    /// Why, in one sentence.
    pub reason: String,
    /// What should happen then, in one sentence.
    pub expected_effect: String,
    /// How sure it is to help, from 0 to 1.
    pub confidence: f64,
}

/// Kinds of remedy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "remedy", rename_all = "snake_case")]
pub enum RemedyKind {
    /// Try the unfinished and failed rows of a tier again, with other resources where they are given.
    RetryTier {
        /// The tier.
        tier_num: u32,
        /// What to change.
        overrides: ResourceOverrides,
    },
    /// Try failed documents again.
    RetryFailedDocuments {
        /// In these tiers.
        tier_nums: Vec<u32>,
        /// Which of them.
        mode: RetryMode,
    },
    /// Let a healing step look at, or mend, a tier.
    HealTier {
        /// The tier.
        tier_num: u32,
        /// The step.
        action: HealAction,
    },
    /// End the batch.
    CancelBatch,
}

/// Changes to a job's resources; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ResourceOverrides {
    /// Memory limit of each worker, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU cores; the number of workers follows from them.
    pub num_cpus: Option<f64>,
    /// GPUs.
    pub num_gpus: Option<f64>,
    /// Whether the job needs a GPU.
    pub requires_gpu: Option<bool>,
    /// Priority.
    pub priority: Option<i32>,
}

/// Which failed documents are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryMode {
    /// All.
    All,
    /// Those whose error is transient.
    TransientOnly,
}

/// Healing steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealAction {
    /// Look for work that does not move.
    DetectStuck,
    /// Ask the backend what it knows, and believe it.
    SyncStatus,
    /// Fail the rows that kill their workers, so that the rest can go on.
    QuarantinePoison,
}
