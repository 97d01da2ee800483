//! What is known of a batch: the input of the diagnosis, gathered from the store by its caller.
//!
//! Owns the shape of the evidence. It must not judge: a field holds what was recorded, and `None` where nothing was.

use fettle_model::evidence::NodeEvidence;
use fettle_model::history::MemoryProfile;
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptId, AttemptStatus, BatchId, BatchStatus, CollectionId,
    DocumentErrorClass, ErrorCategory, ErrorCount, ExtractorRef, JobId, Resources, RowCounts,
    RowError, RowSizes, Stage, StageTimings, SubmissionParams, UnixMillis, WorkStatus,
};
use serde::{Deserialize, Serialize};

/// Everything that the diagnosis of one batch may rest on.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchFacts {
    /// The batch.
    pub batch_id: BatchId,
    /// Where it stands.
    pub status: BatchStatus,
    /// When the question is asked; ages are measured against it.
    pub now: UnixMillis,
    /// When it was submitted.
    pub submitted_at: Option<UnixMillis>,
    /// When its first job was admitted.
    pub started_at: Option<UnixMillis>,
    /// When it reached its terminal state.
    pub ended_at: Option<UnixMillis>,
    /// The request that cancelled it, of the whole batch or of the tier or job that ended it.
    pub cancel: Option<CancelFacts>,
    /// Its tiers, in order.
    pub tiers: Vec<TierFacts>,
    /// Its row errors with like messages, the largest groups, the largest first.
    pub error_groups: Vec<ErrorGroup>,
    /// Good runs before this batch, of those of its jobs that have one; empty where they were not looked for.
    pub last_good: Vec<GoodRun>,
    /// All its row errors, counted.
    pub error_counts: Vec<ErrorCount>,
    /// The most memory that one attempt could be given on the node (all its workers together), in bytes; `None` when it is not known.
    pub node_memory_bytes: Option<u64>,
    /// How long the cluster may take to find a place for what it has taken, in milliseconds; longer is no cold start any more.
    pub cold_start_ms: u64,
}

/// A request to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelFacts {
    /// When.
    pub at: UnixMillis,
    /// In the user's words.
    pub reason: Option<String>,
}

/// One tier.
#[derive(Debug, Clone, PartialEq)]
pub struct TierFacts {
    /// Its number.
    pub tier_num: u32,
    /// Where it stands.
    pub status: WorkStatus,
    /// When it was begun.
    pub started_at: Option<UnixMillis>,
    /// When it last ended.
    pub ended_at: Option<UnixMillis>,
    /// Its jobs.
    pub jobs: Vec<JobFacts>,
}

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFacts {
    /// Its id.
    pub job_id: JobId,
    /// Where it stands.
    pub status: WorkStatus,
    /// The recorded reason of its end, when it did not end well.
    pub end_reason: Option<String>,
    /// What its last attempt was submitted with.
    pub params: Option<SubmissionParams>,
    /// What its next attempt would be given.
    pub resources: Resources,
    /// What it runs, on what and where.
    pub profile: JobProfile,
    /// Rows in its manifest; `None` when the manifest was never written.
    pub rows_submitted: Option<u64>,
    /// Outcomes of its rows.
    pub counts: RowCounts,
    /// Its attempts, in order.
    pub attempts: Vec<AttemptFacts>,
    /// What workers of earlier attempts of such jobs needed.
    pub memory_history: Option<MemoryProfile>,
    /// How its stages spent their time, over all attempts.
    pub stages: StageTimings,
    /// When it last finished a row.
    pub last_activity_at: Option<UnixMillis>,
    /// When its live attempt last reported anything.
    pub last_heartbeat_at: Option<UnixMillis>,
    /// What it waits for, while it waits.
    pub waiting: Option<WaitFacts>,
    /// What it waits for the cluster to have, while it waits or runs.
    pub node_wait: Option<NodeWait>,
    /// When it was begun.
    pub started_at: Option<UnixMillis>,
    /// When it last ended.
    pub ended_at: Option<UnixMillis>,
}

/// What a job runs, on what and where, as far as runs of one collection can differ.
#[derive(Debug, Clone, PartialEq)]
pub struct JobProfile {
    /// The extractor with its parameters.
    pub extractor: ExtractorRef,
    /// The collections that it writes to.
    pub collection_ids: Vec<CollectionId>,
    /// Rows in its manifest.
    pub rows: Option<u64>,
    /// How large they are.
    pub sizes: Option<RowSizes>,
    /// What its last attempt was given or, before the first, what it asks for.
    pub resources: Resources,
    /// The machine of its last attempt.
    pub node: Option<NodeEvidence>,
    /// Version of Fettle that drove it.
    pub version: Option<String>,
    /// Version that its workers named.
    pub worker_version: Option<String>,
    /// `local` or `ray`.
    pub deployment_mode: Option<String>,
    /// Plugin archives that were shipped.
    pub plugin_archives: Vec<String>,
    /// Requirements of those plugins.
    pub plugin_dependencies: Vec<String>,
}

/// The last completed batch that ran a job for the same collection.
#[derive(Debug, Clone, PartialEq)]
pub struct GoodRun {
    /// The job of the batch that is asked about.
    pub job_id: JobId,
    /// The completed batch.
    pub batch_id: BatchId,
    /// Its job.
    pub good_job_id: JobId,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// What it ran.
    pub profile: JobProfile,
}

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitFacts {
    /// What.
    pub reason: WaitReason,
    /// Since when, where it is known.
    pub since: Option<UnixMillis>,
    /// More about it, for people: the cause of a back-off, what is used up.
    pub detail: Option<String>,
}

/// Kinds of wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// Cores and memory.
    Capacity,
    /// An earlier batch must end first.
    EarlierBatch,
    /// A pause after a failed attempt.
    Backoff {
        /// Until when.
        until: UnixMillis,
    },
}

/// A normal start takes some seconds; only what takes longer is told, in milliseconds.
const PLACING_TOLD_AFTER_MS: u64 = 10_000;

/// What a job waits for the cluster to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWait {
    /// What.
    pub what: Awaited,
    /// Since when.
    pub since: UnixMillis,
    /// What exactly, and how that is known.
    pub detail: String,
}

/// Kinds of what a cluster can lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// A machine that could hold the job.
    Node,
    /// A place for its driver, which the backend has taken.
    Driver,
    /// Places for more of its workers; those that it has work on.
    Hosts,
}

impl NodeWait {
    /// Whether it is worth telling, and may still be no more than a cold start.
    #[must_use]
    pub fn is_cold_start(&self, now: UnixMillis, cold_start_ms: u64) -> bool {
        let age = now.since(self.since);
        let is_told = self.what == Awaited::Node || age >= PLACING_TOLD_AFTER_MS;
        is_told && age < cold_start_ms
    }

    /// Whether a driver has been without a place for longer than a cold start takes.
    #[must_use]
    pub fn is_overdue(&self, now: UnixMillis, cold_start_ms: u64) -> bool {
        self.what == Awaited::Driver && now.since(self.since) >= cold_start_ms
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptFacts {
    /// Its id.
    pub attempt_id: AttemptId,
    /// Its number, from one.
    pub number: u32,
    /// Where it stands.
    pub status: AttemptStatus,
    /// When it was planned.
    pub planned_at: UnixMillis,
    /// When its driver first reported.
    pub started_at: Option<UnixMillis>,
    /// When it was seen to have ended.
    pub ended_at: Option<UnixMillis>,
    /// How it ended.
    pub exit: Option<AttemptExit>,
    /// What was captured of it; of a live attempt what has been reported so far.
    pub evidence: Option<AttemptEvidence>,
    /// How its stages spent their time.
    pub stages: Option<StageTimings>,
    /// What its workers used.
    pub usage: Option<UsageFacts>,
}

/// What workers used, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageFacts {
    /// CPU time, in milliseconds.
    pub cpu_ms: u64,
    /// How long they lived, summed over them, in milliseconds.
    pub worker_ms: u64,
    /// Bytes read and written by any means.
    pub io_bytes: u64,
    /// The highest memory use of one of them, in bytes.
    pub memory_peak_bytes: Option<u64>,
}

impl UsageFacts {
    /// Adds what others used.
    pub fn add(&mut self, other: &Self) {
        self.cpu_ms = self.cpu_ms.saturating_add(other.cpu_ms);
        self.worker_ms = self.worker_ms.saturating_add(other.worker_ms);
        self.io_bytes = self.io_bytes.saturating_add(other.io_bytes);
        self.memory_peak_bytes = self.memory_peak_bytes.max(other.memory_peak_bytes);
    }

    /// How many cores a worker kept busy on average; `None` where no worker lived.
    #[must_use]
    pub fn cores_per_worker(&self) -> Option<f64> {
        (self.worker_ms > 0).then(|| self.cpu_ms as f64 / self.worker_ms as f64)
    }
}

/// Row errors of a job with like messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorGroup {
    /// The tier.
    pub tier_num: u32,
    /// The job.
    pub job_id: JobId,
    /// Kind of error.
    pub category: ErrorCategory,
    /// Whether trying again can help.
    pub class: DocumentErrorClass,
    /// Where in the worker it happened.
    pub stage: Stage,
    /// The part of the extractor that failed.
    pub component: String,
    /// The message without what differs from row to row.
    pub fingerprint: String,
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub example: RowError,
    /// Objects or documents of the first few.
    pub source_ids: Vec<String>,
}
