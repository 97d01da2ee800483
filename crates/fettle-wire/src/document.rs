//! Documents and searches over them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::filter::SentFilter;
use crate::object::Sort;
use crate::page::{PageQuery, PaginationResponse};

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
    /// Its fields, with `_internal`.
    #[serde(flatten)]
    pub payload: Map<String, Value>,
}

/// `POST /v1/collections/{id}/documents/list`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDocumentsRequest {
    /// Only documents that match.
    pub filters: Option<SentFilter>,
    /// Whether vectors are wanted.
    pub return_vectors: Option<bool>,
    /// Only these fields.
    pub select: Option<Vec<String>>,
    /// Accepted as `document_id`, `asc`, which is the order.
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
