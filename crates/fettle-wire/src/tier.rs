//! Tiers and jobs of a batch as they are shown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::time::Timestamp;

/// A tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierTaskInfo {
    /// Its number, from zero.
    pub tier_num: u32,
    /// The batch's task.
    pub task_id: Option<String>,
    /// Where it stands.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// Collections it feeds.
    pub collection_ids: Vec<String>,
    /// `bucket` or `collection`.
    pub source_type: String,
    /// Collections it reads.
    pub source_collection_ids: Vec<String>,
    /// Its jobs.
    pub extractor_jobs: Vec<ExtractorJobInfo>,
    /// The first job.
    pub ray_job_id: Option<String>,
    /// Where the first job's last attempt stands.
    pub ray_job_status: Option<String>,
    /// When the first job's last attempt began.
    pub ray_job_started_at: Option<Timestamp>,
    /// When the first job's last attempt ended.
    pub ray_job_completed_at: Option<Timestamp>,
    /// Whether a job needs a GPU.
    pub requires_gpu: bool,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub completed_at: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<f64>,
    /// Sources that were looked at, once they are known.
    pub source_documents_fetched: Option<u64>,
    /// Rows: the sources that match their collection's `source_filters`.
    pub documents_after_source_filter: Option<u64>,
    /// Rows that were skipped because they have none of the fields that the extractor reads, so far.
    pub documents_missing_input_fields: Option<u64>,
    /// Rows without those that were skipped for this or any reason, once rows are known.
    pub documents_before_processing: Option<u64>,
    /// Rows handed to the extractors.
    pub documents_submitted_to_engine: Option<u64>,
    /// Documents written.
    pub documents_written: Option<u64>,
    /// Those of them that took the place of a document of an earlier batch.
    pub documents_replaced: Option<u64>,
    /// Documents that were removed, because their source has become fewer documents than before.
    pub documents_deleted: Option<u64>,
    /// Why jobs failed.
    pub errors: Vec<BatchErrorDetail>,
    /// Failed documents by category of error.
    pub error_summary: Option<BTreeMap<String, u64>>,
    /// Stage timing and bottleneck.
    pub performance: Option<Map<String, Value>>,
    /// What befell the infrastructure.
    pub infrastructure_events: Vec<InfrastructureDetail>,
    /// What the first job was, or will be, submitted with.
    pub submission_params: Option<SubmissionParams>,
    /// Host names of the machines that it ran on.
    pub worker_groups: Vec<String>,
    /// The last lines that the first job's last attempt left in its driver's log; none while it runs.
    pub ray_job_logs: Option<String>,
    /// When they were kept.
    pub ray_job_logs_captured_at: Option<Timestamp>,
    /// Its accounting.
    pub audit: TierAuditInfo,
    /// When something last moved.
    pub last_activity_at: Option<Timestamp>,
    /// Attempts beyond the first, of users and by itself. Beyond the contract, as the next four.
    pub retry_count: u64,
    /// Attempts that may follow by themselves.
    pub max_retries: u64,
    /// When it was last retried.
    pub last_retry_at: Option<Timestamp>,
    /// Why it was last retried.
    pub retry_reason: Option<String>,
    /// What retries did not do again; none without a retry.
    pub kept_work: Option<KeptWork>,
}

/// Work that a retry did not do again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeptWork {
    /// Rows that had an outcome before the last attempt.
    pub rows: u64,
    /// What they took the earlier attempts, in seconds.
    pub seconds_saved: f64,
}

/// What a cause may still be followed by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CauseBudget {
    /// Such as `out_of_memory`.
    pub cause: String,
    /// Attempts that followed it since the last request of a user.
    pub spent: u32,
    /// Attempts that may follow it by themselves.
    pub limit: u32,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExtractorJobInfo {
    /// The extractor's name.
    pub extractor_type: String,
    /// The extractor's id.
    pub extractor_id: String,
    /// The job.
    pub ray_job_id: String,
    /// Where its last attempt stands.
    pub ray_job_status: Option<String>,
    /// Collections it writes to.
    pub collection_ids: Vec<String>,
    /// Where it stands.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// `local` or `ray`.
    pub execution_mode: Option<String>,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub completed_at: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<f64>,
    /// Documents written.
    pub documents_written: Option<u64>,
    /// Rows that were skipped.
    pub documents_skipped: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// The same with its kind.
    pub errors: Vec<BatchErrorDetail>,
    /// What it outlived: earlier attempts that did not finish.
    pub warnings: Vec<String>,
    /// What it was, or will be, submitted with.
    pub submission_params: Option<SubmissionParams>,
    /// When something last moved.
    pub last_activity_at: Option<Timestamp>,
    /// Attempts beyond the first, of users and by itself. Beyond the contract, as all that follows.
    pub retry_count: u64,
    /// Attempts that may follow by themselves.
    pub max_retries: u64,
    /// When it was last retried.
    pub last_retry_at: Option<Timestamp>,
    /// Why it was last retried.
    pub retry_reason: Option<String>,
    /// What the last attempt did not do again; none without a retry.
    pub kept_work: Option<KeptWork>,
    /// What each cause may still be followed by.
    pub budgets: Vec<CauseBudget>,
    /// Its executions.
    pub attempts: Vec<AttemptInfo>,
}

/// An execution of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptInfo {
    /// Its id; the submission id on the backend.
    pub attempt_id: String,
    /// Its number, from one.
    pub number: u32,
    /// Where it stands.
    pub status: String,
    /// Why it was made.
    pub cause: String,
    /// How it ended.
    pub exit: Option<String>,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// When its driver first reported.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its memory limit a worker, in bytes.
    pub memory_bytes: u64,
}

/// What an attempt was submitted with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubmissionParams {
    /// Command line.
    pub entrypoint: Option<String>,
    /// Null: jobs run the installed binary and no image.
    pub image_uri: Option<String>,
    /// `local` or `ray`.
    pub deployment_mode: Option<String>,
    /// Whether it needs a GPU.
    pub requires_gpu: bool,
    /// CPU cores; each is a worker.
    pub num_cpus: f64,
    /// GPUs.
    pub num_gpus: f64,
    /// Memory limit of each worker, in bytes.
    pub memory_bytes: u64,
    /// A higher one is admitted first.
    pub priority: i32,
    /// Plugin archives.
    pub plugin_archives: Vec<String>,
    /// Plugin requirements.
    pub plugin_dependencies: Vec<String>,
    /// Extractor's name.
    pub extractor_name: String,
    /// Extractor's version.
    pub extractor_version: String,
    /// Names of environment variables.
    pub env_vars_keys: Vec<String>,
    /// The job's input rows.
    pub manifest_key: Option<String>,
    /// When; none before the first attempt.
    pub submitted_at: Option<Timestamp>,
}

/// An error of a job or of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchErrorDetail {
    /// Kind of error.
    #[schemars(extend("enum" = crate::values::ERROR_CATEGORIES))]
    pub error_type: String,
    /// What happened.
    pub message: String,
    /// The part that failed.
    pub component: Option<String>,
    /// `loading`, `processing` or `writing`.
    pub stage: Option<String>,
    /// How many documents it is about.
    pub affected_count: u64,
    /// The first of them.
    pub affected_document_ids: Vec<String>,
    /// What can be done.
    pub recovery_suggestion: Option<String>,
    /// The first one's traceback, where there is one.
    pub traceback: Option<String>,
    /// Of a group of documents: whether trying again can help, and what their messages have in common.
    pub metadata: Option<Map<String, Value>>,
    /// When.
    pub timestamp: Option<Timestamp>,
}

/// What befell the infrastructure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InfrastructureDetail {
    /// Kind of event.
    #[schemars(extend("enum" = crate::values::INFRA_EVENTS))]
    pub event_type: String,
    /// When it was detected.
    pub detected_at: Option<Timestamp>,
    /// What was read, as it was read.
    pub raw_signal: Option<String>,
    /// Host name of the node.
    pub node_id: Option<String>,
    /// Not used without Kubernetes.
    pub pod_name: Option<String>,
    /// The tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier_num: Option<u32>,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ray_job_id: Option<String>,
    /// The attempt's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Where the event is explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs_url: Option<String>,
}

/// A tier's accounting: submitted = processed + failed + skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TierAuditInfo {
    /// Its number, from zero.
    pub tier_num: u32,
    /// Its rows, once they are known.
    pub submitted: Option<u64>,
    /// Rows that were processed.
    pub processed: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that were skipped.
    pub skipped: u64,
    /// Rows without an outcome after the end.
    pub lost: u64,
    /// Whether the sum holds.
    pub balanced: bool,
    /// `confirmed`: outcomes are durable before they count.
    #[schemars(extend("enum" = crate::values::DURABILITIES))]
    pub durability: String,
    /// For people.
    pub notes: Vec<String>,
}
