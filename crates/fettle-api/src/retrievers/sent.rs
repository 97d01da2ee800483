//! The bodies of stages, in the contract's form and in the short client's flat one.
//!
//! Owns which keys are known. It must not interpret them.

use fettle_model::filter::Operator;
use fettle_wire::filter::SentFilter;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sent {
    pub(super) stage_name: Option<String>,
    #[serde(rename = "stage_type")]
    pub(super) _stage_type: Option<String>,
    #[serde(rename = "description")]
    pub(super) _description: Option<String>,
    pub(super) config: Config,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) stage_id: Option<String>,
    #[serde(default)]
    pub(super) parameters: Value,
    pub(super) pre_filters: Option<SentFilter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchParameters {
    pub(super) searches: Vec<SentSearch>,
    pub(super) final_top_k: Option<usize>,
    #[serde(default)]
    pub(super) collection_identifiers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentSearch {
    pub(super) feature_uri: Option<String>,
    pub(super) query: Value,
    pub(super) top_k: Option<usize>,
    pub(super) min_score: Option<f64>,
    #[serde(default)]
    pub(super) collection_identifiers: Vec<String>,
}

/// The flat form: `{"type": "feature_search", "query": "…", "collection_ids": […], "limit": 10}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlatSearch {
    #[serde(rename = "type")]
    pub(super) _type: String,
    /// `{"type": "text"}`: the vector is chosen by what the collection has.
    #[serde(rename = "feature_extractor")]
    pub(super) _feature_extractor: Option<Value>,
    pub(super) feature_uri: Option<String>,
    pub(super) query: Value,
    #[serde(default, alias = "collection_identifiers")]
    pub(super) collection_ids: Vec<String>,
    pub(super) limit: Option<usize>,
    pub(super) min_score: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterParameters {
    pub(super) field: Option<String>,
    pub(super) operator: Option<Operator>,
    #[serde(default)]
    pub(super) value: Value,
    pub(super) conditions: Option<Value>,
    pub(super) case_insensitive: Option<bool>,
    #[serde(rename = "type")]
    pub(super) _type: Option<String>,
}
