//! The built-in extractors: from the mapped inputs of source rows to the parts of documents.
//!
//! Owns the trait that the worker drives and the way from an `ExtractorRef` to an implementation. What exists and which
//! parameters it takes is in `fettle_model::catalogue`. It must not fetch blobs, write documents or read the clock.

mod chunk;
mod decode;
mod document;
mod embed;
mod guard;
mod image;
mod input;
mod passthrough;
mod sniff;
mod text;
mod universal;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use bytes::Bytes;
use fettle_model::catalogue::{self, CatalogueError, Embedding, Parameters};
use fettle_model::{DocumentErrorClass, ErrorCategory, RowError, RowNumber, Stage, UnixMillis};
use serde_json::{Map, Value};
use thiserror::Error as ThisError;

pub use embed::{EmbedError, Embedded, ModelError, TextEmbedder, embed_query};

/// Documents that one row may become. They are held in memory together until the row is written; more than this is a
/// sign of a chunk size that was meant otherwise.
pub const PARTS_PER_ROW_MAX: usize = 20_000;
/// Text that one document may carry, in bytes: what an index takes in one request, with room for the rest.
pub const PART_TEXT_BYTES_MAX: usize = 8 << 20;

/// A blob whose bytes are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedBlob {
    /// The blob's property in its object.
    pub property: String,
    /// Its file name, if the user gave one; a hint, never proof of its type.
    pub filename: Option<String>,
    /// Its type, if the user gave one; a hint as well.
    pub mime_type: Option<String>,
    /// Its content.
    pub bytes: Bytes,
}

/// What a collection mapped to an input.
#[derive(Debug, Clone, PartialEq)]
pub enum InputValue {
    /// A text field.
    Text(String),
    /// Any other field.
    Json(Value),
    /// A blob.
    Blob(LoadedBlob),
}

/// One source row after loading.
#[derive(Debug, Clone, PartialEq)]
pub struct RowInput {
    /// Input key → value.
    pub inputs: BTreeMap<String, InputValue>,
    /// Object or document id of the source.
    pub source_id: String,
}

/// A vector with its name in the index.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedVector {
    /// Of a built-in extractor, one of the catalogue's names.
    pub name: String,
    /// As many as the catalogue says.
    pub values: Vec<f32>,
}

/// Bytes that belong to a document, such as a thumbnail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Payload field that is to hold its address.
    pub field: String,
    /// Its type.
    pub mime_type: String,
    /// Its content.
    pub bytes: Bytes,
}

/// What becomes one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its place among the row's parts, from 0; part of the document's id.
    pub index: u32,
    /// Payload fields.
    pub fields: Map<String, Value>,
    /// Vectors.
    pub vectors: Vec<NamedVector>,
    /// Bytes to be stored beside it.
    pub artifacts: Vec<Artifact>,
}

/// What an extractor makes of a row.
pub type RowResult = Result<Vec<Part>, ExtractError>;

/// An extractor, ready to work.
pub trait Extractor: Send {
    /// Makes the parts of each row, in the order of `rows`. A row that fails fails alone. Several rows at once let
    /// embeddings be computed together.
    fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult>;
}

/// Where an extractor finds what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractorContext {
    /// Folder of the sentence model, where there is one.
    pub model_dir: Option<PathBuf>,
    /// A folder for temporary files, removed with the worker.
    pub scratch_dir: PathBuf,
}

/// Why one row failed.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("{message}")]
pub struct ExtractError {
    /// Kind of error.
    pub category: ErrorCategory,
    /// Whether trying again can help.
    pub class: DocumentErrorClass,
    /// Where in the worker it happened.
    pub stage: Stage,
    /// What happened and what to do.
    pub message: String,
    /// The extractor's id, or the part that failed.
    pub component: String,
    /// Where in a plugin's code it happened, as the plugin's language writes it.
    pub traceback: Option<String>,
}

impl ExtractError {
    /// The input does not have the form that is needed, and never will.
    pub(crate) fn invalid(component: &str, message: impl Into<String>) -> Self {
        Self::permanent(ErrorCategory::Validation, component, message)
    }

    /// Of any category; trying again gives the same.
    pub(crate) fn permanent(
        category: ErrorCategory,
        component: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            category,
            class: DocumentErrorClass::Permanent,
            stage: Stage::Processing,
            message: message.into(),
            component: component.to_owned(),
            traceback: None,
        }
    }

    /// The record that is reported for the row.
    #[must_use]
    pub fn into_row_error(self, row: RowNumber, source_id: String, at: UnixMillis) -> RowError {
        RowError {
            row,
            source_id,
            category: self.category,
            class: self.class,
            stage: self.stage,
            message: self.message,
            component: self.component,
            traceback: self.traceback,
            at,
        }
    }
}

/// Why an extractor cannot be started.
#[derive(Debug, ThisError)]
pub enum BuildError {
    /// The catalogue refuses name, version or parameters.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The sentence model does not load.
    #[error("load the sentence model")]
    Model(#[from] ModelError),
}

/// Makes a built-in extractor ready; reads the sentence model if the parameters need it.
///
/// # Errors
/// When the catalogue refuses the parameters or the model does not load. There is no fall-back from a model that does not
/// load to lexical vectors: documents would get other vectors than their collection says.
pub fn build(
    name: &str,
    version: &str,
    parameters: &Map<String, Value>,
    context: &ExtractorContext,
) -> Result<Box<dyn Extractor>, BuildError> {
    let resolved = catalogue::resolve(name, version, parameters, context.model_dir.is_some())?;
    Ok(match resolved.parameters {
        Parameters::Passthrough(parameters) => Box::new(passthrough::Passthrough::new(parameters)),
        Parameters::Text(parameters) => {
            let embedder = match (parameters.embedding, &context.model_dir) {
                (Embedding::MiniLm, Some(directory)) => Some(TextEmbedder::load(directory)?),
                _ => None,
            };
            Box::new(text::TextExtractor::new(parameters, embedder))
        }
        Parameters::Image(parameters) => Box::new(image::ImageExtractor::new(parameters)),
        Parameters::Document(parameters) => Box::new(document::DocumentExtractor::new(parameters)),
        Parameters::Universal(parameters) => {
            Box::new(universal::UniversalExtractor::new(parameters))
        }
    })
}

/// An error with its causes in one line, for messages to people.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
