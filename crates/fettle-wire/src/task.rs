//! Tasks and health.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::filter::SentFilter;
use crate::page::{PageQuery, Sort};
use crate::time::Timestamp;

/// A long operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResponse {
    /// Its id.
    pub task_id: String,
    /// `api_buckets_batches_process`, or `api_buckets_uploads_batch_confirm`.
    #[schemars(extend("enum" = crate::values::TASK_TYPES))]
    pub task_type: String,
    /// Where it stands.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// Ids of what it works on.
    pub inputs: Vec<String>,
    /// Ids of what it makes.
    pub outputs: Vec<String>,
    /// More about it.
    pub additional_data: Map<String, Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// What a cancel did.
    pub cancellation: Option<CancellationOutcome>,
    /// Its place among what waits for capacity, from one.
    pub queue_position: Option<u64>,
    /// How long it will wait for capacity, from what like jobs took; none where it does not wait, where nothing is known, and in
    /// lists.
    pub estimated_wait_minutes: Option<f64>,
}

/// What a cancel did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancellationOutcome {
    /// Jobs that were asked to stop.
    pub ray_jobs_requested: u64,
    /// Jobs that take the request.
    pub ray_jobs_accepted: u64,
    /// Jobs that do not.
    pub ray_jobs_refused: u64,
}

/// `POST /v1/tasks/list`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTasksRequest {
    /// Only of this type.
    #[schemars(extend("enum" = crate::values::or_null(crate::values::TASK_TYPES)))]
    pub task_type: Option<String>,
    /// Only with this status.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::TASK_STATUSES)))]
    pub status: Option<String>,
    /// Part of the id.
    pub search: Option<String>,
    /// Only tasks that match.
    pub filters: Option<SentFilter>,
    /// In which order; newest first when left out.
    pub sort: Option<Sort>,
    /// How many at most.
    pub limit: Option<u64>,
    /// How many to pass over.
    pub offset: Option<u64>,
    /// Number of the page, from one.
    pub page: Option<u64>,
    /// How many a page has.
    pub page_size: Option<u64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl ListTasksRequest {
    /// The paging that it asks for.
    #[must_use]
    pub fn page(&self) -> PageQuery {
        PageQuery {
            limit: self.limit,
            offset: self.offset,
            page: self.page,
            page_size: self.page_size,
            cursor: self.cursor.clone(),
            search: self.search.clone(),
            ..PageQuery::default()
        }
    }
}

/// `GET /v1/health/beat`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BeatResponse {
    /// Whether the control loop still turns.
    #[schemars(extend("enum" = crate::values::HEALTHS))]
    pub status: String,
    /// When it last came round.
    pub last_beat_at: Timestamp,
    /// How long ago that was.
    pub age_seconds: f64,
    /// From when on it counts as standing still.
    pub age_seconds_max: f64,
}

/// Health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheckResponse {
    /// Whether all of it works.
    #[schemars(extend("enum" = crate::values::HEALTHS))]
    pub status: String,
    /// What works.
    pub data: HealthServiceStatus,
    /// Why something does not.
    pub errors: HealthServiceErrors,
    /// Version and backend.
    pub meta: Map<String, Value>,
}

/// What works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthServiceStatus {
    /// History can be asked; it lies in the state database.
    pub analytics: bool,
    /// There is no cache, so it works.
    pub cache: bool,
    /// The backend has capacity.
    pub inference: bool,
    /// The state database answers.
    pub metadata: bool,
    /// The blob store answers.
    pub object_storage: bool,
    /// The control loop takes work.
    pub task_queue: bool,
    /// The document index answers.
    pub vector_store: bool,
}

/// Why something does not work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthServiceErrors {
    /// The state database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The blob store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_storage: Option<String>,
    /// The document index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector_store: Option<String>,
    /// The backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<String>,
    /// The control loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_queue: Option<String>,
    /// History.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analytics: Option<String>,
}
