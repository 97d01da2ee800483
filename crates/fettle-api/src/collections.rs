//! Collections: create, get, list, change, delete.

mod create;
mod extractor;
mod mappings;
mod reconcile;
mod schedule;
mod schemas;
mod trigger;
mod view;

use std::collections::BTreeSet;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use fettle_model::NamespaceId;
use fettle_ports::{BatchFilter, CollectionRecord, IndexError, ResourceKind, StoreExt};
use fettle_wire::collection::{
    CollectionListStats, CollectionResponse, CreateCollectionRequest, PatchCollectionRequest,
};
use fettle_wire::page::{DeleteResponse, ListRequest, ListWithStats, PageQuery};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{Body, InPath, OptionalBody, Params};
use crate::choice::{Choice, listed};
use crate::error::ApiError;
use crate::lookup::{all, check_name, collection};
use crate::namespaces::{batch_count, document_count};
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted, average};
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) use reconcile::roots;
pub(crate) use view::{feature_uri, plugin_vectors, vectors_of};

/// Shortest and longest name, as in the contract.
const NAME_LENGTH: (usize, usize) = (3, 100);

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/collections", post(create_one).get(list_get))
        .api_route("/collections/list", post(list_post))
        .api_route("/collections/{collection}/trigger", post(trigger::trigger))
        .api_route(
            "/collections/{collection}/features",
            get(reconcile::features),
        )
        .api_route(
            "/collections/{collection}/reconciliation",
            get(reconcile::reconcile),
        )
        .api_route(
            "/collections/{collection}",
            get(read).patch(patch).put(patch).delete(delete),
        )
}

async fn create_one(
    State(state): State<ApiState>,
    tenant: Tenant,
    Body(body): Body<CreateCollectionRequest>,
) -> Result<Json<CollectionResponse>, ApiError> {
    let wished = body.schedule.clone();
    let (record, vectors, warnings) = create::build(&state, &tenant.namespace_id, body).await?;
    let wished = wished.map(|it| schedule::build(&state, &record, it));
    let schedule = wished.transpose()?;
    state.control().store().insert(&record).await?;
    let index = state.control().index();
    if let Err(error) = index
        .ensure(&record.namespace_id, &record.collection_id, &vectors)
        .await
    {
        let id = record.collection_id.as_str();
        state
            .control()
            .store()
            .delete_resource(ResourceKind::Collection, &record.namespace_id, id)
            .await?;
        return Err(error.into());
    }
    // Last: what is due needs a collection that is whole.
    if let Some(schedule) = &schedule {
        state.control().store().insert(schedule).await?;
    }
    let shown = view::view(&state, record).await?;
    Ok(Json(CollectionResponse { warnings, ..shown }))
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
) -> Result<Json<CollectionResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    Ok(Json(view::view(&state, record).await?))
}

#[derive(Deserialize, JsonSchema)]
struct ListQuery {
    /// Must be the namespace of the request.
    namespace_id: Option<String>,
    /// Has no effect: Fettle has no collections of its own.
    #[serde(rename = "include_system")]
    _include_system: Option<bool>,
}

type Listed = ListWithStats<CollectionResponse, CollectionListStats>;

async fn list_get(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
    Params(more): Params<ListQuery>,
) -> Result<Json<Listed>, ApiError> {
    if let Some(id) = &more.namespace_id
        && id != tenant.namespace_id.as_str()
    {
        let message = "is not the namespace of this request; name it in the X-Namespace header";
        return Err(ApiError::invalid_query("namespace_id", message));
    }
    list(&state, &tenant, query, ListRequest::default()).await
}

async fn list_post(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListRequest>,
) -> Result<Json<Listed>, ApiError> {
    list(&state, &tenant, query, body).await
}

async fn list(
    state: &ApiState,
    tenant: &Tenant,
    query: PageQuery,
    body: ListRequest,
) -> Result<Json<Listed>, ApiError> {
    let wanted = Wanted::of(body.page(), query, PAGE_LIMIT_DEFAULT)?;
    let choice = Choice::of(&body, "collection_name")?;
    let shown = |record| view::view(state, record);
    Ok(Json(ListWithStats {
        page: listed(state, &tenant.namespace_id, &wanted, &choice, shown).await?,
        stats: sums(state, &tenant.namespace_id).await?,
    }))
}

/// Sums over a tenant's collections.
async fn sums(state: &ApiState, namespace: &NamespaceId) -> Result<CollectionListStats, ApiError> {
    let collections: Vec<CollectionRecord> = all(state, namespace).await?;
    let mut stats = CollectionListStats::default();
    for collection in &collections {
        stats.total_documents += document_count(state, collection).await?;
    }
    let extractors: BTreeSet<String> = collections.iter().map(|it| it.extractor.id()).collect();
    stats.total_feature_extractors = extractors.len() as u64;
    stats.avg_documents_per_collection = average(stats.total_documents, collections.len());
    Ok(stats)
}

async fn patch(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Body(body): Body<PatchCollectionRequest>,
) -> Result<Json<CollectionResponse>, ApiError> {
    let mut record = collection(&state, &tenant.namespace_id, &name).await?;
    if let Some(name) = body.collection_name {
        check_name("collection_name", &name, NAME_LENGTH.0, NAME_LENGTH.1)?;
        record.collection_name = name;
    }
    record.description = body.description.or(record.description);
    record.enabled = body.enabled.unwrap_or(record.enabled);
    record.metadata = body.metadata.unwrap_or(record.metadata);
    record.updated_at = state.now();
    state.control().store().update(&record).await?;
    Ok(Json(view::view(&state, record).await?))
}

async fn delete(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
) -> Result<Json<DeleteResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let readers = readers(&state, &record).await?;
    if !readers.is_empty() {
        let present = format!(
            "its documents feed {}; delete those first",
            readers.join(", ")
        );
        return Err(ApiError::conflict("deleting the collection", present));
    }
    remove(&state, &record).await?;
    Ok(Json(DeleteResponse::of(format!(
        "collection {} was deleted",
        record.collection_name
    ))))
}

/// Names of the collections that take rows from this one.
async fn readers(state: &ApiState, record: &CollectionRecord) -> Result<Vec<String>, ApiError> {
    let collections: Vec<CollectionRecord> = all(state, &record.namespace_id).await?;
    Ok(collections
        .into_iter()
        .filter(|other| other.reads(&record.collection_id))
        .map(|c| c.collection_name)
        .collect())
}

/// Removes a collection with its documents; refuses while a batch feeds it.
pub(crate) async fn remove(state: &ApiState, record: &CollectionRecord) -> Result<(), ApiError> {
    let mut running = 0;
    for status in [
        fettle_model::BatchStatus::Queued,
        fettle_model::BatchStatus::Processing,
    ] {
        let filter = BatchFilter {
            namespace_id: Some(record.namespace_id.clone()),
            collection_id: Some(record.collection_id.clone()),
            status: Some(status),
            ..BatchFilter::default()
        };
        running += batch_count(state, &filter).await?;
    }
    if running > 0 {
        let present =
            format!("{running} batch(es) that feed it are queued or processing; cancel them first");
        return Err(ApiError::conflict("deleting the collection", present));
    }
    let (namespace, id) = (&record.namespace_id, &record.collection_id);
    let store = state.control().store();
    store
        .delete_resource(ResourceKind::Collection, namespace, id.as_str())
        .await?;
    if schedule::view(state, record).await?.is_some() {
        store
            .delete_resource(ResourceKind::Schedule, namespace, id.as_str())
            .await?;
    }
    // After the record: documents without a collection cannot be seen, a collection without documents could.
    match state.control().index().drop_collection(namespace, id).await {
        Ok(()) | Err(IndexError::NoCollection { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
