//! New objects: checked against the bucket's schema, their bytes stored first, then their records, all or none.

use std::collections::BTreeSet;

use bytes::Bytes;
use fettle_model::{BlobId, ObjectId};
use fettle_ports::{BlobRecord, BucketRecord, ObjectRecord};
use fettle_wire::bucket::{BucketSchema, UniqueKey};
use fettle_wire::object::{
    BLOBS_PER_OBJECT_MAX, CreateObjectRequest, CreateObjectsBatchResponse, FailedObject,
    IDEMPOTENCY_KEY_LENGTH_MAX, OBJECTS_PER_REQUEST_MAX, ObjectResponse,
};
use serde_json::{Map, Value};

use super::{blob, view};
use crate::body;
use crate::buckets::schema;
use crate::error::ApiError;
use crate::lookup::only;
use crate::state::ApiState;

/// An object's own fields, as JSON: its record is read whole with every list.
const FIELDS_BYTES_MAX: usize = 256 * 1024;
/// Keys that an object's answer has of its own.
const RESERVED_FIELDS: [&str; 12] = [
    "object_id",
    "bucket_id",
    "status",
    "created_at",
    "updated_at",
    "document_count",
    "source_details",
    "error",
    "consistency",
    "object_index",
    "replayed",
    "replayed_by",
];

/// By what an object that exists already is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recognised {
    IdempotencyKey,
    SameBlobs,
    UniqueKey,
}

/// An object that is ready to be stored.
pub(crate) struct Built {
    record: ObjectRecord,
    bytes: Vec<(String, Bytes)>,
    recognised: Option<Recognised>,
}

/// An object that exists now.
pub(crate) struct Made {
    record: ObjectRecord,
    existed: bool,
    recognised: Option<Recognised>,
}

impl Made {
    /// Shows it; an object whose unique key was taken is refused.
    pub(crate) fn answer(self) -> Result<ObjectResponse, ApiError> {
        if !self.existed {
            return Ok(view::view(self.record));
        }
        let by = match self.recognised {
            Some(Recognised::UniqueKey) | None => {
                return Err(ApiError::exists(
                    "object with this unique key",
                    self.record.object_id.as_str(),
                ));
            }
            Some(Recognised::IdempotencyKey) => "idempotency_key",
            Some(Recognised::SameBlobs) => "skip_duplicates",
        };
        Ok(ObjectResponse {
            replayed: Some(true),
            replayed_by: Some(by.to_owned()),
            ..view::view(self.record)
        })
    }
}

/// Checks an object and gives it its ids.
pub(crate) fn build(
    state: &ApiState,
    bucket: &BucketRecord,
    request: CreateObjectRequest,
) -> Result<Built, ApiError> {
    only("canonicalize_source", request.canonicalize_source, &true)?;
    only("force_remirror", request.force_remirror, &false)?;
    if request
        .edges
        .as_ref()
        .is_some_and(|edges| edges.as_array().is_none_or(|list| !list.is_empty()))
    {
        return Err(ApiError::invalid(
            &["edges"],
            "edges between objects are not supported; leave them out",
        ));
    }
    check_own_fields(&request.fields)?;
    let schema = schema::of(bucket)?;
    let object_id = ObjectId::from_entropy(state.id_bits());
    let requested = request.blobs.unwrap_or_default();
    let (blobs, bytes) = build_blobs(state, bucket, &schema, &object_id, requested)?;
    let mut fields = request.fields;
    let filled: BTreeSet<&str> = blobs.iter().map(|blob| blob.property.as_str()).collect();
    schema::check_fields(&schema, &mut fields, &filled)?;
    let wishes = Wishes {
        key: request.idempotency_key,
        skip_duplicates: request.skip_duplicates,
    };
    let (recognised, idempotency_key) = recognition(bucket, &blobs, &fields, wishes)?.unzip();
    let now = state.now();
    let record = ObjectRecord {
        namespace_id: bucket.namespace_id.clone(),
        bucket_id: bucket.bucket_id.clone(),
        object_id,
        key_prefix: request.key_prefix,
        blobs,
        fields,
        idempotency_key,
        created_at: now,
        updated_at: now,
    };
    Ok(Built {
        record,
        bytes,
        recognised,
    })
}

type BlobsAndBytes = (Vec<BlobRecord>, Vec<(String, Bytes)>);

fn build_blobs(
    state: &ApiState,
    bucket: &BucketRecord,
    schema: &BucketSchema,
    object: &ObjectId,
    requested: Vec<fettle_wire::object::CreateBlobRequest>,
) -> Result<BlobsAndBytes, ApiError> {
    if requested.len() > BLOBS_PER_OBJECT_MAX {
        let message = format!(
            "has {} blobs; at most {BLOBS_PER_OBJECT_MAX} are allowed",
            requested.len()
        );
        return Err(ApiError::invalid(&["blobs"], message));
    }
    let prefix = blob::prefix(&bucket.bucket_id, object);
    let mut records = Vec::with_capacity(requested.len());
    let mut bytes = Vec::new();
    for (index, request) in requested.into_iter().enumerate() {
        schema::check_blob(schema, &request.property, request.blob_type, index)?;
        let id = BlobId::from_entropy(state.id_bits());
        let access = &state.control().config().access;
        let built = blob::build(request, index, id, &prefix, access)?;
        records.push(built.record);
        bytes.extend(built.store);
    }
    Ok((records, bytes))
}

/// Checks the keys and the size of an object's own fields.
pub(crate) fn check_own_fields(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let reserved = fields
        .keys()
        .find(|key| RESERVED_FIELDS.contains(&key.as_str()) || key.starts_with('_'));
    if let Some(key) = reserved {
        return Err(ApiError::invalid(
            &[key],
            "this name is the server's; give the field another one",
        ));
    }
    let size = Value::Object(fields.clone()).to_string().len();
    if size > FIELDS_BYTES_MAX {
        let message = format!(
            "the object's own fields have {size} bytes as JSON; at most {FIELDS_BYTES_MAX} are allowed: put large values into blobs"
        );
        return Err(ApiError::invalid(&[], message));
    }
    Ok(())
}

struct Wishes {
    key: Option<String>,
    skip_duplicates: Option<bool>,
}

/// The store's key under which the object is recognised when it comes again, and what that key was made from.
fn recognition(
    bucket: &BucketRecord,
    blobs: &[BlobRecord],
    fields: &Map<String, Value>,
    wishes: Wishes,
) -> Result<Option<(Recognised, String)>, ApiError> {
    if let Some(key) = wishes.key {
        let length = key.chars().count();
        if !(1..=IDEMPOTENCY_KEY_LENGTH_MAX).contains(&length) {
            let message = format!("must have from 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters");
            return Err(ApiError::invalid(&["idempotency_key"], message));
        }
        return Ok(Some((Recognised::IdempotencyKey, format!("key:{key}"))));
    }
    if let Some(unique) = &bucket.unique_key {
        let unique: UniqueKey =
            serde_json::from_value(unique.clone()).map_err(ApiError::internal)?;
        let inline = |name: &String| {
            blobs
                .iter()
                .find(|blob| blob.property == *name)
                .and_then(|blob| blob.inline.as_ref())
        };
        let values = unique
            .fields
            .iter()
            .map(|name| fields.get(name).or_else(|| inline(name)));
        let values: Vec<Value> = values
            .map(|value| value.cloned().unwrap_or_default())
            .collect();
        let hash = blake3::hash(Value::from(values).to_string().as_bytes());
        return Ok(Some((
            Recognised::UniqueKey,
            format!("unique:{}", hash.to_hex()),
        )));
    }
    if !wishes.skip_duplicates.unwrap_or(false) || blobs.is_empty() {
        return Ok(None);
    }
    let mut parts: Vec<String> = blobs.iter().map(fingerprint).collect();
    parts.sort();
    let hash = blake3::hash(parts.join("\n").as_bytes());
    Ok(Some((
        Recognised::SameBlobs,
        format!("blobs:{}", hash.to_hex()),
    )))
}

fn fingerprint(blob: &BlobRecord) -> String {
    let content = blob.hash.as_ref().or(blob.address.as_ref());
    let content = content.map_or("", String::as_str);
    format!("{}\0{}\0{content}", blob.property, blob.blob_type)
}

/// Stores objects, bytes first, so that no record names bytes that are not there.
pub(crate) async fn insert(
    state: &ApiState,
    bucket: &BucketRecord,
    built: Vec<Built>,
) -> Result<Vec<Made>, ApiError> {
    let blobs = state.control().blobs();
    let mut records = Vec::with_capacity(built.len());
    let mut reasons = Vec::with_capacity(built.len());
    for object in built {
        for (key, bytes) in object.bytes {
            blobs.put(&key, bytes).await?;
        }
        reasons.push((object.record.object_id.clone(), object.recognised));
        records.push(object.record);
    }
    let stored = state.control().store().insert_objects(records).await?;
    let mut made = Vec::with_capacity(stored.len());
    for ((record, existed), (given_id, recognised)) in stored.into_iter().zip(reasons) {
        if existed {
            // The bytes of the object that was not added; what fails here is only space that is not given back.
            let prefix = blob::prefix(&bucket.bucket_id, &given_id);
            if let Err(error) = blobs.delete_prefix(&prefix).await {
                tracing::warn!(%prefix, %error, "bytes of an object that existed already stay behind");
            }
        }
        made.push(Made {
            record,
            existed,
            recognised,
        });
    }
    Ok(made)
}

/// Stores those of many objects that fit and tells of the others.
pub(crate) async fn insert_each(
    state: &ApiState,
    bucket: &BucketRecord,
    objects: Vec<Value>,
) -> Result<CreateObjectsBatchResponse, ApiError> {
    let total = objects.len();
    if !(1..=OBJECTS_PER_REQUEST_MAX).contains(&total) {
        let message =
            format!("has {total} objects; it must have from 1 to {OBJECTS_PER_REQUEST_MAX}");
        return Err(ApiError::invalid(&["objects"], message));
    }
    let (mut indices, mut ready, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (index, object) in objects.into_iter().enumerate() {
        let at = ["objects".into(), index.into()];
        let read = body::parse_value::<Map<String, Value>>(object, &at)
            .and_then(|map| body::open(map, &at));
        match read.and_then(|request| build(state, bucket, request)) {
            Ok(built) => {
                indices.push(index);
                ready.push(built);
            }
            Err(error) => failed.push(refused(index, &error)),
        }
    }
    let mut succeeded = Vec::new();
    for (made, index) in insert(state, bucket, ready).await?.into_iter().zip(indices) {
        match made.answer() {
            Ok(answer) => succeeded.push(ObjectResponse {
                object_index: Some(index as u64),
                replayed: Some(answer.replayed.unwrap_or(false)),
                ..answer
            }),
            Err(error) => failed.push(refused(index, &error)),
        }
    }
    Ok(CreateObjectsBatchResponse {
        succeeded_count: succeeded.len() as u64,
        failed_count: failed.len() as u64,
        total_requested: total as u64,
        succeeded,
        failed,
    })
}

fn refused(index: usize, error: &ApiError) -> FailedObject {
    FailedObject {
        object_index: index as u64,
        error: error.message().to_owned(),
        error_type: format!("{:?}", error.error_type()),
    }
}
