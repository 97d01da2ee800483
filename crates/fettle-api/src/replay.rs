//! `Idempotency-Key`: a request that is sent twice is done once.
//!
//! Owns the answers that are given again. A request goes on to its end when its client has gone away, so that the client
//! finds the answer when it asks again.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fettle_model::UnixMillis;
use fettle_ports::{KnownRequest, RequestKey, StoredAnswer};
use fettle_wire::error::ErrorType;
use serde_json::Value;

use crate::auth::{Caller, DEFAULT_NAMESPACE};
use crate::body::too_large;
use crate::error::ApiError;
use crate::router::BODY_BYTES_MAX;
use crate::state::ApiState;
use crate::tenant::NAMESPACE_HEADER;

/// The header with the key.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Says that an answer was given before.
static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Longest key.
const KEY_LENGTH_MAX: usize = 255;
/// How long answers are kept.
const KEPT_MS: i64 = 24 * 3_600 * 1_000;
/// Larger answers are not kept: lists of what was made fit many times.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Keys of secrets that an answer shows once, with what these secrets begin with.
const SECRETS: [(&str, &str); 3] = [
    ("key", "fk_"),
    ("signing_secret", "whsec_"),
    ("webhook_signing_secret", "whsec_"),
];

/// Does a request with a key once, and gives its answer again.
pub(crate) async fn replay(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    if *request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let done = async {
        let key = key_of(&parts)?;
        let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else {
            return Err(too_large());
        };
        once(state, key, parts, bytes, next).await
    };
    done.await.unwrap_or_else(IntoResponse::into_response)
}

fn key_of(parts: &Parts) -> Result<RequestKey, ApiError> {
    let given = parts.headers.get(IDEMPOTENCY_KEY);
    let given = given
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if given.is_empty() || given.len() > KEY_LENGTH_MAX {
        let message = format!(
            "the header `Idempotency-Key` must have from 1 to {KEY_LENGTH_MAX} visible ASCII characters"
        );
        return Err(ApiError::new(ErrorType::BadRequestError, message));
    }
    let Some(Caller(caller)) = parts.extensions.get() else {
        return Err(ApiError::internal("a route without a key check"));
    };
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    Ok(RequestKey {
        key_id: caller.key_id.clone(),
        namespace: namespace(&parts.headers),
        method: parts.method.to_string(),
        path: path.to_owned(),
        idempotency_key: given.to_owned(),
    })
}

fn namespace(headers: &HeaderMap) -> String {
    let named = headers.get(NAMESPACE_HEADER);
    let named = named.and_then(|value| value.to_str().ok());
    named.unwrap_or(DEFAULT_NAMESPACE).trim().to_owned()
}

async fn once(
    state: ApiState,
    key: RequestKey,
    parts: Parts,
    bytes: Bytes,
    next: Next,
) -> Result<Response, ApiError> {
    let body_hash = blake3::hash(&bytes).to_hex();
    let now = state.now();
    let forget_before = UnixMillis(now.0.saturating_sub(KEPT_MS));
    let server = state.started_at().0.to_string();
    let store = state.control().store();
    let known = store
        .begin_request(&key, &body_hash, &server, now, forget_before)
        .await?;
    if let Some(known) = known {
        return again(known, &body_hash, &server);
    }
    let work = tokio::spawn(async move {
        let response = next
            .run(Request::from_parts(parts, Body::from(bytes)))
            .await;
        kept(&state, &key, response).await
    });
    work.await
        .unwrap_or_else(|panic| Err(ApiError::internal(format!("a handler panicked: {panic}"))))
}

/// The answer to a request that came before.
fn again(known: KnownRequest, body_hash: &str, server: &str) -> Result<Response, ApiError> {
    if known.body_hash != body_hash {
        let message =
            "this `Idempotency-Key` was used with another body; use a new key for a new request";
        return Err(ApiError::new(ErrorType::ValidationError, message)
            .with("reason", "idempotency_key_reused"));
    }
    let not_possible = |present: &str| ApiError::conflict("sending the request again", present);
    let Some(answer) = known.answer else {
        return Err(if known.server == server {
            not_possible("it is being worked on")
                .with("reason", "in_progress")
                .with("retryable", true)
        } else {
            let present = "the server ended while it worked on it; look whether it was done, then use a new key";
            not_possible(present).with("reason", "interrupted")
        });
    };
    let Some(body) = answer.body else {
        let present = "it was done, but its answer was too large to be kept";
        return Err(not_possible(present).with("reason", "answer_not_kept"));
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    let content_type = answer.content_type.as_deref();
    if let Some(value) = content_type.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(REPLAYED.clone(), HeaderValue::from_static("true"));
    Ok(response)
}

/// Keeps an answer, if something was done; a request that was refused may be sent again, mended.
async fn kept(
    state: &ApiState,
    key: &RequestKey,
    response: Response,
) -> Result<Response, ApiError> {
    let store = state.control().store();
    if !response.status().is_success() {
        store.forget_request(key).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX)
        .await
        .map_err(ApiError::internal)?;
    let content_type = parts.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let answer = StoredAnswer {
        status: parts.status.as_u16(),
        content_type: content_type.map(str::to_owned),
        body: (bytes.len() <= ANSWER_BYTES_MAX).then(|| without_secrets(&bytes)),
    };
    store.answer_request(key, &answer).await?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

/// An answer as it may be kept: a secret that is shown once is not shown again.
fn without_secrets(bytes: &Bytes) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if mask(&mut answer) > 0 {
        answer.to_string().into_bytes()
    } else {
        bytes.to_vec()
    }
}

/// Masks secrets; says how many there were.
fn mask(value: &mut Value) -> usize {
    match value {
        Value::Object(map) => map.iter_mut().map(mask_entry).sum(),
        Value::Array(items) => items.iter_mut().map(mask).sum(),
        _ => 0,
    }
}

fn mask_entry((name, value): (&String, &mut Value)) -> usize {
    let text = value.as_str().unwrap_or_default();
    let is_secret = |(key, prefix): &(&str, &str)| name == key && text.starts_with(prefix);
    if SECRETS.iter().any(is_secret) {
        *value = fettle_wire::webhook::KEPT.into();
        1
    } else {
        mask(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(answer: Value, expected: Value) {
        let kept = without_secrets(&Bytes::from(answer.to_string()));
        assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), expected);
    }

    #[test]
    fn secrets_are_not_kept_and_all_else_is() {
        check(
            json!({"key": "fk_1", "name": "fk_1"}),
            json!({"key": "********", "name": "fk_1"}),
        );
        check(
            json!({"channels": [{"configs": {"signing_secret": "whsec_1", "url": "x"}}]}),
            json!({"channels": [{"configs": {"signing_secret": "********", "url": "x"}}]}),
        );
        check(json!({"key": "mine"}), json!({"key": "mine"}));
    }
}
