//! An upload as it is shown.

use fettle_ports::UploadRecord;
use fettle_wire::upload::UploadResponse;

/// Its size, as found or as announced.
pub(super) fn size(record: &UploadRecord) -> Option<u64> {
    let found = record.file.as_ref().map(|file| file.size_bytes);
    found.or(record.expected_bytes)
}

pub(super) fn view(record: UploadRecord, address: Option<String>) -> UploadResponse {
    let size = size(&record);
    let file = record.file;
    let sha256 = file.as_ref().map(|file| file.sha256.clone());
    UploadResponse {
        file_size_bytes: size,
        file_hash: sha256.or(record.expected_sha256),
        status: record.status.as_str().to_owned(),
        message: record.message,
        s3_key: record.key,
        presigned_url: address,
        presigned_url_expiration: record.expiration_s,
        expires_at: record.expires_at.into(),
        etag: file.map(|file| file.etag),
        metadata: Some(record.metadata).filter(|map| !map.is_empty()),
        create_object_on_confirm: record.create_object,
        object_metadata: Some(record.object_metadata).filter(|map| !map.is_empty()),
        blob_property: Some(record.blob_property),
        blob_type: Some(record.blob_type),
        object_id: record.object_id.as_ref().map(ToString::to_string),
        existing_object_id: record
            .object_id
            .filter(|_| record.duplicate_of.is_some())
            .map(Into::into),
        skip_duplicates: record.skip_duplicates,
        is_duplicate: record.duplicate_of.is_some(),
        duplicate_of_upload_id: record.duplicate_of.map(Into::into),
        skipped_unique_key: false,
        task_id: None,
        created_at: record.created_at.into(),
        verified_at: record.completed_at.map(Into::into),
        completed_at: record.completed_at.map(Into::into),
        upload_id: record.upload_id.into(),
        bucket_id: record.bucket_id.into(),
        filename: record.filename,
        content_type: record.content_type,
    }
}
