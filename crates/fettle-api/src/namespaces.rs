//! Namespaces: create, get, list, change, delete.

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use fettle_model::NamespaceId;
use fettle_ports::{
    ApiKeyRecord, BatchFilter, BucketRecord, CollectionRecord, DocumentQuery, IndexError,
    NamespaceRecord, Page, PluginRecord, ResourceKind, StoreExt, WebhookRecord,
};
use fettle_wire::error::ErrorType;
use fettle_wire::namespace::{
    CreateNamespaceRequest, NamespaceListStats, NamespaceModel, NamespaceStatsResponse,
    PatchNamespaceRequest,
};
use fettle_wire::page::{DeleteResponse, ListRequest, ListWithStats, PageQuery};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::{Caller, DEFAULT_NAMESPACE};
use crate::body::{Body, InPath, OptionalBody, Params};
use crate::choice::Choice;
use crate::error::ApiError;
use crate::healing;
use crate::lookup::{all, check_name, only};
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted, average};
use crate::state::ApiState;
use crate::tenant::{may_see, visible_namespace};
use crate::{buckets, collections};

/// Shortest and longest name, as in the contract.
const NAME_LENGTH: (usize, usize) = (3, 64);

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/namespaces", post(create).get(list_get))
        .api_route("/namespaces/list", post(list_post))
        .api_route("/namespaces/{namespace}/stats", get(stats))
        .api_route(
            "/namespaces/{namespace}",
            get(read).patch(patch).put(patch).delete(delete),
        )
}

async fn create(
    State(state): State<ApiState>,
    Caller(key): Caller,
    Body(body): Body<CreateNamespaceRequest>,
) -> Result<Json<NamespaceModel>, ApiError> {
    check_name(
        "namespace_name",
        &body.namespace_name,
        NAME_LENGTH.0,
        NAME_LENGTH.1,
    )?;
    only("mode", body.mode, &"managed".to_owned())?;
    only(
        "namespace_type",
        body.namespace_type,
        &"standard".to_owned(),
    )?;
    for named in body.feature_extractors.iter().flatten() {
        fettle_model::catalogue::find(&named.feature_extractor_name, &named.version)
            .map_err(|error| ApiError::invalid(&["feature_extractors"], error.to_string()))?;
    }
    let now = state.now();
    let record = NamespaceRecord {
        namespace_id: NamespaceId::from_entropy(state.id_bits()),
        namespace_name: body.namespace_name,
        description: body.description,
        owner: (!key.is_admin).then(|| key.key_id.clone()),
        healing: body.healing.map(healing::policy).transpose()?,
        created_at: now,
        updated_at: now,
    };
    state.control().store().insert(&record).await?;
    Ok(Json(view(&state, record).await?))
}

async fn read(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath(name): InPath<String>,
) -> Result<Json<NamespaceModel>, ApiError> {
    let record = visible_namespace(&state, &key, &name).await?;
    Ok(Json(view(&state, record).await?))
}

async fn stats(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath(name): InPath<String>,
) -> Result<Json<NamespaceStatsResponse>, ApiError> {
    let record = visible_namespace(&state, &key, &name).await?;
    count(&state, &record.namespace_id).await.map(Json)
}

/// How much a namespace holds.
async fn count(state: &ApiState, id: &NamespaceId) -> Result<NamespaceStatsResponse, ApiError> {
    let buckets: Vec<BucketRecord> = all(state, id).await?;
    let held: Vec<CollectionRecord> = all(state, id).await?;
    let store = state.control().store();
    let (mut objects, mut documents) = (0, 0);
    for bucket in &buckets {
        objects += store.object_stats(id, &bucket.bucket_id).await?.objects;
    }
    for collection in &held {
        documents += document_count(state, collection).await?;
    }
    Ok(NamespaceStatsResponse {
        namespace_id: id.to_string(),
        bucket_count: buckets.len() as u64,
        collection_count: held.len() as u64,
        object_count: objects,
        document_count: documents,
        document_count_complete: true,
    })
}

type Listed = ListWithStats<NamespaceModel, NamespaceListStats>;

async fn list_get(
    State(state): State<ApiState>,
    Caller(key): Caller,
    Params(query): Params<PageQuery>,
) -> Result<Json<Listed>, ApiError> {
    list(&state, &key, query, ListRequest::default()).await
}

#[derive(Deserialize, JsonSchema)]
struct ListQuery {
    /// Has no effect: Fettle has no namespaces of its own.
    #[serde(rename = "include_system")]
    _include_system: Option<bool>,
    /// Accepted as `full`, which is how namespaces are shown.
    view: Option<String>,
}

async fn list_post(
    State(state): State<ApiState>,
    Caller(key): Caller,
    Params(query): Params<PageQuery>,
    Params(more): Params<ListQuery>,
    OptionalBody(body): OptionalBody<ListRequest>,
) -> Result<Json<Listed>, ApiError> {
    if more.view.is_some_and(|view| view != "full") {
        let message = "is not supported; leave it out or send `full`";
        return Err(ApiError::invalid_query("view", message));
    }
    list(&state, &key, query, body).await
}

async fn list(
    state: &ApiState,
    key: &ApiKeyRecord,
    query: PageQuery,
    body: ListRequest,
) -> Result<Json<Listed>, ApiError> {
    let wanted = Wanted::of(body.page(), query, PAGE_LIMIT_DEFAULT)?;
    let choice = Choice::of(&body, "namespace_name")?;
    let store = state.control().store();
    let mut models = Vec::new();
    for record in store.search_all::<NamespaceRecord>(None, None).await? {
        if may_see(key, &record) {
            models.push(view(state, record).await?);
        }
    }
    let stats = sums(&models);
    if let Some(search) = wanted.search.as_ref().map(|text| text.to_lowercase()) {
        models.retain(|model| model.namespace_name.to_lowercase().contains(&search));
    }
    let page = wanted.of_whole(choice.pick(models)?)?;
    Ok(Json(ListWithStats { page, stats }))
}

/// Sums over the namespaces that a key may see.
fn sums(namespaces: &[NamespaceModel]) -> NamespaceListStats {
    let sum = |count: fn(&NamespaceModel) -> Option<u64>| namespaces.iter().filter_map(count).sum();
    let mut stats = NamespaceListStats {
        total_buckets: sum(|it| it.bucket_count),
        total_collections: sum(|it| it.collection_count),
        total_objects: sum(|it| it.object_count),
        total_documents: sum(|it| it.document_count),
        total_documents_complete: true,
        ..NamespaceListStats::default()
    };
    let of_one = |total| average(total, namespaces.len());
    stats.avg_buckets_per_namespace = of_one(stats.total_buckets);
    stats.avg_collections_per_namespace = of_one(stats.total_collections);
    stats.avg_objects_per_namespace = of_one(stats.total_objects);
    stats.avg_documents_per_namespace = of_one(stats.total_documents);
    stats
}

async fn patch(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath(name): InPath<String>,
    Body(body): Body<PatchNamespaceRequest>,
) -> Result<Json<NamespaceModel>, ApiError> {
    let mut record = visible_namespace(&state, &key, &name).await?;
    if let Some(name) = body
        .namespace_name
        .filter(|name| *name != record.namespace_name)
    {
        check_name("namespace_name", &name, NAME_LENGTH.0, NAME_LENGTH.1)?;
        if record.namespace_name == DEFAULT_NAMESPACE {
            return Err(default_stays());
        }
        record.namespace_name = name;
    }
    record.description = body.description.or(record.description);
    record.healing = healing::change(record.healing, body.healing)?;
    record.updated_at = state.now();
    state.control().store().update(&record).await?;
    state
        .control()
        .policies_changed(&record.namespace_id)
        .await?;
    Ok(Json(view(&state, record).await?))
}

fn default_stays() -> ApiError {
    ApiError::new(
        ErrorType::ForbiddenError,
        "the namespace `default` can be neither renamed nor deleted: requests without an X-Namespace header go there",
    )
}

#[derive(Deserialize, JsonSchema)]
struct DeleteQuery {
    force: Option<bool>,
}

async fn delete(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath(name): InPath<String>,
    Params(query): Params<DeleteQuery>,
) -> Result<Json<DeleteResponse>, ApiError> {
    let record = visible_namespace(&state, &key, &name).await?;
    if record.namespace_name == DEFAULT_NAMESPACE {
        return Err(default_stays());
    }
    let id = &record.namespace_id;
    let buckets: Vec<BucketRecord> = all(&state, id).await?;
    let held: Vec<CollectionRecord> = all(&state, id).await?;
    let is_empty = buckets.is_empty() && held.is_empty();
    if !(is_empty || query.force.unwrap_or(false)) {
        let present = format!(
            "it has {} bucket(s) and {} collection(s); send `?force=true` to delete them with it",
            buckets.len(),
            held.len()
        );
        return Err(ApiError::conflict("deleting the namespace", present));
    }
    for bucket in &buckets {
        buckets::remove(&state, bucket).await?;
    }
    for collection in &held {
        collections::remove(&state, collection).await?;
    }
    let store = state.control().store();
    for plugin in all::<PluginRecord>(&state, id).await? {
        store
            .delete_resource(ResourceKind::Plugin, id, plugin.plugin_id.as_str())
            .await?;
    }
    for webhook in all::<WebhookRecord>(&state, id).await? {
        store
            .delete_resource(ResourceKind::Webhook, id, webhook.webhook_id.as_str())
            .await?;
    }
    store
        .delete_resource(ResourceKind::Namespace, id, id.as_str())
        .await?;
    Ok(Json(DeleteResponse::of(format!(
        "namespace {} was deleted",
        record.namespace_name
    ))))
}

async fn view(state: &ApiState, record: NamespaceRecord) -> Result<NamespaceModel, ApiError> {
    let held = count(state, &record.namespace_id).await?;
    Ok(NamespaceModel {
        object: "namespace".to_owned(),
        namespace_id: held.namespace_id,
        namespace_name: record.namespace_name,
        description: record.description,
        mode: "managed".to_owned(),
        namespace_type: "standard".to_owned(),
        namespace_ready: true,
        bucket_count: Some(held.bucket_count),
        collection_count: Some(held.collection_count),
        object_count: Some(held.object_count),
        document_count: Some(held.document_count),
        document_count_complete: true,
        healing: record.healing.as_ref().map(healing::view),
        created_at: record.created_at.into(),
        updated_at: record.updated_at.into(),
    })
}

/// How many documents a collection has; none before its index exists.
pub(crate) async fn document_count(
    state: &ApiState,
    collection: &CollectionRecord,
) -> Result<u64, ApiError> {
    let index = state.control().index();
    let query = DocumentQuery::default();
    match index
        .count(&collection.namespace_id, &collection.collection_id, &query)
        .await
    {
        Ok(count) => Ok(count),
        Err(IndexError::NoCollection { .. }) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// How many batches match.
pub(crate) async fn batch_count(state: &ApiState, filter: &BatchFilter) -> Result<u64, ApiError> {
    let page = Page {
        limit: 1,
        ..Page::default()
    };
    Ok(state.control().store().list_batches(filter, page).await?.1)
}
