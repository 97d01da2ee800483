//! A row of a manifest: one source object or document for one target collection.

use fettle_model::{CollectionId, RowNumber};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// An object of a bucket.
    Object,
    /// A document of an earlier tier.
    Document,
}

impl SourceKind {
    /// The text in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Document => "document",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "object" => Some(Self::Object),
            "document" => Some(Self::Document),
            _ => None,
        }
    }
}

/// A source row and the collection that it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestRow {
    /// Its position in the manifest, from zero.
    pub row: RowNumber,
    /// The collection that its documents go to.
    pub collection_id: CollectionId,
    /// What the source is.
    pub source_kind: SourceKind,
    /// Object or document id of the source.
    pub source_id: String,
    /// The object that the source stems from; of an object itself.
    pub root_object_id: String,
    /// The collection that the source document lies in.
    pub source_collection_id: Option<CollectionId>,
    /// Size of its blobs as far as known, in bytes.
    pub size_bytes: u64,
    /// The source's own fields; of a document its payload without `_internal`.
    pub fields: Map<String, Value>,
    /// Its blobs.
    pub blobs: Vec<ManifestBlob>,
}

/// A blob of a source. It has an address, or a value in line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ManifestBlob {
    /// The property of the bucket's schema that it fills.
    pub property: String,
    /// Its type in the contract, such as `image`.
    pub blob_type: String,
    /// `file://…`, `http(s)://…`, `s3://…`, or `blob:KEY` in the blob store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Data given in line: text, or any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Its file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Its type as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its size, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}
