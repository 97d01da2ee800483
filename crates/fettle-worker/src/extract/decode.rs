//! Bytes to text, whatever the encoding.
//!
//! Owns the order in which encodings are believed: byte order mark, valid UTF-8, what an HTML page declares, a guess from
//! the statistics of the bytes. It must not turn binary data into text.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;
use thiserror::Error;

/// How much is looked at to tell text from binary data where the encoding is unknown.
const LOOK_BYTES: usize = 64 << 10;
/// Where HTML must declare its encoding, by its standard.
const HTML_CHARSET_WITHIN_BYTES: usize = 1024;
/// A decoded text in which more than one in this many characters could not be read is not text.
const UNREADABLE_ONE_IN: usize = 20;

/// A text with the encoding it was read in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decoded {
    /// The text, without byte order mark.
    pub(super) text: String,
    /// The encoding's name in lower case.
    pub(super) encoding: String,
}

/// Why bytes are not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum DecodeError {
    /// Control characters or a binary format.
    #[error("the bytes are {mime_type}")]
    Binary {
        /// What they seem to be.
        mime_type: &'static str,
    },
    /// No encoding fits.
    #[error("no known encoding fits the bytes (tried {encoding})")]
    Unreadable {
        /// The best guess.
        encoding: &'static str,
    },
}

/// Decodes a text.
pub(super) fn text(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode(bytes, None)
}

/// Decodes an HTML page, which may declare its encoding.
pub(super) fn html(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode(bytes, declared(bytes))
}

fn decode(bytes: &[u8], declared: Option<&'static Encoding>) -> Result<Decoded, DecodeError> {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return with(bytes, encoding);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && !has_binary_controls(bytes)
    {
        return Ok(Decoded {
            text: text.to_owned(),
            encoding: "utf-8".to_owned(),
        });
    }
    if has_binary_controls(&bytes[..bytes.len().min(LOOK_BYTES)]) {
        let mime_type = infer::get(bytes).map_or("binary data", |found| found.mime_type());
        return Err(DecodeError::Binary { mime_type });
    }
    with(bytes, declared.unwrap_or_else(|| guess(bytes)))
}

fn with(bytes: &[u8], encoding: &'static Encoding) -> Result<Decoded, DecodeError> {
    let (text, _, had_errors) = encoding.decode(bytes);
    let unreadable = if had_errors {
        text.chars().filter(|c| *c == '\u{fffd}').count()
    } else {
        0
    };
    if unreadable > text.chars().count() / UNREADABLE_ONE_IN {
        return Err(DecodeError::Unreadable {
            encoding: encoding.name(),
        });
    }
    Ok(Decoded {
        text: text.into_owned(),
        encoding: encoding.name().to_lowercase(),
    })
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Allow)
}

/// The encoding that an HTML page names in its head.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = lossy_head(bytes, HTML_CHARSET_WITHIN_BYTES).to_ascii_lowercase();
    let (_, rest) = head.split_once("charset=")?;
    let label: String = rest
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.'))
        .collect();
    Encoding::for_label(label.as_bytes())
}

/// Whether these are the bytes of a text that needs no guess.
pub(super) fn is_clean_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && !has_binary_controls(bytes)
}

/// Whether the bytes begin with a byte order mark.
pub(super) fn has_bom(bytes: &[u8]) -> bool {
    Encoding::for_bom(bytes).is_some()
}

/// Whether bytes in an unknown encoding may be text.
pub(super) fn looks_like_text(bytes: &[u8]) -> bool {
    text(bytes).is_ok()
}

/// The beginning as text, for a look only.
pub(super) fn lossy_head(bytes: &[u8], length: usize) -> String {
    let head = &bytes[..bytes.len().min(length)];
    let encoding = Encoding::for_bom(bytes).map_or(encoding_rs::UTF_8, |(encoding, _)| encoding);
    encoding.decode(head).0.into_owned()
}

/// Control characters that no text uses; tabs, line ends, form feeds, backspaces of old man pages and escapes of terminals are.
fn has_binary_controls(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .any(|byte| matches!(byte, 0x00..=0x07 | 0x0e..=0x1a | 0x1c..=0x1f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_found() {
        let cases: &[(&[u8], &str, &str)] = &[
            ("grüße".as_bytes(), "grüße", "utf-8"),
            (b"\xef\xbb\xbfbom", "bom", "utf-8"),
            (b"\xff\xfeh\x00i\x00", "hi", "utf-16le"),
            (b"une t\xeate br\xfbl\xe9e par l'\xe9t\xe9", "une tête brûlée par l'été", "windows-1252"),
            (
                b"\x83e\x83X\x83g\x82\xcc\x95\xb6\x8f\x91\x82\xc5\x82\xb7\x81B\x93\xfa\x96{\x8c\xea",
                "テストの文書です。日本語",
                "shift_jis",
            ),
        ];
        for (bytes, expected, encoding) in cases {
            let found = text(bytes).unwrap();
            assert_eq!(
                (found.text.as_str(), found.encoding.as_str()),
                (*expected, *encoding)
            );
        }
    }

    #[test]
    fn html_may_declare_its_encoding() {
        let page = b"<meta charset='iso-8859-7'><p>\xe1\xe2\xe3";
        assert_eq!(html(page).unwrap().encoding, "iso-8859-7");
        assert!(html(page).unwrap().text.ends_with("αβγ"));
    }

    #[test]
    fn binary_data_is_not_text() {
        assert_eq!(
            text(b"PK\x03\x04\x14\x00"),
            Err(DecodeError::Binary {
                mime_type: "application/zip"
            })
        );
        assert_eq!(
            text(b"\x00\x01"),
            Err(DecodeError::Binary {
                mime_type: "binary data"
            })
        );
    }
}
