//! Closed sets of the contract's values, for the schema of fields whose text comes from elsewhere.

use serde_json::Value;

/// Where work, a batch, a task or a resource stands.
pub(crate) const TASK_STATUSES: [&str; 16] = [
    "PENDING",
    "QUEUED",
    "IN_PROGRESS",
    "PROCESSING",
    "COMPLETED",
    "COMPLETED_WITH_ERRORS",
    "FAILED",
    "CANCELED",
    "INTERRUPTED",
    "UNKNOWN",
    "SKIPPED",
    "DRAFT",
    "ACTIVE",
    "ARCHIVED",
    "SUSPENDED",
    "DEACTIVATED",
];

/// What a document was made of.
pub(crate) const LINEAGE_SOURCES: [&str; 4] = ["bucket", "collection", "direct_upsert", "signal"];

/// What a file of a document is for.
pub(crate) const BLOB_ROLES: [&str; 5] = ["artifact", "aux", "processed", "source", "thumbnail"];

/// What a file of a document holds.
pub(crate) const BLOB_KINDS: [&str; 6] = ["audio", "image", "other", "pdf", "text", "video"];

/// Where an input of an extractor comes from.
pub(crate) const INPUT_SOURCES: [&str; 2] = ["payload", "blob"];

/// Kinds of stage.
pub(crate) const STAGE_TYPES: [&str; 5] = ["filter", "sort", "reduce", "apply", "enrich"];

/// What tasks do; Fettle has those of batches and of confirmed uploads.
pub(crate) const TASK_TYPES: &[&str] = &[
    "api_namespaces_create",
    "api_namespaces_delete",
    "api_namespaces_snapshot_create",
    "api_namespaces_snapshot_restore",
    "api_namespaces_migrations_run",
    "api_buckets_objects_create",
    "api_buckets_delete",
    "api_buckets_batches_process",
    "api_buckets_batches_submit",
    "api_buckets_uploads_create",
    "api_buckets_uploads_confirm",
    "api_buckets_uploads_batch_confirm",
    "api_collections_documents_create",
    "api_collections_documents_bulk_update",
    "api_collections_documents_bulk_delete",
    "api_collections_reembed",
    "api_collections_extraction_artifacts",
    "api_taxonomies_create",
    "api_taxonomies_execute",
    "api_taxonomies_materialize",
    "api_evaluations_run",
    "api_evaluations_dataset_create",
    "api_retrievers_publish",
    "api_manifest_apply",
    "api_retrievers_execute",
    "api_collections_export",
    "api_collections_trigger",
    "engine_feature_extractor_run",
    "engine_inference_run",
    "engine_object_processing",
    "engine_cluster_build",
    "thumbnail",
    "video_segment",
    "audio_segment",
    "converted_video",
    "materialize",
    "plugin_custom",
    "model_custom",
];

/// Kinds of vector.
pub(crate) const VECTOR_TYPES: [&str; 3] = ["dense", "sparse", "multi_dense"];

/// What a vector's numbers are.
pub(crate) const VECTOR_DATA_TYPES: [&str; 2] = ["float32", "uint8"];

/// Where a collection's rows come from.
pub(crate) const SOURCE_TYPES: [&str; 2] = ["bucket", "collection"];

/// Where a batch's objects come from.
pub(crate) const BATCH_TYPES: [&str; 2] = ["BUCKET", "COLLECTION"];

/// Kinds of document error.
pub(crate) const ERROR_CATEGORIES: [&str; 6] = [
    "dependency",
    "authentication",
    "validation",
    "runtime",
    "network",
    "resource",
];

/// Whether trying again can help.
pub(crate) const ERROR_CLASSES: [&str; 3] = ["permanent", "resource", "transient"];

/// Why a batch failed.
pub(crate) const FAILURE_CATEGORIES: [&str; 7] = [
    "timeout",
    "infrastructure",
    "orphaned",
    "pipeline",
    "mvs_durability",
    "validation",
    "unknown",
];

/// What befalls the infrastructure.
pub(crate) const INFRA_EVENTS: [&str; 6] = [
    "oom",
    "preemption",
    "node_failure",
    "ray_bug",
    "rolling_update",
    "unknown",
];

/// How sure a tier's accounting is.
pub(crate) const DURABILITIES: [&str; 4] =
    ["confirmed", "frontier_unknown", "lagging", "untracked"];

/// Whether a server is well.
pub(crate) const HEALTHS: [&str; 2] = ["OK", "DEGRADED"];

/// Who made an extractor.
pub(crate) const EXTRACTOR_SOURCES: [&str; 3] = ["builtin", "custom", "community"];

/// Kinds of namespace.
pub(crate) const NAMESPACE_TYPES: [&str; 2] = ["standard", "marketplace"];

/// Directions of an order.
pub(crate) const DIRECTIONS: [&str; 2] = ["asc", "desc"];

/// The values of a field that may be null.
pub(crate) fn or_null(values: &[&str]) -> Vec<Value> {
    let values = values.iter().map(|value| Value::from(*value));
    values.chain([Value::Null]).collect()
}
