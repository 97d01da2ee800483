//! Objects and their blobs. An object's other top-level keys are its own fields.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bucket::FieldType;
use crate::filter::SentFilter;
use crate::page::{PageQuery, PaginationResponse, Sort};
use crate::time::Timestamp;

/// Objects in one batch request: as many as one transaction takes without making others wait.
pub const OBJECTS_PER_REQUEST_MAX: usize = 100;
/// Blobs of one object: its record is read and written whole.
pub const BLOBS_PER_OBJECT_MAX: usize = 100;
/// Longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_LENGTH_MAX: usize = 255;

/// A body whose unknown keys are data. The known ones are read apart, so that what is wrong in them can be located.
pub trait OpenBody {
    /// Its known keys.
    const KEYS: &'static [&'static str];
    /// Takes over the other keys.
    fn take_fields(&mut self, fields: Map<String, Value>);
}

/// `POST /v1/buckets/{id}/objects`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateObjectRequest {
    /// Its blobs.
    pub blobs: Option<Vec<CreateBlobRequest>>,
    /// Where it lies in the bucket, for people.
    pub key_prefix: Option<String>,
    /// A key under which creating it again gives the same object.
    pub idempotency_key: Option<String>,
    /// Whether an object of the bucket with the same blobs is answered instead.
    pub skip_duplicates: Option<bool>,
    /// Accepted with the client's default.
    pub canonicalize_source: Option<bool>,
    /// Accepted with the client's default.
    pub force_remirror: Option<bool>,
    /// Edges do not exist; refused by name.
    pub edges: Option<Value>,
    /// Its own fields: all keys that are not above.
    #[serde(skip)]
    pub fields: Map<String, Value>,
}

impl OpenBody for CreateObjectRequest {
    const KEYS: &'static [&'static str] = &[
        "blobs",
        "key_prefix",
        "idempotency_key",
        "skip_duplicates",
        "canonicalize_source",
        "force_remirror",
        "edges",
    ];

    fn take_fields(&mut self, fields: Map<String, Value>) {
        self.fields = fields;
    }
}

/// `POST /v1/buckets/{id}/objects/batch`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateObjectsBatchRequest {
    /// The objects, each read on its own so that one bad object does not refuse the others.
    #[schemars(with = "Vec<OpenObject>")]
    pub objects: Vec<Value>,
}

/// The schema of objects whose other keys are their own fields.
struct OpenObject;

impl JsonSchema for OpenObject {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OpenObject".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = CreateObjectRequest::json_schema(generator);
        schema.insert("additionalProperties".to_owned(), true.into());
        schema
    }
}

/// `PATCH /v1/buckets/{id}/objects/{id}`, which sets single fields, and `PUT`, which sets all of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchObjectRequest {
    /// A new place in the bucket.
    pub key_prefix: Option<String>,
    /// Accepted with the client's default.
    pub skip_duplicates: Option<bool>,
    /// Fields to change, which leaves all others as they are, with PUT too. What the object has in a field `metadata` of its
    /// own is changed there, all else at its root.
    pub metadata: Option<Map<String, Value>>,
    /// Fields to set: all keys that are not above. With PATCH a null removes the field.
    #[serde(skip)]
    pub fields: Map<String, Value>,
}

impl OpenBody for PatchObjectRequest {
    const KEYS: &'static [&'static str] = &["key_prefix", "skip_duplicates", "metadata"];

    fn take_fields(&mut self, fields: Map<String, Value>) {
        self.fields = fields;
    }
}

/// A blob as it is given.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBlobRequest {
    /// The schema property that it fills.
    pub property: String,
    /// Its type.
    #[serde(rename = "type")]
    pub blob_type: FieldType,
    /// A value, an address (`file://`, `http(s)://`, `s3://`), a `data:` address, or base64 of a file.
    pub data: Option<Value>,
    /// A confirmed upload of the bucket, in the place of `data`.
    pub upload_id: Option<String>,
    /// SHA-256 of its bytes, as `sha256:HEX` or the digits alone. It is held against what is sent, and kept as
    /// `details.hash` where the bytes lie elsewhere.
    pub checksum: Option<String>,
    /// Where it lies in the bucket, for people.
    pub key_prefix: Option<String>,
    /// The user's own notes.
    pub metadata: Option<Map<String, Value>>,
    /// Accepted with the client's default.
    pub canonicalize_source: Option<bool>,
    /// Accepted with the client's default.
    pub force_remirror: Option<bool>,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectResponse {
    /// Its id.
    pub object_id: String,
    /// The bucket.
    pub bucket_id: String,
    /// Where it lies in the bucket, for people.
    pub key_prefix: Option<String>,
    /// Its blobs.
    pub blobs: Vec<BlobModel>,
    /// Always `ACTIVE`.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// How many documents were made of it, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_count: Option<u64>,
    /// Its place in a batch request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_index: Option<u64>,
    /// Whether it existed already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<bool>,
    /// By what it was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_by: Option<ReplayedBy>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Its own fields.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// By what an object that existed already was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayedBy {
    /// By its `idempotency_key`.
    IdempotencyKey,
    /// By what its blobs hold.
    SkipDuplicates,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlobModel {
    /// Its id.
    pub blob_id: String,
    /// The schema property that it fills.
    pub property: String,
    /// Its type.
    #[serde(rename = "type")]
    #[schemars(with = "FieldType")]
    pub blob_type: String,
    /// Where it lies in the bucket, for people.
    pub key_prefix: Option<String>,
    /// What is known of its file.
    pub details: BlobDetails,
    /// The user's notes, with `url` or `data`: where the bytes are, or the value itself.
    pub properties: Map<String, Value>,
    /// An address by which anybody can read it for an hour, where asked for and possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presigned_url: Option<String>,
}

/// What is known of a blob's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobDetails {
    /// File name.
    pub filename: Option<String>,
    /// Size in bytes.
    pub size_bytes: Option<u64>,
    /// MIME type.
    pub mime_type: Option<String>,
    /// Blake3 in hexadecimal, or the `checksum` that was given of bytes that lie elsewhere.
    pub hash: Option<String>,
}

/// The answer to a batch request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreateObjectsBatchResponse {
    /// Objects that exist now.
    pub succeeded: Vec<ObjectResponse>,
    /// Objects that were refused.
    pub failed: Vec<FailedObject>,
    /// How many exist now.
    pub succeeded_count: u64,
    /// How many were refused.
    pub failed_count: u64,
    /// How many were given.
    pub total_requested: u64,
}

/// An object that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedObject {
    /// Its place in the request.
    pub object_index: u64,
    /// What is wrong.
    pub error: String,
    /// Kind of error, as in the envelope.
    pub error_type: String,
}

/// `POST /v1/buckets/{id}/objects/list`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListObjectsRequest {
    /// Only objects that match.
    pub filters: Option<SentFilter>,
    /// Only objects with this text in a field or file name.
    pub search: Option<String>,
    /// Only these of the object's own fields.
    pub select: Option<Vec<String>>,
    /// In which order: by a field of at most 10,000 that match.
    pub sort: Option<Sort>,
    /// Accepted with the client's default.
    pub return_presigned_urls: Option<bool>,
    /// How many at most.
    pub limit: Option<u64>,
    /// How many to pass over.
    pub offset: Option<u64>,
    /// Number of the page, from one.
    pub page: Option<u64>,
    /// How many a page has.
    pub page_size: Option<u64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Whether the total is wanted with a filter.
    pub include_total: Option<bool>,
}

impl ListObjectsRequest {
    /// The paging that it asks for.
    #[must_use]
    pub fn page(&self) -> PageQuery {
        PageQuery {
            limit: self.limit,
            offset: self.offset,
            page: self.page,
            page_size: self.page_size,
            cursor: self.cursor.clone(),
            include_total: self.include_total,
            ..PageQuery::default()
        }
    }
}

/// A page of objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListObjectsResponse {
    /// The page.
    pub results: Vec<ObjectResponse>,
    /// Where it stands.
    pub pagination: PaginationResponse,
}
