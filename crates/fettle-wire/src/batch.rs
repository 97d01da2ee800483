//! Batches as they are asked for and shown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::filter::SentFilter;
use crate::healing::{HealingPolicy, given};
use crate::page::PaginationResponse;
use crate::progress::BatchProgress;
use crate::tier::{KeptWork, TierTaskInfo};
use crate::time::Timestamp;

/// Objects that one create may name or select.
pub const BATCH_OBJECTS_PER_REQUEST_MAX: usize = 50_000;
/// Longest batch name, in characters.
pub const BATCH_NAME_LENGTH_MAX: usize = 256;
/// Failed objects shown in a batch; `failed-documents` pages through all.
pub const FAILED_OBJECTS_SHOWN_MAX: u64 = 100;

/// `POST /v1/buckets/{id}/batches`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBatchRequest {
    /// Its name.
    pub batch_name: Option<String>,
    /// The objects.
    pub object_ids: Option<Vec<String>>,
    /// Collections it is limited to, by id or name.
    pub collection_ids: Option<Vec<String>>,
    /// Takes the bucket's objects that match, in place of `object_ids`.
    pub filters: Option<SentFilter>,
    /// Takes this many objects at most with `filters`.
    pub limit: Option<u64>,
    /// The user's own notes.
    #[schemars(with = "Option<BatchMetadata>")]
    pub metadata: Option<Map<String, Value>>,
    /// What becomes of objects that have documents already; `replace` where it is left out.
    pub dedup_strategy: Option<DedupStrategy>,
    /// Whether it is submitted at once.
    pub auto_submit: Option<bool>,
    /// The same under an older name.
    pub trigger_processing: Option<bool>,
    /// What may be done by itself when its work fails. Beyond the contract.
    pub healing: Option<HealingPolicy>,
}

/// What becomes of a source that a collection has documents of already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DedupStrategy {
    /// It is not done again.
    Skip,
    /// Its documents are made again, in place of those that there are.
    #[default]
    Replace,
    /// As `replace`: a document's id follows from its source, so there are no duplicates.
    Force,
}

impl DedupStrategy {
    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Replace => "replace",
            Self::Force => "force",
        }
    }
}

/// The notes that published clients know; others may stand beside them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub struct BatchMetadata {
    /// The campaign that it belongs to.
    pub campaign_id: Option<String>,
    /// In the user's words.
    pub notes: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
}

/// `POST …/objects`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddObjectsRequest {
    /// The objects.
    pub object_ids: Vec<String>,
}

/// `POST …/submit`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitBatchRequest {
    /// Limits it to these collections, by id or name.
    pub collection_ids: Option<Vec<String>>,
    /// Has no effect: lineage is always kept.
    pub include_processing_history: Option<bool>,
    /// Address that is told when the batch ends (docs/webhooks.md).
    pub webhook_url: Option<String>,
    /// Resources per tier: `{"1": {"memory_bytes": …}}`. Beyond the contract.
    pub resources: Option<BTreeMap<String, ResourceOverrides>>,
}

/// What a tier may use, in place of what it would; what is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceOverrides {
    /// CPU cores; each is a worker.
    pub num_cpus: Option<f64>,
    /// GPUs.
    pub num_gpus: Option<f64>,
    /// Memory limit of each worker, in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether it needs a GPU.
    pub requires_gpu: Option<bool>,
    /// A higher one is admitted first.
    pub priority: Option<i64>,
}

/// `PATCH …/batches/{id}`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchBatchRequest {
    /// Notes to set; a null removes the note.
    #[schemars(with = "Option<BatchMetadata>")]
    pub metadata: Option<Map<String, Value>>,
    /// What may be done by itself when its work fails; null takes it back. Beyond the contract.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<HealingPolicy>")]
    pub healing: Option<Option<HealingPolicy>>,
}

/// `POST …/heal`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealRequest {
    /// `detect_stuck`, `kill_duplicates`, `sync_status`, `adopt_orphans`, `quarantine_poison` or `auto`.
    pub action: String,
    /// Whether only to say what would be done.
    pub dry_run: Option<bool>,
}

/// The body of a list of batches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListBatchesRequest {
    /// Only this bucket's, by id or name.
    pub bucket_id: Option<String>,
    /// Only those that feed this collection, by id or name.
    pub collection_id: Option<String>,
    /// Only with this status.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::TASK_STATUSES)))]
    pub status: Option<String>,
    /// Must be the namespace of the request.
    pub namespace_id: Option<String>,
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

/// A page of batches; they come without `object_ids`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListBatchesResponse {
    /// The page.
    pub results: Vec<BatchModel>,
    /// How many there are in all.
    pub total_count: u64,
    /// Where the page stands.
    pub pagination: PaginationResponse,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchModel {
    /// Its id.
    pub batch_id: String,
    /// Its name.
    pub batch_name: Option<String>,
    /// The tenant.
    pub namespace_id: String,
    /// The bucket.
    pub bucket_id: String,
    /// Always `BUCKET`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = crate::values::BATCH_TYPES))]
    pub batch_type: String,
    /// Where it stands.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// The same in one sentence.
    pub status_message: Option<String>,
    /// What that rests on: the case, how sure it is, what would decide it. None in lists.
    pub status_diagnostics: Option<Map<String, Value>>,
    /// `healthy`, `degraded` or `failed`.
    pub health: String,
    /// Its objects; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ids: Option<Vec<String>>,
    /// How many objects it has. Beyond the contract.
    pub object_count: u64,
    /// Collections it feeds.
    pub collection_ids: Vec<String>,
    /// What becomes of objects that have documents already, as asked for.
    #[schemars(with = "DedupStrategy")]
    pub dedup_strategy: String,
    /// The same as done, where it is not as asked for.
    #[schemars(with = "Option<DedupStrategy>")]
    pub effective_dedup_strategy: Option<String>,
    /// With `skip`: what was not done again, by collection.
    pub dedup_audit: Option<BTreeMap<String, DedupAudit>>,
    /// The bulk submission that made it. Beyond the contract.
    pub batch_group_id: Option<String>,
    /// Key that made it.
    pub submitted_by_key_id: Option<String>,
    /// The beginning of that key's secret; none in lists, and once the key's record is gone.
    pub submitted_by_key_prefix: Option<String>,
    /// Its task, once submitted.
    pub task_id: Option<String>,
    /// Address that is told when it ends.
    pub webhook_url: Option<String>,
    /// The first tier's manifest.
    pub manifest_key: Option<String>,
    /// The user's own notes.
    #[schemars(with = "BatchMetadata")]
    pub metadata: Map<String, Value>,
    /// The first failed job's reason.
    pub error: Option<String>,
    /// Kind of failure.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::FAILURE_CATEGORIES)))]
    pub failure_category: Option<String>,
    /// Why it failed, in one sentence.
    pub failure_reason: Option<String>,
    /// Failed documents by category of error.
    pub error_summary: Option<BTreeMap<String, u64>>,
    /// Objects that failed, the first of them.
    pub failed_objects: Vec<FailedObjectRecord>,
    /// Objects that failed in some collections of the first tier and have documents in others, at most 100 failures.
    pub partial_objects: Vec<PartialObjectRecord>,
    /// How many such objects there are; none where the first tier has one collection.
    pub partial_object_count: Option<u64>,
    /// How many objects failed.
    pub failed_object_count: u64,
    /// Objects without an outcome after the end; none when all have one.
    pub unaccounted_object_count: Option<u64>,
    /// Collections by tier.
    pub dag_tiers: Vec<Vec<String>>,
    /// The tier that runs or would run next.
    pub current_tier: Option<u32>,
    /// How many tiers there are.
    pub total_tiers: u32,
    /// The tiers.
    pub tier_tasks: Vec<TierTaskInfo>,
    /// How far it is.
    pub progress: Option<BatchProgress>,
    /// What it waits for and has waited for: `waited_seconds`, `queued_at` or `admitted_at`, and while it waits `reason`,
    /// `waiting_seconds`, `queue_position`, `batches_ahead` and its `jobs`.
    pub queue_context: Option<Map<String, Value>>,
    /// Documents written by it.
    pub documents_written: Option<u64>,
    /// Those of them that took the place of a document of an earlier batch.
    pub documents_replaced: Option<u64>,
    /// Documents that were removed because their source has become fewer documents, or of this batch by request.
    pub documents_deleted: Option<u64>,
    /// Whether its documents can be listed.
    pub documents_resolvable: bool,
    /// Retries so far, of users and by itself.
    pub retry_count: u64,
    /// Attempts that may follow by themselves.
    pub max_retries: u64,
    /// What retries did not do again; none without a retry. Beyond the contract.
    pub kept_work: Option<KeptWork>,
    /// Why it was last retried.
    pub retry_reason: Option<String>,
    /// When it was last retried.
    pub last_retry_at: Option<Timestamp>,
    /// What may be done by itself when its work fails; of a draft, what it says itself. Beyond the contract.
    pub healing: Option<HealingPolicy>,
    /// How often a lost driver or node may be replaced in a row.
    pub max_node_death_resubmits: u32,
    /// How often a rolling update may be followed by a new attempt in a row.
    pub max_deploy_resubmits: u32,
    /// How often a lost driver or node was replaced.
    pub node_death_resubmit_count: u32,
    /// How often an attempt was replaced because its node was taken away or updated.
    pub deploy_resubmit_count: u32,
    /// Not used.
    pub lifecycle: Option<String>,
    /// Not used.
    pub lifecycle_reason: Option<String>,
    /// When something last moved.
    pub last_activity_at: Option<Timestamp>,
    /// When it is expected to end.
    pub estimated_completion: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was submitted. Beyond the contract.
    pub submitted_at: Option<Timestamp>,
    /// When its first job was admitted. Beyond the contract.
    pub started_at: Option<Timestamp>,
    /// When it ended. Beyond the contract.
    pub completed_at: Option<Timestamp>,
}

/// What a batch did not do again in a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DedupAudit {
    /// Always `skip`.
    pub dedup_strategy: String,
    /// Sources that were looked at.
    pub total_input: u64,
    /// Those that the collection had documents of.
    pub skipped: u64,
    /// The others.
    pub processed: u64,
    /// The first of those that were skipped.
    pub skipped_object_ids: Vec<String>,
    /// For people.
    pub reason: String,
}

/// What an object lacks that failed in some collections only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartialObjectRecord {
    /// The object.
    pub object_id: String,
    /// The extractor whose documents it lacks.
    pub missing_feature: String,
    /// The collection that has none of it.
    pub collection_id: String,
    /// What was said.
    pub error: String,
}

/// An object that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedObjectRecord {
    /// The object.
    pub object_id: String,
    /// Why.
    pub error: String,
    /// Whether trying again can help.
    #[schemars(extend("enum" = crate::values::ERROR_CLASSES))]
    pub error_type: String,
    /// When.
    pub timestamp: Timestamp,
}

/// `GET …/failed-documents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedDocumentsResponse {
    /// The batch.
    pub batch_id: String,
    /// The page.
    pub failed_documents: Vec<FailedDocument>,
    /// How many match in all.
    pub total: u64,
    /// How many at most.
    pub limit: u64,
    /// How many were passed over.
    pub offset: u64,
    /// Whether there are more.
    pub has_more: bool,
}

/// A document that could not be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedDocument {
    /// Id of the source: an object in tier 0, a document later.
    pub document_id: String,
    /// The same where the source is an object.
    pub object_id: Option<String>,
    /// The collection that lacks it.
    pub collection_id: String,
    /// The tier.
    pub tier_num: u32,
    /// The job.
    pub ray_job_id: String,
    /// The attempt that tried. Beyond the contract.
    pub attempt_id: String,
    /// The row of the job's manifest. Beyond the contract.
    pub row: u32,
    /// What happened.
    pub error: String,
    /// `transient`, `permanent` or `resource`.
    pub error_type: String,
    /// `dependency`, `authentication`, `validation`, `runtime`, `network` or `resource`.
    pub error_category: String,
    /// `loading`, `processing` or `writing`.
    pub stage: String,
    /// The part that failed.
    pub component: String,
    /// A traceback, where there is one.
    pub traceback: Option<String>,
    /// How often it was retried. Beyond the contract.
    #[serde(default)]
    pub retry_count: u32,
    /// When.
    pub timestamp: Timestamp,
}

/// `GET …/audit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchAudit {
    /// The batch.
    pub batch_id: String,
    /// Where it stands.
    pub status: String,
    /// Whether every tier balances.
    pub all_balanced: bool,
    /// Whether rows are without an outcome after the end.
    pub has_lost_objects: bool,
    /// The tiers.
    pub tiers: Vec<crate::tier::TierAuditInfo>,
}

/// `DELETE …/documents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeleteBatchDocumentsResponse {
    /// Always `true`.
    pub success: bool,
    /// The batch.
    pub batch_id: String,
    /// How many documents were deleted.
    pub deleted_count: u64,
    /// The same by collection.
    pub collections: BTreeMap<String, u64>,
    /// For people.
    pub message: String,
}

/// The answer to a cancel of a tier or job, and to a retry of a tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierActionResponse {
    /// Always `true`.
    pub success: bool,
    /// The batch.
    pub batch_id: String,
    /// The tier.
    pub tier_num: u32,
    /// The job, where it is about one.
    pub ray_job_id: Option<String>,
    /// The jobs that it is about.
    pub ray_job_ids: Vec<String>,
    /// The tier's status now.
    pub status: String,
    /// The batch's status now.
    pub batch_status: String,
    /// The batch's task.
    pub task_id: Option<String>,
    /// What it was asked to be done with. Empty for a cancel.
    pub submission_params: Map<String, Value>,
    /// For people.
    pub message: String,
}
