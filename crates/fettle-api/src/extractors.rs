//! Feature extractors: the built-in ones, for everybody, and the namespace's plugins, for who has a key.
//!
//! The published client asks for them without a key; what is built in is no secret.

use aide::axum::ApiRouter;
use aide::axum::routing::get;
use axum::Json;
use axum::extract::State;
use fettle_model::catalogue::{self, ExtractorInfo};
use fettle_ports::{PluginRecord, StoreExt, VectorSpec};
use fettle_wire::document_change::FeatureVector;
use fettle_wire::extractor::{FeatureExtractorResponse, VectorIndexDefinition};
use serde_json::{Map, Value, json};

use crate::body::InPath;
use crate::collections::{feature_uri, plugin_vectors};
use crate::error::ApiError;
use crate::lookup::all;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/collections/features/extractors", get(list))
        .api_route("/collections/features/extractors/{extractor}", get(read))
}

async fn list(
    State(state): State<ApiState>,
    tenant: Option<Tenant>,
) -> Result<Json<Vec<FeatureExtractorResponse>>, ApiError> {
    let mut extractors: Vec<_> = catalogue::catalogue().iter().map(builtin).collect();
    for plugin in plugins(&state, tenant.as_ref()).await? {
        extractors.push(custom(&plugin)?);
    }
    Ok(Json(extractors))
}

async fn read(
    State(state): State<ApiState>,
    tenant: Option<Tenant>,
    InPath(id): InPath<String>,
) -> Result<Json<FeatureExtractorResponse>, ApiError> {
    if let Some(info) = catalogue::catalogue().iter().find(|info| info.id() == id) {
        return Ok(Json(builtin(info)));
    }
    let no_extractor = || ApiError::not_found("feature extractor", &id);
    let tenant = tenant.ok_or_else(no_extractor)?;
    let namespace = Some(&tenant.namespace_id);
    let plugin: Option<PluginRecord> = state.control().store().find(namespace, &id).await?;
    custom(&plugin.ok_or_else(no_extractor)?).map(Json)
}

async fn plugins(state: &ApiState, tenant: Option<&Tenant>) -> Result<Vec<PluginRecord>, ApiError> {
    match tenant {
        Some(tenant) => all(state, &tenant.namespace_id).await,
        None => Ok(Vec::new()),
    }
}

fn builtin(info: &ExtractorInfo) -> FeatureExtractorResponse {
    let vectors = info.vectors.iter().map(|vector| {
        let spec = VectorSpec {
            name: vector.name.to_owned(),
            dimensions: vector.dimensions,
        };
        vector_index(info.name, info.version, &spec, vector.description)
    });
    FeatureExtractorResponse {
        feature_extractor_name: info.name.to_owned(),
        version: info.version.to_owned(),
        feature_extractor_id: info.id(),
        description: info.description.to_owned(),
        icon: icon(info.name).to_owned(),
        source: "builtin".to_owned(),
        input_schema: info.input_schema(),
        output_schema: info.output_schema(),
        parameter_schema: info.parameter_schema(),
        supported_input_types: info
            .supported_input_types
            .iter()
            .map(|kind| (*kind).to_owned())
            .collect(),
        max_inputs: info
            .supported_input_types
            .iter()
            .map(|kind| ((*kind).to_owned(), Value::from(1)))
            .collect(),
        default_parameters: info.default_parameters(),
        required_vector_indexes: vectors.collect(),
        required_payload_indexes: Vec::new(),
        capabilities: vec!["batch".to_owned()],
        category: category(info.name).to_owned(),
        expected_input_types: info
            .inputs
            .iter()
            .map(|input| (input.key.to_owned(), input.types.join(" | ")))
            .collect(),
        example_usage: example(info.name, info.version, info.inputs.iter().map(|it| it.key)),
    }
}

fn category(name: &str) -> &'static str {
    match name {
        "text_extractor" => "text",
        "image_extractor" => "image",
        "document_extractor" => "document",
        _ => "general",
    }
}

/// A `feature_extractor` of a collection whose source names its fields as the extractor does its inputs.
fn example<'a>(
    name: &str,
    version: &str,
    inputs: impl Iterator<Item = &'a str>,
) -> Map<String, Value> {
    let mappings: Map<String, Value> = inputs.map(|key| (key.to_owned(), key.into())).collect();
    Map::from_iter([
        ("feature_extractor_name".to_owned(), name.into()),
        ("version".to_owned(), version.into()),
        ("input_mappings".to_owned(), mappings.into()),
    ])
}

fn icon(name: &str) -> &'static str {
    match name {
        "text_extractor" => "text",
        "image_extractor" => "image",
        "document_extractor" => "file-text",
        "universal_extractor" => "layers",
        _ => "arrow-right",
    }
}

fn custom(plugin: &PluginRecord) -> Result<FeatureExtractorResponse, ApiError> {
    let (name, version) = (&plugin.plugin_name, &plugin.version);
    let vectors = plugin_vectors(plugin)?;
    let manifest = |key: &str, otherwise: Value| {
        plugin
            .manifest
            .get(key)
            .filter(|v| !v.is_null())
            .cloned()
            .unwrap_or(otherwise)
    };
    let object = || json!({"type": "object"});
    let inputs = manifest("inputs", Value::Null);
    let inputs = inputs.as_array().cloned().unwrap_or_default();
    Ok(FeatureExtractorResponse {
        feature_extractor_name: name.clone(),
        version: version.clone(),
        feature_extractor_id: plugin.extractor_id.clone(),
        description: plugin.description.clone(),
        icon: "puzzle".to_owned(),
        source: "custom".to_owned(),
        input_schema: as_object(manifest("inputs", object()), "inputs"),
        output_schema: as_object(manifest("outputs", object()), "outputs"),
        parameter_schema: as_object(manifest("parameters", object()), "parameters"),
        supported_input_types: Vec::new(),
        max_inputs: Map::new(),
        default_parameters: Map::new(),
        required_vector_indexes: vectors
            .iter()
            .map(|vector| vector_index(name, version, vector, "Declared by the plugin's manifest."))
            .collect(),
        required_payload_indexes: Vec::new(),
        capabilities: vec!["batch".to_owned()],
        category: "custom".to_owned(),
        expected_input_types: inputs.iter().filter_map(input_types).collect(),
        example_usage: example(
            name,
            version,
            inputs.iter().filter_map(|it| it.get("key")?.as_str()),
        ),
    })
}

/// Which types a plugin's input takes.
fn input_types(input: &Value) -> Option<(String, String)> {
    let types = input.get("types").and_then(Value::as_array);
    let types: Vec<&str> = types
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    Some((input.get("key")?.as_str()?.to_owned(), types.join(" | ")))
}

/// The contract wants objects; a manifest may have lists.
fn as_object(value: Value, key: &str) -> Value {
    if value.is_object() {
        value
    } else {
        json!({ key: value })
    }
}

fn vector_index(
    name: &str,
    version: &str,
    vector: &VectorSpec,
    description: &str,
) -> VectorIndexDefinition {
    VectorIndexDefinition {
        name: vector.name.clone(),
        display_name: vector.name.replace('_', " "),
        index_type: "single".to_owned(),
        description: description.to_owned(),
        feature_uri: feature_uri(name, version, &vector.name),
        index: FeatureVector {
            name: vector.name.clone(),
            description: description.to_owned(),
            vector_type: "dense".to_owned(),
            dimensions: vector.dimensions,
            distance: "cosine".to_owned(),
            datatype: "float32".to_owned(),
        },
    }
}
