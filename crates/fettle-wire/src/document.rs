//! Documents and searches over them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::filter::SentFilter;
use crate::page::{PageQuery, PaginationResponse, Sort};

/// A document: its payload's keys stand beside these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentResponse {
    /// Its id.
    pub document_id: String,
    /// The collection.
    pub collection_id: String,
    /// Similarity, in searches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Vectors by name, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<Map<String, Value>>,
    /// What the server keeps of it.
    #[serde(rename = "_internal", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<InternalPayload>")]
    pub internal: Option<Value>,
    /// Files that were made of its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_blobs: Option<Vec<DocumentBlob>>,
    /// Its fields.
    #[serde(flatten)]
    pub payload: Map<String, Value>,
}

/// What the server keeps of a document. Other keys may stand beside these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InternalPayload {
    /// The document.
    pub document_id: Option<String>,
    /// Its collection.
    pub collection_id: Option<String>,
    /// Its namespace.
    pub namespace_id: Option<String>,
    /// Blake3 of its source's content, in hexadecimal, or what a client called it.
    pub content_hash: Option<String>,
    /// MIME type of its source.
    pub mime_type: Option<String>,
    /// The kind of content: text, image, pdf, audio, video or other.
    pub modality: Option<String>,
    /// Size of its source in bytes.
    pub size_bytes: Option<u64>,
    /// Where it comes from.
    pub lineage: Option<InternalLineage>,
    /// Files that were made of its source.
    pub document_blobs: Option<Vec<Map<String, Value>>>,
    /// When it was written first.
    pub created_at: Option<String>,
    /// When it was last changed.
    pub updated_at: Option<String>,
}

/// Where a document comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InternalLineage {
    /// `bucket`, `collection` or `direct_upsert`.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::LINEAGE_SOURCES)))]
    pub source_type: Option<String>,
    /// The object at its beginning.
    pub root_object_id: Option<String>,
    /// The bucket of that object, where a client said it.
    pub root_bucket_id: Option<String>,
    /// Where it stands, for people, where a client said it.
    pub path: Option<String>,
    /// The steps from the object to it, where a client said them.
    pub chain: Option<Vec<Map<String, Value>>>,
    /// The object that it was made of.
    pub source_object_id: Option<String>,
    /// The collection of the document that it was made of.
    pub source_collection_id: Option<String>,
    /// The document that it was made of.
    pub source_document_id: Option<String>,
}

/// A file that was made of a document's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentBlob {
    /// The document's field that it belongs to.
    pub field: String,
    /// `artifact` or `thumbnail`.
    #[schemars(extend("enum" = crate::values::BLOB_ROLES))]
    pub role: String,
    /// The kind of content.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = crate::values::BLOB_KINDS))]
    pub kind: String,
    /// Where it is stored.
    pub url: String,
    /// An address by which anybody can read it for an hour, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presigned_url: Option<String>,
    /// MIME type.
    pub content_type: Option<String>,
    /// Size in bytes.
    pub size_bytes: Option<u64>,
}

/// Which vectors are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum VectorNames {
    /// All or none.
    All(bool),
    /// These.
    Named(Vec<String>),
}

/// `POST /v1/collections/{id}/documents/list`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDocumentsRequest {
    /// Only documents that match.
    pub filters: Option<SentFilter>,
    /// Whether vectors are wanted.
    pub return_vectors: Option<bool>,
    /// Only these vectors, which are wanted then; `true` means all.
    pub return_vector_names: Option<VectorNames>,
    /// Only these fields.
    pub select: Option<Vec<String>>,
    /// In which order: by a field of at most 10,000 that match.
    pub sort: Option<Sort>,
    /// Accepted with the client's default.
    pub return_presigned_urls: Option<bool>,
    /// Whether the total is wanted.
    pub include_total: Option<bool>,
    /// How many at most.
    pub limit: Option<u64>,
    /// How many to pass over.
    pub offset: Option<u64>,
    /// Number of the page, from one.
    pub page: Option<u64>,
    /// How many a page has.
    pub page_size: Option<u64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl ListDocumentsRequest {
    /// The paging that it asks for.
    #[must_use]
    pub fn page(&self) -> PageQuery {
        PageQuery {
            limit: self.limit,
            offset: self.offset,
            page: self.page,
            page_size: self.page_size,
            cursor: self.cursor.clone(),
            include_total: self.include_total,
            ..PageQuery::default()
        }
    }
}

/// A page of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListDocumentsResponse {
    /// The page.
    pub results: Vec<DocumentResponse>,
    /// Where it stands.
    pub pagination: PaginationResponse,
    /// How many match in all, where asked for.
    pub total_documents: Option<u64>,
}

/// How many documents a collection has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentCountResponse {
    /// The collection.
    pub collection_id: String,
    /// How many.
    pub count: u64,
}

/// `POST /v1/retrievers/execute`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteRequest {
    /// Collections by id or name.
    #[serde(alias = "collection_ids")]
    pub collection_identifiers: Option<Vec<String>>,
    /// What to do, in order.
    #[schemars(with = "Vec<StageConfig>")]
    pub stages: Vec<Value>,
    /// Values for `{{INPUT.name}}`.
    pub inputs: Option<Map<String, Value>>,
    /// Describes the inputs; not needed.
    pub input_schema: Option<Value>,
    /// Only documents that match.
    #[serde(alias = "pre_filters")]
    pub filters: Option<SentFilter>,
    /// How many at most.
    #[serde(alias = "page_size")]
    pub limit: Option<u64>,
    /// Accepted with the client's default.
    pub stream: Option<bool>,
}

/// A stage of a search. The short client's flat form, `{"type": "feature_search", "query": …}`, is taken too.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is a schema; the API reads either form")]
struct StageConfig {
    /// Its name, or that of the stage where `config` has no `stage_id`.
    stage_name: Option<String>,
    /// What kind of stage it is; follows from `stage_id`.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::STAGE_TYPES)))]
    stage_type: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// `stage_id`, its `parameters` and `pre_filters`.
    config: Option<Map<String, Value>>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecuteResponse {
    /// Always `completed`.
    pub status: String,
    /// The documents, best first.
    pub documents: Vec<DocumentResponse>,
    /// How many there are.
    pub total_count: u64,
    /// Where the page stands.
    pub pagination: PaginationResponse,
    /// What each stage did.
    pub stage_statistics: Value,
    /// What may not be as intended.
    pub warnings: Vec<String>,
}
