//! Files as they come in by the server's own signed addresses.
//!
//! Owns what is taken: the announced type, size and content, once. The bytes go to the store as they come; what breaks off
//! or does not fit leaves nothing there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use bytes::Bytes;
use fettle_model::UploadId;
use fettle_ports::{BlobError, StoreExt as _, StoredFile, UploadRecord, UploadStatus};
use fettle_wire::error::ErrorType;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};

use super::address::what;
use super::create::UPLOAD_BYTES_MAX;
use crate::body::{InPath, Params, too_large};
use crate::error::ApiError;
use crate::signed::{Signature, check, refused};
use crate::state::ApiState;

/// The route, as `layers` knows it.
pub(crate) const ROUTE: &str = "/v1/uploads/{upload_id}";
/// How long a file may take to come: [`UPLOAD_BYTES_MAX`] at 300 KB/s.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(900);

pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/uploads/{upload_id}", put(receive))
        // The bytes are counted as they come.
        .layer(DefaultBodyLimit::disable())
}

async fn receive(
    State(state): State<ApiState>,
    InPath(id): InPath<String>,
    Params(signature): Params<Signature>,
    request: Request,
) -> Result<Response, ApiError> {
    let id: UploadId = id.parse().map_err(|_no_id| refused())?;
    check(&state, &what(&id), &signature)?;
    let _hold = state.hold_upload(&id)?;
    let store = state.control().store();
    let found: Option<UploadRecord> = store.find(None, id.as_str()).await?;
    let mut record = found.ok_or_else(refused)?;
    if record.status != UploadStatus::Pending || record.file.is_some() {
        let present = "a file has come by it already".to_owned();
        return Err(ApiError::conflict("using the address again", present));
    }
    check_head(&record, request.headers())?;
    let file = taken(&state, &record, request.into_body()).await?;
    let etag = format!("\"{}\"", file.etag);
    record.file = Some(file);
    record.name = record.name_now();
    store.update(&record).await?;
    Ok([(ETAG, etag)].into_response())
}

fn check_head(record: &UploadRecord, headers: &HeaderMap) -> Result<(), ApiError> {
    let told = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = told(CONTENT_TYPE).unwrap_or_default();
    if !content_type.eq_ignore_ascii_case(&record.content_type) {
        let message = format!(
            "the header `Content-Type` must be `{}`, as announced",
            record.content_type
        );
        return Err(ApiError::new(ErrorType::BadRequestError, message));
    }
    let length: Option<u64> = told(CONTENT_LENGTH).and_then(|text| text.parse().ok());
    match (length, record.expected_bytes) {
        (Some(length), _) if length > UPLOAD_BYTES_MAX => Err(too_large()),
        (Some(length), Some(expected)) if length != expected => Err(wrong_size(length, expected)),
        _ => Ok(()),
    }
}

fn wrong_size(size: u64, expected: u64) -> ApiError {
    let message = format!("the file has {size} bytes; {expected} were announced");
    ApiError::new(ErrorType::BadRequestError, message)
}

/// What has come so far.
#[derive(Default)]
struct Progress {
    size_bytes: u64,
    sha256: Sha256,
    blake3: blake3::Hasher,
    refusal: Option<ApiError>,
}

impl Progress {
    fn take(&mut self, piece: &Bytes, most: u64) -> Result<(), ApiError> {
        self.size_bytes += piece.len() as u64;
        if self.size_bytes > most {
            return Err(match most {
                UPLOAD_BYTES_MAX => too_large(),
                expected => wrong_size(self.size_bytes, expected),
            });
        }
        self.sha256.update(piece);
        self.blake3.update(piece);
        Ok(())
    }
}

/// Streams a body into the store.
async fn taken(
    state: &ApiState,
    record: &UploadRecord,
    body: Body,
) -> Result<StoredFile, ApiError> {
    let progress = Arc::new(Mutex::new(Progress::default()));
    let most = record.expected_bytes.unwrap_or(UPLOAD_BYTES_MAX);
    let (counting, key) = (progress.clone(), record.key.clone());
    let pieces = body.into_data_stream().map(move |piece| {
        let mut progress = counting.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = match piece {
            Ok(piece) => progress.take(&piece, most).map(|()| piece),
            Err(_broken) => {
                let message = "the body broke off before its end";
                Err(ApiError::new(ErrorType::BadRequestError, message))
            }
        };
        taken.map_err(|refusal| {
            let message = refusal.message().to_owned();
            progress.refusal = Some(refusal);
            BlobError::Unavailable {
                key: key.clone(),
                message,
            }
        })
    });
    let blobs = state.control().blobs();
    let stored = blobs.put_stream(&record.key, pieces.boxed()).await;
    let (file, refusal) = {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let sha256 = hex(&progress.sha256.clone().finalize());
        let file = StoredFile {
            size_bytes: progress.size_bytes,
            etag: sha256.clone(),
            sha256,
            blake3: progress.blake3.finalize().to_hex().to_string(),
        };
        (file, progress.refusal.take())
    };
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    stored?;
    let misfit = misfit(record, &file);
    if let Some(misfit) = misfit {
        blobs.delete(&record.key).await?;
        return Err(ApiError::new(ErrorType::BadRequestError, misfit));
    }
    Ok(file)
}

/// In what a file is not as announced.
pub(super) fn misfit(record: &UploadRecord, file: &StoredFile) -> Option<String> {
    let (size, sha256) = (file.size_bytes, &file.sha256);
    match (record.expected_bytes, &record.expected_sha256) {
        (Some(expected), _) if expected != size => Some(format!(
            "the file has {size} bytes; {expected} were announced"
        )),
        (_, Some(expected)) if expected != sha256 => Some(format!(
            "the file's SHA-256 is {sha256}; {expected} was announced"
        )),
        _ if size == 0 => Some("the file is empty".to_owned()),
        _ => None,
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
