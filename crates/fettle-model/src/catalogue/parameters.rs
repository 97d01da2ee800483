//! The parameters of the built-in extractors as types.
//!
//! Owns the checks that concern several parameters at once and the decision which embedding `auto` means. It must not
//! repeat bounds and defaults: those are in the table of `entries`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::parameter::ParameterError;
use super::{
    ExtractorInfo, IMAGE_COLOUR_LAYOUT_VECTOR, LEXICAL_VECTOR, MINILM_VECTOR,
    UNIVERSAL_COLOUR_LAYOUT_VECTOR,
};

/// Parameters of any built-in extractor.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameters {
    /// Of `passthrough_extractor`.
    Passthrough(PassthroughParameters),
    /// Of `text_extractor`.
    Text(TextParameters),
    /// Of `image_extractor`.
    Image(ImageParameters),
    /// Of `document_extractor`.
    Document(DocumentParameters),
    /// Of `universal_extractor`.
    Universal(UniversalParameters),
}

/// Parameters of `passthrough_extractor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct PassthroughParameters {
    /// Whether mapped inputs are copied into the document.
    pub preserve_metadata: bool,
}

/// Where a text is cut, which is also the unit of `chunk_size` and `chunk_overlap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// At most so many characters, cut at the best place: a paragraph, a sentence, a word.
    Characters,
    /// So many words.
    Words,
    /// So many sentences.
    Sentences,
    /// So many paragraphs (parted by blank lines).
    Paragraphs,
    /// Not at all.
    None,
}

impl SplitBy {
    /// Units of a chunk when the user gives none. 1000 characters and 150 words are about what the sentence model reads
    /// (256 tokens); five sentences and one paragraph are what people mean by a passage.
    #[must_use]
    pub fn default_chunk_size(self) -> u32 {
        match self {
            Self::Characters => 1000,
            Self::Words => 150,
            Self::Sentences => 5,
            Self::Paragraphs | Self::None => 1,
        }
    }
}

/// Which text embedding the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingChoice {
    /// The sentence model where there is one, else the lexical vector.
    Auto,
    /// The sentence model.
    Minilm,
    /// The hashed lexical vector.
    Lexical,
    /// No vector.
    None,
}

/// Which text embedding is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Embedding {
    /// all-MiniLM-L6-v2.
    #[serde(rename = "minilm")]
    MiniLm,
    /// The hashed lexical vector.
    Lexical,
    /// No vector.
    None,
}

impl Embedding {
    /// The value of the parameter `embedding`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MiniLm => "minilm",
            Self::Lexical => "lexical",
            Self::None => "none",
        }
    }
}

/// Parameters of `text_extractor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextParameters {
    /// Where the text is cut.
    pub split_by: SplitBy,
    /// Units a chunk has at most.
    pub chunk_size: u32,
    /// Units that a chunk repeats of the one before; smaller than `chunk_size`.
    pub chunk_overlap: u32,
    /// The vector of each chunk.
    pub embedding: Embedding,
}

/// Parameters of `image_extractor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ImageParameters {
    /// Whether a thumbnail is made.
    pub enable_thumbnails: bool,
    /// Longest side of the thumbnail, in pixels.
    pub thumbnail_size_px: u32,
    /// How many dominant colours are named at most.
    pub dominant_colours_max: u32,
}

/// Parameters of `document_extractor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct DocumentParameters {
    /// Pages of a PDF that are read; `page_count` tells how many there are.
    pub max_document_pages: u32,
}

/// Parameters of `universal_extractor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct UniversalParameters {
    /// Pages of a PDF that are read; `page_count` tells how many there are.
    pub max_document_pages: u32,
    /// Whether images get a thumbnail.
    pub enable_thumbnails: bool,
}

#[derive(Deserialize)]
struct TextTable {
    split_by: SplitBy,
    chunk_size: Option<u32>,
    chunk_overlap: u32,
    embedding: EmbeddingChoice,
    embedding_model: Option<String>,
}

impl Parameters {
    /// Parameters from a complete table; what was left to the extractor is written back into it.
    pub(super) fn from_complete(
        info: &ExtractorInfo,
        complete: &mut Map<String, Value>,
        model_present: bool,
    ) -> Result<Self, ParameterError> {
        Ok(match info.name {
            "passthrough_extractor" => Self::Passthrough(typed(complete)?),
            "text_extractor" => Self::Text(text(complete, model_present)?),
            "image_extractor" => Self::Image(typed(complete)?),
            "document_extractor" => Self::Document(typed(complete)?),
            _ => Self::Universal(typed(complete)?),
        })
    }

    /// The text embedding that is made.
    #[must_use]
    pub fn embedding(&self) -> Embedding {
        match self {
            Self::Text(text) => text.embedding,
            _ => Embedding::None,
        }
    }

    /// Whether a vector of this name is made.
    #[must_use]
    pub fn makes(&self, vector: &str) -> bool {
        match self {
            Self::Text(text) => match text.embedding {
                Embedding::MiniLm => vector == MINILM_VECTOR,
                Embedding::Lexical => vector == LEXICAL_VECTOR,
                Embedding::None => false,
            },
            Self::Image(_) => vector == IMAGE_COLOUR_LAYOUT_VECTOR,
            Self::Universal(_) => vector == UNIVERSAL_COLOUR_LAYOUT_VECTOR,
            Self::Passthrough(_) | Self::Document(_) => false,
        }
    }
}

/// The table was checked value by value; an error here means that it and the type differ, which a test rules out.
fn typed<T: serde::de::DeserializeOwned>(
    complete: &Map<String, Value>,
) -> Result<T, ParameterError> {
    serde_json::from_value(Value::Object(complete.clone())).map_err(|error| {
        ParameterError::Together {
            message: error.to_string(),
        }
    })
}

fn text(
    complete: &mut Map<String, Value>,
    model_present: bool,
) -> Result<TextParameters, ParameterError> {
    let table: TextTable = typed(complete)?;
    let chunk_size = table
        .chunk_size
        .unwrap_or_else(|| table.split_by.default_chunk_size());
    if table.split_by != SplitBy::None && table.chunk_overlap >= chunk_size {
        let overlap = table.chunk_overlap;
        return Err(ParameterError::Together {
            message: format!(
                "`chunk_overlap` is {overlap} and must be smaller than `chunk_size`, which is {chunk_size}"
            ),
        });
    }
    let embedding = decide_embedding(&table, model_present)?;
    complete.remove("embedding_model");
    complete.insert("chunk_size".to_owned(), Value::from(chunk_size));
    complete.insert("embedding".to_owned(), Value::from(embedding.as_str()));
    Ok(TextParameters {
        split_by: table.split_by,
        chunk_size,
        chunk_overlap: table.chunk_overlap,
        embedding,
    })
}

/// `embedding_model` is the contract's way to ask for the sentence model; `embedding` is ours.
fn decide_embedding(table: &TextTable, model_present: bool) -> Result<Embedding, ParameterError> {
    match (table.embedding, &table.embedding_model) {
        (EmbeddingChoice::Auto | EmbeddingChoice::Minilm, Some(_)) => Ok(Embedding::MiniLm),
        (_, Some(model)) => Err(ParameterError::Together {
            message: format!(
                "`embedding_model: {model}` needs `embedding: minilm`; leave one of them out"
            ),
        }),
        (EmbeddingChoice::Minilm, None) => Ok(Embedding::MiniLm),
        (EmbeddingChoice::Auto, None) if model_present => Ok(Embedding::MiniLm),
        (EmbeddingChoice::Auto | EmbeddingChoice::Lexical, None) => Ok(Embedding::Lexical),
        (EmbeddingChoice::None, None) => Ok(Embedding::None),
    }
}
