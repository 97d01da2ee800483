//! Blobs as they are given: a value, an address, or bytes.
//!
//! Owns the decision where a blob's data lives. It must not fetch anything: a file that is missing fails its row later,
//! not the object now.

use bytes::Bytes;
use fettle_model::attempt::AccessPolicy;
use fettle_model::{BlobId, BucketId, ObjectId};
use fettle_ports::BlobRecord;
use fettle_wire::bucket::FieldType;
use fettle_wire::object::CreateBlobRequest;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::address::{address, base64, data_address, filename, mime_of, scheme_of};
use crate::error::ApiError;
use crate::state::ApiState;

/// Inline data up to this size stay in the object's record, which is read whole with every list.
pub(crate) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// A blob's record, and bytes that must be stored before it.
#[derive(Debug)]
pub(crate) struct BuiltBlob {
    pub(crate) record: BlobRecord,
    pub(crate) store: Option<(String, Bytes)>,
}

/// Where an object's bytes lie in the blob store.
pub(crate) fn prefix(bucket: &BucketId, object: &ObjectId) -> String {
    format!("objects/{bucket}/{object}")
}

/// Removes the bytes that blobs have in our store.
pub(super) async fn delete_bytes(state: &ApiState, blobs: &[BlobRecord]) -> Result<(), ApiError> {
    for blob in blobs {
        let key = blob.address.as_deref();
        if let Some(key) = key.and_then(|address| address.strip_prefix("blob:")) {
            state.control().blobs().delete(key).await?;
        }
    }
    Ok(())
}

/// What the data of a blob turned out to be.
#[derive(Debug, PartialEq)]
pub(super) enum Data {
    /// A value.
    Value(Value),
    /// Bytes, with their MIME type where it was told.
    Bytes(Bytes, Option<String>),
    /// Somewhere else.
    Address(String),
}

/// Builds the blob at `index` of a request.
pub(crate) fn build(
    request: CreateBlobRequest,
    index: usize,
    blob_id: BlobId,
    prefix: &str,
    access: &AccessPolicy,
) -> Result<BuiltBlob, ApiError> {
    let at = index.to_string();
    let data = request.data.unwrap_or_default();
    let read = read(request.blob_type, data, access);
    let data = read.map_err(|message| ApiError::invalid(&["blobs", &at, "data"], message))?;
    let mut record = BlobRecord {
        property: request.property,
        blob_type: request.blob_type.as_str().to_owned(),
        address: None,
        inline: None,
        filename: None,
        mime_type: None,
        size_bytes: None,
        hash: None,
        key_prefix: request.key_prefix,
        metadata: request.metadata.unwrap_or_default(),
        blob_id,
    };
    let checksum = request.checksum.as_deref().map(checksum).transpose();
    let checksum = checksum.map_err(|message| wrong_checksum(&at, message))?;
    let mut store = None;
    match data {
        Data::Address(address) => {
            record.filename = filename(&address);
            record.mime_type = record
                .filename
                .as_deref()
                .and_then(mime_of)
                .map(str::to_owned);
            record.address = Some(address);
            record.hash = checksum;
        }
        Data::Value(value) => {
            let bytes = value.as_str().map_or_else(
                || value.to_string().into_bytes(),
                |text| text.as_bytes().to_vec(),
            );
            must_match(checksum.as_deref(), &bytes).map_err(|it| wrong_checksum(&at, it))?;
            record.size_bytes = Some(bytes.len() as u64);
            record.hash = Some(blake3::hash(&bytes).to_hex().to_string());
            record.inline = Some(value);
        }
        Data::Bytes(bytes, mime) => {
            must_match(checksum.as_deref(), &bytes).map_err(|it| wrong_checksum(&at, it))?;
            let key = format!("{prefix}/{}", record.blob_id);
            record.size_bytes = Some(bytes.len() as u64);
            record.hash = Some(blake3::hash(&bytes).to_hex().to_string());
            record.mime_type = mime;
            record.address = Some(format!("blob:{key}"));
            store = Some((key, bytes));
        }
    }
    Ok(BuiltBlob { record, store })
}

fn wrong_checksum(at: &str, message: String) -> ApiError {
    ApiError::invalid(&["blobs", at, "checksum"], message)
}

/// A SHA-256 in its one form, `sha256:` and lower-case digits.
fn checksum(given: &str) -> Result<String, String> {
    let digits = given.strip_prefix("sha256:").unwrap_or(given);
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest {
        return Ok(format!("sha256:{}", digits.to_ascii_lowercase()));
    }
    Err("is no SHA-256: send `sha256:` and 64 hexadecimal digits".to_owned())
}

fn must_match(checksum: Option<&str>, bytes: &[u8]) -> Result<(), String> {
    let Some(expected) = checksum else {
        return Ok(());
    };
    let digits: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let found = format!("sha256:{digits}");
    if found == expected {
        return Ok(());
    }
    Err(format!("does not fit: the data that came have {found}"))
}

/// A blob whose data are an upload's file, which `of_file` tells of.
pub(super) fn of_upload(
    request: CreateBlobRequest,
    index: usize,
    of_file: BlobRecord,
) -> Result<BlobRecord, ApiError> {
    if request.data.is_some() {
        let at = index.to_string();
        let message = "stands beside `upload_id`; a blob has one of the two";
        return Err(ApiError::invalid(&["blobs", &at, "data"], message));
    }
    if request.checksum.is_some() {
        let message = "an upload's content is bound by its `file_hash`; leave it out".to_owned();
        return Err(wrong_checksum(&index.to_string(), message));
    }
    Ok(BlobRecord {
        key_prefix: request.key_prefix,
        property: request.property,
        blob_type: request.blob_type.as_str().to_owned(),
        metadata: request.metadata.unwrap_or_default(),
        ..of_file
    })
}

fn read(kind: FieldType, data: Value, access: &AccessPolicy) -> Result<Data, String> {
    let text = match data {
        Value::Null => return Err("is missing: give a value, an address, or base64".to_owned()),
        Value::String(text) => text,
        other if kind.is_file() => {
            return Err(format!(
                "a `{}` is given as an address, a data: address or base64, not as {}",
                kind.as_str(),
                type_of(&other)
            ));
        }
        other => return value(kind, other),
    };
    if !kind.fits(&Value::Null) && !kind.fits(&Value::String(String::new())) {
        return Err(format!(
            "must be of type `{}`, but is a text",
            kind.as_str()
        ));
    }
    if text.starts_with("data:") && (kind.is_file() || kind == FieldType::Text) {
        return data_address(&text);
    }
    if (kind.is_file() || kind == FieldType::Text)
        && let Some(scheme) = scheme_of(&text)
    {
        return address(scheme, &text, access).map(Data::Address);
    }
    if kind.is_file() {
        return base64(&text).map(|bytes| Data::Bytes(bytes, None));
    }
    if text.len() <= INLINE_BYTES_MAX {
        return Ok(Data::Value(Value::String(text)));
    }
    Ok(Data::Bytes(
        Bytes::from(text),
        Some("text/plain; charset=utf-8".to_owned()),
    ))
}

fn value(kind: FieldType, value: Value) -> Result<Data, String> {
    if !kind.fits(&value) {
        return Err(format!(
            "must be of type `{}`, but is {}",
            kind.as_str(),
            type_of(&value)
        ));
    }
    let size = value.to_string().len();
    if size > INLINE_BYTES_MAX {
        return Err(format!(
            "has {size} bytes as JSON; values have at most {INLINE_BYTES_MAX}"
        ));
    }
    Ok(Data::Value(value))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn access() -> AccessPolicy {
        AccessPolicy {
            file_roots: vec!["/data".to_owned()],
            private_hosts: vec![],
        }
    }

    #[track_caller]
    fn check(kind: FieldType, data: Value, expected: Data) {
        assert_eq!(read(kind, data, &access()).unwrap(), expected);
    }

    #[track_caller]
    fn refused(kind: FieldType, data: Value, words: &str) {
        let message = read(kind, data, &access()).unwrap_err();
        assert!(message.contains(words), "{message}");
    }

    #[test]
    fn data_is_a_value_an_address_or_bytes() {
        use FieldType::{Image, Integer, Object, Pdf, String as Text, Text as LongText};
        check(Integer, json!(3), Data::Value(json!(3)));
        check(Object, json!({"a": 1}), Data::Value(json!({"a": 1})));
        check(
            Text,
            json!("https://example.org/a"),
            Data::Value(json!("https://example.org/a")),
        );
        check(
            LongText,
            json!("https://example.org/a"),
            Data::Address("https://example.org/a".into()),
        );
        check(
            LongText,
            json!("see https://example.org"),
            Data::Value(json!("see https://example.org")),
        );
        check(
            Pdf,
            json!("s3://bucket/key.pdf"),
            Data::Address("s3://bucket/key.pdf".into()),
        );
        check(Image, json!("aGk="), Data::Bytes(Bytes::from("hi"), None));
        check(
            Image,
            json!("data:image/png;base64,aGk="),
            Data::Bytes(Bytes::from("hi"), Some("image/png".into())),
        );
        check(
            LongText,
            json!("data:,a%20b%"),
            Data::Bytes(Bytes::from("a b%"), None),
        );
        let long = "x".repeat(INLINE_BYTES_MAX + 1);
        check(
            LongText,
            json!(long),
            Data::Bytes(
                Bytes::from(long.clone()),
                Some("text/plain; charset=utf-8".into()),
            ),
        );
    }

    #[test]
    fn misfits_say_what_would_fit() {
        refused(FieldType::Image, json!("not base64!"), "nor base64");
        refused(FieldType::Image, json!(3), "base64");
        refused(FieldType::Image, Value::Null, "missing");
        refused(FieldType::Integer, json!("3"), "`integer`");
        refused(FieldType::Integer, json!(1.5), "`integer`");
        refused(FieldType::Pdf, json!("http://"), "not an address");
        refused(
            FieldType::Object,
            json!({"a": "x".repeat(INLINE_BYTES_MAX)}),
            "at most",
        );
    }

    #[test]
    fn files_lie_below_an_allowed_folder() {
        check(
            FieldType::Pdf,
            json!("file:///data/a%20b.pdf"),
            Data::Address("file:///data/a%20b.pdf".into()),
        );
        refused(
            FieldType::Pdf,
            json!("file:///etc/passwd"),
            "--allow-file-root",
        );
        refused(
            FieldType::Pdf,
            json!("file:///data/../etc/passwd"),
            "--allow-file-root",
        );
        refused(
            FieldType::Pdf,
            json!("file:///database/x"),
            "--allow-file-root",
        );
        refused(
            FieldType::Pdf,
            json!("file:///data/%2e%2e/etc/passwd"),
            "--allow-file-root",
        );
    }
}
