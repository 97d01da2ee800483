//! `text_extractor`: chunks of text, each with its vector.
//!
//! Owns the order of work: all rows are cut first, then all chunks are embedded together, so that the model sees full
//! batches. It must not know how vectors are computed.

use fettle_model::ErrorCategory;
use fettle_model::catalogue::{Embedding, LEXICAL_VECTOR, TextParameters};
use fettle_model::lexical::lexical_vector;
use serde_json::{Map, Value};

use super::chunk::{Chunk, chunks};
use super::embed::{Embedded, TextEmbedder};
use super::{ExtractError, Extractor, NamedVector, Part, RowInput, RowResult, chain, input};

const COMPONENT: &str = "text_extractor_v1";

/// Cuts and embeds.
pub(super) struct TextExtractor {
    parameters: TextParameters,
    embedder: Option<TextEmbedder>,
}

impl TextExtractor {
    /// `embedder` is there exactly when the parameters ask for the sentence model.
    pub(super) fn new(parameters: TextParameters, embedder: Option<TextEmbedder>) -> Self {
        Self {
            parameters,
            embedder,
        }
    }

    fn cut<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>, ExtractError> {
        chunks(text, &self.parameters)
            .map_err(|message| ExtractError::permanent(ErrorCategory::Resource, COMPONENT, message))
    }

    /// A vector for each text, or none where none is asked for.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Option<Embedded>>, ExtractError> {
        match (self.parameters.embedding, &self.embedder) {
            (Embedding::None, _) => Ok(vec![None; texts.len()]),
            (Embedding::MiniLm, Some(embedder)) => {
                let vectors = embedder.embed(texts).map_err(|error| {
                    ExtractError::permanent(ErrorCategory::Runtime, COMPONENT, chain(&error))
                })?;
                Ok(vectors.into_iter().map(Some).collect())
            }
            _ => Ok(texts.iter().map(|text| Some(lexical(text))).collect()),
        }
    }
}

fn lexical(text: &str) -> Embedded {
    let values = lexical_vector(text);
    Embedded {
        vector: NamedVector {
            name: LEXICAL_VECTOR.to_owned(),
            values,
        },
        truncated: false,
    }
}

impl Extractor for TextExtractor {
    fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
        let texts: Vec<_> = rows
            .iter()
            .map(|row| input::text(row, "text", COMPONENT))
            .collect();
        let cut: Vec<Result<Vec<Chunk<'_>>, ExtractError>> = texts
            .iter()
            .map(|text| {
                text.as_ref()
                    .map_err(Clone::clone)
                    .and_then(|text| self.cut(text))
            })
            .collect();
        let all: Vec<&str> = cut
            .iter()
            .flatten()
            .flat_map(|chunks| chunks.iter().map(|chunk| chunk.text))
            .collect();
        let mut embedded = match self.embed(&all) {
            Ok(vectors) => vectors.into_iter(),
            // The model itself failed: every row that needed it fails, the others keep their own errors.
            Err(error) => {
                return cut
                    .into_iter()
                    .map(|row| row.and(Err(error.clone())))
                    .collect();
            }
        };
        cut.into_iter()
            .map(|row| row.map(|chunks| parts(&chunks, embedded.by_ref().take(chunks.len()))))
            .collect()
    }
}

fn parts(chunks: &[Chunk<'_>], embedded: impl Iterator<Item = Option<Embedded>>) -> Vec<Part> {
    let count = chunks.len();
    let pairs = chunks.iter().zip(embedded).zip(0_u32..);
    pairs
        .map(|((chunk, embedded), index)| part(chunk, embedded, index, count))
        .collect()
}

fn part(chunk: &Chunk<'_>, embedded: Option<Embedded>, index: u32, count: usize) -> Part {
    let mut fields = Map::new();
    fields.insert("text".to_owned(), Value::from(chunk.text));
    fields.insert("chunk_index".to_owned(), Value::from(index));
    fields.insert("chunk_count".to_owned(), Value::from(count));
    fields.insert("start_char".to_owned(), Value::from(chunk.start_char));
    fields.insert("end_char".to_owned(), Value::from(chunk.end_char));
    if embedded.as_ref().is_some_and(|embedded| embedded.truncated) {
        fields.insert("embedding_truncated".to_owned(), Value::Bool(true));
    }
    let vectors = embedded
        .into_iter()
        .map(|embedded| embedded.vector)
        .collect();
    Part {
        index,
        fields,
        vectors,
        artifacts: Vec::new(),
    }
}
