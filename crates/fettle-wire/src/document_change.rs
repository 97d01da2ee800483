//! Documents that clients write, and what is told of one document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::object::OpenBody;
use crate::time::Timestamp;

/// `POST /v1/collections/{id}/documents`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDocumentRequest {
    /// Accepted where it is the collection of the path.
    pub collection_id: Option<String>,
    /// The object that it stands for.
    pub source_object_id: Option<String>,
    /// The object at the beginning of its lineage; the source object when left out.
    pub root_object_id: Option<String>,
    /// The document that it was made of.
    pub source_document_id: Option<String>,
    /// That document's collection.
    pub source_collection_id: Option<String>,
    /// The bucket of that object.
    pub root_bucket_id: Option<String>,
    /// What it was made of; follows from the ids above when left out.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::LINEAGE_SOURCES)))]
    pub source_type: Option<String>,
    /// Where it stands in its lineage, for people.
    pub lineage_path: Option<String>,
    /// The steps from the object to it.
    pub lineage_chain: Option<Vec<LineageStep>>,
    /// What the content is known by.
    pub content_hash: Option<String>,
    /// A field of its own like any other.
    pub metadata: Option<Map<String, Value>>,
    /// Vectors by the collection's vector names.
    pub vectors: Option<BTreeMap<String, Vec<f32>>>,
    /// Its fields: all keys that are not above.
    #[serde(skip)]
    pub fields: Map<String, Value>,
}

/// A step of a document's making.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineageStep {
    /// The collection that it led to.
    pub collection_id: String,
    /// What did it.
    pub feature_extractor_id: String,
    /// The document that it led to.
    pub document_id: Option<String>,
    /// When.
    pub timestamp: Option<Timestamp>,
}

impl OpenBody for CreateDocumentRequest {
    const KEYS: &'static [&'static str] = &[
        "collection_id",
        "source_object_id",
        "root_object_id",
        "source_document_id",
        "source_collection_id",
        "root_bucket_id",
        "source_type",
        "lineage_path",
        "lineage_chain",
        "content_hash",
        "metadata",
        "vectors",
    ];

    fn take_fields(&mut self, fields: Map<String, Value>) {
        self.fields = fields;
    }
}

/// `GET /v1/collections/{id}/documents/{id}/diagnostics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentDiagnosticsResponse {
    /// The collection.
    pub collection_id: String,
    /// The document.
    pub document_id: String,
    /// The object at the beginning of its lineage.
    pub source_object_id: Option<String>,
    /// Whether searches find it, and why.
    pub visibility_reason: VisibilityReason,
    /// What happened to it, oldest first.
    pub diagnostic_history: DiagnosticHistory,
    /// Errors of its source in the batch that wrote it.
    pub recent_failures: RecentFailures,
}

/// Whether searches find a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VisibilityReason {
    /// In words.
    pub reason: String,
    /// Whether a search by vector can find it.
    pub searchable: bool,
    /// The object at the beginning of its lineage.
    pub source_object_id: Option<String>,
}

/// What happened to a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiagnosticHistory {
    /// The entries.
    pub entries: Vec<DiagnosticHistoryEntry>,
    /// Why there are none, where there are none.
    pub reason: Option<String>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiagnosticHistoryEntry {
    /// `batch` or `client`.
    pub source: String,
    /// When.
    pub timestamp: Option<String>,
    /// More of it.
    pub detail: Map<String, Value>,
}

/// Errors of a document's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecentFailures {
    /// The errors.
    pub failures: Vec<RecentFailure>,
    /// Why there can be none.
    pub reason: Option<String>,
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecentFailure {
    /// The batch.
    pub source: String,
    /// What was said.
    pub error: Option<String>,
    /// The source row.
    pub object_id: Option<String>,
    /// Always `FAILED`.
    pub status: Option<String>,
}

/// `GET /v1/collections/{id}/features`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionFeaturesResponse {
    /// What can be searched.
    pub features: Vec<CollectionFeature>,
}

/// A vector that can be searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionFeature {
    /// `extractor@version/vector`.
    pub feature_address: String,
    /// What searches call it.
    pub feature_uri: String,
    /// The extractor that makes it.
    pub feature_extractor_name: String,
    /// Its version.
    pub version: String,
    /// Whether it is searched when a search names none.
    pub primary: bool,
    /// The vector.
    pub vector_index: FeatureVector,
}

/// A vector as searches see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureVector {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Always `dense`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = crate::values::VECTOR_TYPES))]
    pub vector_type: String,
    /// Its length.
    pub dimensions: u32,
    /// Always `cosine`.
    pub distance: String,
    /// Always `float32`.
    #[schemars(extend("enum" = crate::values::VECTOR_DATA_TYPES))]
    pub datatype: String,
}

/// `GET /v1/collections/{id}/reconciliation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReconciliationResponse {
    /// The collection.
    pub collection_id: String,
    /// Objects at the beginning of the collection's sources.
    pub source_object_count: u64,
    /// Those of them that documents come from.
    pub produced_object_count: u64,
    /// Documents of the collection.
    pub document_count: u64,
    /// Source objects without a document.
    pub delta: u64,
    /// The first of them, each with the reason.
    pub discrepancies: Vec<Discrepancy>,
    /// Whether there are more.
    pub discrepancies_truncated: bool,
    /// How many are listed at most.
    pub limit: u64,
}

/// An object without a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Discrepancy {
    /// The object.
    pub object_id: String,
    /// Its bucket.
    pub bucket_id: String,
    /// Why there is no document.
    pub reason: ReconciliationReason,
    /// The error of its row, where it failed.
    pub error: Option<String>,
    /// Status of the batch that it was last in.
    pub status: Option<String>,
    /// Age of the object, in seconds.
    pub age_seconds: f64,
}

/// Why an object has no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReconciliationReason {
    /// No batch has taken it to this collection.
    NoDocument,
    /// Its row failed.
    Failed,
    /// A batch that has it is not over.
    Processing,
    /// Its batch completed without an error and made nothing of it.
    Skipped,
    /// Its batch ended before its row had an outcome.
    Unknown,
}
