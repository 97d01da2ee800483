//! From the parts that an extractor made to documents: ids, copied fields and `_internal`.
//!
//! Owns the form of a document's payload. Ids are functions of (collection, source row, part), so writing twice is harmless.

use std::collections::BTreeMap;

use bytes::Bytes;
use fettle_manifest::{ManifestRow, SourceKind};
use fettle_model::{
    AttemptSpec, BatchId, CollectionId, DocumentErrorClass, DocumentId, ErrorCategory, JobId,
    NamespaceId, Stage, TargetCollection, UnixMillis,
};
use fettle_wire::internal::{DocumentReport, VectorReport};
use serde_json::{Map, Value, json};

use crate::clock::rfc3339;
use crate::extract::{Artifact, ExtractError, Part};
use crate::inputs::at_path;

/// What is known of a row's content once it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// Blake3 over all inputs, in hexadecimal.
    pub(crate) content_hash: String,
    /// Type of the first blob, as declared or found.
    pub(crate) mime_type: Option<String>,
    /// Bytes of all inputs.
    pub(crate) size_bytes: u64,
}

/// Bytes that go to the blob store before their document is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredArtifact {
    /// Where.
    pub(crate) key: String,
    /// What.
    pub(crate) bytes: Bytes,
}

/// The documents of a row and what belongs to them.
#[derive(Debug, Default)]
pub(crate) struct Composed {
    /// The documents.
    pub(crate) documents: Vec<DocumentReport>,
    /// Their artifacts.
    pub(crate) artifacts: Vec<StoredArtifact>,
}

/// Composes the documents of one attempt.
#[derive(Debug)]
pub(crate) struct Composer {
    namespace_id: NamespaceId,
    batch_id: BatchId,
    job_id: JobId,
    targets: BTreeMap<CollectionId, TargetCollection>,
}

impl Composer {
    /// A composer for the attempt's targets.
    pub(crate) fn new(spec: &AttemptSpec) -> Self {
        let target = |target: &TargetCollection| (target.collection_id.clone(), target.clone());
        Self {
            namespace_id: spec.namespace_id.clone(),
            batch_id: spec.batch_id.clone(),
            job_id: spec.job_id.clone(),
            targets: spec.targets.iter().map(target).collect(),
        }
    }

    /// The documents of a row.
    ///
    /// # Errors
    /// When a field that must be copied is missing.
    pub(crate) fn compose(
        &self,
        row: &ManifestRow,
        facts: &Facts,
        parts: Vec<Part>,
        at: UnixMillis,
    ) -> Result<Composed, ExtractError> {
        let copied = self.copied_fields(row)?;
        let mut composed = Composed::default();
        for part in parts {
            let id = DocumentId::of_part(&row.collection_id, &row.source_id, part.index);
            let blobs: Vec<Value> = part
                .artifacts
                .iter()
                .map(|artifact| self.blob_reference(row, &id, artifact))
                .collect();
            let internal = self.internal(row, facts, &part, &id, blobs, at);
            let mut payload = copied.all.clone();
            payload.extend(part.fields);
            for (path, value) in &copied.chosen {
                set_path(&mut payload, path, value.clone());
            }
            payload.insert("_internal".to_owned(), internal);
            let stored = |artifact: Artifact| StoredArtifact {
                key: self.artifact_key(row, &id, &artifact),
                bytes: artifact.bytes,
            };
            composed
                .artifacts
                .extend(part.artifacts.into_iter().map(stored));
            let vector = |vector: &crate::extract::NamedVector| {
                VectorReport::encode(vector.name.clone(), &vector.values)
            };
            let vectors = part.vectors.iter().map(vector).collect();
            composed.documents.push(DocumentReport {
                id,
                payload,
                vectors,
            });
        }
        Ok(composed)
    }

    fn copied_fields(&self, row: &ManifestRow) -> Result<Copied, ExtractError> {
        let Some(target) = self.targets.get(&row.collection_id) else {
            return Ok(Copied::default());
        };
        let mut copied = Copied::default();
        if target.include_all_source_fields {
            copied.all = row.fields.clone();
        }
        for copy in &target.field_passthrough {
            let found =
                at_path(&row.fields, &copy.source_path).or_else(|| inline(row, &copy.source_path));
            match found.or(copy.default.as_ref()) {
                Some(value) => copied
                    .chosen
                    .push((copy.target_path.clone(), value.clone())),
                None if copy.required => return Err(missing_field(&copy.source_path)),
                None => {}
            }
        }
        Ok(copied)
    }

    fn internal(
        &self,
        row: &ManifestRow,
        facts: &Facts,
        part: &Part,
        id: &DocumentId,
        blobs: Vec<Value>,
        at: UnixMillis,
    ) -> Value {
        let of_part = |name: &str| {
            part.fields
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let mime_type = of_part("mime_type").or_else(|| facts.mime_type.clone());
        let modality = of_part("modality")
            .or_else(|| mime_type.as_deref().map(modality_of).map(str::to_owned));
        let now = rfc3339(at);
        json!({
            "document_id": id,
            "collection_id": row.collection_id,
            "namespace_id": self.namespace_id,
            "batch_id": self.batch_id,
            "job_id": self.job_id,
            "source_id": row.source_id,
            "content_hash": facts.content_hash,
            "mime_type": mime_type,
            "modality": modality,
            "size_bytes": facts.size_bytes,
            "created_at": now,
            "updated_at": now,
            "lineage": lineage(row),
            "part": part.index,
            "document_blobs": blobs,
        })
    }

    fn blob_reference(&self, row: &ManifestRow, id: &DocumentId, artifact: &Artifact) -> Value {
        let role = if artifact.field.contains("thumbnail") {
            "thumbnail"
        } else {
            "artifact"
        };
        json!({
            "field": artifact.field,
            "role": role,
            "type": modality_of(&artifact.mime_type),
            "url": format!("blob:{}", self.artifact_key(row, id, artifact)),
            "content_type": artifact.mime_type,
            "size_bytes": artifact.bytes.len(),
        })
    }

    fn artifact_key(&self, row: &ManifestRow, id: &DocumentId, artifact: &Artifact) -> String {
        let extension = artifact.mime_type.rsplit('/').next().unwrap_or("bin");
        format!(
            "artifacts/{}/{}/{id}/{}.{extension}",
            self.namespace_id, row.collection_id, artifact.field
        )
    }
}

/// Source fields that go into every document of a row.
#[derive(Debug, Default)]
struct Copied {
    all: Map<String, Value>,
    chosen: Vec<(String, Value)>,
}

fn lineage(row: &ManifestRow) -> Value {
    match row.source_kind {
        SourceKind::Object => json!({
            "source_type": "bucket",
            "root_object_id": row.root_object_id,
            "source_object_id": row.source_id,
        }),
        SourceKind::Document => json!({
            "source_type": "collection",
            "root_object_id": row.root_object_id,
            "source_collection_id": row.source_collection_id,
            "source_document_id": row.source_id,
        }),
    }
}

/// The kind of content that a MIME type stands for, in the contract's words.
fn modality_of(mime_type: &str) -> &'static str {
    match mime_type.split('/').next().unwrap_or_default() {
        "image" => "image",
        "audio" => "audio",
        "video" => "video",
        "text" => "text",
        _ if mime_type == "application/pdf" => "pdf",
        _ => "other",
    }
}

fn inline<'r>(row: &'r ManifestRow, property: &str) -> Option<&'r Value> {
    row.blobs
        .iter()
        .find(|blob| blob.property == property)?
        .value
        .as_ref()
}

/// Sets a dotted path; where something else than an object is in the way, the path is the name.
fn set_path(fields: &mut Map<String, Value>, path: &str, value: Value) {
    let nested = path
        .split_once('.')
        .filter(|(first, rest)| !first.is_empty() && !rest.is_empty());
    if let Some((first, rest)) = nested {
        let inner = fields
            .entry(first)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(inner) = inner {
            return set_path(inner, rest, value);
        }
    }
    fields.insert(path.to_owned(), value);
}

fn missing_field(path: &str) -> ExtractError {
    ExtractError {
        category: ErrorCategory::Validation,
        class: DocumentErrorClass::Permanent,
        stage: Stage::Writing,
        message: format!(
            "the source has no field `{path}`, which field_passthrough requires; add it, give a default, or do not require it"
        ),
        component: "field_passthrough".to_owned(),
        traceback: None,
    }
}

#[cfg(test)]
mod tests;
