//! Performance of a tenant's jobs, from the history of their attempts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tier::SubmissionParams;
use crate::time::Timestamp;

/// Hours that are looked back when a query does not say.
pub const HOURS_DEFAULT: u32 = 24;
/// Hours that the overview, the stages and the extractors go back at most.
pub const HOURS_MAX: u32 = 720;
/// Hours that bottlenecks and slow operations go back at most.
pub const HOURS_NEAR_MAX: u32 = 168;
/// Bottlenecks that are shown at most, and when a query does not say.
pub const BOTTLENECKS_MAX: usize = 50;
/// As many of them are shown when a query does not say.
pub const BOTTLENECKS_DEFAULT: usize = 10;
/// Slow operations that are shown at most.
pub const SLOW_OPERATIONS_MAX: usize = 1000;
/// As many of them are shown when a query does not say.
pub const SLOW_OPERATIONS_DEFAULT: usize = 100;
/// An operation that takes as long is slow when a query does not say, in milliseconds.
pub const SLOW_MS_DEFAULT: f64 = 1000.0;

/// `GET /v1/analytics/performance/engine` and its stages and extractors.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerformanceQuery {
    /// Hours to look back, from 1 to 720; without `start_date`.
    #[schemars(range(min = 1, max = 720))]
    pub hours: Option<u32>,
    /// The beginning; goes before `hours`.
    pub start_date: Option<Timestamp>,
    /// The end; now when left out.
    pub end_date: Option<Timestamp>,
}

/// `GET /v1/analytics/performance/engine`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineQuery {
    /// Hours to look back, from 1 to 720; without `start_date`.
    #[schemars(range(min = 1, max = 720))]
    pub hours: Option<u32>,
    /// The beginning; goes before `hours`.
    pub start_date: Option<Timestamp>,
    /// The end; now when left out.
    pub end_date: Option<Timestamp>,
    /// `hour` or `day`; hours when left out.
    pub group_by: Option<String>,
}

/// `GET /v1/analytics/performance/engine/bottlenecks`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BottleneckQuery {
    /// Hours to look back, from 1 to 168.
    #[schemars(range(min = 1, max = 168))]
    pub hours: Option<u32>,
    /// How many at most, from 1 to 50.
    #[schemars(range(min = 1, max = 50))]
    pub limit: Option<usize>,
}

/// `GET /v1/analytics/performance/engine/slow-operations`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowOperationsQuery {
    /// Hours to look back, from 1 to 168.
    #[schemars(range(min = 1, max = 168))]
    pub hours: Option<u32>,
    /// How many at most, from 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
    /// Only those that took at least as long, in milliseconds.
    #[schemars(range(min = 0.0))]
    pub threshold_ms: Option<f64>,
}

/// What an answer covers: whole hours or days, the first of them begun before or at the asked time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeRange {
    /// Where it begins.
    pub start: Timestamp,
    /// Where it ends.
    pub end: Timestamp,
}

/// Times of rows, from being taken up by a worker to their outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnginePerformanceResponse {
    /// What it covers.
    pub time_range: TimeRange,
    /// One entry for each hour or day in which attempts ended.
    pub metrics: Vec<PerformanceMetric>,
    /// All of it.
    pub summary: PerformanceSummary,
    /// How rows ended.
    pub service_health: ServiceHealth,
}

/// One hour or day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PerformanceMetric {
    /// When it begins.
    pub time_bucket: Timestamp,
    /// Rows.
    pub execution_count: u64,
    /// Mean, in milliseconds.
    pub avg_latency_ms: f64,
    /// Median, in milliseconds; quantiles are 2 % off at most.
    pub p50_latency_ms: f64,
    /// In milliseconds.
    pub p95_latency_ms: f64,
    /// In milliseconds.
    pub p99_latency_ms: f64,
    /// In milliseconds.
    pub max_latency_ms: f64,
}

/// A whole range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PerformanceSummary {
    /// Rows.
    pub total_executions: u64,
    /// Mean, in milliseconds.
    pub avg_latency_ms: f64,
    /// Median, in milliseconds.
    pub p50_latency_ms: f64,
    /// In milliseconds.
    pub p95_latency_ms: f64,
    /// In milliseconds.
    pub p99_latency_ms: f64,
    /// In milliseconds.
    pub max_latency_ms: f64,
    /// All rows' times added up, in seconds; rows overlap.
    pub total_time_seconds: f64,
}

/// How rows and attempts ended. What Fettle does not measure is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceHealth {
    /// Share of rows with an outcome that did not fail; null when there were none.
    pub availability: Option<f64>,
    /// Null: a row is processed, failed or skipped, never degraded.
    pub degraded_rate: Option<f64>,
    /// Null, as `degraded_rate`.
    pub partial_rate: Option<f64>,
    /// Null: a row that took too long is a failed row.
    pub timeout_rate: Option<f64>,
    /// Null: nothing is throttled by quota.
    pub throttle_rate: Option<f64>,
    /// Row errors by category.
    pub dependency_health: Map<String, Value>,
    /// The end of what the rates cover, in seconds since 1970.
    pub window_end_ts: Option<f64>,
    /// Attempts show when they have ended, at once.
    pub freshness_seconds: u64,
    /// What the counts rest on.
    pub reconciliation: String,
}

/// Work by stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineStageBreakdownResponse {
    /// What it covers.
    pub time_range: TimeRange,
    /// The stages, the one with most work first.
    pub stages: Vec<StagePerformance>,
    /// All work, in milliseconds.
    pub total_time_ms: f64,
}

/// One stage of all extractors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StagePerformanceOutput")]
pub struct StagePerformance {
    /// `loading`, `processing`, `writing`, or `starting`.
    pub stage_name: String,
    /// `worker`, or for `starting` `driver`.
    pub component: String,
    /// Rows; for `starting` attempts.
    pub execution_count: u64,
    /// Mean, in milliseconds.
    pub avg_latency_ms: f64,
    /// In milliseconds.
    pub p95_latency_ms: f64,
    /// In milliseconds.
    pub max_latency_ms: f64,
    /// In milliseconds.
    pub total_time_ms: f64,
    /// Share of all work, in percent.
    pub pct_of_total: f64,
}

/// Work by extractor and stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExtractorBreakdownResponse {
    /// What it covers.
    pub time_range: TimeRange,
    /// Extractors by name, their stages in order.
    pub extractors: Vec<ExtractorPerformance>,
}

/// One stage of one extractor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExtractorPerformance {
    /// Its id, such as `text_extractor_v1`.
    pub extractor_name: String,
    /// `loading`, `processing` or `writing`.
    pub stage_name: String,
    /// Rows.
    pub execution_count: u64,
    /// Mean, in milliseconds.
    pub avg_latency_ms: f64,
    /// In milliseconds.
    pub p95_latency_ms: f64,
    /// In milliseconds.
    pub max_latency_ms: f64,
}

/// Where the work goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BottleneckResponse {
    /// What it covers.
    pub time_range: TimeRange,
    /// Most work first.
    pub bottlenecks: Vec<BottleneckAnalysis>,
    /// All work, in milliseconds.
    pub total_time_ms: f64,
}

/// One stage of one extractor among all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BottleneckAnalysis {
    /// `loading`, `processing` or `writing`.
    pub stage_name: String,
    /// The extractor's id.
    pub component: String,
    /// Rows.
    pub execution_count: u64,
    /// In milliseconds.
    pub total_time_ms: f64,
    /// Mean, in milliseconds.
    pub avg_time_ms: f64,
    /// Share of all work, in percent.
    pub pct_of_total: f64,
    /// Its place, from one.
    pub rank: u64,
}

/// The slowest rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowOperationsResponse {
    /// What it covers.
    pub time_range: TimeRange,
    /// Slowest first. Of each extractor the slowest fifty of an hour are kept.
    pub operations: Vec<SlowOperation>,
    /// What they took at least, in milliseconds.
    pub threshold_ms: f64,
}

/// One slow row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowOperation {
    /// When it had its outcome.
    pub timestamp: Timestamp,
    /// The stage in which it was longest, waiting included.
    pub stage_name: String,
    /// The extractor's id.
    pub component: String,
    /// From being taken up to its outcome, in milliseconds.
    pub latency_ms: f64,
    /// `attempt_id`, `row`, `source_id`, `size_bytes`.
    pub metadata: Map<String, Value>,
}

/// `GET /v1/analytics/performance/batches/{batch_id}/diagnostics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchDiagnostics {
    /// The batch.
    pub batch_id: String,
    /// Its name; its id where it has none.
    pub batch_name: String,
    /// Where it stands.
    pub status: String,
    /// Its bucket.
    pub bucket_id: String,
    /// The tier that runs or would run next.
    pub current_tier: u32,
    /// How many there are.
    pub total_tiers: u32,
    /// From 0 to 100.
    pub overall_progress: f64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was submitted.
    pub submitted_at: Option<Timestamp>,
    /// When its first job was admitted.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// From its start to its end or now.
    pub duration_seconds: Option<f64>,
    /// By the rate of what runs.
    pub estimated_completion: Option<Timestamp>,
    /// Its tiers.
    pub tiers: Vec<TierDiagnostic>,
    /// Its target collections.
    pub collections: Vec<CollectionDiagnostic>,
    /// Busy seconds by stage, rows, documents, and rows a second.
    pub performance_summary: Map<String, Value>,
    /// What stands out.
    pub insights: Vec<PerformanceInsight>,
    /// Whether any row or tier failed.
    pub has_failures: bool,
    /// Tiers that failed.
    pub failed_tier_count: u64,
    /// `ok`, `scaling`, `stuck` or `degraded`.
    pub health: String,
    /// What it waits for.
    pub blocked_reason: Option<String>,
    /// Seconds without progress, while it is stuck.
    pub stuck_seconds: Option<f64>,
    /// Objects in it.
    pub total_objects: u64,
    /// What to do next.
    pub next_actions: Vec<String>,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierDiagnostic {
    /// Its number.
    pub tier_num: u32,
    /// The batch's task.
    pub task_id: Option<String>,
    /// Where it stands.
    pub status: String,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// From its start to its end.
    pub duration_seconds: Option<f64>,
    /// Rows.
    pub progress: TaskProgress,
    /// Its first job.
    pub ray_job_id: Option<String>,
    /// Null: jobs are shown by Fettle itself.
    pub ray_dashboard_url: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// `resource` or `runtime`.
    pub error_type: Option<String>,
    /// Whether its jobs need a GPU.
    pub requires_gpu: bool,
    /// The backend's word for its first job.
    pub ray_job_status: Option<String>,
    /// What its first job was submitted with.
    pub submission_params: Option<SubmissionParams>,
}

/// Rows of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskProgress {
    /// Rows with an outcome.
    pub processed_documents: u64,
    /// Rows.
    pub total_documents: u64,
    /// From 0 to 100.
    pub percentage: f64,
}

/// One target collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionDiagnostic {
    /// The collection.
    pub collection_id: String,
    /// Its name.
    pub collection_name: String,
    /// Documents in it, of this and of other batches.
    pub document_count: u64,
    /// Null: a row makes as many documents as it makes.
    pub expected_documents: Option<u64>,
    /// `ready`, `processing` or `empty`.
    pub status: String,
}

/// Something that stands out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PerformanceInsight {
    /// `bottleneck`, `optimization` or `warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// For people.
    pub message: String,
    /// The stage it is about.
    pub stage: Option<String>,
    /// The number it is about.
    pub metric_value: Option<f64>,
    /// What to do.
    pub recommendation: Option<String>,
}

/// `POST …/estimate-cost`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchCostEstimate {
    /// The batch.
    pub batch_id: String,
    /// How objects that were extracted before are treated.
    pub dedup_strategy: String,
    /// The collections that it would feed.
    pub collection_ids: Vec<String>,
    /// Objects in it.
    pub object_count: u64,
    /// Objects that have documents in one of its collections already.
    pub already_extracted_count: u64,
    /// Zero: there are no credits.
    pub estimated_credits: u64,
    /// Zero: there are no credits.
    pub estimated_repay_credits: u64,
    /// Compute hours at the configured price; null without a price or a history.
    pub estimated_usd: Option<f64>,
    /// Vectors that it makes.
    pub features: Vec<String>,
    /// Extractors that it runs.
    pub extractors: Vec<String>,
    /// Objects by type of their blobs, with bytes.
    pub content_summary: BTreeMap<String, ContentAmount>,
    /// Null: a replaced document is written over in place.
    pub documents_to_remove: Option<u64>,
    /// What to know about the estimate.
    pub warnings: Vec<String>,
    /// Documents that it will make, from history; null without one.
    pub estimated_documents: Option<Estimate>,
    /// Seconds of workers that it will take, from history; null without one.
    pub estimated_compute_seconds: Option<Estimate>,
    /// What the estimates rest on.
    pub basis: Vec<EstimateBasis>,
}

/// Blobs of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentAmount {
    /// How many.
    pub count: u64,
    /// Their known bytes.
    pub bytes: u64,
}

/// A number with how far it may be off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The most probable value.
    pub expected: f64,
    /// Nine of ten attempts of the history were above this.
    pub low: f64,
    /// Nine of ten attempts of the history were below this.
    pub high: f64,
}

/// The history that an estimate rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EstimateBasis {
    /// The tier.
    pub tier_num: u32,
    /// The extractor's id.
    pub extractor_id: String,
    /// Rows that the tier will have: the batch's objects, or documents of the tiers that it reads.
    pub expected_rows: Option<f64>,
    /// Attempts in the history.
    pub attempts: u64,
    /// Rows in the history.
    pub rows: u64,
    /// Days that the history goes back.
    pub days: u64,
}
