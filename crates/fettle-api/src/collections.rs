//! Collections: create, get, list, change, delete.

mod create;
mod extractor;
mod mappings;
mod reconcile;
mod trigger;
mod view;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use fettle_ports::{
    BatchFilter, CollectionRecord, CollectionSource, IndexError, ResourceKind, StoreExt,
};
use fettle_wire::collection::{
    CollectionResponse, CreateCollectionRequest, PatchCollectionRequest,
};
use fettle_wire::page::{DeleteResponse, ListRequest, ListResponse, PageQuery};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{Body, InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::lookup::{all, check_name, collection, only};
use crate::namespaces::batch_count;
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted};
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
    let (record, vectors, warnings) = create::build(&state, &tenant.namespace_id, body).await?;
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

async fn list_get(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
    Params(more): Params<ListQuery>,
) -> Result<Json<ListResponse<CollectionResponse>>, ApiError> {
    if let Some(id) = &more.namespace_id
        && id != tenant.namespace_id.as_str()
    {
        let message = "is not the namespace of this request; name it in the X-Namespace header";
        return Err(ApiError::invalid_query("namespace_id", message));
    }
    list(
        &state,
        &tenant,
        Wanted::of(PageQuery::default(), query, PAGE_LIMIT_DEFAULT)?,
    )
    .await
}

async fn list_post(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListRequest>,
) -> Result<Json<ListResponse<CollectionResponse>>, ApiError> {
    only("case_sensitive", body.case_sensitive, &false)?;
    list(
        &state,
        &tenant,
        Wanted::of(body.page(), query, PAGE_LIMIT_DEFAULT)?,
    )
    .await
}

async fn list(
    state: &ApiState,
    tenant: &Tenant,
    wanted: Wanted,
) -> Result<Json<ListResponse<CollectionResponse>>, ApiError> {
    let store = state.control().store();
    let (namespace, search) = (Some(&tenant.namespace_id), wanted.search.as_deref());
    let (rows, total) = store
        .list::<CollectionRecord>(namespace, search, wanted.store_page()?)
        .await?;
    let mut models = Vec::with_capacity(rows.len());
    for (seq, record) in rows {
        models.push((seq, view::view(state, record).await?));
    }
    Ok(Json(wanted.answer(models, total, |model| model)))
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
    let reads = |other: &CollectionRecord| match &other.source {
        CollectionSource::Collection { collection_ids } => {
            collection_ids.contains(&record.collection_id)
        }
        CollectionSource::Bucket { .. } => false,
    };
    Ok(collections
        .into_iter()
        .filter(reads)
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
    // After the record: documents without a collection cannot be seen, a collection without documents could.
    match state.control().index().drop_collection(namespace, id).await {
        Ok(()) | Err(IndexError::NoCollection { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
