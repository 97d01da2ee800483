//! An object as it is shown.

use fettle_ports::{BlobRecord, ObjectRecord};
use fettle_wire::object::{BlobDetails, BlobModel, ObjectResponse};
use serde_json::Value;

use crate::error::ApiError;
use crate::signed::{Origin, readable};
use crate::state::ApiState;

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
        key_prefix: record.key_prefix,
        blob_type: record.blob_type,
        details: BlobDetails {
            filename: record.filename,
            size_bytes: record.size_bytes,
            mime_type: record.mime_type,
            hash: record.hash,
        },
        properties,
        presigned_url: None,
    }
}

/// Adds addresses by which the object's files can be read.
pub(super) async fn add_addresses(
    state: &ApiState,
    origin: &Origin,
    object: &mut ObjectResponse,
) -> Result<(), ApiError> {
    for blob in &mut object.blobs {
        if let Some(Value::String(address)) = blob.properties.get("url") {
            blob.presigned_url = readable(state, origin, address).await?;
        }
    }
    Ok(())
}
