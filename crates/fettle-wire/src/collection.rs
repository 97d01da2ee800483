//! Collections.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::batch::DedupStrategy;
use crate::bucket::BucketSchema;
use crate::filter::SentFilter;
use crate::time::Timestamp;

/// `POST /v1/collections`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCollectionRequest {
    /// Its name.
    pub collection_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Where its rows come from.
    pub source: SourceRequest,
    /// What makes documents of them; `passthrough_extractor` when left out.
    pub feature_extractor: Option<FeatureExtractorRequest>,
    /// Whether batches feed it.
    pub enabled: Option<bool>,
    /// The user's own notes.
    pub metadata: Option<Map<String, Value>>,
    /// When it is filled anew by itself.
    pub schedule: Option<ScheduleRequest>,
}

/// When a collection is filled anew by itself.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// `cron` or `interval`.
    pub trigger_type: String,
    /// `{"cron_expression": "0 2 * * *", "timezone": "UTC"}`, or `{"interval_seconds": 3600, "start_immediately": true}`.
    pub schedule_config: Map<String, Value>,
    /// What it is for.
    pub description: Option<String>,
}

/// When a collection is filled anew by itself, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleModel {
    /// `cron` or `interval`.
    pub trigger_type: String,
    /// As it was given.
    pub schedule_config: Map<String, Value>,
    /// What it is for.
    pub description: Option<String>,
    /// When it is due next. Beyond the contract, as what follows.
    pub next_run_at: Timestamp,
    /// When it was due last.
    pub last_run_at: Option<Timestamp>,
    /// The batches of that time.
    pub last_batch_ids: Vec<String>,
    /// Why not all of them were submitted.
    pub last_error: Option<String>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceRequest {
    /// `bucket` or `collection`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = crate::values::SOURCE_TYPES))]
    pub source_type: String,
    /// The buckets, by id or name.
    pub bucket_ids: Option<Vec<String>>,
    /// One collection, by id or name.
    pub collection_id: Option<String>,
    /// The collections, by id or name.
    pub collection_ids: Option<Vec<String>>,
    /// Accepted empty, as the published client sends it; fields are mapped by the extractor.
    pub field_map: Option<Map<String, Value>>,
    /// Only sources that match become rows.
    pub source_filters: Option<SourceFilters>,
}

/// Which of a source's objects or documents become rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceFilters {
    /// Only those that match.
    pub filters: Option<SentFilter>,
}

/// An extractor with its settings.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureExtractorRequest {
    /// Name, such as `text_extractor`.
    pub feature_extractor_name: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Parameters.
    pub parameters: Option<Map<String, Value>>,
    /// Parameters under their older name.
    pub params: Option<Map<String, Value>>,
    /// `{"text": "body"}`, or a list of `{input_key, path}`.
    #[schemars(with = "Option<InputMappings>")]
    pub input_mappings: Option<Value>,
    /// Fields that are copied.
    pub field_passthrough: Option<Vec<FieldPassthrough>>,
    /// Whether all source fields are copied.
    pub include_all_source_fields: Option<bool>,
}

/// Both forms of mappings.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is a schema; the API reads either form")]
enum InputMappings {
    /// Input key → source field.
    Named(BTreeMap<String, String>),
    /// One by one.
    Listed(Vec<InputMapping>),
}

/// Where an input comes from.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is a schema; the API reads either form")]
struct InputMapping {
    /// The extractor's input.
    input_key: String,
    /// The source field, as a dotted path.
    path: Option<String>,
    /// `payload` and `blob` both look among the source's fields and blobs.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::INPUT_SOURCES)))]
    source_type: Option<String>,
}

/// A field that is copied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldPassthrough {
    /// Dotted path in the source.
    pub source_path: String,
    /// Name in the document; the path's last part when left out.
    pub target_path: Option<String>,
    /// Value where the source has none.
    #[serde(default)]
    pub default: Option<Value>,
    /// Whether a row without it fails.
    #[serde(default)]
    pub required: Option<bool>,
}

/// `PATCH /v1/collections/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchCollectionRequest {
    /// A new name.
    pub collection_name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// Whether batches feed it.
    pub enabled: Option<bool>,
    /// New notes, in place of all that were there.
    pub metadata: Option<Map<String, Value>>,
}

/// A collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionResponse {
    /// Its id.
    pub collection_id: String,
    /// Its name.
    pub collection_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Where its rows come from.
    pub source: SourceResponse,
    /// What makes documents of them.
    pub feature_extractor: FeatureExtractorConfig,
    /// What it reads: the schemas of its buckets, or what its source collections make.
    pub input_schema: BucketSchema,
    /// What it makes.
    pub output_schema: Option<BucketSchema>,
    /// JSON Schema of its documents.
    pub document_schema: Option<Value>,
    /// The schemas of the buckets at the beginning, by their ids.
    pub source_bucket_schemas: BTreeMap<String, BucketSchema>,
    /// The collections that it stands on, the nearest first.
    pub source_lineage: Vec<LineageEntry>,
    /// Its vectors.
    pub vector_indexes: Vec<VectorIndexModel>,
    /// Whether batches feed it.
    pub enabled: bool,
    /// When it is filled anew by itself.
    pub schedule: Option<ScheduleModel>,
    /// Always `active`.
    pub lifecycle_state: String,
    /// The user's own notes.
    pub metadata: Map<String, Value>,
    /// How many documents it has.
    pub document_count: Option<u64>,
    /// What may not work as intended.
    pub warnings: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Sums over the collections of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionListStats {
    /// Documents of all collections.
    pub total_documents: u64,
    /// Documents of a collection on average.
    pub avg_documents_per_collection: f64,
    /// Different extractors in use.
    pub total_feature_extractors: u64,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceResponse {
    /// `bucket` or `collection`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = crate::values::SOURCE_TYPES))]
    pub source_type: String,
    /// The buckets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_ids: Option<Vec<String>>,
    /// The first collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection_id: Option<String>,
    /// The collections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection_ids: Option<Vec<String>>,
    /// Only sources that match become rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_filters: Option<SourceFilters>,
}

/// A collection that another stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LineageEntry {
    /// Where its rows come from.
    pub source_config: SourceResponse,
    /// What makes documents of them.
    pub feature_extractor: FeatureExtractorConfig,
    /// What it makes.
    pub output_schema: BucketSchema,
}

/// An extractor with its settings, complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureExtractorConfig {
    /// `name_version`.
    pub feature_extractor_id: String,
    /// Name.
    pub feature_extractor_name: String,
    /// Version.
    pub version: String,
    /// Parameters; those that were left out have their values.
    pub parameters: Map<String, Value>,
    /// The same under their older name.
    pub params: Map<String, Value>,
    /// Input key → source field.
    pub input_mappings: Map<String, Value>,
    /// Fields that are copied.
    pub field_passthrough: Vec<FieldPassthrough>,
    /// Whether all source fields are copied.
    pub include_all_source_fields: bool,
}

/// A vector of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VectorIndexModel {
    /// Its name.
    pub name: String,
    /// What searches call it.
    pub feature_uri: String,
    /// Always `single`.
    #[serde(rename = "type")]
    pub index_type: String,
    /// Its length and distance.
    pub index: Value,
}

/// `POST /v1/collections/{id}/trigger`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerCollectionRequest {
    /// Only these of its source buckets, by id or name.
    pub include_buckets: Option<Vec<String>>,
    /// Only these objects.
    pub object_ids: Option<Vec<String>>,
    /// Only objects that match.
    pub source_filters: Option<SentFilter>,
    /// Accepted as `replace`, which is how it works.
    pub dedup_strategy: Option<DedupStrategy>,
}

/// The batches of a trigger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerCollectionResponse {
    /// The collection.
    pub collection_id: String,
    /// For people.
    pub message: String,
    /// The task of the first batch.
    pub task_id: String,
    /// The tasks of all batches.
    pub task_ids: Vec<String>,
    /// The first batch.
    pub batch_id: Option<String>,
    /// All batches, one for each bucket.
    pub batch_ids: Vec<String>,
    /// How many batches there are.
    pub batch_count: u64,
    /// How many objects they have.
    pub object_count: u64,
    /// Their buckets.
    pub source_bucket_ids: Vec<String>,
    /// Most tiers of a batch.
    pub total_tiers: u64,
}
