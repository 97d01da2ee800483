//! Uploads as the store keeps them.

use fettle_model::{BucketId, NamespaceId, ObjectId, UnixMillis, UploadId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::records::{Resource, ResourceKind};

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UploadStatus {
    /// The file has not come, or is not confirmed.
    Pending,
    /// Confirmed.
    Completed,
    /// The file was not as announced.
    Failed,
}

impl UploadStatus {
    /// The contract's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// What the blob store holds of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Blake3 in hexadecimal.
    pub blake3: String,
    /// The store's own mark of the content.
    pub etag: String,
}

/// A file that a client sends by a signed address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// The bucket.
    pub bucket_id: BucketId,
    /// Its id.
    pub upload_id: UploadId,
    /// `bucket/sha256/upload`, so that the uploads of a bucket, and those of the same content, are found by part of the name.
    pub name: String,
    /// Name of the file.
    pub filename: String,
    /// MIME type that the file must be sent with.
    pub content_type: String,
    /// Size that it must have.
    pub expected_bytes: Option<u64>,
    /// SHA-256 that it must have.
    pub expected_sha256: Option<String>,
    /// Where it lies in the blob store.
    pub key: String,
    /// The schema property that it fills.
    pub blob_property: String,
    /// Its type in the contract's words.
    pub blob_type: String,
    /// Whether it becomes an object when it is confirmed.
    pub create_object: bool,
    /// Notes.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Fields of that object.
    #[serde(default)]
    pub object_metadata: Map<String, Value>,
    /// Whether a confirmed upload of the same content is taken instead.
    pub skip_duplicates: bool,
    /// How long its address works from its making, in seconds.
    pub expiration_s: u64,
    /// When its address stops working.
    pub expires_at: UnixMillis,
    /// Where it stands.
    pub status: UploadStatus,
    /// Why, where that needs a word.
    pub message: Option<String>,
    /// What came.
    pub file: Option<StoredFile>,
    /// The object that it became, or that there was already.
    pub object_id: Option<ObjectId>,
    /// The upload of the same content that was taken instead.
    pub duplicate_of: Option<UploadId>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was confirmed.
    pub completed_at: Option<UnixMillis>,
}

impl UploadRecord {
    /// What the name of every upload of a bucket begins with.
    #[must_use]
    pub fn name_prefix(bucket: &BucketId) -> String {
        format!("{bucket}/")
    }

    /// What the name of every upload of this content in a bucket begins with.
    #[must_use]
    pub fn name_of_content(bucket: &BucketId, sha256: &str) -> String {
        format!("{bucket}/{sha256}/")
    }

    /// Its name, as far as its content is known.
    #[must_use]
    pub fn name_now(&self) -> String {
        let sha256 = self.file.as_ref().map(|file| file.sha256.as_str());
        let sha256 = sha256.or(self.expected_sha256.as_deref()).unwrap_or("-");
        format!("{}/{sha256}/{}", self.bucket_id, self.upload_id)
    }
}

impl Resource for UploadRecord {
    const KIND: ResourceKind = ResourceKind::Upload;

    fn namespace_id(&self) -> &NamespaceId {
        &self.namespace_id
    }

    fn id(&self) -> &str {
        self.upload_id.as_str()
    }

    fn name(&self) -> &str {
        &self.name
    }
}
