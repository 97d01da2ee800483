//! What waits for capacity.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// `GET /v1/batches/queue`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStatus {
    /// Batches of which no job was admitted yet.
    pub queued_batches: u64,
    /// Batches that have begun and are not over.
    pub processing_batches: u64,
    /// Jobs of the namespace that wait for cores and memory, in the order in which they will be admitted.
    pub waiting_jobs: Vec<QueuedJobInfo>,
    /// How many jobs of all namespaces wait.
    pub waiting_jobs_of_all: u64,
    /// What there is now, busy or free.
    pub capacity: QueueCapacity,
    /// What an autoscaler starts in addition when jobs need it.
    pub on_demand: QueueCapacity,
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueuedJobInfo {
    /// The batch.
    pub batch_id: String,
    /// The tier.
    pub tier_num: u32,
    /// The job.
    pub ray_job_id: String,
    /// Its place among the jobs of all namespaces, from one.
    pub queue_position: u64,
    /// What it lacks.
    pub reason: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// What the backend can give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueCapacity {
    /// Cores.
    pub num_cpus: f64,
    /// GPUs.
    pub num_gpus: f64,
    /// Memory in bytes.
    pub memory_bytes: u64,
}
