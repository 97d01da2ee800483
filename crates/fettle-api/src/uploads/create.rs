//! New uploads: all that can be known to be wrong is refused before anything is sent.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use fettle_model::UploadId;
use fettle_ports::{BucketRecord, StoreExt as _, UploadRecord, UploadStatus};
use fettle_wire::bucket::{BucketSchema, FieldType};
use fettle_wire::upload::{
    BatchUploadRequest, BatchUploadResponse, CreateUploadRequest, UPLOADS_PER_REQUEST_MAX,
    UploadResponse,
};
use serde_json::{Map, Value};

use super::address;
use super::confirm::present;
use super::view;
use crate::body::{Body, InPath};
use crate::buckets::schema;
use crate::error::ApiError;
use crate::lookup::bucket;
use crate::objects::check_own_fields;
use crate::signed::Origin;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Largest file: workers load no larger blobs.
pub(super) const UPLOAD_BYTES_MAX: u64 = 256 << 20;
/// Longest name of a file, as in the contract.
const FILENAME_LENGTH_MAX: usize = 255;
/// Longest MIME type (RFC 6838 has 127 for each half).
const CONTENT_TYPE_LENGTH_MAX: usize = 255;
/// How long an address works when nobody says otherwise, in seconds, as in the contract.
const EXPIRATION_DEFAULT_S: u64 = 3_600;
/// How long an address may work, in seconds, as in the contract.
const EXPIRATION_S: std::ops::RangeInclusive<u64> = 60..=86_400;
/// Notes on an upload, as JSON: they are read with every list.
const METADATA_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn one(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath(name): InPath<String>,
    Body(body): Body<CreateUploadRequest>,
) -> Result<Json<UploadResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let record = checked(&state, &bucket, body)?;
    made(&state, &origin, &bucket, record).await.map(Json)
}

pub(super) async fn many(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath(name): InPath<String>,
    Body(body): Body<BatchUploadRequest>,
) -> Result<Json<BatchUploadResponse>, ApiError> {
    if !(1..=UPLOADS_PER_REQUEST_MAX).contains(&body.uploads.len()) {
        let message = format!("must have from 1 to {UPLOADS_PER_REQUEST_MAX}");
        return Err(ApiError::invalid(&["uploads"], message));
    }
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let with_shared = |shared: &Option<Map<String, Value>>, own: Option<Map<String, Value>>| {
        let mut all = shared.clone().unwrap_or_default();
        all.extend(own.unwrap_or_default());
        Some(all)
    };
    let mut records = Vec::with_capacity(body.uploads.len());
    for mut upload in body.uploads {
        upload.metadata = with_shared(&body.shared_metadata, upload.metadata);
        upload.object_metadata = with_shared(&body.shared_object_metadata, upload.object_metadata);
        records.push(checked(&state, &bucket, upload)?);
    }
    let mut uploads = Vec::with_capacity(records.len());
    for record in records {
        uploads.push(made(&state, &origin, &bucket, record).await?);
    }
    Ok(Json(BatchUploadResponse {
        total: uploads.len() as u64,
        uploads,
    }))
}

/// Stores an upload, or answers the one that has its content already.
async fn made(
    state: &ApiState,
    origin: &Origin,
    bucket: &BucketRecord,
    record: UploadRecord,
) -> Result<UploadResponse, ApiError> {
    let is_one_enough = record.skip_duplicates && record.create_object;
    if let (true, Some(sha256)) = (is_one_enough, &record.expected_sha256)
        && let Some(known) = present(state, bucket, sha256, None).await?
    {
        let object_id = known.object_id.as_ref().map(ToString::to_string);
        return Ok(UploadResponse {
            is_duplicate: true,
            duplicate_of_upload_id: Some(known.upload_id.to_string()),
            existing_object_id: object_id,
            message: Some(
                "a file with this content is there already; nothing is to be sent".to_owned(),
            ),
            ..view::view(known, None)
        });
    }
    state.control().store().insert(&record).await?;
    let address = address::of(state, origin, &record).await?;
    Ok(view::view(record, Some(address)))
}

fn checked(
    state: &ApiState,
    bucket: &BucketRecord,
    body: CreateUploadRequest,
) -> Result<UploadRecord, ApiError> {
    check_filename(&body.filename)?;
    check_content_type(&body.content_type)?;
    check_content(body.file_size_bytes, body.file_hash.as_deref())?;
    let expiration_s = expiration_s(body.presigned_url_expiration)?;
    let metadata = body.metadata.unwrap_or_default();
    check_metadata(&metadata)?;
    let schema = schema::of(bucket)?;
    let property = property(&schema, body.blob_property, &body.filename)?;
    let create_object = body.create_object_on_confirm.unwrap_or(true);
    let kind = kind(
        &schema,
        &property,
        body.blob_type.as_deref(),
        &body.content_type,
    )?;
    let object_metadata = body.object_metadata.unwrap_or_default();
    if create_object {
        schema::check_blob(&schema, &property, kind, 0)?;
        check_own_fields(&object_metadata)?;
        let filled = BTreeSet::from([property.as_str()]);
        schema::check_fields(&schema, &mut object_metadata.clone(), &filled)?;
    }
    let now = state.now();
    let upload_id = UploadId::from_entropy(state.id_bits());
    let mut record = UploadRecord {
        namespace_id: bucket.namespace_id.clone(),
        bucket_id: bucket.bucket_id.clone(),
        name: String::new(),
        filename: body.filename,
        content_type: body.content_type,
        expected_bytes: body.file_size_bytes,
        expected_sha256: body.file_hash,
        // No part of it is a client's, so none can lead elsewhere.
        key: format!("uploads/{}/{upload_id}", bucket.bucket_id),
        blob_property: property,
        blob_type: kind.as_str().to_owned(),
        create_object,
        metadata,
        object_metadata,
        skip_duplicates: body.skip_duplicates.unwrap_or(true),
        expiration_s,
        expires_at: now.plus_ms(expiration_s * 1_000),
        status: UploadStatus::Pending,
        message: None,
        file: None,
        object_id: None,
        duplicate_of: None,
        created_at: now,
        completed_at: None,
        upload_id,
    };
    record.name = record.name_now();
    Ok(record)
}

fn check_filename(filename: &str) -> Result<(), ApiError> {
    let length = filename.chars().count();
    let leads_elsewhere = filename.contains(['/', '\\']) || matches!(filename, "." | "..");
    let is_fit = (1..=FILENAME_LENGTH_MAX).contains(&length)
        && !leads_elsewhere
        && !filename.chars().any(char::is_control);
    if is_fit {
        return Ok(());
    }
    let message = format!("must have from 1 to {FILENAME_LENGTH_MAX} characters and be no path");
    Err(ApiError::invalid(&["filename"], message))
}

fn expiration_s(asked: Option<u64>) -> Result<u64, ApiError> {
    let expiration_s = asked.unwrap_or(EXPIRATION_DEFAULT_S);
    if EXPIRATION_S.contains(&expiration_s) {
        return Ok(expiration_s);
    }
    let (least, most) = EXPIRATION_S.into_inner();
    let message = format!("must be from {least} to {most} seconds");
    Err(ApiError::invalid(&["presigned_url_expiration"], message))
}

fn check_metadata(metadata: &Map<String, Value>) -> Result<(), ApiError> {
    let is_fit = serde_json::to_string(metadata).is_ok_and(|it| it.len() <= METADATA_BYTES_MAX);
    if is_fit {
        return Ok(());
    }
    let message = format!("has more than {METADATA_BYTES_MAX} bytes as JSON");
    Err(ApiError::invalid(&["metadata"], message))
}

fn check_content_type(content_type: &str) -> Result<(), ApiError> {
    let halves = content_type
        .split(';')
        .next()
        .and_then(|it| it.split_once('/'));
    let is_token = |text: &str| {
        let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b);
        !text.trim().is_empty() && text.trim().bytes().all(is_fit)
    };
    let is_fit = content_type.len() <= CONTENT_TYPE_LENGTH_MAX
        && HeaderValue::from_str(content_type).is_ok()
        && content_type.is_ascii()
        && halves.is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    if is_fit {
        return Ok(());
    }
    Err(ApiError::invalid(
        &["content_type"],
        "is not a MIME type, such as `image/png`",
    ))
}

fn check_content(size: Option<u64>, sha256: Option<&str>) -> Result<(), ApiError> {
    if size.is_some_and(|size| !(1..=UPLOAD_BYTES_MAX).contains(&size)) {
        let message = format!("must be from 1 to {UPLOAD_BYTES_MAX}");
        return Err(ApiError::invalid(&["file_size_bytes"], message));
    }
    let is_hash = |text: &str| {
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if sha256.is_some_and(|text| !is_hash(text)) {
        let message = "must be a SHA-256 as 64 lower-case hexadecimal digits";
        return Err(ApiError::invalid(&["file_hash"], message));
    }
    Ok(())
}

/// The property that the file fills: as asked for, else the schema's only one for files, else the file's name.
fn property(
    schema: &BucketSchema,
    asked: Option<String>,
    filename: &str,
) -> Result<String, ApiError> {
    let mut files = schema
        .properties
        .iter()
        .filter(|(_, field)| field.field_type.is_file());
    let only_one = files.next().filter(|_| files.next().is_none());
    let property = asked.or_else(|| only_one.map(|(name, _)| name.clone()));
    let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
    let property = property.unwrap_or_else(|| stem.to_owned());
    let is_fit = property.len() <= schema::PROPERTY_LENGTH_MAX
        && !property.is_empty()
        && property
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_fit {
        return Ok(property);
    }
    let message = format!(
        "`{property}` is not a name of letters, digits and underscores: say which property of the schema the file fills"
    );
    Err(ApiError::invalid(&["blob_property"], message))
}

/// What the file is: as asked for, else as the schema has it, else as its MIME type says.
fn kind(
    schema: &BucketSchema,
    property: &str,
    asked: Option<&str>,
    content_type: &str,
) -> Result<FieldType, ApiError> {
    let refuse = |message: String| Err(ApiError::invalid(&["blob_type"], message));
    let by_mime = of_mime(content_type);
    let kind = match asked {
        Some(asked) => match serde_json::from_value(asked.to_lowercase().into()) {
            Ok(kind) => kind,
            Err(_) => return refuse(format!("there is no type `{asked}`")),
        },
        None => {
            let field = schema.properties.get(property);
            field
                .map(|field| field.field_type)
                .or(by_mime)
                .unwrap_or(FieldType::Text)
        }
    };
    if !(kind.is_file() || matches!(kind, FieldType::Text | FieldType::String)) {
        return refuse(format!("a `{}` is no file", kind.as_str()));
    }
    if kind.is_file() && by_mime.is_some_and(|by_mime| by_mime != kind) {
        return refuse(format!("`{content_type}` is no `{}`", kind.as_str()));
    }
    Ok(kind)
}

fn of_mime(content_type: &str) -> Option<FieldType> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let (kind, sub) = essence.split_once('/')?;
    match (kind, sub) {
        ("image", _) => Some(FieldType::Image),
        ("audio", _) => Some(FieldType::Audio),
        ("video", _) => Some(FieldType::Video),
        ("text", _) => Some(FieldType::Text),
        ("application", "pdf") => Some(FieldType::Pdf),
        ("application", sub) if sub.contains("excel") || sub.contains("spreadsheet") => {
            Some(FieldType::Excel)
        }
        _ => None,
    }
}
