//! Requests with an idempotency key, and their answers.

use async_trait::async_trait;
use fettle_model::{ApiKeyId, UnixMillis};

use crate::store::StoreError;

/// What tells one request from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The API key that it came with.
    pub key_id: ApiKeyId,
    /// The namespace as the request named it.
    pub namespace: String,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The idempotency key.
    pub idempotency_key: String,
}

/// An answer that can be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// MIME type of the body.
    pub content_type: Option<String>,
    /// The body; none where it was too large to be kept.
    pub body: Option<Vec<u8>>,
}

/// A request that came before under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRequest {
    /// Blake3 of its body, in hexadecimal.
    pub body_hash: String,
    /// The run of the server that took it.
    pub server: String,
    /// Its answer, once it has one.
    pub answer: Option<StoredAnswer>,
}

/// Requests by their idempotency keys.
#[async_trait]
pub trait RequestLog: Send + Sync {
    /// Notes that a request is begun, unless one is known under its key, which is answered. What was begun before
    /// `forget_before` is forgotten.
    async fn begin_request(
        &self,
        key: &RequestKey,
        body_hash: &str,
        server: &str,
        now: UnixMillis,
        forget_before: UnixMillis,
    ) -> Result<Option<KnownRequest>, StoreError>;
    /// Keeps the answer of a request that was begun.
    async fn answer_request(
        &self,
        key: &RequestKey,
        answer: &StoredAnswer,
    ) -> Result<(), StoreError>;
    /// Forgets a request, which may then be sent again.
    async fn forget_request(&self, key: &RequestKey) -> Result<(), StoreError>;
}
