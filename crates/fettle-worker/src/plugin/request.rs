//! Rows as a plugin gets them. Blobs are handed over as files, so that neither side must hold them as text.

use std::fs;
use std::path::{Path, PathBuf};

use fettle_plugin::PluginKind;
use serde_json::{Map, Value, json};

use crate::extract::{InputValue, LoadedBlob, RowInput};

/// A request and the files it refers to, which are removed with it.
pub(super) struct Request {
    line: Vec<u8>,
    files: Vec<PathBuf>,
}

impl Request {
    /// The request for `rows`.
    ///
    /// # Errors
    /// When a blob's file cannot be written.
    pub(super) fn new(
        kind: PluginKind,
        rows: &[RowInput],
        parameters: &Map<String, Value>,
        scratch_dir: &Path,
    ) -> Result<Self, String> {
        let mut request = Self {
            line: Vec::new(),
            files: Vec::new(),
        };
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            values.push(request.row(row, scratch_dir)?);
        }
        let value = match kind {
            PluginKind::Python => json!({"type": "rows", "rows": values}),
            PluginKind::Exec => {
                let mut value = values.pop().unwrap_or_default();
                value["parameters"] = Value::Object(parameters.clone());
                value
            }
        };
        request.line = value.to_string().into_bytes();
        Ok(request)
    }

    /// The request as a line, without its end.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    fn row(&mut self, row: &RowInput, scratch_dir: &Path) -> Result<Value, String> {
        let mut inputs = Map::new();
        for (key, value) in &row.inputs {
            let value = match value {
                InputValue::Text(text) => Value::String(text.clone()),
                InputValue::Json(value) => value.clone(),
                InputValue::Blob(blob) => self.blob(blob, scratch_dir)?,
            };
            inputs.insert(key.clone(), value);
        }
        Ok(json!({"source_id": row.source_id, "inputs": inputs}))
    }

    fn blob(&mut self, blob: &LoadedBlob, scratch_dir: &Path) -> Result<Value, String> {
        let path = scratch_dir.join(format!("blob-{}", self.files.len()));
        self.files.push(path.clone());
        fs::write(&path, &blob.bytes)
            .map_err(|error| format!("writing {} failed: {error}", path.display()))?;
        Ok(json!({
            "path": path,
            "filename": blob.filename,
            "mime_type": blob.mime_type,
            "size_bytes": blob.bytes.len(),
        }))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        for file in &self.files {
            // The folder is removed with the worker in any case.
            let _ = fs::remove_file(file);
        }
    }
}
