//! New collections: source, extractor and mappings, checked so that what cannot work is refused before any batch runs.

use fettle_model::{BucketId, CollectionId, ExtractorRef, NamespaceId};
use fettle_ports::{CollectionRecord, CollectionSource, VectorSpec};
use fettle_wire::collection::{CreateCollectionRequest, FeatureExtractorRequest, SourceRequest};
use fettle_wire::filter::SentFilter;
use serde_json::{Map, Value};

use super::mappings::{copies, mappings, warnings};
use super::{NAME_LENGTH, extractor};
use crate::buckets::schema;
use crate::choice::check_depth;
use crate::error::ApiError;
use crate::lookup::{bucket, check_name, collection};
use crate::state::ApiState;

/// Sources of one collection; each is read in every batch.
const SOURCES_MAX: usize = 100;

type Built = (CollectionRecord, Vec<VectorSpec>, Vec<String>);

/// Checks a collection and gives it its id; tells its vectors and what may not work as intended.
pub(super) async fn build(
    state: &ApiState,
    namespace: &NamespaceId,
    body: CreateCollectionRequest,
) -> Result<Built, ApiError> {
    check_name(
        "collection_name",
        &body.collection_name,
        NAME_LENGTH.0,
        NAME_LENGTH.1,
    )?;
    let (source, known_fields) = source(state, namespace, &body.source).await?;
    let source_filter = body.source.source_filters.and_then(|sent| sent.filters);
    let source_filter = source_filter.map(|SentFilter(filter)| filter);
    check_depth(source_filter.as_ref())?;
    let wished = body
        .feature_extractor
        .unwrap_or_else(|| FeatureExtractorRequest {
            feature_extractor_name: "passthrough_extractor".to_owned(),
            version: "v1".to_owned(),
            parameters: None,
            params: None,
            input_mappings: None,
            field_passthrough: None,
            include_all_source_fields: Some(true),
        });
    let input_mappings = mappings(wished.input_mappings.as_ref())?;
    let field_passthrough = copies(wished.field_passthrough.unwrap_or_default())?;
    let parameters = parameters(wished.parameters, wished.params)?;
    let reference = ExtractorRef {
        name: wished.feature_extractor_name,
        version: wished.version,
        parameters,
    };
    let (extractor, vectors) =
        extractor::checked(state, namespace, reference, &input_mappings).await?;
    let warnings = warnings(known_fields.as_deref(), &input_mappings, &field_passthrough);
    let now = state.now();
    let record = CollectionRecord {
        namespace_id: namespace.clone(),
        collection_id: CollectionId::from_entropy(state.id_bits()),
        collection_name: body.collection_name,
        description: body.description,
        source,
        source_filter,
        extractor,
        input_mappings,
        field_passthrough,
        include_all_source_fields: wished.include_all_source_fields.unwrap_or(false),
        enabled: body.enabled.unwrap_or(true),
        metadata: body.metadata.unwrap_or_default(),
        created_at: now,
        updated_at: now,
    };
    Ok((record, vectors, warnings))
}

/// Finds the sources; tells the properties that rows can have, where the source says.
async fn source(
    state: &ApiState,
    namespace: &NamespaceId,
    wished: &SourceRequest,
) -> Result<(CollectionSource, Option<Vec<String>>), ApiError> {
    if wished.field_map.as_ref().is_some_and(|map| !map.is_empty()) {
        let message = "is not supported; map fields with `feature_extractor.input_mappings`";
        return Err(ApiError::invalid(&["source", "field_map"], message));
    }
    match wished.source_type.as_str() {
        "bucket" => {
            let names = wished.bucket_ids.as_deref().unwrap_or_default();
            check_count("bucket_ids", names.len())?;
            let (mut bucket_ids, mut fields): (Vec<BucketId>, Vec<String>) = Default::default();
            for name in names {
                let record = bucket(state, namespace, name).await?;
                fields.extend(schema::of(&record)?.properties.into_keys());
                if !bucket_ids.contains(&record.bucket_id) {
                    bucket_ids.push(record.bucket_id);
                }
            }
            Ok((CollectionSource::Bucket { bucket_ids }, Some(fields)))
        }
        "collection" => {
            let named = wished
                .collection_ids
                .iter()
                .flatten()
                .chain(&wished.collection_id);
            let names: Vec<&String> = named.collect();
            check_count("collection_ids", names.len())?;
            let mut collection_ids = Vec::new();
            for name in names {
                let id = collection(state, namespace, name).await?.collection_id;
                if !collection_ids.contains(&id) {
                    collection_ids.push(id);
                }
            }
            Ok((CollectionSource::Collection { collection_ids }, None))
        }
        other => Err(ApiError::invalid(
            &["source", "type"],
            format!("`{other}` is not supported; a source is of type `bucket` or `collection`"),
        )),
    }
}

fn check_count(field: &str, count: usize) -> Result<(), ApiError> {
    if (1..=SOURCES_MAX).contains(&count) {
        return Ok(());
    }
    let message = format!("names {count} sources; from 1 to {SOURCES_MAX} are needed");
    Err(ApiError::invalid(&["source", field], message))
}

fn parameters(
    new: Option<Map<String, Value>>,
    old: Option<Map<String, Value>>,
) -> Result<Map<String, Value>, ApiError> {
    match (new, old) {
        (Some(new), Some(old)) if new != old && !old.is_empty() => Err(ApiError::invalid(
            &["feature_extractor", "params"],
            "differs from `parameters`, of which it is the older name; send only one",
        )),
        (new, old) => Ok(new.or(old).unwrap_or_default()),
    }
}
