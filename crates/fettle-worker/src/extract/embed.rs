//! Sentence embeddings by all-MiniLM-L6-v2 on the CPU.
//!
//! Owns the model in memory and the batching. The weights are read, not mapped, so that the worker's memory limit sees
//! them. It must not fall back to anything: without a model there is no embedder.

use std::io;
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use fettle_model::catalogue::{Embedding, LEXICAL_VECTOR, MINILM_DIMENSIONS, MINILM_VECTOR};
use fettle_model::lexical::lexical_vector;
use thiserror::Error;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use super::NamedVector;

/// What the model was trained to read (`max_seq_length` of its sentence_bert_config.json), in tokens.
const TOKENS_MAX: usize = 256;
/// Bytes of a text that are tokenised: 256 tokens of the longest common words fit several times over, and tokenising a
/// megabyte to keep 256 tokens would cost more than the model.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Padded tokens in one pass. Activations grow with it: a process peaked at 198 MiB with 1024 tokens and at 373 MiB with
/// 4096, and was not faster.
const BATCH_TOKENS_MAX: usize = 1024;
/// Layers of all-MiniLM-L6-v2; another model must not pass under its name.
const LAYERS: usize = 6;

/// A vector of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// The vector, of length one.
    pub vector: NamedVector,
    /// Whether the text was longer than what the model reads.
    pub truncated: bool,
}

/// Why the model does not load.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error(
        "cannot read {path}; the model folder (FETTLE_MODEL_DIR) needs config.json, tokenizer.json and \
         model.safetensors of all-MiniLM-L6-v2"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not have the right form.
    #[error("{path} is not a file of all-MiniLM-L6-v2; fetch the model again")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is another model.
    #[error(
        "{path} describes a model with {layers} layers and {dimensions} dimensions; \
         all-MiniLM-L6-v2 has 6 and 384"
    )]
    OtherModel {
        /// The configuration.
        path: PathBuf,
        /// Its layers.
        layers: usize,
        /// Its vector length.
        dimensions: usize,
    },
}

/// Why a text could not be embedded.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// The tokenizer failed.
    #[error("tokenise the text")]
    Tokenize(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The model failed.
    #[error("run the sentence model")]
    Model(#[from] candle_core::Error),
    /// The result is not a number; the weights are damaged.
    #[error(
        "the sentence model gave values that are not numbers; its weights are damaged, fetch the model again"
    )]
    NotFinite,
    /// A query asks for the sentence model and there is none.
    #[error(
        "the collection's vectors come from the sentence model, which is not loaded; set FETTLE_MODEL_DIR"
    )]
    NoModel,
}

/// The sentence model, loaded.
pub struct TextEmbedder {
    model: BertModel,
    tokenizer: Tokenizer,
    device: Device,
}

impl TextEmbedder {
    /// Loads the model from `directory`; takes about 100 MB of memory, twice that while loading.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another model.
    pub fn load(directory: &Path) -> Result<Self, ModelError> {
        let config = Self::read_config(directory)?;
        let tokenizer = Self::read_tokenizer(directory)?;
        let path = directory.join("model.safetensors");
        let weights = read(&path)?;
        let device = Device::Cpu;
        let model = VarBuilder::from_buffered_safetensors(weights, DType::F32, &device)
            .and_then(|weights| BertModel::load(weights, &config))
            .map_err(|error| ModelError::Parse {
                path,
                source: Box::new(error),
            })?;
        Ok(Self {
            model,
            tokenizer,
            device,
        })
    }

    fn read_config(directory: &Path) -> Result<Config, ModelError> {
        let path = directory.join("config.json");
        let config: Config =
            serde_json::from_slice(&read(&path)?).map_err(|error| ModelError::Parse {
                path: path.clone(),
                source: Box::new(error),
            })?;
        let (layers, dimensions) = (config.num_hidden_layers, config.hidden_size);
        if layers != LAYERS || dimensions != MINILM_DIMENSIONS as usize {
            return Err(ModelError::OtherModel {
                path,
                layers,
                dimensions,
            });
        }
        Ok(config)
    }

    /// The published tokenizer file cuts at 128 tokens and pads to it; neither is wanted.
    fn read_tokenizer(directory: &Path) -> Result<Tokenizer, ModelError> {
        let path = directory.join("tokenizer.json");
        let parse = |source| ModelError::Parse {
            path: path.clone(),
            source,
        };
        let mut tokenizer = Tokenizer::from_bytes(read(&path)?).map_err(parse)?;
        let truncation = TruncationParams {
            max_length: TOKENS_MAX,
            ..TruncationParams::default()
        };
        tokenizer
            .with_padding(None)
            .with_truncation(Some(truncation))
            .map_err(parse)?;
        Ok(tokenizer)
    }

    /// Vectors of `texts`, in their order. Texts of like length go through the model together.
    ///
    /// # Errors
    /// When tokenizer or model fail, which no text should bring about.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Embedded>, EmbedError> {
        let mut tokens = Vec::with_capacity(texts.len());
        for (position, text) in texts.iter().enumerate() {
            tokens.push(self.tokenize(position, text)?);
        }
        tokens.sort_by_key(|tokens| tokens.encoding.len());
        let mut found: Vec<Option<Embedded>> = vec![None; texts.len()];
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(rest));
            for (tokens, values) in batch.iter().zip(self.forward(batch)?) {
                let vector = NamedVector {
                    name: MINILM_VECTOR.to_owned(),
                    values,
                };
                found[tokens.position] = Some(Embedded {
                    vector,
                    truncated: tokens.truncated,
                });
            }
            rest = later;
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn tokenize(&self, position: usize, text: &str) -> Result<Tokens, EmbedError> {
        let head = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        let encoding = self
            .tokenizer
            .encode(head, true)
            .map_err(EmbedError::Tokenize)?;
        let truncated = head.len() < text.len() || !encoding.get_overflowing().is_empty();
        Ok(Tokens {
            position,
            encoding,
            truncated,
        })
    }

    /// One pass: mean of the token vectors that are not padding, scaled to length one.
    fn forward(&self, batch: &[Tokens]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let width = batch
            .iter()
            .map(|tokens| tokens.encoding.len())
            .max()
            .unwrap_or(0);
        let shape = (batch.len(), width);
        let padded = |values: fn(&Encoding) -> &[u32]| {
            let rows = batch.iter().flat_map(|tokens| {
                let values = values(&tokens.encoding);
                values
                    .iter()
                    .copied()
                    .chain(std::iter::repeat_n(0, width - values.len()))
            });
            Tensor::from_vec(rows.collect::<Vec<u32>>(), shape, &self.device)
        };
        let ids = padded(Encoding::get_ids)?;
        let mask = padded(Encoding::get_attention_mask)?;
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(D::Minus1)?;
        let sums = hidden.broadcast_mul(&mask)?.sum(1)?;
        let means = sums.broadcast_div(&mask.sum(1)?)?;
        let lengths = means.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        let vectors = means.broadcast_div(&lengths)?.to_vec2::<f32>()?;
        if vectors.iter().flatten().all(|value| value.is_finite()) {
            Ok(vectors)
        } else {
            Err(EmbedError::NotFinite)
        }
    }
}

struct Tokens {
    position: usize,
    encoding: Encoding,
    truncated: bool,
}

/// How many of the texts, which ascend in length, go into the next pass; at least one.
fn batch_length(ascending: &[Tokens]) -> usize {
    let fitting = ascending.iter().enumerate().take_while(|(index, tokens)| {
        (index + 1) * tokens.encoding.len().max(1) <= BATCH_TOKENS_MAX
    });
    fitting.count().max(1)
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The vector of a search text, to be compared with the vectors that `text_extractor` made with the same `embedding`; none
/// where that makes no vectors.
///
/// # Errors
/// When the sentence model is needed and not given, or fails.
pub fn embed_query(
    text: &str,
    embedding: Embedding,
    embedder: Option<&TextEmbedder>,
) -> Result<Option<NamedVector>, EmbedError> {
    match embedding {
        Embedding::None => Ok(None),
        Embedding::Lexical => Ok(Some(NamedVector {
            name: LEXICAL_VECTOR.to_owned(),
            values: lexical_vector(text),
        })),
        Embedding::MiniLm => {
            let embedder = embedder.ok_or(EmbedError::NoModel)?;
            Ok(embedder
                .embed(&[text])?
                .pop()
                .map(|embedded| embedded.vector))
        }
    }
}
