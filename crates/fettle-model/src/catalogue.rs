//! The built-in extractors as data: names, inputs, parameters, outputs and vectors.
//!
//! Owns what `serve` lists and validates and what the worker builds from, so that both always agree. It must not load a
//! model or extract anything; that is the worker's.

mod entries;
mod parameter;
mod parameters;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

pub use parameter::{InertValue, ParameterError, ParameterInfo, ParameterKind};
pub use parameters::{
    DocumentParameters, Embedding, EmbeddingChoice, ImageParameters, Parameters,
    PassthroughParameters, SplitBy, TextParameters, UniversalParameters,
};

/// Length of a MiniLM sentence embedding.
pub const MINILM_DIMENSIONS: u32 = 384;
/// Name of the vector that the sentence-embedding model makes.
pub const MINILM_VECTOR: &str = "text_extractor_v1_minilm_l6_v2";
/// Name of the vector that is made without a model (`crate::lexical`).
pub const LEXICAL_VECTOR: &str = "text_extractor_v1_hashed_lexical";
/// Side of the grid that an image is averaged to for its colour layout, in cells.
pub const COLOUR_LAYOUT_GRID: u32 = 8;
/// Length of a colour-layout vector: luma and two chroma values a cell.
pub const COLOUR_LAYOUT_DIMENSIONS: u32 = COLOUR_LAYOUT_GRID * COLOUR_LAYOUT_GRID * 3;
/// Name of `image_extractor`'s vector.
pub const IMAGE_COLOUR_LAYOUT_VECTOR: &str = "image_extractor_v1_colour_layout";
/// Name of the vector that `universal_extractor` makes of images.
pub const UNIVERSAL_COLOUR_LAYOUT_VECTOR: &str = "universal_extractor_v1_colour_layout";

/// How vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// By angle.
    Cosine,
}

impl Distance {
    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
        }
    }
}

/// A vector that an extractor can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VectorInfo {
    /// Its name in the index and in searches.
    pub name: &'static str,
    /// Its length.
    pub dimensions: u32,
    /// How it is compared.
    pub distance: Distance,
    /// What it stands for.
    pub description: &'static str,
}

/// An input of an extractor, to which a field of the source is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InputInfo {
    /// The key in `input_mappings`.
    pub key: &'static str,
    /// Whether a collection must map it.
    pub required: bool,
    /// Types of the contract that may be mapped to it.
    pub types: &'static [&'static str],
    /// What it is.
    pub description: &'static str,
}

/// A payload field of the documents that an extractor makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutputField {
    /// Its name.
    pub name: &'static str,
    /// Its type in JSON Schema.
    pub json_type: &'static str,
    /// What it is, and when it is absent.
    pub description: &'static str,
}

/// A built-in extractor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExtractorInfo {
    /// Name without version.
    pub name: &'static str,
    /// Version.
    pub version: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Types of the contract that it reads.
    pub supported_input_types: &'static [&'static str],
    /// Its inputs.
    pub inputs: &'static [InputInfo],
    /// Whether inputs beyond `inputs` may be mapped.
    pub any_input: bool,
    /// Its parameters.
    pub parameters: &'static [ParameterInfo],
    /// Payload fields of its documents.
    pub output_fields: &'static [OutputField],
    /// Every vector it can make; which ones it makes depends on parameters ([`resolve`]).
    pub vectors: &'static [VectorInfo],
}

/// Why a collection cannot use an extractor as it asks to.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CatalogueError {
    /// No built-in extractor has this name.
    #[error("there is no built-in extractor `{name}`; there are {known}")]
    UnknownExtractor {
        /// The name that was given.
        name: String,
        /// The names that would do.
        known: String,
    },
    /// The extractor exists in other versions only.
    #[error("there is no version `{version}` of `{name}`; there is {known}")]
    UnknownVersion {
        /// The extractor.
        name: String,
        /// The version that was given.
        version: String,
        /// The versions that would do.
        known: String,
    },
    /// A parameter is unknown or has a wrong value.
    #[error("parameters of `{extractor}`: {problem}")]
    Parameter {
        /// The extractor's id.
        extractor: String,
        /// What is wrong.
        problem: ParameterError,
    },
    /// A sentence model was asked for and there is none.
    #[error(
        "`{extractor}` was asked for `embedding: minilm` but no sentence model is there; \
         set FETTLE_MODEL_DIR to a folder with the files of all-MiniLM-L6-v2, or use `auto` or `lexical`"
    )]
    ModelMissing {
        /// The extractor's id.
        extractor: String,
    },
    /// An input is mapped that the extractor does not have.
    #[error("`{extractor}` has no input `{key}`; its inputs are {known}")]
    UnknownInput {
        /// The extractor's id.
        extractor: String,
        /// The key that was given.
        key: String,
        /// The keys that would do.
        known: String,
    },
    /// A required input is not mapped.
    #[error(
        "`{extractor}` needs its input `{key}`; map a source field to it, such as {{\"{key}\": \"my_field\"}}"
    )]
    MissingInput {
        /// The extractor's id.
        extractor: String,
        /// The key that is missing.
        key: &'static str,
    },
}

/// An extractor with validated parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The extractor.
    pub info: &'static ExtractorInfo,
    /// Its parameters, typed.
    pub parameters: Parameters,
    /// Its parameters, complete and with every `auto` decided: resolving these gives the same, model or not.
    pub pinned: Map<String, Value>,
    /// The vectors that it makes with these parameters.
    pub vectors: Vec<&'static VectorInfo>,
}

/// All built-in extractors.
#[must_use]
pub fn catalogue() -> &'static [ExtractorInfo] {
    entries::ALL
}

/// The extractor of this name and version.
///
/// # Errors
/// When there is none.
pub fn find(name: &str, version: &str) -> Result<&'static ExtractorInfo, CatalogueError> {
    let named: Vec<_> = catalogue()
        .iter()
        .filter(|info| info.name == name)
        .collect();
    if named.is_empty() {
        let known = list(catalogue().iter().map(|info| info.name));
        return Err(CatalogueError::UnknownExtractor {
            name: name.to_owned(),
            known,
        });
    }
    named
        .iter()
        .copied()
        .find(|info| info.version == version)
        .ok_or_else(|| CatalogueError::UnknownVersion {
            name: name.to_owned(),
            version: version.to_owned(),
            known: list(named.iter().map(|info| info.version)),
        })
}

/// Validates parameters and says which vectors follow. `model_present` tells whether workers will have a sentence model.
///
/// # Errors
/// When the extractor or a parameter is unknown, or a value is out of bounds.
pub fn resolve(
    name: &str,
    version: &str,
    parameters: &Map<String, Value>,
    model_present: bool,
) -> Result<Resolved, CatalogueError> {
    let info = find(name, version)?;
    let refuse = |problem| CatalogueError::Parameter {
        extractor: info.id(),
        problem,
    };
    let mut pinned = parameter::complete(info.parameters, parameters).map_err(refuse)?;
    let parameters = Parameters::from_complete(info, &mut pinned, model_present).map_err(refuse)?;
    if parameters.embedding() == Embedding::MiniLm && !model_present {
        return Err(CatalogueError::ModelMissing {
            extractor: info.id(),
        });
    }
    let vectors = info
        .vectors
        .iter()
        .filter(|vector| parameters.makes(vector.name))
        .collect();
    Ok(Resolved {
        info,
        parameters,
        pinned,
        vectors,
    })
}

impl ExtractorInfo {
    /// The id in the contract, such as `text_extractor_v1`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}_{}", self.name, self.version)
    }

    /// Checks the keys of a collection's `input_mappings`.
    ///
    /// # Errors
    /// When a key is unknown or a required one is missing.
    pub fn check_inputs<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Result<(), CatalogueError> {
        let given: Vec<&str> = keys.into_iter().collect();
        let unknown = given
            .iter()
            .find(|key| self.inputs.iter().all(|input| input.key != **key));
        if let (Some(key), false) = (unknown, self.any_input) {
            return Err(CatalogueError::UnknownInput {
                extractor: self.id(),
                key: (*key).to_owned(),
                known: list(self.inputs.iter().map(|input| input.key)),
            });
        }
        match self
            .inputs
            .iter()
            .find(|input| input.required && !given.contains(&input.key))
        {
            Some(input) => Err(CatalogueError::MissingInput {
                extractor: self.id(),
                key: input.key,
            }),
            None => Ok(()),
        }
    }

    /// Parameters that hold when none are given.
    #[must_use]
    pub fn default_parameters(&self) -> Map<String, Value> {
        self.parameters
            .iter()
            .filter_map(|parameter| Some((parameter.name.to_owned(), parameter.kind.default()?)))
            .collect()
    }

    /// The JSON Schema of its parameters.
    #[must_use]
    pub fn parameter_schema(&self) -> Value {
        let properties: Map<String, Value> = self
            .parameters
            .iter()
            .map(|parameter| (parameter.name.to_owned(), parameter.schema()))
            .collect();
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }

    /// The JSON Schema of its inputs.
    #[must_use]
    pub fn input_schema(&self) -> Value {
        let properties: Map<String, Value> = self
            .inputs
            .iter()
            .map(|input| {
                let schema = json!({ "description": input.description, "types": input.types });
                (input.key.to_owned(), schema)
            })
            .collect();
        let required: Vec<_> = self
            .inputs
            .iter()
            .filter(|input| input.required)
            .map(|input| input.key)
            .collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": self.any_input,
        })
    }

    /// The JSON Schema of its documents' payload.
    #[must_use]
    pub fn output_schema(&self) -> Value {
        let properties: Map<String, Value> = self
            .output_fields
            .iter()
            .map(|field| {
                let schema = json!({ "type": field.json_type, "description": field.description });
                (field.name.to_owned(), schema)
            })
            .collect();
        json!({ "type": "object", "properties": properties })
    }
}

/// Names for people: `` `a`, `b` ``.
fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() {
        "none".to_owned()
    } else {
        quoted.join(", ")
    }
}

#[cfg(test)]
mod tests;
