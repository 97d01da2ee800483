//! Addresses of the server's own that work without a key, because it signed them.
//!
//! Owns the signature, where clients reach this server, and reading stored files by such an address. It must not decide
//! who may see what: whoever is shown a record may read its files.

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fettle_model::UnixMillis;
use fettle_ports::BlobError;
use fettle_wire::error::ErrorType;
use serde::Deserialize;

use crate::body::{InPath, Params};
use crate::error::ApiError;
use crate::state::ApiState;

/// How long an address works by which a file is read.
const READ_FOR: Duration = Duration::from_secs(3600);
/// How stored addresses in the server's own blob store begin.
const OWN: &str = "blob:";
/// The type that every file is sent as: what it really is may be a page.
const FILE_TYPE: &str = "application/octet-stream";

/// Where the client reaches this server, such as `https://fettle.example.org`.
pub(crate) struct Origin(String);

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

/// The end of an address and the proof that this server made it.
#[derive(Deserialize)]
pub(crate) struct Signature {
    #[serde(default)]
    expires_ms: i64,
    #[serde(default)]
    signature: String,
}

fn hash(state: &ApiState, what: &str, expires_ms: i64) -> blake3::Hash {
    let secret = &state.control().config().token_secret;
    blake3::keyed_hash(secret, format!("{what} until {expires_ms}").as_bytes())
}

/// An address of this server at `path`, by which `what` can be done until it expires.
pub(crate) fn sign(
    state: &ApiState,
    origin: &Origin,
    path: &str,
    what: &str,
    expires_at: UnixMillis,
) -> String {
    let expires_ms = expires_at.0;
    let signature = hash(state, what, expires_ms).to_hex();
    format!(
        "{}{path}?expires_ms={expires_ms}&signature={signature}",
        origin.0
    )
}

/// Refuses what this server did not sign, and what works no more.
pub(crate) fn check(state: &ApiState, what: &str, given: &Signature) -> Result<(), ApiError> {
    let right = hash(state, what, given.expires_ms);
    // blake3's own comparison is constant-time.
    let is_ours = blake3::Hash::from_hex(given.signature.as_bytes()).is_ok_and(|it| it == right);
    if is_ours && UnixMillis(given.expires_ms) > state.now() {
        return Ok(());
    }
    Err(refused())
}

/// Told to whoever comes by an address that does not work.
pub(crate) fn refused() -> ApiError {
    let message = "this address was not signed by this server, or works no more";
    ApiError::new(ErrorType::ForbiddenError, message)
}

/// An address by which anybody can read what lies at `address` for an hour; none where it cannot be reached from outside.
pub(crate) async fn readable(
    state: &ApiState,
    origin: &Origin,
    address: &str,
) -> Result<Option<String>, ApiError> {
    if address.starts_with("https://") || address.starts_with("http://") {
        return Ok(Some(address.to_owned()));
    }
    let Some(key) = address.strip_prefix(OWN) else {
        return Ok(None);
    };
    let stores = state.control().blobs().sign_get(key, READ_FOR).await?;
    let expires_at = state.now().plus_ms(READ_FOR.as_secs() * 1000);
    let own = || sign(state, origin, &path_of(key), &what(key), expires_at);
    Ok(Some(stores.unwrap_or_else(own)))
}

/// Keys are paths of `[A-Za-z0-9._-]`, so nothing in them needs an escape.
fn path_of(key: &str) -> String {
    format!("/v1/files/{key}")
}

fn what(key: &str) -> String {
    format!("read {key}")
}

/// Where files are read; the signature in the address is the key.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new().route("/files/{*key}", get(read))
}

async fn read(
    State(state): State<ApiState>,
    InPath(key): InPath<String>,
    Params(signature): Params<Signature>,
) -> Result<Response, ApiError> {
    check(&state, &what(&key), &signature)?;
    let bytes = match state.control().blobs().get(&key).await {
        Err(BlobError::NotFound { .. }) => {
            let message = "the file is gone: its object or document was deleted or changed";
            return Err(ApiError::new(ErrorType::NotFoundError, message));
        }
        other => other?,
    };
    // What somebody stored is never run as a page of this server.
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(FILE_TYPE)),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
    ];
    Ok((headers, bytes).into_response())
}
