//! Addresses of blobs, and data that come within one.
//!
//! Owns which addresses may be named. It must not fetch anything: whether there is something is found out when it is read.

use std::path::{Component, Path};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use fettle_model::attempt::AccessPolicy;
use url::Url;

use super::blob::Data;

/// Longest address: longer ones do not work with web servers either.
const ADDRESS_LENGTH_MAX: usize = 8 * 1024;

/// The scheme, if the whole text is an address of a kind that can be read.
pub(super) fn scheme_of(text: &str) -> Option<&'static str> {
    if text.len() > ADDRESS_LENGTH_MAX || text.contains(['\n', '\r', '\t']) {
        return None;
    }
    ["file://", "http://", "https://", "s3://"]
        .into_iter()
        .find(|scheme| {
            text.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
}

/// An address that may be read, in its normal form.
pub(super) fn address(scheme: &str, text: &str, access: &AccessPolicy) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not an address: {error}"))?;
    if scheme == "file://" {
        check_file(&url, access)?;
    } else if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("`{text}` names no host or bucket"));
    }
    Ok(url.to_string())
}

/// A file must lie below an allowed folder. Links are the reader's to judge: they can change until then.
fn check_file(url: &Url, access: &AccessPolicy) -> Result<(), String> {
    let path = url
        .to_file_path()
        .map_err(|()| format!("`{url}` is not a path on this machine"))?;
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    if !goes_up
        && access
            .file_roots
            .iter()
            .any(|root| path.starts_with(Path::new(root)))
    {
        return Ok(());
    }
    let allowed = match access.file_roots.as_slice() {
        [] => "none are allowed; start the server with `--allow-file-root DIR`".to_owned(),
        roots => format!(
            "allowed are {}; others with `--allow-file-root DIR` when the server is started",
            roots.join(", ")
        ),
    };
    Err(format!(
        "`{}` is not below a folder whose files may be read: {allowed}",
        path.display()
    ))
}

/// `data:[type][;base64],…` (RFC 2397).
pub(super) fn data_address(text: &str) -> Result<Data, String> {
    let rest = text.trim_start_matches("data:");
    let (head, body) = rest
        .split_once(',')
        .ok_or("a data: address needs a comma before its data")?;
    let (mime, is_base64) = match head.strip_suffix(";base64") {
        Some(mime) => (mime, true),
        None => (head, false),
    };
    let bytes = if is_base64 {
        base64(body)?
    } else {
        percent_decoded(body)
    };
    let mime = (!mime.is_empty()).then(|| mime.to_owned());
    Ok(Data::Bytes(bytes, mime))
}

/// The bytes of base64, with or without padding and line breaks.
pub(super) fn base64(text: &str) -> Result<Bytes, String> {
    let compact: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if compact.is_empty() {
        return Err("is empty".to_owned());
    }
    let decoded = STANDARD
        .decode(&compact)
        .or_else(|_| STANDARD_NO_PAD.decode(&compact));
    decoded.map(Bytes::from).map_err(|error| {
        format!("is neither an address (file://, http(s)://, s3://, data:) nor base64: {error}")
    })
}

fn percent_decoded(text: &str) -> Bytes {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte =
            escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    Bytes::from(bytes)
}

/// The last part of an address.
pub(super) fn filename(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let last = url
        .path_segments()?
        .next_back()
        .filter(|last| !last.is_empty())?;
    Some(String::from_utf8_lossy(&percent_decoded(last)).into_owned())
}

/// The MIME type that a name's ending stands for; what a file is is decided by its bytes, later.
pub(super) fn mime_of(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "txt" | "log" | "text" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "zip" => "application/zip",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_come_from_addresses() {
        assert_eq!(
            filename("file:///data/a%20b.pdf").as_deref(),
            Some("a b.pdf")
        );
        assert_eq!(filename("https://example.org/"), None);
        assert_eq!(mime_of("A.PDF"), Some("application/pdf"));
        assert_eq!(percent_decoded("a%20b%2"), "a b%2");
    }
}
