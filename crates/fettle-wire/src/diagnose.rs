//! What a diagnosis is told as, and a batch's logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::batch::{BatchAudit, FailedDocument};
use crate::progress::BatchStageTiming;
use crate::tier::{InfrastructureDetail, SubmissionParams};
use crate::time::Timestamp;

/// Failed documents shown in a diagnosis, as in the contract.
pub const FAILED_DOCUMENTS_SAMPLE: u64 = 10;
/// Timeline entries shown in a diagnosis, the latest: beyond that it is a log, not an overview.
pub const TIMELINE_SHOWN_MAX: usize = 500;

/// How often a remedy has worked in this namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemedyRecord {
    /// The next attempt did what the last one could not.
    pub worked: u64,
    /// The next attempt ended by the same cause.
    pub failed: u64,
}

/// `GET …/diagnose`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiagnoseResponse {
    /// The batch.
    pub batch_id: String,
    /// Where it stands.
    pub status: String,
    /// Why it failed: `infrastructure`, `timeout`, `orphaned`, `pipeline`, `validation` or `unknown`; none when nothing failed.
    pub failure_category: Option<String>,
    /// The same in one or two sentences.
    pub failure_reason: Option<String>,
    /// Where it stands and what to know about it; there always is one.
    pub summary: String,
    /// How sure the category is, from 0 to 1; of a batch that did not fail, how sure the `case` is; none where there is nothing to be sure of.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// Where the category is explained, on this server.
    #[serde(default)]
    pub docs_url: Option<String>,
    /// The finding that the category rests on.
    pub case: Option<String>,
    /// Where the finding is explained.
    #[serde(default)]
    pub case_docs_url: Option<String>,
    /// What would decide it, where the evidence does not.
    pub would_decide: Vec<String>,
    /// What befell the infrastructure.
    pub infrastructure_events: Vec<InfrastructureDetail>,
    /// The tiers.
    pub per_tier: Vec<TierDiagnosis>,
    /// How many documents failed.
    pub failed_document_count: u64,
    /// The first of them.
    pub failed_documents_sample: Vec<FailedDocument>,
    /// What to do, for people.
    pub recommendations: Vec<String>,
    /// What to do, for programs: each can be sent as it stands.
    pub recommended_actions: Vec<RecommendedAction>,
    /// What the answer rests on.
    pub evidence: Vec<EvidenceLine>,
    /// Failed documents with like messages.
    pub error_groups: Vec<ErrorGroup>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineLine>,
    /// The accounting.
    pub audit: BatchAudit,
    /// What differs from the last good runs of the same collections; none where there was no good run before.
    #[serde(default)]
    pub compared_with_last_good: Option<ComparedRuns>,
}

/// What differs from earlier good runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedRuns {
    /// The jobs that have an earlier good run.
    pub jobs: Vec<ComparedJob>,
}

/// What differs between a job and the last good run of the same collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedJob {
    /// The tier.
    pub tier_num: u32,
    /// The job.
    pub ray_job_id: String,
    /// The last batch before this one that fed the same collection and completed without errors.
    pub last_good_batch_id: String,
    /// Its job.
    pub last_good_ray_job_id: String,
    /// When it ended.
    pub last_good_completed_at: Option<Timestamp>,
    /// What differs. Amounts of rows and bytes count as different from a fifth of the larger one on.
    pub differences: Vec<RunDifference>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunDifference {
    /// What, such as `rows`, `memory_bytes` or `parameters.chunk_size`.
    pub what: String,
    /// Its value in the good run; null where it had none.
    pub last_good: Value,
    /// Its value now; null where there is none.
    pub now: Value,
}

/// One tier of a diagnosis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierDiagnosis {
    /// Its number.
    pub tier_num: u32,
    /// Where it stands.
    pub status: String,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub completed_at: Option<Timestamp>,
    /// How long it took, or has taken.
    pub duration_seconds: Option<f64>,
    /// What its first job was, or will be, submitted with.
    pub submission_params: Option<SubmissionParams>,
    /// How that divides.
    #[serde(default)]
    pub phases: TierPhases,
    /// Requested and used.
    pub resources: TierResources,
    /// Busy time by stage.
    pub stage_history: Vec<BatchStageTiming>,
    /// How each stage spent the workers' time.
    #[serde(default)]
    pub stages: Vec<StageShare>,
    /// The stage that takes the time.
    pub bottleneck: Option<BottleneckInfo>,
    /// When something last moved.
    pub last_activity_at: Option<Timestamp>,
    /// Its jobs.
    pub jobs: Vec<JobDiagnosis>,
}

/// How the duration of a tier divides. The parts add up to it; of jobs side by side the one that is further counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierPhases {
    /// For its rows, for room, for the end of a back-off or for a retry.
    pub waiting_seconds: f64,
    /// From the hand-over of an attempt to its driver's first report.
    pub starting_seconds: f64,
    /// From there to the last row.
    pub running_seconds: f64,
    /// From the last row to the end: workers end, evidence is kept, the rows are counted.
    pub finalising_seconds: f64,
}

/// How one stage spent the workers' time, all attempts and workers together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageShare {
    /// `loading`, `processing` or `writing`.
    pub name: String,
    /// Its share of all busy time, from 0 to 1.
    pub share: f64,
    /// Time spent working.
    pub busy_seconds: f64,
    /// Time spent waiting for the stage before or after.
    pub wait_seconds: f64,
    /// Rows that went through.
    pub rows: u64,
    /// Bytes that went through.
    pub bytes: u64,
}

/// What a tier asked for and what it used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierResources {
    /// What its last attempt asked for.
    pub requested: Option<RequestedResources>,
    /// What was seen to be used.
    pub used: UsedResources,
}

/// What an attempt asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestedResources {
    /// CPU cores; each is a worker.
    pub num_cpus: f64,
    /// GPUs.
    pub num_gpus: f64,
    /// Memory limit of each worker, in bytes.
    pub memory_bytes: u64,
}

/// What was seen to be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsedResources {
    /// Highest use of a worker, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// The limit that this worker had, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Peak by limit.
    pub memory_share: Option<f64>,
    /// CPU time of all workers and attempts.
    #[serde(default)]
    pub cpu_seconds: Option<f64>,
    /// Cores that an attempt kept busy on average, to be compared with `requested.num_cpus`.
    #[serde(default)]
    pub num_cpus: Option<f64>,
    /// GPUs that were kept busy; none, because their use is not measured.
    #[serde(default)]
    pub num_gpus: Option<f64>,
    /// Bytes read and written by any means, files and network, all workers and attempts.
    #[serde(default)]
    pub io_bytes: Option<u64>,
}

/// The stage that takes the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BottleneckInfo {
    /// `loading`, `processing` or `writing`.
    pub stage: String,
    /// Its share of all busy time, from 0 to 1.
    pub share: f64,
    /// What that means and what would speed it up.
    pub meaning: String,
}

/// One job of a diagnosis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobDiagnosis {
    /// The job.
    pub ray_job_id: String,
    /// The extractor's id.
    pub extractor_id: String,
    /// Where it stands.
    pub status: String,
    /// Why it ended as it did.
    pub reason: Option<String>,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// Its rows, once they are known.
    pub rows: Option<u64>,
    /// Rows that were processed.
    pub processed: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that were skipped.
    pub skipped: u64,
    /// Its executions.
    pub attempts: Vec<AttemptDiagnosis>,
}

/// One attempt of a diagnosis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptDiagnosis {
    /// Its id.
    pub attempt_id: String,
    /// Its number, from one.
    pub number: u32,
    /// Where it stands.
    pub status: String,
    /// How it ended.
    pub exit: Option<String>,
    /// When it was planned.
    #[serde(default)]
    pub planned_at: Option<Timestamp>,
    /// When its driver first reported.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it was submitted with.
    #[serde(default)]
    pub submission_params: Option<SubmissionParams>,
    /// Memory of the worker with the highest peak among those that ended well.
    #[serde(default)]
    pub memory: Option<Value>,
    /// Memory of the whole attempt, as read from outside when it ended.
    #[serde(default)]
    pub attempt_memory: Option<Value>,
    /// CPU time of its workers.
    #[serde(default)]
    pub cpu_seconds: Option<f64>,
    /// Bytes that its workers read and wrote.
    #[serde(default)]
    pub io_bytes: Option<u64>,
    /// The ends of its workers: how, when, with what memory.
    pub worker_deaths: Vec<Value>,
    /// Worker deaths that were not kept.
    pub worker_deaths_dropped: u64,
    /// Host name of the machine.
    #[serde(default)]
    pub node: Option<String>,
    /// Kernel, instruction set, cores and memory of the machine.
    #[serde(default)]
    pub node_facts: Option<Value>,
    /// Version of the driver.
    #[serde(default)]
    pub driver_version: Option<String>,
    /// Version of the workers.
    #[serde(default)]
    pub worker_version: Option<String>,
    /// Names, never values, of the driver's environment.
    #[serde(default)]
    pub env_vars_keys: Vec<String>,
    /// How the driver ended, where its parent saw it.
    #[serde(default)]
    pub driver_exit: Option<String>,
    /// The last lines of the driver's log.
    #[serde(default)]
    pub driver_log_tail: String,
    /// What else was kept of the driver's log, with byte offsets.
    #[serde(default)]
    pub driver_log: Option<Value>,
    /// What the backend said, oldest first.
    #[serde(default)]
    pub backend_messages: Vec<String>,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceLine {
    /// When it was so.
    pub at: Option<Timestamp>,
    /// Its tier.
    pub tier_num: Option<u32>,
    /// Its attempt.
    pub attempt_id: Option<String>,
    /// Its worker.
    pub worker: Option<u32>,
    /// The fact.
    pub what: String,
    /// Where it was read.
    pub source: String,
    /// What was read, as it was read.
    pub raw: Option<String>,
    /// Where `raw` begins in its log, in bytes; only of what is quoted from a log.
    #[serde(default)]
    pub log_offset: Option<u64>,
    /// The rules of `fettle classify` that `raw` matches, the deciding one first.
    #[serde(default)]
    pub rule_ids: Vec<String>,
    /// The finding that it supports.
    pub supports: String,
    /// Where that is explained.
    #[serde(default)]
    pub docs_url: String,
}

/// Failed documents with like messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorGroup {
    /// The tier.
    pub tier_num: u32,
    /// `dependency`, `authentication`, `validation`, `runtime`, `network` or `resource`.
    pub category: String,
    /// `transient`, `permanent` or `resource`.
    pub error_type: String,
    /// `loading`, `processing` or `writing`.
    pub stage: String,
    /// The part that failed.
    pub component: String,
    /// The message without what differs.
    pub fingerprint: String,
    /// How many.
    pub count: u64,
    /// The job.
    #[serde(default)]
    pub ray_job_id: String,
    /// The first message.
    pub example: String,
    /// Its document or object.
    pub example_document_id: String,
    /// Where `error_type` is explained.
    #[serde(default)]
    pub docs_url: String,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineLine {
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: String,
    /// In one sentence.
    pub message: String,
    /// The tier.
    pub tier_num: Option<u32>,
    /// The job.
    pub ray_job_id: Option<String>,
    /// The attempt.
    pub attempt_id: Option<String>,
}

/// A call that would mend something, as it can be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecommendedAction {
    /// HTTP method.
    pub method: String,
    /// Path, from `/v1/`.
    pub path: String,
    /// Body; empty for none.
    pub body: Map<String, Value>,
    /// Why.
    pub reason: String,
    /// What should happen then.
    pub expected_effect: String,
    /// How sure it is to help, from 0 to 1.
    pub confidence: f64,
    /// How often its like has worked in this namespace; none where that is not counted.
    #[serde(default)]
    pub track_record: Option<RemedyRecord>,
}

/// `GET …/logs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchLogs {
    /// The batch.
    pub batch_id: String,
    /// The logs, in order of tier, job and attempt.
    pub logs: Vec<LogText>,
    /// The most bytes that are shown of the end of each.
    pub tail_bytes: u64,
}

/// The end of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogText {
    /// The tier.
    pub tier_num: u32,
    /// The job.
    pub ray_job_id: String,
    /// The attempt.
    pub attempt_id: String,
    /// The attempt's number.
    pub attempt: u32,
    /// `driver`, or `worker-N`.
    pub log: String,
    /// Its end.
    pub text: String,
    /// How long it is in all, in bytes.
    pub total_bytes: u64,
    /// Whether its beginning is left out.
    pub is_cut: bool,
}
