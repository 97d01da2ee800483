//! Confirming an upload: the file is looked at, then becomes an object, or waits to be part of one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use fettle_model::{BlobId, ObjectId, TaskId, UploadId};
use fettle_ports::{
    BlobError, BlobRecord, BucketRecord, StoreExt as _, StoredFile, UploadRecord, UploadStatus,
};
use fettle_wire::bucket::UniqueKeyPolicy;
use fettle_wire::object::CreateBlobRequest;
use fettle_wire::task::TaskResponse;
use fettle_wire::upload::{
    BatchConfirmRequest, BatchConfirmResponse, ConfirmUploadRequest, ConfirmUploadResponse,
    UPLOADS_PER_REQUEST_MAX,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::create::UPLOAD_BYTES_MAX;
use super::receive::{hex, misfit};
use super::{named, upload};
use crate::batches::submit_objects;
use crate::body::{Body, InPath, OptionalBody, Params, parse_value, too_large};
use crate::error::ApiError;
use crate::lookup::bucket;
use crate::objects::{create_from_upload, exists};
use crate::state::ApiState;
use crate::tenant::Tenant;

#[derive(Deserialize, JsonSchema)]
pub(super) struct ConfirmQuery {
    /// What happens to an object with a known unique key.
    policy: Option<UniqueKeyPolicy>,
}

pub(super) async fn one(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
    Params(query): Params<ConfirmQuery>,
    OptionalBody(body): OptionalBody<ConfirmUploadRequest>,
) -> Result<Json<ConfirmUploadResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    confirm(&state, &tenant, &bucket, &id, body, query.policy)
        .await
        .map(Json)
}

pub(super) async fn many(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<ConfirmQuery>,
    Body(body): Body<BatchConfirmRequest>,
) -> Result<Json<BatchConfirmResponse>, ApiError> {
    let count = body.confirmations.len();
    if !(1..=UPLOADS_PER_REQUEST_MAX).contains(&count) {
        let message = format!("must have from 1 to {UPLOADS_PER_REQUEST_MAX}");
        return Err(ApiError::invalid(&["confirmations"], message));
    }
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let mut asked = Vec::with_capacity(count);
    for (place, mut each) in body.confirmations.into_iter().enumerate() {
        let at = ["confirmations".into(), place.into()];
        let id: String = parse_value(each.remove("upload_id").unwrap_or_default(), &at)?;
        asked.push((id, parse_value(Value::Object(each), &at)?));
    }
    let (mut results, mut outputs, mut failed) = (Vec::new(), Vec::new(), 0);
    let inputs: Vec<String> = asked.iter().map(|(id, _)| id.clone()).collect();
    for (id, each) in asked {
        match confirm(&state, &tenant, &bucket, &id, each, query.policy).await {
            Ok(confirmed) => {
                outputs.extend(confirmed.object_id.clone());
                results.push(json!(confirmed));
            }
            Err(error) => {
                failed += 1;
                let kind = format!("{:?}", error.error_type());
                results.push(json!({
                    "upload_id": id, "status": "FAILED", "message": error.message(), "error_type": kind,
                }));
            }
        }
    }
    let status = match failed {
        0 => "COMPLETED",
        all if all == count => "FAILED",
        _ => "COMPLETED_WITH_ERRORS",
    };
    let message = format!("{} of {count} were confirmed", count - failed);
    let task = TaskResponse {
        task_id: TaskId::from_entropy(state.id_bits()).to_string(),
        task_type: "api_buckets_uploads_batch_confirm".to_owned(),
        status: status.to_owned(),
        inputs,
        outputs,
        additional_data: Map::from_iter([("results".to_owned(), Value::Array(results))]),
        error: (failed > 0).then(|| message.clone()),
        cancellation: None,
        queue_position: None,
        estimated_wait_minutes: None,
    };
    Ok(Json(BatchConfirmResponse {
        task_id: task.task_id.clone(),
        status: status.to_owned(),
        message,
        confirmations_count: count as u64,
        task,
    }))
}

async fn confirm(
    state: &ApiState,
    tenant: &Tenant,
    bucket: &BucketRecord,
    id: &str,
    asked: ConfirmUploadRequest,
    policy: Option<UniqueKeyPolicy>,
) -> Result<ConfirmUploadResponse, ApiError> {
    // Looked up first, so that nobody can hold another tenant's upload.
    let upload_id = upload(state, bucket, id).await?.upload_id;
    let _hold = state.hold_upload(&upload_id)?;
    let mut record = upload(state, bucket, id).await?;
    match record.status {
        UploadStatus::Pending => {}
        UploadStatus::Completed => return Ok(answer(record, "was confirmed before")),
        UploadStatus::Failed => {
            let why = record.message.unwrap_or_default();
            return Err(ApiError::conflict("confirming the upload", why));
        }
    }
    let file = found(state, &record).await?;
    check_asked(&asked, &file)?;
    record.file = Some(file.clone());
    record.name = record.name_now();
    if let Some(why) = misfit(&record, &file) {
        return Err(fail(state, record, why).await?);
    }
    let known = match record.skip_duplicates && record.create_object {
        true => present(state, bucket, &file.sha256, Some(&record.upload_id)).await?,
        false => None,
    };
    let mut said = "the file is as announced";
    if let Some(known) = known {
        said = "a file with this content was there already and is taken instead";
        record.object_id = known.object_id;
        record.duplicate_of = Some(known.upload_id);
        state.control().blobs().delete(&record.key).await?;
    } else if record.create_object {
        let object = create_from_upload(state, bucket, &record, policy).await?;
        record.object_id = Some(object);
    }
    record.status = UploadStatus::Completed;
    record.completed_at = Some(state.now());
    state.control().store().update(&record).await?;
    let object = record.object_id.clone();
    let mut confirmed = answer(record, said);
    if let (true, Some(object)) = (asked.auto_submit_batch.unwrap_or(false), object) {
        let (batch, task) = submit_objects(state, tenant, bucket, vec![object]).await?;
        confirmed.batch_id = Some(batch.to_string());
        confirmed.task_id = task.map(|id| id.to_string());
    }
    Ok(confirmed)
}

fn answer(record: UploadRecord, said: &str) -> ConfirmUploadResponse {
    let file = record.file;
    ConfirmUploadResponse {
        upload_id: record.upload_id.into(),
        status: record.status.as_str().to_owned(),
        message: Some(said.to_owned()),
        object_id: record.object_id.map(Into::into),
        batch_id: None,
        task_id: None,
        file_size_bytes: file.as_ref().map(|file| file.size_bytes),
        file_hash: file.as_ref().map(|file| file.sha256.clone()),
        etag: file.map(|file| file.etag),
        verified_at: record.completed_at.map(Into::into),
        completed_at: record.completed_at.map(Into::into),
    }
}

/// What came: as it was noted while it came, else as the store has it.
async fn found(state: &ApiState, record: &UploadRecord) -> Result<StoredFile, ApiError> {
    if let Some(file) = &record.file {
        return Ok(file.clone());
    }
    let blobs = state.control().blobs();
    let meta = match blobs.head(&record.key).await {
        Err(BlobError::NotFound { .. }) => {
            let present = "no file has come; `PUT` it to the upload's address first";
            return Err(ApiError::conflict("confirming the upload", present));
        }
        other => other?,
    };
    if meta.size_bytes > UPLOAD_BYTES_MAX {
        blobs.delete(&record.key).await?;
        return Err(too_large());
    }
    let bytes = blobs.get(&record.key).await?;
    let sha256 = hex(&Sha256::digest(&bytes));
    Ok(StoredFile {
        size_bytes: bytes.len() as u64,
        etag: meta.etag.unwrap_or_else(|| sha256.clone()),
        sha256,
        blake3: blake3::hash(&bytes).to_hex().to_string(),
    })
}

/// What the client believes that it sent.
fn check_asked(asked: &ConfirmUploadRequest, file: &StoredFile) -> Result<(), ApiError> {
    if asked
        .file_size_bytes
        .is_some_and(|size| size != file.size_bytes)
    {
        let message = format!("the file has {} bytes", file.size_bytes);
        return Err(ApiError::invalid(&["file_size_bytes"], message));
    }
    let plain = |etag: &str| etag.trim_matches('"').to_owned();
    match &asked.etag {
        Some(etag) if plain(etag) != plain(&file.etag) => {
            let message = format!("the store's mark of the file is {}", file.etag);
            Err(ApiError::invalid(&["etag"], message))
        }
        _ => Ok(()),
    }
}

/// Gives the upload up; its bytes are nobody's.
async fn fail(
    state: &ApiState,
    mut record: UploadRecord,
    why: String,
) -> Result<ApiError, ApiError> {
    state.control().blobs().delete(&record.key).await?;
    record.status = UploadStatus::Failed;
    record.message = Some(why.clone());
    state.control().store().update(&record).await?;
    Ok(ApiError::invalid(&[], why))
}

/// A confirmed upload of this content that has become an object which is still there.
pub(super) async fn present(
    state: &ApiState,
    bucket: &BucketRecord,
    sha256: &str,
    other_than: Option<&UploadId>,
) -> Result<Option<UploadRecord>, ApiError> {
    let prefix = UploadRecord::name_of_content(&bucket.bucket_id, sha256);
    for record in named(state, bucket, &prefix).await? {
        let is_other = Some(&record.upload_id) != other_than;
        let (UploadStatus::Completed, true) = (record.status, is_other) else {
            continue;
        };
        if let Some(object) = &record.object_id
            && exists(state, bucket, object).await?
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The blob that a confirmed upload is.
pub(crate) fn blob_of(record: &UploadRecord, blob_id: BlobId) -> BlobRecord {
    let file = record.file.as_ref();
    BlobRecord {
        blob_id,
        property: record.blob_property.clone(),
        blob_type: record.blob_type.clone(),
        address: Some(format!("blob:{}", record.key)),
        inline: None,
        filename: Some(record.filename.clone()),
        mime_type: Some(record.content_type.clone()),
        size_bytes: file.map(|file| file.size_bytes),
        hash: file.map(|file| file.blake3.clone()),
        key_prefix: None,
        metadata: Map::new(),
    }
}

/// The uploads that blobs of a new object name, by their places. Each can be part of one object.
pub(crate) async fn resolve(
    state: &ApiState,
    bucket: &BucketRecord,
    blobs: &[CreateBlobRequest],
) -> Result<BTreeMap<usize, UploadRecord>, ApiError> {
    let mut found: BTreeMap<usize, UploadRecord> = BTreeMap::new();
    for (place, blob) in blobs.iter().enumerate() {
        let Some(id) = &blob.upload_id else { continue };
        let at = place.to_string();
        let refuse = |message: String| ApiError::invalid(&["blobs", &at, "upload_id"], message);
        let record = upload(state, bucket, id).await?;
        if record.status != UploadStatus::Completed {
            return Err(refuse(format!(
                "is {}; confirm it first",
                record.status.as_str()
            )));
        }
        if let Some(object) = &record.object_id {
            return Err(refuse(format!("is part of object {object} already")));
        }
        if found.values().any(|it| it.upload_id == record.upload_id) {
            return Err(refuse("stands twice in this object".to_owned()));
        }
        found.insert(place, record);
    }
    Ok(found)
}

/// Notes of which object uploads have become part.
pub(crate) async fn settle(
    state: &ApiState,
    uploads: BTreeMap<usize, UploadRecord>,
    object: &str,
) -> Result<(), ApiError> {
    let object: ObjectId = object.parse().map_err(ApiError::internal)?;
    for mut record in uploads.into_values() {
        record.object_id = Some(object.clone());
        state.control().store().update(&record).await?;
    }
    Ok(())
}
