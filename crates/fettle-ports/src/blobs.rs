//! The blob store: manifests, uploaded and inline blobs, artifacts, plugin archives.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

/// A blob as it comes in.
pub type Pieces = BoxStream<'static, Result<Bytes, BlobError>>;

/// Why a blob operation failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("blob `{key}` does not exist")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The key would leave the store, or has characters it must not have.
    #[error("blob key `{key}` is not allowed: keys are relative paths of [A-Za-z0-9._-] segments")]
    BadKey {
        /// The key.
        key: String,
    },
    /// The disk or quota is full; nothing was stored.
    #[error("no space left in the blob store for `{key}`")]
    Full {
        /// The key.
        key: String,
    },
    /// The store did not answer as it should; trying again may help.
    #[error("the blob store failed on `{key}`: {message}")]
    Unavailable {
        /// The key.
        key: String,
        /// What the store said.
        message: String,
    },
}

/// What is known of a stored blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobMeta {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The store's own mark of the content, where it has one.
    pub etag: Option<String>,
}

/// A store of blobs by key.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// The address below which workers find the blobs: `file:///…` or `s3://bucket/prefix`.
    fn base_address(&self) -> String;
    /// Stores `bytes` under `key`, replacing what was there; durable on return.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<BlobMeta, BlobError>;
    /// Stores what comes under `key`, replacing what was there; durable on return. Where a piece is an error, nothing is stored.
    async fn put_stream(&self, key: &str, pieces: Pieces) -> Result<BlobMeta, BlobError>;
    /// An address to which anybody may `PUT` this blob with this MIME type for `expires_in`; none where the store cannot be
    /// reached by clients.
    async fn sign_put(
        &self,
        key: &str,
        content_type: &str,
        expires_in: Duration,
    ) -> Result<Option<String>, BlobError>;
    /// An address at which anybody may `GET` this blob for `expires_in`; none where the store cannot be reached by clients.
    async fn sign_get(&self, key: &str, expires_in: Duration) -> Result<Option<String>, BlobError>;
    /// The whole blob.
    async fn get(&self, key: &str) -> Result<Bytes, BlobError>;
    /// Its size.
    async fn head(&self, key: &str) -> Result<BlobMeta, BlobError>;
    /// Removes it; removing what is not there is no error.
    async fn delete(&self, key: &str) -> Result<(), BlobError>;
    /// Removes every blob whose key begins with `prefix` followed by `/`.
    async fn delete_prefix(&self, prefix: &str) -> Result<u64, BlobError>;
    /// Whether the store answers (for health).
    async fn check(&self) -> Result<(), BlobError>;
}
