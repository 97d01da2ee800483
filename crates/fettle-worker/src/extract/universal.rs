//! `universal_extractor`: looks at the content and reads it as what it is.
//!
//! Owns the routing and the record of what has no reader. It must not trust names or open archives; of anything it cannot
//! read it keeps type, size and hash, so that no object is without a document.

use bytes::Bytes;
use fettle_model::catalogue::{
    DocumentParameters, ImageParameters, UNIVERSAL_COLOUR_LAYOUT_VECTOR, UniversalParameters,
};
use serde_json::{Map, json};

use super::input::{self, Content};
use super::sniff::{Kind, Sniffed, sniff};
use super::{Extractor, InputValue, Part, RowInput, RowResult, document, image};

const COMPONENT: &str = "universal_extractor_v1";
/// Longest side of thumbnails, in pixels, and most dominant colours: `image_extractor`'s defaults.
const THUMBNAIL_SIZE_PX: u32 = 256;
const DOMINANT_COLOURS_MAX: u32 = 5;

/// Reads anything.
pub(super) struct UniversalExtractor {
    document: DocumentParameters,
    image: ImageParameters,
}

impl UniversalExtractor {
    pub(super) fn new(parameters: UniversalParameters) -> Self {
        Self {
            document: DocumentParameters {
                max_document_pages: parameters.max_document_pages,
            },
            image: ImageParameters {
                enable_thumbnails: parameters.enable_thumbnails,
                thumbnail_size_px: THUMBNAIL_SIZE_PX,
                dominant_colours_max: DOMINANT_COLOURS_MAX,
            },
        }
    }

    fn row(&self, row: &RowInput) -> RowResult {
        let (bytes, filename) = match row.inputs.get("file") {
            // Nested JSON is content too; only here is there no better field to map.
            Some(InputValue::Json(value)) if value.is_object() || value.is_array() => {
                (Bytes::from(value.to_string()), None)
            }
            _ => match input::content(row, "file", COMPONENT)? {
                Content::Text(text) => (Bytes::from(text), None),
                Content::Bytes { bytes, filename } => (bytes, filename),
            },
        };
        let sniffed = sniff(&bytes);
        let mut parts = self.route(bytes, sniffed, filename.as_deref())?;
        for part in &mut parts {
            part.fields
                .insert("modality".to_owned(), json!(modality(sniffed.kind)));
        }
        Ok(parts)
    }

    fn route(&self, bytes: Bytes, sniffed: Sniffed, filename: Option<&str>) -> RowResult {
        match sniffed.kind {
            Kind::Pdf | Kind::Html | Kind::Text => {
                document::read(bytes, sniffed, filename, self.document, COMPONENT)
            }
            Kind::Image => {
                image::part(bytes, self.image, UNIVERSAL_COLOUR_LAYOUT_VECTOR, COMPONENT)
                    .map(|part| vec![part])
            }
            Kind::Binary => Ok(vec![binary(&bytes, sniffed.mime_type)]),
        }
    }
}

impl Extractor for UniversalExtractor {
    fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
        rows.iter().map(|row| self.row(row)).collect()
    }
}

fn modality(kind: Kind) -> &'static str {
    match kind {
        Kind::Pdf | Kind::Html => "document",
        Kind::Text => "text",
        Kind::Image => "image",
        Kind::Binary => "binary",
    }
}

fn binary(bytes: &[u8], mime_type: &str) -> Part {
    let mut fields = Map::new();
    fields.insert("mime_type".to_owned(), json!(mime_type));
    fields.insert("size_bytes".to_owned(), json!(bytes.len()));
    fields.insert(
        "blake3".to_owned(),
        json!(blake3::hash(bytes).to_hex().as_str()),
    );
    Part {
        index: 0,
        fields,
        vectors: Vec::new(),
        artifacts: Vec::new(),
    }
}
