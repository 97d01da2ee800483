//! The error envelope: `{"success": false, "status": 404, "error": {"type", "message", "details"}}`.
//!
//! Owns telling an error of Fettle from an answer of something else. It must not decide what to do about either.

use serde::Deserialize;
use serde_json::Value;

use crate::error::ApiError;

/// Bytes of a foreign answer that are shown to people.
const EXCERPT_BYTES_MAX: usize = 300;

#[derive(Deserialize)]
struct Envelope {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(rename = "type")]
    error_type: String,
    message: String,
    #[serde(default)]
    details: Value,
}

/// The error in `body`, or `None` when the answer is not one of Fettle's.
pub(crate) fn parse(status: u16, request_id: Option<String>, body: &[u8]) -> Option<ApiError> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    Some(ApiError {
        status,
        error_type: envelope.error.error_type,
        message: envelope.error.message,
        details: envelope.error.details,
        request_id,
    })
}

/// The beginning of a body for people, on one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let cut = &body[..body.len().min(EXCERPT_BYTES_MAX)];
    let text = String::from_utf8_lossy(cut);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_with_its_details() {
        let body = br#"{"success":false,"status":409,"error":{"type":"ConflictError","message":"gone","details":{"reason":"superseded"}}}"#;
        let error = parse(409, Some("r1".into()), body).unwrap();
        assert_eq!(error.error_type, "ConflictError");
        assert_eq!(error.reason(), Some("superseded"));
    }

    #[test]
    fn the_page_of_another_server_is_not_an_envelope() {
        assert!(parse(404, None, b"<html>nginx</html>").is_none());
        assert!(parse(404, None, br#"{"detail":"Not Found"}"#).is_none());
        assert_eq!(excerpt(b"<html>\n  nginx"), "<html> nginx");
    }
}
