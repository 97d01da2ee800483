//! What bytes are, judged by the bytes alone.
//!
//! Owns the routing decision. It must not trust a file name or a declared type, and must not open archives.

use super::decode;

/// How much of the beginning is searched for a PDF header; readers tolerate this much before it.
const PDF_HEADER_WITHIN_BYTES: usize = 1024;
/// How much of a text is looked at to tell HTML from other text.
const HTML_LOOK_BYTES: usize = 1024;

/// What the content is, as far as extractors differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A PDF.
    Pdf,
    /// An HTML page.
    Html,
    /// Any other text.
    Text,
    /// An image in a format that can be decoded.
    Image,
    /// Anything else.
    Binary,
}

/// Kind and type of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sniffed {
    /// How to treat it.
    pub(super) kind: Kind,
    /// Its type for people and programs.
    pub(super) mime_type: &'static str,
}

/// Judges `bytes`. Text is tried before magic numbers, because some of those are two letters long (`BM` begins a bitmap and
/// "BMW"), while no binary format is free of control characters.
pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    let head = &bytes[..bytes.len().min(PDF_HEADER_WITHIN_BYTES)];
    if head.windows(5).any(|window| window == b"%PDF-") {
        return Sniffed {
            kind: Kind::Pdf,
            mime_type: "application/pdf",
        };
    }
    if decode::is_clean_utf8(bytes) || decode::has_bom(bytes) {
        return text_kind(bytes);
    }
    match infer::get(bytes).map(|found| found.mime_type()) {
        Some("text/html") => Sniffed {
            kind: Kind::Html,
            mime_type: "text/html",
        },
        Some(mime_type) if DECODABLE.contains(&mime_type) => Sniffed {
            kind: Kind::Image,
            mime_type,
        },
        Some(mime_type) if !mime_type.starts_with("text/") => Sniffed {
            kind: Kind::Binary,
            mime_type,
        },
        _ if decode::looks_like_text(bytes) => text_kind(bytes),
        _ => Sniffed {
            kind: Kind::Binary,
            mime_type: "application/octet-stream",
        },
    }
}

/// Types that the image decoder reads.
const DECODABLE: [&str; 6] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/bmp",
    "image/tiff",
];

fn text_kind(bytes: &[u8]) -> Sniffed {
    let head = decode::lossy_head(bytes, HTML_LOOK_BYTES);
    let start = head.trim_start_matches('\u{feff}').trim_start();
    let lower = start.to_ascii_lowercase();
    if is_html(&lower) {
        return Sniffed {
            kind: Kind::Html,
            mime_type: "text/html",
        };
    }
    let mime_type = if lower.starts_with("<?xml") || lower.starts_with("<svg") {
        "text/xml"
    } else if lower.starts_with(['{', '['])
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
    {
        "application/json"
    } else if is_csv(start) {
        "text/csv"
    } else {
        "text/plain"
    };
    Sniffed {
        kind: Kind::Text,
        mime_type,
    }
}

/// An HTML page begins with its doctype or one of the elements that may begin it, after comments.
fn is_html(lower: &str) -> bool {
    let mut rest = lower;
    while let Some(after) = rest.strip_prefix("<!--") {
        match after.split_once("-->") {
            Some((_, tail)) => rest = tail.trim_start(),
            None => return false,
        }
    }
    const STARTS: [&str; 12] = [
        "<!doctype html",
        "<html",
        "<head",
        "<body",
        "<title",
        "<meta",
        "<div",
        "<p>",
        "<h1",
        "<table",
        "<script",
        "<article",
    ];
    let xhtml = rest.starts_with("<?xml") && rest.contains("<html");
    xhtml || STARTS.iter().any(|start| rest.starts_with(start))
}

/// Three or more lines with the same number of separators, at least one. The last line may be cut.
fn is_csv(head: &str) -> bool {
    let lines: Vec<&str> = head
        .lines()
        .filter(|line| !line.is_empty())
        .take(6)
        .collect();
    let complete = lines.len().saturating_sub(1);
    [',', ';', '\t'].into_iter().any(|separator| {
        let mut counts = lines[..complete]
            .iter()
            .map(|line| line.matches(separator).count());
        let first = counts.next().unwrap_or(0);
        complete >= 2 && first > 0 && counts.all(|count| count == first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        let cases: &[(&[u8], Kind, &str)] = &[
            (b"%PDF-1.7\n%\xe2\xe3", Kind::Pdf, "application/pdf"),
            (b"\n\njunk %PDF-1.4 \x00", Kind::Pdf, "application/pdf"),
            (b"BMW makes cars.", Kind::Text, "text/plain"),
            (b"BM\x00\x00\x00\x00\xff\xff\x00", Kind::Image, "image/bmp"),
            (b"\x89PNG\r\n\x1a\n\x00\x00", Kind::Image, "image/png"),
            (
                b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
                Kind::Binary,
                "application/zip",
            ),
            (b"<!-- x --> <!DOCTYPE HTML><p>a", Kind::Html, "text/html"),
            (b"\xef\xbb\xbf<html>", Kind::Html, "text/html"),
            (b"<?xml version='1.0'?><svg/>", Kind::Text, "text/xml"),
            (b"{\"a\": 1}", Kind::Text, "application/json"),
            (b"{not json", Kind::Text, "text/plain"),
            (b"a,b\n1,2\n3,4\n5", Kind::Text, "text/csv"),
            (b"Dear Sir,\nhow are you\nbye\n", Kind::Text, "text/plain"),
            (b"caf\xe9 au lait", Kind::Text, "text/plain"),
            (b"\xff\xfeh\x00i\x00", Kind::Text, "text/plain"),
            (
                b"\x00\x01\x02\x03\xff",
                Kind::Binary,
                "application/octet-stream",
            ),
        ];
        for (bytes, kind, mime_type) in cases {
            let found = sniff(bytes);
            assert_eq!(
                (found.kind, found.mime_type),
                (*kind, *mime_type),
                "{bytes:?}"
            );
        }
    }
}
