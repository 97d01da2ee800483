//! Pages of lists: how they are asked for and what stands beside their results.
//!
//! Owns names and bounds of paging. It must not know what is listed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A page holds at most this many records: a page is held in memory, and its answer is one body.
pub const PAGE_LIMIT_MAX: u64 = 1000;
/// What may be passed over with `offset`; beyond it a cursor is cheaper for both sides.
pub const PAGE_OFFSET_MAX: u64 = 10_000;

/// Paging in the query of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PageQuery {
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
    /// The same under another name.
    pub after: Option<String>,
    /// The same under another name.
    pub next_cursor: Option<String>,
    /// Whether the total is wanted where counting costs something.
    pub include_total: Option<bool>,
    /// Part of the name.
    pub search: Option<String>,
}

/// The body of a list of named resources.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRequest {
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
    /// Part of the name.
    pub search: Option<String>,
    /// Whether `search` and `filters` tell upper from lower case; they do not when left out.
    pub case_sensitive: Option<bool>,
    /// Only records whose answers match: a filter, or values that fields must have.
    pub filters: Option<Map<String, Value>>,
    /// In which order; newest first when left out.
    pub sort: Option<Sort>,
    /// The same by several fields, the first of which counts most.
    pub sorts: Option<Vec<Sort>>,
    /// Whether Fettle's own records are wanted; there are none.
    pub include_system: Option<bool>,
}

impl ListRequest {
    /// The paging that it asks for.
    #[must_use]
    pub fn page(&self) -> PageQuery {
        PageQuery {
            limit: self.limit,
            offset: self.offset,
            page: self.page,
            page_size: self.page_size,
            cursor: self.cursor.clone(),
            search: self.search.clone(),
            ..PageQuery::default()
        }
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sort {
    /// By which field.
    pub field: String,
    /// `asc` or `desc`.
    #[schemars(extend("enum" = crate::values::or_null(&crate::values::DIRECTIONS)))]
    pub direction: Option<String>,
}

/// What stands beside the results of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaginationResponse {
    /// How many there are in all, where known.
    pub total: Option<u64>,
    /// This page's number, from one.
    pub page: Option<u64>,
    /// How many a page has.
    pub page_size: Option<u64>,
    /// How many pages there are, where known.
    pub total_pages: Option<u64>,
    /// Number of the next page; none at the end.
    pub next_page: Option<String>,
    /// Number of the page before; none at the beginning.
    pub previous_page: Option<String>,
    /// Where the next page begins; none at the end.
    pub next_cursor: Option<String>,
}

/// The answer to a list of named resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListResponse<T> {
    /// The page.
    pub results: Vec<T>,
    /// Where it stands.
    pub pagination: PaginationResponse,
    /// How many there are in all.
    pub total_count: u64,
}

/// The answer to a list with sums over all that it finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListWithStats<T, S> {
    /// The page.
    #[serde(flatten)]
    pub page: ListResponse<T>,
    /// Sums over the tenant's whole list.
    pub stats: S,
}

/// The answer to a delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeleteResponse {
    /// Always `true`.
    pub success: bool,
    /// For people.
    pub message: String,
}

impl DeleteResponse {
    /// A success.
    #[must_use]
    pub fn of(message: impl Into<String>) -> Self {
        Self {
            success: true,
            message: message.into(),
        }
    }
}
