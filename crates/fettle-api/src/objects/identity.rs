//! By what objects are known beside their ids: the bucket's unique key, and what their blobs hold.
//!
//! Owns both hashes and what an object with a known unique key does to the one that is there. It must not know HTTP.

use fettle_ports::{BlobRecord, BucketRecord, ObjectRecord};
use fettle_wire::bucket::{UniqueKey, UniqueKeyPolicy};
use serde_json::{Map, Value};

use super::create::Built;
use super::{blob, create};
use crate::error::ApiError;
use crate::state::ApiState;

/// Hash of the values of the bucket's unique key; a field that the object lacks counts as null.
pub(super) fn unique_key(
    bucket: &BucketRecord,
    blobs: &[BlobRecord],
    fields: &Map<String, Value>,
) -> Result<Option<String>, ApiError> {
    let Some(unique) = of(bucket)? else {
        return Ok(None);
    };
    let inline = |name: &String| {
        let blob = blobs.iter().find(|blob| blob.property == *name);
        blob.and_then(|blob| blob.inline.as_ref())
    };
    let value = |name: &String| fields.get(name).or_else(|| inline(name)).cloned();
    let values: Vec<Value> = unique
        .fields
        .iter()
        .map(|name| value(name).unwrap_or_default())
        .collect();
    let hash = blake3::hash(Value::from(values).to_string().as_bytes());
    Ok(Some(hash.to_hex().to_string()))
}

fn of(bucket: &BucketRecord) -> Result<Option<UniqueKey>, ApiError> {
    let unique = bucket.unique_key.clone().map(serde_json::from_value);
    unique.transpose().map_err(ApiError::internal)
}

/// Hash of what the blobs hold, in whatever order they came.
pub(super) fn content_hash(blobs: &[BlobRecord]) -> Option<String> {
    if blobs.is_empty() {
        return None;
    }
    let mut parts: Vec<String> = blobs.iter().map(fingerprint).collect();
    parts.sort();
    Some(
        blake3::hash(parts.join("\n").as_bytes())
            .to_hex()
            .to_string(),
    )
}

fn fingerprint(blob: &BlobRecord) -> String {
    let content = blob.hash.as_ref().or(blob.address.as_ref());
    let content = content.map_or("", String::as_str);
    format!("{}\0{}\0{content}", blob.property, blob.blob_type)
}

/// What happens to an object whose unique key exists: what the request says, else what the bucket says, else refusal.
pub(super) fn policy(
    bucket: &BucketRecord,
    asked: Option<UniqueKeyPolicy>,
) -> Result<UniqueKeyPolicy, ApiError> {
    let unique = of(bucket)?;
    if unique.is_none() && asked.is_some_and(|asked| asked != UniqueKeyPolicy::Insert) {
        let message =
            "needs a bucket with a `unique_key`; set one with PATCH while the bucket is empty";
        return Err(ApiError::invalid_query("policy", message));
    }
    let default = unique.and_then(|unique| unique.default_policy);
    Ok(asked.or(default).unwrap_or(UniqueKeyPolicy::Insert))
}

/// Puts a new object in the place of the one that has its unique key. Gives the object back where there is none and one may be added.
pub(super) async fn replace(
    state: &ApiState,
    policy: UniqueKeyPolicy,
    built: Built,
) -> Result<Result<ObjectRecord, Built>, ApiError> {
    let Some(key) = built.record.unique_key.clone() else {
        return Ok(Err(built));
    };
    if policy == UniqueKeyPolicy::Insert {
        return Ok(Err(built));
    }
    let store = state.control().store();
    let new = &built.record;
    let present = store
        .object_by_unique_key(&new.namespace_id, &new.bucket_id, &key)
        .await?;
    let Some(present) = present else {
        return match policy {
            UniqueKeyPolicy::Update => Err(ApiError::not_found("object with unique key", &key)),
            UniqueKeyPolicy::Insert | UniqueKeyPolicy::Upsert => Ok(Err(built)),
        };
    };
    create::store_bytes(state, built.bytes).await?;
    let record = ObjectRecord {
        object_id: present.object_id.clone(),
        idempotency_key: present.idempotency_key.clone(),
        created_at: present.created_at,
        ..built.record
    };
    store.update_object(&record).await?;
    // Last, so that no record ever names bytes that are gone.
    blob::delete_bytes(state, &present.blobs).await?;
    Ok(Ok(record))
}
