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
};
use fettle_wire::filter::SentFilter;
use fettle_wire::page::{DeleteResponse, PageQuery};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body::{InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::lookup::{collection, only};
use crate::namespaces::document_count;
use crate::objects::check_depth;
use crate::page::Wanted;
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
    /// A filter as JSON, in lists.
    filters: Option<String>,
    /// Accepted as `false`: documents have no files of their own.
    return_presigned_urls: Option<bool>,
}

impl ReadQuery {
    fn check(&self) -> Result<(), ApiError> {
        if self.return_presigned_urls == Some(true) {
            let message = "`true` is not supported; leave it out or send `false`";
            return Err(ApiError::invalid_query("return_presigned_urls", message));
        }
        Ok(())
    }
}

async fn listed(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(paging): Params<PageQuery>,
    Params(query): Params<ReadQuery>,
    OptionalBody(body): OptionalBody<ListDocumentsRequest>,
) -> Result<Json<ListDocumentsResponse>, ApiError> {
    list(&state, &tenant, &name, paging, query, body).await
}

async fn list(
    state: &ApiState,
    tenant: &Tenant,
    name: &str,
    paging: PageQuery,
    query: ReadQuery,
    body: ListDocumentsRequest,
) -> Result<Json<ListDocumentsResponse>, ApiError> {
    only("return_presigned_urls", body.return_presigned_urls, &false)?;
    query.check()?;
    if paging.search.is_some() {
        let message = "documents are searched with POST /v1/retrievers/execute";
        return Err(ApiError::invalid_query("search", message));
    }
    if let Some(sort) = &body.sort {
        only(
            "sort.field",
            Some(sort.field.clone()),
            &"document_id".to_owned(),
        )?;
        only("sort.direction", sort.direction.clone(), &"asc".to_owned())?;
    }
    let wanted = Wanted::of(body.page(), paging, LIMIT_DEFAULT)?;
    let record = collection(state, &tenant.namespace_id, name).await?;
    let filter = match (body.filters, query.filters) {
        (Some(SentFilter(filter)), _) => Some(filter),
        (None, Some(text)) => Some(filter_of(&text)?),
        (None, None) => None,
    };
    check_depth(filter.as_ref())?;
    let asked = DocumentQuery {
        filter,
        cursor: wanted.cursor.clone(),
        limit: usize::try_from(wanted.offset + wanted.limit).unwrap_or(usize::MAX),
        with_vectors: body
            .return_vectors
            .or(query.return_vectors)
            .unwrap_or(false),
        internal_eq: std::collections::BTreeMap::default(),
    };
    let total = match wanted.include_total {
        true => Some(matching(state, &record, &asked).await?),
        false => None,
    };
    let page = page(state, &record, &asked).await?;
    let mut documents = page.documents;
    documents.drain(
        ..documents
            .len()
            .min(usize::try_from(wanted.offset).unwrap_or(usize::MAX)),
    );
    let shown = documents.into_iter().map(|document| {
        let mut shown = view(&record, document, asked.with_vectors);
        if let Some(select) = &body.select {
            shown.payload.retain(|key, _| select.contains(key));
        }
        shown
    });
    Ok(Json(ListDocumentsResponse {
        results: shown.collect(),
        pagination: wanted.pagination(total, page.next_cursor),
        total_documents: total,
    }))
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

/// A document as it is shown.
pub(crate) fn view(
    record: &CollectionRecord,
    document: Document,
    with_vectors: bool,
) -> DocumentResponse {
    let mut payload = document.payload;
    // The answer has these of its own; one key must not stand twice.
    payload.remove("document_id");
    payload.remove("collection_id");
    if with_vectors {
        payload.remove("vectors");
    }
    let vectors = document
        .vectors
        .into_iter()
        .map(|vector| (vector.name, json!(vector.values)));
    DocumentResponse {
        document_id: document.id.to_string(),
        collection_id: record.collection_id.to_string(),
        score: None,
        vectors: with_vectors.then(|| vectors.collect::<Map<String, Value>>()),
        payload,
    }
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
    InPath((name, id)): InPath<(String, String)>,
    Params(query): Params<ReadQuery>,
) -> Result<Json<DocumentResponse>, ApiError> {
    query.check()?;
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let with_vectors = query.return_vectors.unwrap_or(false);
    let found = document(&state, &record, &id, with_vectors).await?;
    Ok(Json(view(&record, found, with_vectors)))
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
