//! A collection as it is shown, and its vectors.

use fettle_model::attempt::FieldCopy;
use fettle_model::catalogue;
use fettle_model::filter::Filter;
use fettle_ports::{CollectionRecord, CollectionSource, PluginRecord, StoreExt, VectorSpec};
use fettle_wire::collection::{
    CollectionResponse, FeatureExtractorConfig, FieldPassthrough, SourceFilters, SourceResponse,
    VectorIndexModel,
};
use fettle_wire::filter::SentFilter;
use serde_json::{Value, json};

use super::schedule;
use super::schemas::Schemas;
use crate::error::ApiError;
use crate::namespaces::document_count;
use crate::state::ApiState;

/// A collection as it is shown.
pub(super) async fn view(
    state: &ApiState,
    record: CollectionRecord,
) -> Result<CollectionResponse, ApiError> {
    let documents = document_count(state, &record).await?;
    let vectors = vectors_of(state, &record).await?;
    let schemas = Schemas::of(state, &record).await?;
    let schedule = schedule::view(state, &record).await?;
    let (name, version) = (&record.extractor.name, &record.extractor.version);
    let index = |vector: VectorSpec| VectorIndexModel {
        feature_uri: feature_uri(name, version, &vector.name),
        index: json!({"name": vector.name, "dimensions": vector.dimensions, "distance": "cosine", "type": "dense"}),
        name: vector.name,
        index_type: "single".to_owned(),
    };
    Ok(CollectionResponse {
        vector_indexes: vectors.into_iter().map(index).collect(),
        input_schema: schemas.input,
        output_schema: schemas.output,
        document_schema: schemas.document,
        source_bucket_schemas: schemas.buckets,
        source_lineage: schemas.lineage,
        feature_extractor: extractor(&record),
        collection_id: record.collection_id.to_string(),
        collection_name: record.collection_name,
        description: record.description,
        source: source(record.source, record.source_filter),
        enabled: record.enabled,
        schedule,
        lifecycle_state: "active".to_owned(),
        metadata: record.metadata,
        document_count: Some(documents),
        warnings: Vec::new(),
        created_at: record.created_at.into(),
        updated_at: record.updated_at.into(),
    })
}

/// What searches call a vector.
pub(crate) fn feature_uri(name: &str, version: &str, vector: &str) -> String {
    format!("mixpeek://{name}@{version}/{vector}")
}

/// What makes a collection's documents.
pub(super) fn extractor(record: &CollectionRecord) -> FeatureExtractorConfig {
    let extractor = &record.extractor;
    let copies = record.field_passthrough.iter().cloned();
    FeatureExtractorConfig {
        feature_extractor_id: extractor.id(),
        feature_extractor_name: extractor.name.clone(),
        version: extractor.version.clone(),
        parameters: extractor.parameters.clone(),
        params: extractor.parameters.clone(),
        input_mappings: record.input_mappings.clone(),
        field_passthrough: copies.map(passthrough).collect(),
        include_all_source_fields: record.include_all_source_fields,
    }
}

fn passthrough(copy: FieldCopy) -> FieldPassthrough {
    FieldPassthrough {
        source_path: copy.source_path,
        target_path: Some(copy.target_path),
        default: copy.default,
        required: Some(copy.required),
    }
}

/// Where a collection's rows come from.
pub(super) fn source(source: CollectionSource, filter: Option<Filter>) -> SourceResponse {
    let source_filters = filter.map(|filter| SourceFilters {
        filters: Some(SentFilter(filter)),
    });
    match source {
        CollectionSource::Bucket { bucket_ids } => SourceResponse {
            source_type: "bucket".to_owned(),
            bucket_ids: Some(bucket_ids.into_iter().map(String::from).collect()),
            collection_id: None,
            collection_ids: None,
            source_filters,
        },
        CollectionSource::Collection { collection_ids } => SourceResponse {
            source_type: "collection".to_owned(),
            bucket_ids: None,
            collection_id: collection_ids.first().map(ToString::to_string),
            collection_ids: Some(collection_ids.into_iter().map(String::from).collect()),
            source_filters,
        },
    }
}

/// The vectors of a collection's documents.
pub(crate) async fn vectors_of(
    state: &ApiState,
    record: &CollectionRecord,
) -> Result<Vec<VectorSpec>, ApiError> {
    let extractor = &record.extractor;
    let model_present = state.control().config().model_dir.is_some();
    if let Ok(info) = catalogue::find(&extractor.name, &extractor.version) {
        let resolved = catalogue::resolve(
            info.name,
            info.version,
            &extractor.parameters,
            model_present,
        );
        // A model that went away since does not change what the documents have.
        let vectors = match resolved {
            Ok(resolved) => resolved.vectors,
            Err(_) => catalogue::resolve(info.name, info.version, &extractor.parameters, true)
                .map(|resolved| resolved.vectors)
                .unwrap_or_default(),
        };
        let spec = |info: &&catalogue::VectorInfo| VectorSpec {
            name: info.name.to_owned(),
            dimensions: info.dimensions,
        };
        return Ok(vectors.iter().map(spec).collect());
    }
    let namespace = Some(&record.namespace_id);
    let found: Option<PluginRecord> = state
        .control()
        .store()
        .find(namespace, &extractor.id())
        .await?;
    found.as_ref().map_or(Ok(Vec::new()), plugin_vectors)
}

/// The vectors that a plugin's manifest declares.
pub(crate) fn plugin_vectors(plugin: &PluginRecord) -> Result<Vec<VectorSpec>, ApiError> {
    match plugin.manifest.get("vectors") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(vectors) => serde_json::from_value(vectors.clone()).map_err(ApiError::internal),
    }
}
