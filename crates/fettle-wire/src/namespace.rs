//! Namespaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::healing::{HealingPolicy, given};
use crate::time::Timestamp;

/// `POST /v1/namespaces`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateNamespaceRequest {
    /// Its name.
    pub namespace_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Only `managed` exists.
    pub mode: Option<String>,
    /// Only `standard` exists.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::NAMESPACE_TYPES)))]
    pub namespace_type: Option<String>,
    /// Extractors that will be used; every namespace has all of them, so this is only checked.
    pub feature_extractors: Option<Vec<NamedExtractor>>,
    /// What may be done by itself when its work fails. Beyond the contract.
    pub healing: Option<HealingPolicy>,
}

/// An extractor by name and version.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedExtractor {
    /// Name.
    pub feature_extractor_name: String,
    /// Version.
    pub version: String,
    /// Parameters.
    pub params: Option<Map<String, Value>>,
}

/// `PATCH /v1/namespaces/{id}`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchNamespaceRequest {
    /// A new name.
    pub namespace_name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// What may be done by itself when its work fails; null takes it back. Beyond the contract.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<HealingPolicy>")]
    pub healing: Option<Option<HealingPolicy>>,
}

/// How much a namespace holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceStatsResponse {
    /// The namespace.
    pub namespace_id: String,
    /// How many buckets it has.
    pub bucket_count: u64,
    /// How many collections it has.
    pub collection_count: u64,
    /// How many objects its buckets have.
    pub object_count: u64,
    /// How many documents its collections have.
    pub document_count: u64,
    /// Whether `document_count` counts all collections.
    pub document_count_complete: bool,
}

/// Sums over the namespaces that a key may see.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceListStats {
    /// Buckets of all namespaces.
    pub total_buckets: u64,
    /// Collections of all namespaces.
    pub total_collections: u64,
    /// Objects of all namespaces.
    pub total_objects: u64,
    /// Documents of all namespaces.
    pub total_documents: u64,
    /// Whether `total_documents` counts all collections.
    pub total_documents_complete: bool,
    /// Buckets of a namespace on average.
    pub avg_buckets_per_namespace: f64,
    /// Collections of a namespace on average.
    pub avg_collections_per_namespace: f64,
    /// Objects of a namespace on average.
    pub avg_objects_per_namespace: f64,
    /// Documents of a namespace on average.
    pub avg_documents_per_namespace: f64,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceModel {
    /// Always `namespace`.
    pub object: String,
    /// Its id.
    pub namespace_id: String,
    /// Its name.
    pub namespace_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Always `managed`.
    pub mode: String,
    /// Always `standard`.
    #[schemars(extend("enum" = crate::values::NAMESPACE_TYPES))]
    pub namespace_type: String,
    /// Always `true`: a namespace is ready once it exists.
    pub namespace_ready: bool,
    /// How many buckets it has.
    pub bucket_count: Option<u64>,
    /// How many collections it has.
    pub collection_count: Option<u64>,
    /// How many objects its buckets have.
    pub object_count: Option<u64>,
    /// How many documents its collections have.
    pub document_count: Option<u64>,
    /// Whether `document_count` counts all collections.
    pub document_count_complete: bool,
    /// What may be done by itself when its work fails; none means the default. Beyond the contract.
    pub healing: Option<HealingPolicy>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
