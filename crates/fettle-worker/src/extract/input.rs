//! Access to a row's inputs, with errors that name the input.
//!
//! Owns the conversion from mapped values to text and bytes. It must not look into formats beyond text.

use bytes::Bytes;
use serde_json::Value;

use super::{ExtractError, InputValue, RowInput, decode};

/// What an input holds, as far as formats matter.
pub(super) enum Content {
    /// Text, already decoded.
    Text(String),
    /// Bytes, with the file name that the user gave.
    Bytes {
        bytes: Bytes,
        filename: Option<String>,
    },
}

/// The content of a required input.
pub(super) fn content(row: &RowInput, key: &str, component: &str) -> Result<Content, ExtractError> {
    match row.inputs.get(key) {
        Some(InputValue::Text(text)) => Ok(Content::Text(text.clone())),
        Some(InputValue::Json(value)) => json_text(value, key, component).map(Content::Text),
        Some(InputValue::Blob(blob)) if blob.bytes.is_empty() => {
            let property = &blob.property;
            let message = format!("the blob `{property}` of input `{key}` is empty (0 bytes)");
            Err(ExtractError::invalid(component, message))
        }
        Some(InputValue::Blob(blob)) => Ok(Content::Bytes {
            bytes: blob.bytes.clone(),
            filename: blob.filename.clone(),
        }),
        None => Err(missing(key, component)),
    }
}

/// The text of a required input; a blob is decoded.
pub(super) fn text(row: &RowInput, key: &str, component: &str) -> Result<String, ExtractError> {
    let text = match content(row, key, component)? {
        Content::Text(text) => text,
        Content::Bytes { bytes, .. } => {
            decode::text(&bytes)
                .map_err(|error| {
                    let message = format!("input `{key}` is not text: {error}; use document_extractor or universal_extractor for other formats");
                    ExtractError::invalid(component, message)
                })?
                .text
        }
    };
    if text.trim().is_empty() {
        let message = format!("input `{key}` has no text: it is empty or only blanks");
        return Err(ExtractError::invalid(component, message));
    }
    Ok(text)
}

/// The bytes of a required input that must be a blob.
pub(super) fn bytes(row: &RowInput, key: &str, component: &str) -> Result<Bytes, ExtractError> {
    if matches!(
        row.inputs.get(key),
        Some(InputValue::Text(_) | InputValue::Json(_))
    ) {
        let message = format!("input `{key}` is a field, not a blob; map it to a blob's property");
        return Err(ExtractError::invalid(component, message));
    }
    match content(row, key, component)? {
        Content::Bytes { bytes, .. } => Ok(bytes),
        Content::Text(_) => Err(missing(key, component)),
    }
}

fn missing(key: &str, component: &str) -> ExtractError {
    let message = format!(
        "the source has no value for input `{key}`; check input_mappings and the object's fields"
    );
    ExtractError::invalid(component, message)
}

/// Scalars as their text, lists of scalars a line each.
fn json_text(value: &Value, key: &str, component: &str) -> Result<String, ExtractError> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let text = match value {
        Value::Null => return Err(missing(key, component)),
        Value::Array(items) => items
            .iter()
            .map(scalar)
            .collect::<Option<Vec<_>>>()
            .map(|lines| lines.join("\n")),
        other => scalar(other),
    };
    text.ok_or_else(|| {
        let message = format!(
            "input `{key}` is nested JSON; map it to a field with text, a number or a list of those"
        );
        ExtractError::invalid(component, message)
    })
}
