//! What a job asks for and what it was submitted with.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;

/// Says in the refusal of a job that machines that could have held it were lost, and nothing of what it asks for is wrong.
pub const NODES_STAYED_AWAY: &str = "did not come back in time";
/// Says in the refusal of a job that it asks for more than any one machine of several has.
pub const NO_NODE_HOLDS: &str = "no node of the cluster can hold";

/// What an attempt of a job may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU cores; the number of workers is this, rounded up, at least one.
    pub num_cpus: f64,
    /// GPUs, may be a fraction.
    pub num_gpus: f64,
    /// Memory limit of each worker with all its children, in bytes.
    pub memory_bytes: u64,
    /// Whether the job only makes sense on a GPU.
    pub requires_gpu: bool,
    /// Higher goes first; the default is zero.
    pub priority: i32,
}

impl Resources {
    /// How many workers an attempt starts.
    #[must_use]
    pub fn workers(&self) -> u32 {
        // A count of cores is far below 2^32; the cast saturates.
        self.num_cpus.ceil().max(1.0) as u32
    }

    /// Memory that admission sets aside, in bytes.
    #[must_use]
    pub fn memory_total_bytes(&self) -> u64 {
        self.memory_bytes.saturating_mul(u64::from(self.workers()))
    }
}

/// The parameters that a tier or job was submitted with, kept for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubmissionParams {
    /// What was asked for.
    #[serde(flatten)]
    pub resources: Resources,
    /// The command that runs the attempt.
    pub entrypoint: String,
    /// Extractor's name.
    pub extractor_name: String,
    /// Extractor's version.
    pub extractor_version: String,
    /// Where the manifest lies in the blob store.
    pub manifest_key: Option<String>,
    /// `local` or `ray`.
    pub deployment_mode: String,
    /// Names, never values, of the environment that was set.
    pub env_vars_keys: Vec<String>,
    /// Plugin archives that were shipped.
    pub plugin_archives: Vec<String>,
    /// Requirements of those plugins.
    pub plugin_dependencies: Vec<String>,
    /// When the attempt was handed to the backend.
    pub submitted_at: UnixMillis,
}
