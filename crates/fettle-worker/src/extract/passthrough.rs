//! `passthrough_extractor`: the mapped inputs become the document.
//!
//! Owns how a blob is described when only its description is kept. It must not change values.

use fettle_model::catalogue::PassthroughParameters;
use serde_json::{Map, Value, json};

use super::{Extractor, InputValue, Part, RowInput, RowResult};

/// Copies inputs.
pub(super) struct Passthrough {
    parameters: PassthroughParameters,
}

impl Passthrough {
    pub(super) fn new(parameters: PassthroughParameters) -> Self {
        Self { parameters }
    }

    fn fields(&self, row: &RowInput) -> Map<String, Value> {
        if !self.parameters.preserve_metadata {
            return Map::new();
        }
        row.inputs
            .iter()
            .map(|(key, value)| (key.clone(), described(value)))
            .collect()
    }
}

impl Extractor for Passthrough {
    fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
        rows.iter()
            .map(|row| {
                let fields = self.fields(row);
                Ok(vec![Part {
                    index: 0,
                    fields,
                    vectors: Vec::new(),
                    artifacts: Vec::new(),
                }])
            })
            .collect()
    }
}

fn described(value: &InputValue) -> Value {
    match value {
        InputValue::Text(text) => Value::String(text.clone()),
        InputValue::Json(value) => value.clone(),
        InputValue::Blob(blob) => json!({
            "property": blob.property,
            "filename": blob.filename,
            "mime_type": blob.mime_type,
            "size_bytes": blob.bytes.len(),
            "blake3": blake3::hash(&blob.bytes).to_hex().as_str(),
        }),
    }
}
