//! PDF files: the text of each page.
//!
//! Owns how pages that cannot be read are reported: one bad page leaves the others, and its part says so; only a file
//! without any readable page fails. It must not run what a PDF contains, and does not see text inside pictures.

use bytes::Bytes;
use fettle_model::ErrorCategory;
use pdf_extract::{Document, PlainTextOutput, output_doc_page};
use serde_json::json;

use super::{Page, part};
use crate::extract::guard::guarded;
use crate::extract::{ExtractError, Part, RowResult};

/// A PDF's pages, as far as they were read.
struct Pages {
    count: usize,
    title: Option<String>,
    /// Page number and text, or why there is none.
    texts: Vec<(u32, Result<String, String>)>,
}

/// The parts of a PDF, one a page, at most `pages_max`.
pub(super) fn parts(bytes: Bytes, pages_max: u32, component: &str) -> RowResult {
    let size_bytes = bytes.len();
    let pages = open_and_read(bytes, pages_max)
        .map_err(|message| ExtractError::invalid(component, message))?;
    let readable = pages.texts.iter().any(|(_, text)| text.is_ok());
    if let (false, Some((number, Err(reason)))) = (readable, pages.texts.first()) {
        let message = format!("no page of the PDF can be read; page {number}: {reason}");
        return Err(ExtractError::permanent(
            ErrorCategory::Runtime,
            component,
            message,
        ));
    }
    let count = pages.count;
    let title = pages.title;
    let numbered = (0_u32..).zip(pages.texts);
    numbered
        .map(|(index, (number, text))| {
            let (text, error) = match text {
                Ok(text) => (text.trim().to_owned(), None),
                Err(reason) => (String::new(), Some(reason)),
            };
            let page = Page {
                text,
                title: title.clone(),
                ..Page::default()
            };
            let mut part = part(index, page, "application/pdf", size_bytes, component)?;
            add_page_fields(&mut part, number, count, error);
            Ok(part)
        })
        .collect()
}

fn add_page_fields(part: &mut Part, number: u32, count: usize, error: Option<String>) {
    part.fields.insert("page_number".to_owned(), json!(number));
    part.fields.insert("page_count".to_owned(), json!(count));
    if let Some(error) = error {
        part.fields.insert("page_error".to_owned(), json!(error));
    }
}

fn open_and_read(bytes: Bytes, pages_max: u32) -> Result<Pages, String> {
    let damaged = |reason: String| {
        format!("the PDF cannot be opened: {reason}; it is damaged, save it again")
    };
    let opened = guarded(move || open(&bytes)).map_err(damaged)??;
    let document = std::sync::Arc::new(opened);
    let numbers: Vec<u32> = document.get_pages().into_keys().collect();
    if numbers.is_empty() {
        return Err(damaged("it has no pages".to_owned()));
    }
    let texts = numbers
        .iter()
        .take(pages_max as usize)
        .map(|number| {
            let (number, document) = (*number, std::sync::Arc::clone(&document));
            let text = guarded(move || page_text(&document, number));
            (
                number,
                text.unwrap_or_else(|panic| Err(format!("the PDF reader failed ({panic})"))),
            )
        })
        .collect();
    Ok(Pages {
        count: numbers.len(),
        title: title(&document),
        texts,
    })
}

fn open(bytes: &[u8]) -> Result<Document, String> {
    let mut document = Document::load_mem(bytes).map_err(|error| {
        format!("the PDF cannot be opened: {error}; it is damaged, save it again")
    })?;
    if document.is_encrypted() && document.decrypt("").is_err() {
        return Err(
            "the PDF is protected by a password; remove the password and upload it again"
                .to_owned(),
        );
    }
    Ok(document)
}

fn page_text(document: &Document, number: u32) -> Result<String, String> {
    let mut text = String::new();
    let mut output = PlainTextOutput::new(&mut text);
    output_doc_page(document, &mut output, number).map_err(|error| error.to_string())?;
    Ok(text)
}

fn title(document: &Document) -> Option<String> {
    let info = document.trailer.get(b"Info").ok()?;
    let info = document.dereference(info).ok()?.1.as_dict().ok()?;
    let title = document.dereference(info.get(b"Title").ok()?).ok()?.1;
    let text = pdf_extract::decode_text_string(title).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
