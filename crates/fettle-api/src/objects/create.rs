//! New objects: checked against the bucket's schema, their bytes stored first, then their records, all or none.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fettle_model::{BlobId, ObjectId};
use fettle_ports::{BlobRecord, BucketRecord, ObjectRecord, UploadRecord};
use fettle_wire::bucket::BucketSchema;
use fettle_wire::object::{
    BLOBS_PER_OBJECT_MAX, CreateObjectRequest, CreateObjectsBatchResponse, FailedObject,
    IDEMPOTENCY_KEY_LENGTH_MAX, OBJECTS_PER_REQUEST_MAX, ObjectResponse, ReplayedBy,
};
use serde_json::{Map, Value};

use super::{blob, identity, view};
use crate::body;
use crate::buckets::schema;
use crate::error::ApiError;
use crate::lookup::only;
use crate::state::ApiState;
use crate::uploads::blob_of;

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

/// An object that is ready to be stored.
pub(crate) struct Built {
    pub(super) record: ObjectRecord,
    pub(super) bytes: Vec<(String, Bytes)>,
}

/// An object that exists now.
pub(crate) struct Made {
    record: ObjectRecord,
    /// By what it was recognised, where it existed already.
    recognised: Option<Recognised>,
}

/// By what an object that exists already is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recognised {
    IdempotencyKey,
    UniqueKey,
    SameContent,
}

impl Recognised {
    fn of(new: &ObjectRecord, present: &ObjectRecord) -> Self {
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        if same(&new.idempotency_key, &present.idempotency_key) {
            Self::IdempotencyKey
        } else if same(&new.unique_key, &present.unique_key) {
            Self::UniqueKey
        } else {
            Self::SameContent
        }
    }
}

impl Made {
    /// Shows it; an object whose unique key was taken is refused.
    pub(crate) fn answer(self) -> Result<ObjectResponse, ApiError> {
        let by = match self.recognised {
            None => return Ok(view::view(self.record)),
            Some(Recognised::UniqueKey) => {
                return Err(ApiError::exists(
                    "object with this unique key",
                    self.record.object_id.as_str(),
                ));
            }
            Some(Recognised::IdempotencyKey) => ReplayedBy::IdempotencyKey,
            Some(Recognised::SameContent) => ReplayedBy::SkipDuplicates,
        };
        Ok(ObjectResponse {
            replayed: Some(true),
            replayed_by: Some(by),
            ..view::view(self.record)
        })
    }
}

/// Checks an object and gives it its ids.
pub(crate) fn build(
    state: &ApiState,
    bucket: &BucketRecord,
    mut request: CreateObjectRequest,
    uploads: &BTreeMap<usize, UploadRecord>,
) -> Result<Built, ApiError> {
    let schema = schema::of(bucket)?;
    let object_id = ObjectId::from_entropy(state.id_bits());
    let requested = request.blobs.take().unwrap_or_default();
    let (blobs, bytes) = build_blobs(state, bucket, &schema, &object_id, requested, uploads)?;
    let built = assemble(state, bucket, request, blobs)?;
    let record = ObjectRecord {
        object_id,
        ..built.record
    };
    Ok(Built { record, bytes })
}

/// Checks an object whose blobs are made already.
pub(super) fn assemble(
    state: &ApiState,
    bucket: &BucketRecord,
    request: CreateObjectRequest,
    blobs: Vec<BlobRecord>,
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
    let mut fields = request.fields;
    let filled: BTreeSet<&str> = blobs.iter().map(|blob| blob.property.as_str()).collect();
    schema::check_fields(&schema, &mut fields, &filled)?;
    check_idempotency_key(request.idempotency_key.as_deref())?;
    let now = state.now();
    let record = ObjectRecord {
        namespace_id: bucket.namespace_id.clone(),
        bucket_id: bucket.bucket_id.clone(),
        object_id: ObjectId::from_entropy(state.id_bits()),
        key_prefix: request.key_prefix,
        unique_key: identity::unique_key(bucket, &blobs, &fields)?,
        content_hash: identity::content_hash(&blobs),
        blobs,
        fields,
        idempotency_key: request.idempotency_key,
        skip_duplicates: request.skip_duplicates.unwrap_or(false),
        created_at: now,
        updated_at: now,
    };
    Ok(Built {
        record,
        bytes: Vec::new(),
    })
}

fn check_idempotency_key(key: Option<&str>) -> Result<(), ApiError> {
    match key.map(|key| key.chars().count()) {
        Some(length) if !(1..=IDEMPOTENCY_KEY_LENGTH_MAX).contains(&length) => {
            let message = format!("must have from 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters");
            Err(ApiError::invalid(&["idempotency_key"], message))
        }
        _ => Ok(()),
    }
}

type BlobsAndBytes = (Vec<BlobRecord>, Vec<(String, Bytes)>);

fn build_blobs(
    state: &ApiState,
    bucket: &BucketRecord,
    schema: &BucketSchema,
    object: &ObjectId,
    requested: Vec<fettle_wire::object::CreateBlobRequest>,
    uploads: &BTreeMap<usize, UploadRecord>,
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
        if let Some(upload) = uploads.get(&index) {
            records.push(blob::of_upload(request, index, blob_of(upload, id))?);
            continue;
        }
        if request.upload_id.is_some() {
            let at = index.to_string();
            let message = "can be named when an object is made alone, not among many";
            return Err(ApiError::invalid(&["blobs", &at, "upload_id"], message));
        }
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

/// Stores the bytes of new blobs.
pub(super) async fn store_bytes(
    state: &ApiState,
    bytes: Vec<(String, Bytes)>,
) -> Result<(), ApiError> {
    for (key, bytes) in bytes {
        state.control().blobs().put(&key, bytes).await?;
    }
    Ok(())
}

/// Stores objects, bytes first, so that no record names bytes that are not there.
pub(crate) async fn insert(
    state: &ApiState,
    bucket: &BucketRecord,
    built: Vec<Built>,
) -> Result<Vec<Made>, ApiError> {
    let blobs = state.control().blobs();
    let mut records = Vec::with_capacity(built.len());
    for object in built {
        store_bytes(state, object.bytes).await?;
        records.push(object.record);
    }
    let given = records.clone();
    let stored = state.control().store().insert_objects(records).await?;
    let mut made = Vec::with_capacity(stored.len());
    for ((record, existed), new) in stored.into_iter().zip(given) {
        if existed {
            // The bytes of the object that was not added; what fails here is only space that is not given back.
            let prefix = blob::prefix(&bucket.bucket_id, &new.object_id);
            if let Err(error) = blobs.delete_prefix(&prefix).await {
                tracing::warn!(%prefix, %error, "bytes of an object that existed already stay behind");
            }
        }
        made.push(Made {
            recognised: existed.then(|| Recognised::of(&new, &record)),
            record,
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
    let policy = identity::policy(bucket, None)?;
    let (mut indices, mut ready, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut succeeded = Vec::new();
    for (index, object) in objects.into_iter().enumerate() {
        let at = ["objects".into(), index.into()];
        let read = body::parse_value::<Map<String, Value>>(object, &at)
            .and_then(|map| body::open(map, &at));
        let built = match read.and_then(|request| build(state, bucket, request, &BTreeMap::new())) {
            Ok(built) => built,
            Err(error) => {
                failed.push(refused(index, &error));
                continue;
            }
        };
        match identity::replace(state, policy, built).await {
            Ok(Ok(record)) => succeeded.push(ObjectResponse {
                object_index: Some(index as u64),
                replayed: Some(false),
                ..view::view(record)
            }),
            Ok(Err(built)) => {
                indices.push(index);
                ready.push(built);
            }
            Err(error) => failed.push(refused(index, &error)),
        }
    }
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
