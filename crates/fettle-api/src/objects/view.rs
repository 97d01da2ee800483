//! An object as it is shown.

use fettle_ports::{BlobRecord, ObjectRecord};
use fettle_wire::object::{BlobDetails, BlobModel, ObjectResponse};
use serde_json::{Map, Value};

/// An object as it is shown.
pub(crate) fn view(record: ObjectRecord) -> ObjectResponse {
    ObjectResponse {
        object_id: record.object_id.to_string(),
        bucket_id: record.bucket_id.to_string(),
        key_prefix: record.key_prefix,
        blobs: record.blobs.into_iter().map(blob).collect(),
        status: "ACTIVE".to_owned(),
        document_count: None,
        object_index: None,
        replayed: None,
        replayed_by: None,
        created_at: record.created_at.into(),
        updated_at: record.updated_at.into(),
        fields: record.fields,
    }
}

fn blob(record: BlobRecord) -> BlobModel {
    let mut properties = record.metadata;
    if let Some(address) = record.address {
        properties.insert("url".to_owned(), Value::from(address));
    }
    if let Some(data) = record.inline {
        properties.insert("data".to_owned(), data);
    }
    BlobModel {
        blob_id: record.blob_id.to_string(),
        property: record.property,
        blob_type: record.blob_type,
        details: BlobDetails {
            filename: record.filename,
            size_bytes: record.size_bytes,
            mime_type: record.mime_type,
            hash: record.hash,
        },
        properties,
    }
}

/// What filters and searches of objects see: its own fields, its inline blobs by property, and what every object has.
pub(crate) fn searchable(record: &ObjectRecord) -> Map<String, Value> {
    let mut fields = Map::new();
    for blob in &record.blobs {
        let value = blob
            .inline
            .clone()
            .or_else(|| blob.address.clone().map(Value::from));
        fields.insert(blob.property.clone(), value.unwrap_or_default());
    }
    fields.extend(record.fields.clone());
    fields.insert(
        "object_id".to_owned(),
        Value::from(record.object_id.as_str()),
    );
    fields.insert(
        "bucket_id".to_owned(),
        Value::from(record.bucket_id.as_str()),
    );
    fields.insert(
        "key_prefix".to_owned(),
        Value::from(record.key_prefix.clone()),
    );
    let created = fettle_wire::time::Timestamp(record.created_at).to_string();
    fields.insert("created_at".to_owned(), Value::from(created));
    fields
}
