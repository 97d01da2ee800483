//! Buckets: create, get, list, change, delete.

pub(crate) mod schema;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use fettle_model::{BatchStatus, BucketId, NamespaceId};
use fettle_ports::{BatchFilter, BucketRecord, CollectionRecord, Page, ResourceKind, StoreExt};
use fettle_wire::bucket::{
    BatchStatistics, BucketListStats, BucketResponse, BucketSchema, CreateBucketRequest,
    PatchBucketRequest, UniqueKey,
};
use fettle_wire::page::{DeleteResponse, ListRequest, ListWithStats, PageQuery};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::body::{Body, InPath, OptionalBody, Params};
use crate::choice::{Choice, listed};
use crate::error::ApiError;
use crate::healing;
use crate::lookup::{SCAN_PAGE, all, bucket, check_name};
use crate::namespaces::batch_count;
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted, average};
use crate::state::ApiState;
use crate::tenant::Tenant;
use crate::uploads;

/// Longest name.
const NAME_LENGTH_MAX: usize = 100;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/buckets", post(create).get(list_get))
        .api_route("/buckets/list", post(list_post))
        .api_route(
            "/buckets/{bucket}",
            get(read).patch(patch).put(patch).delete(delete),
        )
}

async fn create(
    State(state): State<ApiState>,
    tenant: Tenant,
    Body(body): Body<CreateBucketRequest>,
) -> Result<Json<BucketResponse>, ApiError> {
    check_name("bucket_name", &body.bucket_name, 1, NAME_LENGTH_MAX)?;
    schema::check(&body.bucket_schema)?;
    if let Some(key) = &body.unique_key {
        schema::check_unique_key(key, &body.bucket_schema)?;
    }
    let now = state.now();
    let record = BucketRecord {
        namespace_id: tenant.namespace_id,
        bucket_id: BucketId::from_entropy(state.id_bits()),
        bucket_name: body.bucket_name,
        description: body.description,
        bucket_schema: json!(body.bucket_schema),
        unique_key: body.unique_key.map(|key| json!(key)),
        healing: body.healing.map(healing::policy).transpose()?,
        metadata: body.metadata.unwrap_or_default(),
        created_at: now,
        updated_at: now,
    };
    state.control().store().insert(&record).await?;
    Ok(Json(view(&state, record).await?))
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
) -> Result<Json<BucketResponse>, ApiError> {
    let record = bucket(&state, &tenant.namespace_id, &name).await?;
    Ok(Json(view(&state, record).await?))
}

type Listed = ListWithStats<BucketResponse, BucketListStats>;

async fn list_get(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
) -> Result<Json<Listed>, ApiError> {
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
    let choice = Choice::of(&body, "bucket_name")?;
    let shown = |record| view(state, record);
    Ok(Json(ListWithStats {
        page: listed(state, &tenant.namespace_id, &wanted, &choice, shown).await?,
        stats: sums(state, &tenant.namespace_id).await?,
    }))
}

/// Sums over a tenant's buckets.
async fn sums(state: &ApiState, namespace: &NamespaceId) -> Result<BucketListStats, ApiError> {
    let buckets: Vec<BucketRecord> = all(state, namespace).await?;
    let mut stats = BucketListStats::default();
    for bucket in &buckets {
        let store = state.control().store();
        let held = store.object_stats(namespace, &bucket.bucket_id).await?;
        stats.total_objects += held.objects;
        stats.total_size_bytes += held.bytes;
    }
    stats.avg_objects_per_bucket = average(stats.total_objects, buckets.len());
    stats.avg_size_per_bucket = average(stats.total_size_bytes, buckets.len());
    Ok(stats)
}

#[derive(Deserialize, JsonSchema)]
struct PatchQuery {
    /// Whether a schema is taken that objects of the bucket may not fit.
    force_schema_break: Option<bool>,
}

/// A schema that objects may not fit is a mistake more often than not.
async fn refuse_break(
    state: &ApiState,
    record: &BucketRecord,
    new: &BucketSchema,
) -> Result<(), ApiError> {
    let breaks = schema::breaks(&schema::of(record)?, new);
    if breaks.is_empty() || object_count(state, record).await? == 0 {
        return Ok(());
    }
    let present = format!(
        "its objects may not fit the new schema: {}; send `?force_schema_break=true` to change it all the same",
        breaks.join(", ")
    );
    Err(ApiError::conflict("changing the schema", present))
}

/// Objects carry a hash of their unique key, so it can only change while there are none.
async fn change_unique_key(
    state: &ApiState,
    record: &mut BucketRecord,
    key: &UniqueKey,
) -> Result<(), ApiError> {
    schema::check_unique_key(key, &schema::of(record)?)?;
    let old: Option<UniqueKey> = record
        .unique_key
        .clone()
        .and_then(|old| serde_json::from_value(old).ok());
    let same_fields = old.is_some_and(|old| old.fields == key.fields);
    if !same_fields && object_count(state, record).await? > 0 {
        let present = "the bucket has objects; delete them first, or make another bucket";
        return Err(ApiError::conflict("changing the unique key", present));
    }
    record.unique_key = Some(json!(key));
    Ok(())
}

async fn object_count(state: &ApiState, record: &BucketRecord) -> Result<u64, ApiError> {
    let store = state.control().store();
    let stats = store
        .object_stats(&record.namespace_id, &record.bucket_id)
        .await?;
    Ok(stats.objects)
}

async fn patch(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<PatchQuery>,
    Body(body): Body<PatchBucketRequest>,
) -> Result<Json<BucketResponse>, ApiError> {
    let mut record = bucket(&state, &tenant.namespace_id, &name).await?;
    if let Some(name) = body.bucket_name {
        check_name("bucket_name", &name, 1, NAME_LENGTH_MAX)?;
        record.bucket_name = name;
    }
    if let Some(new) = body.bucket_schema {
        schema::check(&new)?;
        if !query.force_schema_break.unwrap_or(false) {
            refuse_break(&state, &record, &new).await?;
        }
        record.bucket_schema = json!(new);
    }
    if let Some(key) = body.unique_key {
        change_unique_key(&state, &mut record, &key).await?;
    }
    record.description = body.description.or(record.description);
    record.metadata = body.metadata.unwrap_or(record.metadata);
    record.healing = healing::change(record.healing, body.healing)?;
    record.updated_at = state.now();
    state.control().store().update(&record).await?;
    state
        .control()
        .policies_changed(&record.namespace_id)
        .await?;
    Ok(Json(view(&state, record).await?))
}

#[derive(Deserialize, JsonSchema)]
struct DeleteQuery {
    force_foreclose: Option<bool>,
}

async fn delete(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<DeleteQuery>,
) -> Result<Json<DeleteResponse>, ApiError> {
    let record = bucket(&state, &tenant.namespace_id, &name).await?;
    let readers = readers(&state, &record).await?;
    if !readers.is_empty() && !query.force_foreclose.unwrap_or(false) {
        let present = format!(
            "its objects feed {}; delete those first, or send `?force_foreclose=true` to keep them without this source",
            readers.join(", ")
        );
        return Err(ApiError::conflict("deleting the bucket", present));
    }
    remove(&state, &record).await?;
    Ok(Json(DeleteResponse::of(format!(
        "bucket {} was deleted",
        record.bucket_name
    ))))
}

/// Names of the collections that take rows from the bucket.
async fn readers(state: &ApiState, record: &BucketRecord) -> Result<Vec<String>, ApiError> {
    let collections: Vec<CollectionRecord> = all(state, &record.namespace_id).await?;
    Ok(collections
        .into_iter()
        .filter(|it| it.reads_bucket(&record.bucket_id))
        .map(|c| c.collection_name)
        .collect())
}

/// Removes a bucket with its objects, blobs and batches; refuses while a batch of it runs.
pub(crate) async fn remove(state: &ApiState, record: &BucketRecord) -> Result<(), ApiError> {
    let active = statistics(state, record).await?.active;
    if active > 0 {
        let present =
            format!("{active} of its batches are queued or processing; cancel them first");
        return Err(ApiError::conflict("deleting the bucket", present));
    }
    let store = state.control().store();
    let (namespace, bucket) = (&record.namespace_id, &record.bucket_id);
    let filter = BatchFilter {
        namespace_id: Some(namespace.clone()),
        bucket_id: Some(bucket.clone()),
        ..BatchFilter::default()
    };
    let page = Page {
        limit: SCAN_PAGE,
        ..Page::default()
    };
    loop {
        let (rows, _) = store.list_batches(&filter, page).await?;
        if rows.is_empty() {
            break;
        }
        for (_, batch, _) in rows {
            store.delete_batch(namespace, &batch.batch_id).await?;
        }
    }
    loop {
        let (rows, _) = store.list_objects(namespace, bucket, page).await?;
        if rows.is_empty() {
            break;
        }
        for (_, object) in rows {
            store
                .delete_object(namespace, bucket, &object.object_id)
                .await?;
        }
    }
    uploads::remove_all(state, record).await?;
    store
        .delete_resource(ResourceKind::Bucket, namespace, bucket.as_str())
        .await?;
    // Last, so that no object ever names a blob that is gone.
    state
        .control()
        .blobs()
        .delete_prefix(&format!("objects/{bucket}"))
        .await?;
    Ok(())
}

async fn view(state: &ApiState, record: BucketRecord) -> Result<BucketResponse, ApiError> {
    let store = state.control().store();
    let held = store
        .object_stats(&record.namespace_id, &record.bucket_id)
        .await?;
    let batch_stats = statistics(state, &record).await?;
    Ok(BucketResponse {
        bucket_id: record.bucket_id.to_string(),
        bucket_name: record.bucket_name,
        description: record.description,
        bucket_schema: record.bucket_schema,
        unique_key: record.unique_key,
        healing: record.healing.as_ref().map(healing::view),
        metadata: record.metadata,
        object_count: held.objects,
        total_size_bytes: held.bytes,
        last_upload_at: held.newest_at.map(Into::into),
        batch_stats,
        status: "ACTIVE".to_owned(),
        is_locked: false,
        created_at: record.created_at.into(),
        updated_at: record.updated_at.into(),
    })
}

async fn statistics(state: &ApiState, record: &BucketRecord) -> Result<BatchStatistics, ApiError> {
    let filter = |status: Option<BatchStatus>| BatchFilter {
        namespace_id: Some(record.namespace_id.clone()),
        bucket_id: Some(record.bucket_id.clone()),
        status,
        ..BatchFilter::default()
    };
    let total = batch_count(state, &filter(None)).await?;
    if total == 0 {
        return Ok(BatchStatistics::default());
    }
    let mut of = [0_u64; 5];
    let statuses = [
        BatchStatus::Queued,
        BatchStatus::Processing,
        BatchStatus::Completed,
        BatchStatus::CompletedWithErrors,
        BatchStatus::Failed,
    ];
    for (count, status) in of.iter_mut().zip(statuses) {
        *count = batch_count(state, &filter(Some(status))).await?;
    }
    let [queued, processing, completed, with_errors, failed] = of;
    Ok(BatchStatistics {
        total,
        active: queued + processing,
        completed: completed + with_errors,
        failed,
    })
}
