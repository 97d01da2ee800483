//! Collections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::batch::DedupStrategy;
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
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
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
    pub input_mappings: Option<Value>,
    /// Fields that are copied.
    pub field_passthrough: Option<Vec<FieldPassthrough>>,
    /// Whether all source fields are copied.
    pub include_all_source_fields: Option<bool>,
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
    /// JSON Schema of its documents.
    pub output_schema: Option<Value>,
    /// Its vectors.
    pub vector_indexes: Vec<VectorIndexModel>,
    /// Whether batches feed it.
    pub enabled: bool,
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

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
