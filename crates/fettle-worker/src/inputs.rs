//! From a manifest row to the inputs of an extractor, by the collection's mappings or, without any, by what fits.
//!
//! Owns the choice. It must not load blobs or look into them.

use std::collections::BTreeMap;

use fettle_manifest::{ManifestBlob, ManifestRow};
use fettle_model::{DocumentErrorClass, ErrorCategory, Stage};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::extract::ExtractError;

/// An input that an extractor declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    /// Its key.
    pub(crate) key: String,
    /// Whether a row without it fails.
    pub(crate) required: bool,
    /// Types of the contract that fit; empty means any.
    pub(crate) types: Vec<String>,
}

/// What a mapping says where the value comes from.
#[derive(Debug, Clone, PartialEq)]
enum Origin {
    /// A blob of that property, else a field of that path.
    Either(String),
    /// A field.
    Field(String),
    /// A blob.
    Blob(String),
    /// The value itself.
    Literal(Value),
}

/// Why the mappings of a collection cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "input_mappings.{key} {problem}; write a field's path, or {{\"source_type\": \"payload\" | \"blob\" | \"literal\", \"path\": …}}"
)]
pub(crate) struct MappingError {
    key: String,
    problem: &'static str,
}

/// How the inputs of one collection's rows are found.
#[derive(Debug, Clone)]
pub(crate) struct InputPlan {
    declared: Vec<Declared>,
    mapped: BTreeMap<String, Origin>,
}

/// What an input is to be made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Picked<'r> {
    /// A field or a literal.
    Value(Value),
    /// A blob, to be loaded.
    Blob(&'r ManifestBlob),
}

impl InputPlan {
    /// A plan from the mappings of a collection.
    pub(crate) fn new(
        declared: Vec<Declared>,
        mappings: &Map<String, Value>,
    ) -> Result<Self, MappingError> {
        let origin = |(key, value): (&String, &Value)| {
            let problem = |problem| MappingError {
                key: key.clone(),
                problem,
            };
            Ok((key.clone(), parse_origin(value).map_err(problem)?))
        };
        let mapped = mappings.iter().map(origin).collect::<Result<_, _>>()?;
        Ok(Self { declared, mapped })
    }

    /// The inputs of `row`.
    ///
    /// # Errors
    /// When a required input has no value.
    pub(crate) fn pick<'r>(
        &self,
        row: &'r ManifestRow,
    ) -> Result<BTreeMap<String, Picked<'r>>, ExtractError> {
        let picked = if self.mapped.is_empty() {
            self.pick_fitting(row)
        } else {
            self.pick_mapped(row)
        };
        match self
            .declared
            .iter()
            .find(|input| input.required && !picked.contains_key(&input.key))
        {
            Some(input) => Err(self.missing(input, row)),
            None => Ok(picked),
        }
    }

    fn pick_mapped<'r>(&self, row: &'r ManifestRow) -> BTreeMap<String, Picked<'r>> {
        let found = |(key, origin): (&String, &Origin)| {
            let picked = match origin {
                Origin::Either(path) => blob_of(row, path).or_else(|| field_of(row, path)),
                Origin::Field(path) => field_of(row, path),
                Origin::Blob(path) => blob_of(row, path),
                Origin::Literal(value) => Some(Picked::Value(value.clone())),
            };
            Some((key.clone(), picked?))
        };
        self.mapped.iter().filter_map(found).collect()
    }

    fn pick_fitting<'r>(&self, row: &'r ManifestRow) -> BTreeMap<String, Picked<'r>> {
        if self.declared.is_empty() {
            return everything(row);
        }
        let found = |input: &Declared| Some((input.key.clone(), fitting(input, row)?));
        self.declared.iter().filter_map(found).collect()
    }

    fn missing(&self, input: &Declared, row: &ManifestRow) -> ExtractError {
        let key = &input.key;
        let message = match self.mapped.get(key) {
            Some(Origin::Either(path)) => format!(
                "input `{key}` is mapped to `{path}`, but the source has neither a blob nor a field of that name"
            ),
            Some(Origin::Field(path)) => format!(
                "input `{key}` is mapped to the field `{path}`, which the source does not have"
            ),
            Some(Origin::Blob(path)) => format!(
                "input `{key}` is mapped to the blob `{path}`, which the source does not have"
            ),
            Some(Origin::Literal(_)) => format!("input `{key}` is mapped to null"),
            None if self.mapped.is_empty() => {
                format!("the source has nothing that fits input `{key}`")
            }
            None => format!("input `{key}` is not mapped"),
        };
        let message = format!("{message}; {}", what_there_is(row));
        ExtractError {
            category: ErrorCategory::Validation,
            class: DocumentErrorClass::Permanent,
            stage: Stage::Loading,
            message,
            component: "input_mappings".to_owned(),
            traceback: None,
        }
    }
}

fn parse_origin(value: &Value) -> Result<Origin, &'static str> {
    match value {
        Value::String(path) => Ok(Origin::Either(path.clone())),
        Value::Object(mapping) => parse_mapping(mapping),
        Value::Bool(_) | Value::Number(_) => Ok(Origin::Literal(value.clone())),
        Value::Null => Err("is null"),
        Value::Array(_) => Err("is a list"),
    }
}

fn parse_mapping(mapping: &Map<String, Value>) -> Result<Origin, &'static str> {
    let given = mapping
        .get("override")
        .or_else(|| mapping.get("value"))
        .filter(|value| !value.is_null());
    if let Some(value) = given {
        return Ok(Origin::Literal(value.clone()));
    }
    let path = mapping
        .get("path")
        .and_then(Value::as_str)
        .map(str::to_owned);
    match (mapping.get("source_type").and_then(Value::as_str), path) {
        (Some("literal" | "constant"), _) => Err("is a literal without `override`"),
        (_, None) => Err("has no `path`"),
        (Some("payload" | "document_field"), Some(path)) => Ok(Origin::Field(path)),
        (Some("blob" | "source_blob"), Some(path)) => Ok(Origin::Blob(path)),
        (None, Some(path)) => Ok(Origin::Either(path)),
        (Some(_), Some(_)) => Err("has an unknown `source_type`"),
    }
}

/// The first blob of a property; a null in line is none.
fn blob_of<'r>(row: &'r ManifestRow, property: &str) -> Option<Picked<'r>> {
    row.blobs
        .iter()
        .find(|blob| blob.property == property)
        .and_then(picked_blob)
}

fn picked_blob(blob: &ManifestBlob) -> Option<Picked<'_>> {
    match (&blob.value, &blob.address) {
        (Some(Value::Null) | None, None) => None,
        (Some(value), None) => Some(Picked::Value(value.clone())),
        (_, Some(_)) => Some(Picked::Blob(blob)),
    }
}

fn field_of<'r>(row: &ManifestRow, path: &str) -> Option<Picked<'r>> {
    at_path(&row.fields, path)
        .filter(|value| !value.is_null())
        .map(|value| Picked::Value(value.clone()))
}

/// The value at a dotted path: the whole path as a name first, as names may have dots.
pub(crate) fn at_path<'v>(fields: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    if let Some(value) = fields.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    match fields.get(first)? {
        Value::Object(inner) => at_path(inner, rest),
        Value::Array(items) => {
            let (index, rest) = rest
                .split_once('.')
                .map_or((rest, None), |(index, rest)| (index, Some(rest)));
            let item = items.get(index.parse::<usize>().ok()?)?;
            match rest {
                None => Some(item),
                Some(rest) => at_path(item.as_object()?, rest),
            }
        }
        _ => None,
    }
}

/// Without mappings and declared inputs: all fields and all blobs by their names.
fn everything(row: &ManifestRow) -> BTreeMap<String, Picked<'_>> {
    let fields = row.fields.iter().filter(|(_, value)| !value.is_null());
    let fields = fields.map(|(name, value)| (name.clone(), Picked::Value(value.clone())));
    let blobs = row
        .blobs
        .iter()
        .filter_map(|blob| Some((blob.property.clone(), picked_blob(blob)?)));
    fields.chain(blobs).collect()
}

/// Without mappings: what bears the input's name, else the first blob of a fitting type, else text.
fn fitting<'r>(input: &Declared, row: &'r ManifestRow) -> Option<Picked<'r>> {
    let takes_text = input.types.is_empty()
        || input
            .types
            .iter()
            .any(|kind| matches!(kind.as_str(), "text" | "string"));
    // An input that takes documents of any kind looks at the content itself, so a blob of an unknown type may fit too.
    let takes_any = input.types.iter().any(|kind| kind == "pdf") && takes_text;
    blob_of(row, &input.key)
        .or_else(|| {
            row.blobs
                .iter()
                .filter(|blob| fits(blob, &input.types))
                .find_map(picked_blob)
        })
        .or_else(|| row.blobs.iter().filter(|_| takes_any).find_map(picked_blob))
        .or_else(|| field_of(row, &input.key))
        .or_else(|| takes_text.then(|| field_of(row, "text").or_else(|| fields_as_text(row)))?)
}

fn fits(blob: &ManifestBlob, types: &[String]) -> bool {
    let of_mime = match blob.mime_type.as_deref() {
        Some("application/pdf") => "pdf",
        Some(mime) => mime.split('/').next().unwrap_or_default(),
        None => "",
    };
    types.is_empty()
        || types
            .iter()
            .any(|kind| kind.eq_ignore_ascii_case(&blob.blob_type) || kind == of_mime)
}

/// The texts among the fields, a line each: what an extractor of text can use when nothing is named.
fn fields_as_text<'r>(row: &ManifestRow) -> Option<Picked<'r>> {
    // By name, so that the text does not depend on how the JSON was read.
    let fields: BTreeMap<_, _> = row.fields.iter().collect();
    let texts: Vec<String> = fields
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}: {}", value.as_str()?)))
        .collect();
    (!texts.is_empty()).then(|| Picked::Value(Value::String(texts.join("\n"))))
}

/// Names shown of what a source has; enough to see a misspelling.
const NAMES_SHOWN_MAX: usize = 12;

fn what_there_is(row: &ManifestRow) -> String {
    if row.fields.is_empty() && row.blobs.is_empty() {
        return "the source has no fields and no blobs; it may have been deleted".to_owned();
    }
    let fields: Vec<_> = row
        .fields
        .keys()
        .take(NAMES_SHOWN_MAX)
        .map(String::as_str)
        .collect();
    let blobs: Vec<_> = row
        .blobs
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|blob| blob.property.as_str())
        .collect();
    format!(
        "it has the fields [{}] and the blobs [{}]",
        fields.join(", "),
        blobs.join(", ")
    )
}

#[cfg(test)]
mod tests;
