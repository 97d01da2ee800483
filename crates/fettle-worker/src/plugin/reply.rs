//! A plugin's answers, checked: documents with declared vectors, or errors.
//!
//! Owns the form of answers. Nothing that a plugin says may break a document or the worker.

use std::collections::BTreeMap;

use fettle_model::{DocumentErrorClass, ErrorCategory, Stage};
use fettle_plugin::{PluginKind, PluginManifest};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::extract::{ExtractError, NamedVector, PARTS_PER_ROW_MAX, Part, RowResult};

/// Text that is kept of a message or traceback, in characters: it is stored for each failed row.
const TEXT_CHARS_MAX: usize = 8000;

/// The vectors that a plugin may make.
pub(super) struct Vectors(BTreeMap<String, usize>);

impl Vectors {
    /// Those that the manifest declares.
    pub(super) fn new(manifest: &PluginManifest) -> Self {
        let vector = |vector: &fettle_plugin::PluginVector| {
            (vector.name.clone(), vector.dimensions as usize)
        };
        Self(manifest.vectors.iter().map(vector).collect())
    }
}

#[derive(Deserialize)]
struct PythonAnswer {
    results: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum GivenError {
    Text(String),
    Full(FullError),
}

#[derive(Deserialize)]
struct FullError {
    message: String,
    #[serde(default)]
    traceback: Option<String>,
    #[serde(default)]
    category: Option<Value>,
    #[serde(default)]
    transient: bool,
}

/// One result for each of `rows` rows.
pub(super) fn read(
    kind: PluginKind,
    line: &[u8],
    rows: usize,
    vectors: &Vectors,
    component: &str,
) -> Vec<RowResult> {
    let results = match kind {
        PluginKind::Python => {
            serde_json::from_slice::<PythonAnswer>(line).map(|answer| answer.results)
        }
        PluginKind::Exec => serde_json::from_slice(line).map(|result| vec![result]),
    };
    match results {
        Ok(results) if results.len() == rows => results
            .into_iter()
            .map(|result| read_result(result, vectors, component))
            .collect(),
        Ok(results) => {
            let message = format!("the plugin gave {} results for {rows} rows", results.len());
            vec![Err(bad(component, message)); rows]
        }
        Err(error) => {
            let excerpt: String = String::from_utf8_lossy(&line[..line.len().min(200)])
                .trim()
                .to_owned();
            let message =
                format!("the plugin's answer is not JSON as expected ({error}): {excerpt}");
            vec![Err(bad(component, message)); rows]
        }
    }
}

fn read_result(result: Value, vectors: &Vectors, component: &str) -> RowResult {
    let documents = match result {
        Value::Array(documents) => documents,
        Value::Object(mut object) => {
            if let Some(error) = object.remove("error").filter(|error| !error.is_null()) {
                return Err(read_error(error, component));
            }
            match object.remove("documents") {
                Some(Value::Array(documents)) => documents,
                Some(_) => return Err(bad(component, "the plugin's `documents` is not a list")),
                None => vec![Value::Object(object)],
            }
        }
        other => {
            return Err(bad(
                component,
                format!(
                    "the plugin's answer is {}, but must be an object or a list of objects",
                    kind_of(&other)
                ),
            ));
        }
    };
    if documents.len() > PARTS_PER_ROW_MAX {
        return Err(bad(
            component,
            format!(
                "the plugin made {} documents of one row; at most {PARTS_PER_ROW_MAX} are taken",
                documents.len()
            ),
        ));
    }
    let parts = documents
        .into_iter()
        .zip(0_u32..)
        .map(|(document, index)| read_document(document, index, vectors, component));
    parts.collect()
}

fn read_document(
    document: Value,
    index: u32,
    vectors: &Vectors,
    component: &str,
) -> Result<Part, ExtractError> {
    let Value::Object(mut fields) = document else {
        return Err(bad(
            component,
            format!(
                "document {index} of the plugin is {}, not an object",
                kind_of(&document)
            ),
        ));
    };
    if let Some(name) = fields
        .keys()
        .find(|name| name.starts_with('_') || name.contains('\0'))
    {
        return Err(bad(
            component,
            format!(
                "the plugin's field `{name}` begins with an underscore; such names are Fettle's own"
            ),
        ));
    }
    let given = match fields.remove("vectors") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(given)) => given,
        Some(_) => {
            return Err(bad(
                component,
                "the plugin's `vectors` must map names to lists of numbers",
            ));
        }
    };
    let vectors = given
        .into_iter()
        .map(|(name, values)| read_vector(&name, &values, vectors, component));
    Ok(Part {
        index,
        vectors: vectors.collect::<Result<_, _>>()?,
        fields,
        artifacts: Vec::new(),
    })
}

fn read_vector(
    name: &str,
    values: &Value,
    vectors: &Vectors,
    component: &str,
) -> Result<NamedVector, ExtractError> {
    let Some(dimensions) = vectors.0.get(name) else {
        let declared: Vec<_> = vectors.0.keys().map(String::as_str).collect();
        return Err(bad(
            component,
            format!(
                "the plugin made a vector `{name}`, which its manifest does not declare; it declares [{}]",
                declared.join(", ")
            ),
        ));
    };
    let numbers = values
        .as_array()
        .and_then(|values| values.iter().map(as_f32).collect::<Option<Vec<f32>>>());
    let Some(numbers) = numbers else {
        return Err(bad(
            component,
            format!("the plugin's vector `{name}` is not a list of finite numbers"),
        ));
    };
    if numbers.len() != *dimensions {
        return Err(bad(
            component,
            format!(
                "the plugin's vector `{name}` has {} numbers; its manifest declares {dimensions}",
                numbers.len()
            ),
        ));
    }
    Ok(NamedVector {
        name: name.to_owned(),
        values: numbers,
    })
}

fn as_f32(value: &Value) -> Option<f32> {
    // Doubles beyond the range of floats become infinite and are refused.
    value
        .as_f64()
        .map(|number| number as f32)
        .filter(|number| number.is_finite())
}

fn read_error(error: Value, component: &str) -> ExtractError {
    let error = match serde_json::from_value(error) {
        Ok(GivenError::Full(error)) => error,
        Ok(GivenError::Text(message)) => FullError {
            message,
            traceback: None,
            category: None,
            transient: false,
        },
        Err(_) => FullError {
            message: "the plugin gave an error without a message".to_owned(),
            traceback: None,
            category: None,
            transient: false,
        },
    };
    let category = error
        .category
        .and_then(|category| serde_json::from_value(category).ok())
        .unwrap_or(ErrorCategory::Runtime);
    let class = match (error.transient, category) {
        (true, _) => DocumentErrorClass::Transient,
        (false, ErrorCategory::Resource) => DocumentErrorClass::Resource,
        (false, _) => DocumentErrorClass::Permanent,
    };
    ExtractError {
        category,
        class,
        stage: Stage::Processing,
        message: error.message.chars().take(TEXT_CHARS_MAX).collect(),
        component: component.to_owned(),
        traceback: error
            .traceback
            .map(|trace| trace.chars().take(TEXT_CHARS_MAX).collect()),
    }
}

fn bad(component: &str, message: impl Into<String>) -> ExtractError {
    ExtractError::permanent(ErrorCategory::Runtime, component, message)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Vectors {
        Vectors(BTreeMap::from([("v".to_owned(), 2)]))
    }

    fn one(line: &str) -> RowResult {
        read(PluginKind::Exec, line.as_bytes(), 1, &vectors(), "p_v1").remove(0)
    }

    #[test]
    fn an_object_is_a_document_and_a_list_several() {
        let part = &one(r#"{"words": 3, "vectors": {"v": [1, 2.5]}}"#).unwrap()[0];
        assert_eq!(
            (part.fields.len(), part.vectors[0].values.as_slice()),
            (1, [1.0, 2.5].as_slice())
        );
        let parts = one(r#"[{"a": 1}, {"a": 2}]"#).unwrap();
        assert_eq!(
            parts.iter().map(|part| part.index).collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(one(r#"{"documents": []}"#).unwrap(), vec![]);
    }

    #[test]
    fn answers_that_would_break_a_document_are_errors_that_say_why() {
        let cases = [
            ("nonsense", "not JSON"),
            ("7", "a number"),
            (r#"{"_internal": {}}"#, "underscore"),
            (r#"{"vectors": {"w": [1, 2]}}"#, "does not declare"),
            (r#"{"vectors": {"v": [1]}}"#, "declares 2"),
            (r#"{"vectors": {"v": [1, 1e300]}}"#, "finite"),
            (r#"{"documents": 3}"#, "not a list"),
            (r#"["x"]"#, "a text"),
        ];
        for (line, part) in cases {
            let message = one(line).unwrap_err().message;
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn errors_keep_their_class_and_traceback() {
        let error = one(r#"{"error": {"message": "m", "traceback": "t", "category": "network", "transient": true}}"#).unwrap_err();
        assert_eq!(
            (error.category, error.class, error.traceback.as_deref()),
            (
                ErrorCategory::Network,
                DocumentErrorClass::Transient,
                Some("t")
            )
        );
        let error = one(r#"{"error": "plain"}"#).unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.class),
            ("plain", DocumentErrorClass::Permanent)
        );
    }
}
