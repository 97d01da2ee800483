//! Where the file of a pending upload is to be sent.
//!
//! Owns what is signed: the upload and the end of the address. Size, type and content are bound by the upload's record.

use std::time::Duration;

use fettle_model::UploadId;
use fettle_ports::UploadRecord;

use crate::error::ApiError;
use crate::signed::{Origin, sign};
use crate::state::ApiState;

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
    let id = &record.upload_id;
    let path = format!("/v1/uploads/{id}");
    let own = || sign(state, origin, &path, &what(id), record.expires_at);
    Ok(stores.unwrap_or_else(own))
}

/// What such an address allows.
pub(super) fn what(id: &UploadId) -> String {
    format!("upload {id}")
}
