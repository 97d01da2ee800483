//! `document_extractor`: text, title and links of documents.
//!
//! Owns the fields of a document's part and the limit on its text. Which reader is used follows from the content. It must
//! not cut text into chunks: a `text_extractor` on the next tier does.

mod html;
mod pdf;

use bytes::Bytes;
use fettle_model::ErrorCategory;
use fettle_model::catalogue::DocumentParameters;
use serde_json::{Map, Value, json};

use super::guard::guarded;
use super::input::{self, Content};
use super::sniff::{Kind, Sniffed, sniff};
use super::{ExtractError, Extractor, PART_TEXT_BYTES_MAX, Part, RowInput, RowResult, decode};

const COMPONENT: &str = "document_extractor_v1";

/// Reads documents.
pub(super) struct DocumentExtractor {
    parameters: DocumentParameters,
}

impl DocumentExtractor {
    pub(super) fn new(parameters: DocumentParameters) -> Self {
        Self { parameters }
    }

    fn row(&self, row: &RowInput) -> RowResult {
        match input::content(row, "document", COMPONENT)? {
            Content::Text(text) => {
                let bytes = Bytes::from(text);
                let sniffed = sniff(&bytes);
                read(bytes, sniffed, None, self.parameters, COMPONENT)
            }
            Content::Bytes { bytes, filename } => {
                let sniffed = sniff(&bytes);
                read(
                    bytes,
                    sniffed,
                    filename.as_deref(),
                    self.parameters,
                    COMPONENT,
                )
            }
        }
    }
}

impl Extractor for DocumentExtractor {
    fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
        rows.iter().map(|row| self.row(row)).collect()
    }
}

/// What a reader found in a document or page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Page {
    text: String,
    title: Option<String>,
    encoding: Option<String>,
    links: Vec<String>,
}

/// The parts of one document; also for `universal_extractor`.
pub(super) fn read(
    bytes: Bytes,
    sniffed: Sniffed,
    filename: Option<&str>,
    parameters: DocumentParameters,
    component: &str,
) -> RowResult {
    let size_bytes = bytes.len();
    match sniffed.kind {
        Kind::Pdf => pdf::parts(bytes, parameters.max_document_pages, component),
        Kind::Html => {
            let page = guarded(move || html::read(&bytes)).map_err(|panic| {
                let message = format!("the HTML reader failed on this page ({panic})");
                ExtractError::permanent(ErrorCategory::Runtime, component, message)
            })?;
            let page = page.map_err(|message| ExtractError::invalid(component, message))?;
            Ok(vec![part(
                0,
                page,
                sniffed.mime_type,
                size_bytes,
                component,
            )?])
        }
        Kind::Text => {
            let decoded = decode::text(&bytes).map_err(|error| {
                ExtractError::invalid(component, format!("the text cannot be read: {error}"))
            })?;
            let markdown = sniffed.mime_type == "text/plain" && is_markdown_name(filename);
            let mime_type = if markdown {
                "text/markdown"
            } else {
                sniffed.mime_type
            };
            let title = if markdown {
                heading(&decoded.text)
            } else {
                None
            };
            let encoding = Some(decoded.encoding);
            let page = Page {
                text: decoded.text,
                title,
                encoding,
                links: Vec::new(),
            };
            Ok(vec![part(0, page, mime_type, size_bytes, component)?])
        }
        Kind::Image | Kind::Binary => {
            let message = format!(
                "the blob is {}, which has no text to read; PDF, HTML and text have; \
                 use image_extractor or universal_extractor for it",
                sniffed.mime_type
            );
            Err(ExtractError::invalid(component, message))
        }
    }
}

/// A part of a page; refuses a text that no index would take.
fn part(
    index: u32,
    page: Page,
    mime_type: &str,
    size_bytes: usize,
    component: &str,
) -> Result<Part, ExtractError> {
    if page.text.len() > PART_TEXT_BYTES_MAX {
        let message = format!(
            "the text has {} bytes, more than the {PART_TEXT_BYTES_MAX} that one document can carry; \
             use text_extractor, which cuts it into chunks, or split the file",
            page.text.len()
        );
        return Err(ExtractError::permanent(
            ErrorCategory::Resource,
            component,
            message,
        ));
    }
    let mut fields = Map::new();
    fields.insert("mime_type".to_owned(), json!(mime_type));
    fields.insert("size_bytes".to_owned(), json!(size_bytes));
    fields.insert("text".to_owned(), Value::String(page.text));
    if let Some(title) = page.title {
        fields.insert("title".to_owned(), Value::String(title));
    }
    if let Some(encoding) = page.encoding {
        fields.insert("encoding".to_owned(), Value::String(encoding));
    }
    if !page.links.is_empty() {
        fields.insert("links".to_owned(), json!(page.links));
    }
    Ok(Part {
        index,
        fields,
        vectors: Vec::new(),
        artifacts: Vec::new(),
    })
}

/// Markdown is plain text by its bytes; its name may refine what they allow.
fn is_markdown_name(filename: Option<&str>) -> bool {
    let extension = filename
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, extension)| extension);
    extension.is_some_and(|it| it.eq_ignore_ascii_case("md") || it.eq_ignore_ascii_case("markdown"))
}

/// The first level-one heading of a Markdown text.
fn heading(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("# "))
        .map(|title| title.trim().to_owned())
}
