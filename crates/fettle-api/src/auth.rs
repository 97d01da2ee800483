//! Who asks: API keys, found by the hash of their secret.
//!
//! Owns keys at rest and at first start. A secret is seen once, when it is made, and never written anywhere.

mod bootstrap;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fettle_model::{ApiKeyId, UnixMillis};
use fettle_ports::{ApiKeyRecord, Store, StoreError, StoreExt};
use fettle_wire::error::ErrorType;
use subtle::ConstantTimeEq;

use crate::api_keys::refusal;
use crate::error::ApiError;
use crate::state::ApiState;

pub use bootstrap::{AdminKey, AuthError, Bootstrap};

/// The namespace of requests that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Finds keys.
#[derive(Clone)]
pub struct Auth {
    store: Arc<dyn Store>,
    /// When each key was last used; kept apart from its record, so that noting it cannot undo a change of the record.
    used: Arc<Mutex<BTreeMap<ApiKeyId, UnixMillis>>>,
}

/// The key that a request came with.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) ApiKeyRecord);

impl Auth {
    /// Keys in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            used: Arc::default(),
        }
    }

    /// When the key was last used since the server started.
    pub(crate) fn last_used(&self, key: &ApiKeyId) -> Option<UnixMillis> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(key).copied()
    }

    fn note_use(&self, key: &ApiKeyId, at: UnixMillis) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(key.clone(), at);
    }

    /// The key with this secret.
    async fn key(&self, secret: &str) -> Result<Option<ApiKeyRecord>, StoreError> {
        let hash = hash_of(secret);
        // The look-up is by hash, so its timing tells of hashes only; the comparison guards against a store that matches loosely.
        let found: Option<ApiKeyRecord> = self.store.find(None, &hash).await?;
        Ok(found.filter(|key| key.secret_hash.as_bytes().ct_eq(hash.as_bytes()).into()))
    }
}

/// Blake3 of a secret, in hexadecimal. Secrets have 240 random bits, so a slow hash would add nothing.
pub(crate) fn hash_of(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// The token of `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// A 401 in the envelope.
pub(crate) fn unauthorized(message: &str) -> Response {
    let error = ApiError::new(ErrorType::UnauthorizedError, message);
    let mut response = error.into_response();
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Lets a request with a known key through, with its `Caller`.
pub(crate) async fn require_key(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(secret) = bearer(request.headers()) else {
        return unauthorized("an API key is needed: send the header `Authorization: Bearer KEY`");
    };
    match state.auth().key(secret).await {
        Ok(Some(key)) => {
            let path = request.uri().path();
            if let Some(error) = refusal(&state, &key, request.method(), path) {
                return error.into_response();
            }
            state.auth().note_use(&key.key_id, state.now());
            request.extensions_mut().insert(Caller(key));
            next.run(request).await
        }
        Ok(None) => unauthorized("this API key is not known"),
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// Lets a request without a key through as it is; a key that is sent must be known all the same.
pub(crate) async fn allow_key(state: State<ApiState>, request: Request, next: Next) -> Response {
    if request.headers().contains_key(AUTHORIZATION) {
        require_key(state, request, next).await
    } else {
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        assert_eq!(bearer(&headers), expected, "{value}");
    }

    #[test]
    fn only_a_bearer_token_counts() {
        check("Bearer abc", Some("abc"));
        check("bearer  abc ", Some("abc"));
        check("Bearer ", None);
        check("Basic abc", None);
        check("abc", None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
