//! Documents and vectors.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fettle_model::filter::Filter;
use fettle_model::{CollectionId, DocumentId, NamespaceId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Why an index operation failed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The collection has no index.
    #[error("collection {collection} has no documents index")]
    NoCollection {
        /// The collection.
        collection: CollectionId,
    },
    /// A vector has a name or length that the collection does not have.
    #[error("vector `{name}` does not fit collection {collection}: {message}")]
    BadVector {
        /// The collection.
        collection: CollectionId,
        /// The vector's name.
        name: String,
        /// What does not fit.
        message: String,
    },
    /// A cursor that this index did not make.
    #[error("the cursor is not one of this list's")]
    BadCursor,
    /// The disk is full; the documents of this call were not acknowledged.
    #[error("no space left for documents of collection {collection}")]
    Full {
        /// The collection.
        collection: CollectionId,
    },
    /// The index failed; trying again may help.
    #[error("the index failed on collection {collection}: {message}")]
    Unavailable {
        /// The collection.
        collection: CollectionId,
        /// What it said.
        message: String,
    },
}

/// A named vector of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedVector {
    /// Name, which is the feature's name.
    pub name: String,
    /// Values.
    pub values: Vec<f32>,
}

/// A vector that the documents of a collection have. Distance is cosine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorSpec {
    /// Name.
    pub name: String,
    /// Length.
    pub dimensions: u32,
}

/// A document. System fields live under the payload's `_internal` key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Its fields.
    pub payload: Map<String, Value>,
    /// Its vectors; empty where they were not asked for.
    #[serde(default)]
    pub vectors: Vec<NamedVector>,
}

/// Which documents to list.
#[derive(Debug, Clone, Default)]
pub struct DocumentQuery {
    /// Only documents that match.
    pub filter: Option<Filter>,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// How many at most.
    pub limit: usize,
    /// Whether vectors are wanted.
    pub with_vectors: bool,
    /// Exact matches on `_internal` string fields that the index can look up: `batch_id`, `job_id`, `source_id`.
    pub internal_eq: BTreeMap<String, String>,
}

/// A page of documents, ordered by id.
#[derive(Debug, Clone, Default)]
pub struct DocumentPage {
    /// The documents.
    pub documents: Vec<Document>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<String>,
}

/// A document that a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredDocument {
    /// The document.
    pub document: Document,
    /// Cosine similarity.
    pub score: f32,
}

/// An index of documents, one space per collection.
#[async_trait]
pub trait Index: Send + Sync {
    /// Makes the collection's space, or adds the vectors it lacks.
    async fn ensure(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        vectors: &[VectorSpec],
    ) -> Result<(), IndexError>;
    /// Writes documents, replacing those with the same ids. Durable on return.
    async fn upsert(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        documents: Vec<Document>,
    ) -> Result<(), IndexError>;
    /// The documents with these ids that exist.
    async fn get(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        ids: &[DocumentId],
        with_vectors: bool,
    ) -> Result<Vec<Document>, IndexError>;
    /// A page of documents.
    async fn list(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        query: &DocumentQuery,
    ) -> Result<DocumentPage, IndexError>;
    /// How many documents match.
    async fn count(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        query: &DocumentQuery,
    ) -> Result<u64, IndexError>;
    /// Removes documents; returns how many there were. Durable on return.
    async fn delete(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        ids: &[DocumentId],
    ) -> Result<u64, IndexError>;
    /// The nearest documents to a vector.
    async fn search(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        vector: &NamedVector,
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<ScoredDocument>, IndexError>;
    /// Removes the collection's space with all its documents.
    async fn drop_collection(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
    ) -> Result<(), IndexError>;
    /// Whether the index answers (for health).
    async fn check(&self) -> Result<(), IndexError>;
}
