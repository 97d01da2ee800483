//! Feature extractors and plugins.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::document_change::FeatureVector;
use crate::time::Timestamp;

/// An extractor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureExtractorResponse {
    /// Name.
    pub feature_extractor_name: String,
    /// Version.
    pub version: String,
    /// `name_version`.
    pub feature_extractor_id: String,
    /// What it does.
    pub description: String,
    /// Name of an icon.
    pub icon: String,
    /// `builtin` or `custom`.
    #[schemars(extend("enum" = crate::values::EXTRACTOR_SOURCES))]
    pub source: String,
    /// What can be mapped to its inputs.
    pub input_schema: Value,
    /// Fields of its documents.
    pub output_schema: Value,
    /// Its parameters.
    pub parameter_schema: Value,
    /// Types that it reads.
    pub supported_input_types: Vec<String>,
    /// How many of each input.
    pub max_inputs: Map<String, Value>,
    /// Parameters when none are given.
    pub default_parameters: Map<String, Value>,
    /// Its vectors.
    pub required_vector_indexes: Vec<VectorIndexDefinition>,
    /// None are needed.
    pub required_payload_indexes: Vec<Value>,
    /// `batch`.
    pub capabilities: Vec<String>,
    /// The kind of content that it is for.
    pub category: String,
    /// Type of each input that can be mapped.
    pub expected_input_types: BTreeMap<String, String>,
    /// A `feature_extractor` of a collection, to begin from.
    pub example_usage: Map<String, Value>,
}

/// A vector that an extractor makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VectorIndexDefinition {
    /// Its name in the index.
    pub name: String,
    /// The same for people.
    pub display_name: String,
    /// Always `single`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["single", "multi"]))]
    pub index_type: String,
    /// What it stands for.
    pub description: String,
    /// What searches call it.
    pub feature_uri: String,
    /// Its length and how it is compared.
    pub index: FeatureVector,
}

/// A registered plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginResponse {
    /// Its id.
    pub plugin_id: String,
    /// Name.
    pub plugin_name: String,
    /// Version.
    pub version: String,
    /// `name_version`, the id of the extractor that it is.
    pub feature_extractor_id: String,
    /// What it does.
    pub description: String,
    /// Its manifest.
    pub manifest: Value,
    /// Blake3 of its archive.
    pub archive_hash: String,
    /// Requirements of its environment.
    pub requirements: Vec<String>,
    /// When it was registered.
    pub created_at: Timestamp,
}
