//! Uploads: files that clients send by a signed address.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::filter::SentFilter;
use crate::page::{PaginationResponse, Sort};
use crate::task::TaskResponse;
use crate::time::Timestamp;

/// Uploads in one request.
pub const UPLOADS_PER_REQUEST_MAX: usize = 100;

/// `POST /v1/buckets/{bucket}/uploads`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUploadRequest {
    /// Name of the file.
    pub filename: String,
    /// Its MIME type; the file must be sent with it.
    pub content_type: String,
    /// Its size; another size is refused.
    pub file_size_bytes: Option<u64>,
    /// SHA-256 of its content in lower-case hexadecimal; another content is refused.
    pub file_hash: Option<String>,
    /// How long it may be sent, in seconds: from 60 to 86400, 3600 when left out.
    pub presigned_url_expiration: Option<u64>,
    /// Notes on the upload.
    pub metadata: Option<Map<String, Value>>,
    /// Whether the confirmed upload becomes an object; `true` when left out.
    pub create_object_on_confirm: Option<bool>,
    /// Fields of that object.
    pub object_metadata: Option<Map<String, Value>>,
    /// The schema property that the file fills; the only file property of the schema, or the file's name, when left out.
    pub blob_property: Option<String>,
    /// Its type; follows from the schema or the MIME type when left out.
    pub blob_type: Option<String>,
    /// Whether a confirmed upload of the same content is answered instead; `true` when left out.
    pub skip_duplicates: Option<bool>,
}

/// `POST /v1/buckets/{bucket}/uploads/batch`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchUploadRequest {
    /// The uploads, all or none.
    pub uploads: Vec<CreateUploadRequest>,
    /// Notes on each, below its own.
    pub shared_metadata: Option<Map<String, Value>>,
    /// Fields of each object, below its own.
    pub shared_object_metadata: Option<Map<String, Value>>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BatchUploadResponse {
    /// In the order of the request.
    pub uploads: Vec<UploadResponse>,
    /// How many there are.
    pub total: u64,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UploadResponse {
    /// Its id.
    pub upload_id: String,
    /// The bucket.
    pub bucket_id: String,
    /// Name of the file.
    pub filename: String,
    /// MIME type of the file.
    pub content_type: String,
    /// Size of the file, as announced or as found.
    pub file_size_bytes: Option<u64>,
    /// SHA-256 of the content, as announced or as found.
    pub file_hash: Option<String>,
    /// `PENDING`, `COMPLETED` or `FAILED`.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// Why it is as it is.
    pub message: Option<String>,
    /// Key of the file in the blob store.
    pub s3_key: String,
    /// Where to `PUT` the file, while it is pending.
    pub presigned_url: Option<String>,
    /// How long that address works from its making, in seconds.
    pub presigned_url_expiration: u64,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// What the store said that it holds.
    pub etag: Option<String>,
    /// Notes.
    pub metadata: Option<Map<String, Value>>,
    /// Whether the confirmed upload becomes an object.
    pub create_object_on_confirm: bool,
    /// Fields of that object.
    pub object_metadata: Option<Map<String, Value>>,
    /// The property that the file fills.
    pub blob_property: Option<String>,
    /// Its type.
    pub blob_type: Option<String>,
    /// The object, once made.
    pub object_id: Option<String>,
    /// The object that there was already.
    pub existing_object_id: Option<String>,
    /// Whether a confirmed upload of the same content is answered instead.
    pub skip_duplicates: bool,
    /// Whether this upload is answered in the place of a new one.
    pub is_duplicate: bool,
    /// The upload of the same content.
    pub duplicate_of_upload_id: Option<String>,
    /// Whether an object with the same unique key stood in the way.
    pub skipped_unique_key: bool,
    /// No task is needed.
    pub task_id: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the file was found to be as announced.
    pub verified_at: Option<Timestamp>,
    /// When it was confirmed.
    pub completed_at: Option<Timestamp>,
}

/// `POST …/uploads/{upload_id}/confirm`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmUploadRequest {
    /// What the store answered to the `PUT`; another one is refused.
    pub etag: Option<String>,
    /// Size of what was sent; another one is refused.
    pub file_size_bytes: Option<u64>,
    /// Whether the object is put into a batch of its own, which is submitted.
    pub auto_submit_batch: Option<bool>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConfirmUploadResponse {
    /// Its id.
    pub upload_id: String,
    /// Where it stands.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// In one sentence.
    pub message: Option<String>,
    /// The object.
    pub object_id: Option<String>,
    /// The batch that was submitted.
    pub batch_id: Option<String>,
    /// The batch's task.
    pub task_id: Option<String>,
    /// What the store holds.
    pub etag: Option<String>,
    /// SHA-256 of the content.
    pub file_hash: Option<String>,
    /// Its size.
    pub file_size_bytes: Option<u64>,
    /// When it was found to be as announced.
    pub verified_at: Option<Timestamp>,
    /// When it was confirmed.
    pub completed_at: Option<Timestamp>,
}

/// `POST …/uploads/confirm/batch`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchConfirmRequest {
    /// `{"upload_id": …}` with the keys of a single confirmation.
    pub confirmations: Vec<Map<String, Value>>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BatchConfirmResponse {
    /// Id of the task.
    pub task_id: String,
    /// How it went: `COMPLETED`, or `COMPLETED_WITH_ERRORS`, or `FAILED`.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// In one sentence.
    pub message: String,
    /// How many there are.
    pub confirmations_count: u64,
    /// What came of each, in `additional_data.results`.
    pub task: TaskResponse,
}

/// `POST …/uploads/list`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUploadsRequest {
    /// How many at most; 20 when left out.
    pub limit: Option<u64>,
    /// How many to pass over.
    pub offset: Option<u64>,
    /// Which; the fields are those of the answer.
    pub filters: Option<SentFilter>,
    /// Part of the file's name.
    pub search: Option<String>,
    /// In which order; newest first when left out.
    pub sort: Option<Sort>,
    /// Whether addresses of pending uploads are wanted.
    pub return_presigned_urls: Option<bool>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ListUploadsResponse {
    /// The page.
    pub results: Vec<UploadResponse>,
    /// Where it stands.
    pub pagination: PaginationResponse,
    /// Of all that match.
    pub stats: UploadListStats,
}

/// What many uploads are together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct UploadListStats {
    /// How many.
    pub total_uploads: u64,
    /// Bytes of those whose size is known.
    pub total_size_bytes: u64,
    /// Their mean.
    pub avg_file_size_bytes: f64,
    /// How many by status.
    pub uploads_by_status: BTreeMap<String, u64>,
    /// Buckets.
    pub unique_buckets: u64,
}
