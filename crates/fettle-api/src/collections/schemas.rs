//! What a collection reads and what it makes, as schemas.
//!
//! Owns following a collection's sources up to their buckets.

use std::collections::BTreeMap;

use fettle_model::catalogue;
use fettle_ports::{BucketRecord, CollectionRecord, CollectionSource, PluginRecord, StoreExt};
use fettle_wire::bucket::BucketSchema;
use fettle_wire::collection::LineageEntry;
use serde_json::{Map, Value, json};

use super::view::{extractor, source};
use crate::buckets::schema;
use crate::error::ApiError;
use crate::state::ApiState;

/// Collections that are followed upwards; longer chains are a mistake or an attack.
const CHAIN_MAX: usize = 32;

/// The schemas of one collection.
pub(super) struct Schemas {
    pub(super) input: BucketSchema,
    pub(super) output: Option<BucketSchema>,
    /// JSON Schema of its documents.
    pub(super) document: Option<Value>,
    pub(super) buckets: BTreeMap<String, BucketSchema>,
    /// The collections that it stands on, the nearest first.
    pub(super) lineage: Vec<LineageEntry>,
}

impl Schemas {
    /// Reads what its sources say.
    pub(super) async fn of(state: &ApiState, record: &CollectionRecord) -> Result<Self, ApiError> {
        let document = document_schema(state, record).await?;
        let mut schemas = Self {
            input: BucketSchema::default(),
            output: document.as_ref().and_then(contract_schema),
            document,
            buckets: BTreeMap::new(),
            lineage: Vec::new(),
        };
        let mut open = vec![(record.clone(), 0)];
        let mut seen = vec![record.collection_id.clone()];
        while let Some((record, depth)) = open.pop() {
            match &record.source {
                CollectionSource::Bucket { bucket_ids } => {
                    for id in bucket_ids {
                        schemas
                            .add_bucket(state, &record, id.as_str(), depth)
                            .await?;
                    }
                }
                CollectionSource::Collection { collection_ids } => {
                    for id in collection_ids.iter().rev() {
                        if seen.len() > CHAIN_MAX || seen.contains(id) {
                            continue;
                        }
                        seen.push(id.clone());
                        let found = find(state, &record, id.as_str()).await?;
                        open.extend(found.map(|found| (found, depth + 1)));
                    }
                }
            }
            if depth > 0 {
                schemas.add_collection(state, record, depth).await?;
            }
        }
        Ok(schemas)
    }

    async fn add_bucket(
        &mut self,
        state: &ApiState,
        record: &CollectionRecord,
        id: &str,
        depth: usize,
    ) -> Result<(), ApiError> {
        let store = state.control().store();
        let found: Option<BucketRecord> = store.find(Some(&record.namespace_id), id).await?;
        // A bucket may be deleted by force while collections read it.
        let Some(bucket) = found else { return Ok(()) };
        let schema = schema::of(&bucket)?;
        if depth == 0 {
            self.input.properties.extend(schema.properties.clone());
        }
        self.buckets.insert(bucket.bucket_id.to_string(), schema);
        Ok(())
    }

    async fn add_collection(
        &mut self,
        state: &ApiState,
        record: CollectionRecord,
        depth: usize,
    ) -> Result<(), ApiError> {
        let document = document_schema(state, &record).await?;
        let output = document
            .as_ref()
            .and_then(contract_schema)
            .unwrap_or_default();
        if depth == 1 {
            self.input.properties.extend(output.properties.clone());
        }
        self.lineage.push(LineageEntry {
            source_config: source(record.source.clone(), record.source_filter.clone()),
            feature_extractor: extractor(&record),
            output_schema: output,
        });
        Ok(())
    }
}

async fn find(
    state: &ApiState,
    record: &CollectionRecord,
    id: &str,
) -> Result<Option<CollectionRecord>, ApiError> {
    let store = state.control().store();
    Ok(store.find(Some(&record.namespace_id), id).await?)
}

/// JSON Schema of a collection's documents, as its extractor declares them.
async fn document_schema(
    state: &ApiState,
    record: &CollectionRecord,
) -> Result<Option<Value>, ApiError> {
    let extractor = &record.extractor;
    if let Ok(info) = catalogue::find(&extractor.name, &extractor.version) {
        return Ok(Some(info.output_schema()));
    }
    let store = state.control().store();
    let plugin: Option<PluginRecord> = store
        .find(Some(&record.namespace_id), &extractor.id())
        .await?;
    let declared = plugin.and_then(|plugin| plugin.manifest.get("outputs").cloned());
    let outputs = declared.as_ref().and_then(Value::as_array);
    Ok(outputs.map(|outputs| {
        let properties = outputs.iter().filter_map(|output| {
            let name = output.get("name")?.as_str()?;
            let schema = json!({"type": output["type"], "description": output["description"]});
            Some((name.to_owned(), schema))
        });
        json!({"type": "object", "properties": Map::from_iter(properties)})
    }))
}

/// The contract's schemas have `properties` with types of their own list; what fits none of them is told as an object.
fn contract_schema(schema: &Value) -> Option<BucketSchema> {
    let properties = schema.get("properties")?;
    serde_json::from_value(json!({ "properties": properties })).ok()
}
