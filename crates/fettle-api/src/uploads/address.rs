//! Signed addresses of the server's own.
//!
//! Owns what is signed: the upload and the end of the address. Size, type and content are bound by the upload's record.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::HOST;
use axum::http::request::Parts;
use fettle_model::{UnixMillis, UploadId};
use fettle_ports::UploadRecord;

use crate::error::ApiError;
use crate::state::ApiState;

/// Where the client reaches this server, such as `https://fettle.example.org`.
pub(super) struct Origin(String);

impl FromRequestParts<ApiState> for Origin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let config = state.control().config();
        if let Some(url) = &config.public_url {
            return Ok(Self(url.trim_end_matches('/').to_owned()));
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let own = host.map(|host| format!("http://{host}"));
        Ok(Self(own.unwrap_or_else(|| config.control_url.clone())))
    }
}

impl aide::operation::OperationInput for Origin {}

/// Where the file of a pending upload is to be sent.
pub(super) async fn of(
    state: &ApiState,
    origin: &Origin,
    record: &UploadRecord,
) -> Result<String, ApiError> {
    let left_ms = record.expires_at.since(state.now());
    let stores = state
        .control()
        .blobs()
        .sign_put(
            &record.key,
            &record.content_type,
            Duration::from_millis(left_ms),
        )
        .await?;
    Ok(stores.unwrap_or_else(|| own(state, origin, record)))
}

fn own(state: &ApiState, origin: &Origin, record: &UploadRecord) -> String {
    let expires_ms = record.expires_at.0;
    let signature = signature(state, &record.upload_id, expires_ms).to_hex();
    format!(
        "{}/v1/uploads/{}?expires_ms={expires_ms}&signature={signature}",
        origin.0, record.upload_id
    )
}

fn signature(state: &ApiState, id: &UploadId, expires_ms: i64) -> blake3::Hash {
    let secret = &state.control().config().token_secret;
    blake3::keyed_hash(secret, format!("upload {id} until {expires_ms}").as_bytes())
}

/// Whether an address was signed by this server and still works.
pub(super) fn is_good(state: &ApiState, id: &UploadId, expires_ms: i64, given: &str) -> bool {
    let right = signature(state, id, expires_ms);
    // blake3's own comparison is constant-time.
    let is_ours = blake3::Hash::from_hex(given.as_bytes()).is_ok_and(|given| given == right);
    is_ours && UnixMillis(expires_ms) > state.now()
}
