//! Documents: create, list, get, count, change, delete, lineage.

mod change;
mod lineage;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use fettle_model::DocumentId;
use fettle_model::filter::Filter;
use fettle_ports::{CollectionRecord, Document, DocumentPage, DocumentQuery, IndexError};
use fettle_wire::document::{
    DocumentCountResponse, DocumentResponse, ListDocumentsRequest, ListDocumentsResponse,
    VectorNames,
};
use fettle_wire::filter::SentFilter;
use fettle_wire::page::{DeleteResponse, PageQuery, PaginationResponse, Sort};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body::{InPath, OptionalBody, Params};
use crate::choice::{Choice, SORTED_MAX, check_depth, too_many_to_sort};
use crate::error::ApiError;
use crate::lookup::collection;
use crate::namespaces::document_count;
use crate::page::Wanted;
use crate::signed::{Origin, readable};
use crate::state::ApiState;
use crate::tenant::Tenant;

/// A page has this many documents when nobody says otherwise, as in the contract.
const LIMIT_DEFAULT: u64 = 10;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route(
            "/collections/{collection}/documents",
            post(change::create).get(listed),
        )
        .api_route("/collections/{collection}/documents/list", post(listed))
        .api_route(
            "/collections/{collection}/documents/{document}/ancestors",
            get(lineage::ancestors),
        )
        .api_route(
            "/collections/{collection}/documents/{document}/descendants",
            get(lineage::descendants),
        )
        .api_route(
            "/collections/{collection}/documents/{document}/diagnostics",
            get(lineage::diagnostics),
        )
        .api_route("/collections/{collection}/documents/count", get(count))
        .api_route(
            "/collections/{collection}/documents/{document}",
            get(read)
                .patch(change::patch)
                .put(change::put)
                .delete(delete),
        )
}

#[derive(Deserialize, JsonSchema)]
struct ReadQuery {
    return_vectors: Option<bool>,
    /// Only these vectors, with commas between them; `true` means all.
    return_vector_names: Option<String>,
    /// A filter as JSON, in lists.
    filters: Option<String>,
    /// In which order, in lists: `{"field": "…", "direction": "desc"}`, or `-field`.
    sort: Option<String>,
    /// Whether addresses are wanted by which files of documents can be read.
    return_presigned_urls: Option<bool>,
}

async fn listed(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath(name): InPath<String>,
    Params(paging): Params<PageQuery>,
    Params(query): Params<ReadQuery>,
    OptionalBody(body): OptionalBody<ListDocumentsRequest>,
) -> Result<Json<ListDocumentsResponse>, ApiError> {
    let with_addresses = body.return_presigned_urls.or(query.return_presigned_urls);
    let mut page = list(&state, &tenant, &name, paging, query, body).await?;
    if with_addresses.unwrap_or(false) {
        for document in &mut page.results {
            add_addresses(&state, &origin, document).await?;
        }
    }
    Ok(Json(page))
}

async fn list(
    state: &ApiState,
    tenant: &Tenant,
    name: &str,
    paging: PageQuery,
    query: ReadQuery,
    body: ListDocumentsRequest,
) -> Result<ListDocumentsResponse, ApiError> {
    if paging.search.is_some() {
        let message = "documents are searched with POST /v1/retrievers/execute";
        return Err(ApiError::invalid_query("search", message));
    }
    let wanted = Wanted::of(body.page(), paging, LIMIT_DEFAULT)?;
    let record = collection(state, &tenant.namespace_id, name).await?;
    let filter = match (body.filters, &query.filters) {
        (Some(SentFilter(filter)), _) => Some(filter),
        (None, Some(text)) => Some(filter_of(text)?),
        (None, None) => None,
    };
    check_depth(filter.as_ref())?;
    let vectors = Vectors::of(
        body.return_vectors.or(query.return_vectors),
        body.return_vector_names.or(query.vector_names()),
    );
    let sort = match (body.sort, &query.sort) {
        (None, Some(text)) => Some(sort_of(text)?),
        (sent, _) => sent,
    };
    let choice = Choice::default().sorted_by(sort.as_slice())?;
    let asked = DocumentQuery {
        filter,
        cursor: wanted.cursor.clone(),
        limit: usize::try_from(wanted.offset + wanted.limit).unwrap_or(usize::MAX),
        with_vectors: vectors != Vectors::None,
        internal_eq: std::collections::BTreeMap::default(),
    };
    let total = match wanted.include_total {
        true => Some(matching(state, &record, &asked).await?),
        false => None,
    };
    let (documents, pagination) = if choice.is_sorted() {
        sorted_page(state, &record, &asked, &wanted, &choice).await?
    } else {
        let page = page(state, &record, &asked).await?;
        let offset = usize::try_from(wanted.offset).unwrap_or(usize::MAX);
        let documents = page.documents.into_iter().skip(offset).collect();
        (documents, wanted.pagination(total, page.next_cursor))
    };
    let shown = documents.into_iter().map(|document: Document| {
        let mut shown = view(&record, document, &vectors);
        if let Some(select) = &body.select {
            shown.payload.retain(|key, _| select.contains(key));
            let is_selected = select.iter().any(|key| key == "_internal");
            shown.internal = shown.internal.filter(|_| is_selected);
        }
        shown
    });
    Ok(ListDocumentsResponse {
        results: shown.collect(),
        pagination,
        total_documents: total,
    })
}

/// An order needs all that match at once.
async fn sorted_page(
    state: &ApiState,
    record: &CollectionRecord,
    asked: &DocumentQuery,
    wanted: &Wanted,
    choice: &Choice,
) -> Result<(Vec<Document>, PaginationResponse), ApiError> {
    let everything = DocumentQuery {
        cursor: None,
        limit: usize::try_from(SORTED_MAX).unwrap_or(usize::MAX),
        ..asked.clone()
    };
    let all = page(state, record, &everything).await?;
    if all.next_cursor.is_some() {
        return Err(too_many_to_sort());
    }
    let with_fields = |document: Document| {
        let mut fields = document.payload.clone();
        fields.insert("document_id".to_owned(), json!(document.id));
        (fields, document)
    };
    let sorted = choice.sort(all.documents.into_iter().map(with_fields).collect());
    let answer = wanted.of_whole(sorted)?;
    Ok((answer.results, answer.pagination))
}

/// An order as it stands in a query: JSON, or the name of a field, with `-` before it for the other direction.
fn sort_of(text: &str) -> Result<Sort, ApiError> {
    if text.starts_with('{') {
        return crate::body::parse(text.as_bytes())
            .map_err(|error| ApiError::invalid_query("sort", error.message().to_owned()));
    }
    let (field, direction) = match text.strip_prefix('-') {
        Some(field) => (field, "desc"),
        None => (text, "asc"),
    };
    Ok(Sort {
        field: field.to_owned(),
        direction: Some(direction.to_owned()),
    })
}

fn filter_of(text: &str) -> Result<Filter, ApiError> {
    crate::body::parse(text.as_bytes())
        .map(|SentFilter(filter)| filter)
        .map_err(|error| ApiError::invalid_query("filters", error.message().to_owned()))
}

async fn page(
    state: &ApiState,
    record: &CollectionRecord,
    query: &DocumentQuery,
) -> Result<DocumentPage, ApiError> {
    let index = state.control().index();
    match index
        .list(&record.namespace_id, &record.collection_id, query)
        .await
    {
        Err(IndexError::NoCollection { .. }) => Ok(DocumentPage::default()),
        other => Ok(other?),
    }
}

async fn matching(
    state: &ApiState,
    record: &CollectionRecord,
    query: &DocumentQuery,
) -> Result<u64, ApiError> {
    let all = DocumentQuery {
        cursor: None,
        ..query.clone()
    };
    let index = state.control().index();
    match index
        .count(&record.namespace_id, &record.collection_id, &all)
        .await
    {
        Err(IndexError::NoCollection { .. }) => Ok(0),
        other => Ok(other?),
    }
}

/// Which vectors an answer shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vectors {
    /// None.
    None,
    /// All.
    All,
    /// These.
    Named(Vec<String>),
}

impl Vectors {
    fn of(all: Option<bool>, names: Option<VectorNames>) -> Self {
        match names {
            Some(VectorNames::Named(names)) => Self::Named(names),
            Some(VectorNames::All(true)) => Self::All,
            _ if all == Some(true) => Self::All,
            _ => Self::None,
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => names.iter().any(|it| it == name),
        }
    }
}

impl ReadQuery {
    fn vector_names(&self) -> Option<VectorNames> {
        let text = self.return_vector_names.as_deref()?;
        Some(match text {
            "true" => VectorNames::All(true),
            "false" => VectorNames::All(false),
            names => VectorNames::Named(names.split(',').map(|it| it.trim().to_owned()).collect()),
        })
    }
}

/// A document as it is shown.
pub(crate) fn view(
    record: &CollectionRecord,
    document: Document,
    wanted: &Vectors,
) -> DocumentResponse {
    let mut payload = document.payload;
    // The answer has these of its own; one key must not stand twice.
    for own in ["document_id", "collection_id", "document_blobs"] {
        payload.remove(own);
    }
    let with_vectors = *wanted != Vectors::None;
    if with_vectors {
        payload.remove("vectors");
    }
    let internal = payload.remove("_internal");
    let blobs = internal.as_ref().and_then(|it| it.get("document_blobs"));
    let vectors = document.vectors.into_iter();
    let vectors = vectors.filter(|vector| wanted.has(&vector.name));
    let vectors = vectors.map(|vector| (vector.name, json!(vector.values)));
    DocumentResponse {
        document_id: document.id.to_string(),
        collection_id: record.collection_id.to_string(),
        score: None,
        vectors: with_vectors.then(|| vectors.collect::<Map<String, Value>>()),
        document_blobs: blobs.and_then(|blobs| serde_json::from_value(blobs.clone()).ok()),
        internal,
        payload,
    }
}

/// Adds addresses by which the document's files can be read.
pub(crate) async fn add_addresses(
    state: &ApiState,
    origin: &Origin,
    document: &mut DocumentResponse,
) -> Result<(), ApiError> {
    for blob in document.document_blobs.iter_mut().flatten() {
        blob.presigned_url = readable(state, origin, &blob.url).await?;
    }
    Ok(())
}

async fn document(
    state: &ApiState,
    record: &CollectionRecord,
    id: &str,
    with_vectors: bool,
) -> Result<Document, ApiError> {
    let no_document = || ApiError::not_found("document", id);
    let id: DocumentId = id.parse().map_err(|_no_id| no_document())?;
    let index = state.control().index();
    let (namespace, collection) = (&record.namespace_id, &record.collection_id);
    let mut found = match index.get(namespace, collection, &[id], with_vectors).await {
        Err(IndexError::NoCollection { .. }) => Vec::new(),
        other => other?,
    };
    found.pop().ok_or_else(no_document)
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath((name, id)): InPath<(String, String)>,
    Params(query): Params<ReadQuery>,
) -> Result<Json<DocumentResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let vectors = Vectors::of(query.return_vectors, query.vector_names());
    let found = document(&state, &record, &id, vectors != Vectors::None).await?;
    let mut shown = view(&record, found, &vectors);
    if query.return_presigned_urls.unwrap_or(false) {
        add_addresses(&state, &origin, &mut shown).await?;
    }
    Ok(Json(shown))
}

async fn count(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
) -> Result<Json<DocumentCountResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let count = document_count(&state, &record).await?;
    Ok(Json(DocumentCountResponse {
        collection_id: record.collection_id.to_string(),
        count,
    }))
}

async fn delete(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
) -> Result<Json<DeleteResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let found = document(&state, &record, &id, false).await?;
    let (namespace, collection) = (&record.namespace_id, &record.collection_id);
    state
        .control()
        .index()
        .delete(namespace, collection, std::slice::from_ref(&found.id))
        .await?;
    change::tell(&state, &record, &found.id, "document.deleted").await?;
    Ok(Json(DeleteResponse::of(format!(
        "document {id} was deleted"
    ))))
}
