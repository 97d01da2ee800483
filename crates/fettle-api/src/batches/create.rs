//! Drafts: made, filled, annotated, deleted.

use axum::Json;
use axum::extract::State;
use fettle_control::SubmitOptions;
use fettle_core::Batch;
use fettle_model::{BatchId, BatchStatus, CollectionId, NamespaceId, ObjectId, TaskId};
use fettle_ports::{BatchRecord, BucketRecord, ObjectRecord};
use fettle_wire::batch::{
    AddObjectsRequest, BATCH_NAME_LENGTH_MAX, BATCH_OBJECTS_PER_REQUEST_MAX, BatchMetadata,
    BatchModel, CreateBatchRequest, PatchBatchRequest,
};
use fettle_wire::filter::SentFilter;
use fettle_wire::page::DeleteResponse;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{At, batch_at, submit, view};
use crate::body::{Body, InPath, Params, parse_value};
use crate::choice::check_depth;
use crate::error::ApiError;
use crate::healing;
use crate::lookup::{bucket, collection, only};
use crate::objects::scan;
use crate::page::Wanted;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Objects whose existence is looked up at a time.
const LOOKUP_CHUNK: usize = 1000;
/// Notes of a batch, as JSON: they are read with every look at it.
const METADATA_BYTES_MAX: usize = 64 * 1024;
/// Missing objects that are named in an error.
const MISSING_SHOWN_MAX: usize = 20;

#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateQuery {
    auto_submit: Option<bool>,
    trigger_processing: Option<bool>,
    skip_validation: Option<bool>,
}

pub(super) async fn create(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<CreateQuery>,
    Body(body): Body<CreateBatchRequest>,
) -> Result<Json<BatchModel>, ApiError> {
    only("skip_validation", query.skip_validation, &false)?;
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let wishes = [
        query.auto_submit,
        body.auto_submit,
        query.trigger_processing,
        body.trigger_processing,
    ];
    let submit_now = wishes.into_iter().flatten().next().unwrap_or(false);
    let objects = chosen_objects(&state, &bucket, &body).await?;
    let record = draft(&state, &tenant, &bucket, body, objects.len() as u64).await?;
    state
        .control()
        .store()
        .insert_batch(&record, &objects)
        .await?;
    if !submit_now {
        return view::full(&state, record, None).await.map(Json);
    }
    let submitted = state
        .control()
        .submit(
            &record.namespace_id,
            &record.batch_id,
            &SubmitOptions::default(),
        )
        .await;
    let (record, run) = submitted.map_err(|error| {
        let id = record.batch_id.as_str();
        ApiError::from(error).with("batch_id", id).with(
            "hint",
            "the batch was made and is DRAFT; mend what is named, then submit it",
        )
    })?;
    view::full(&state, record, Some(run)).await.map(Json)
}

pub(super) async fn draft(
    state: &ApiState,
    tenant: &Tenant,
    bucket: &BucketRecord,
    body: CreateBatchRequest,
    object_count: u64,
) -> Result<BatchRecord, ApiError> {
    let length = body
        .batch_name
        .as_deref()
        .map_or(0, |name| name.chars().count());
    if length > BATCH_NAME_LENGTH_MAX {
        let message =
            format!("has {length} characters; at most {BATCH_NAME_LENGTH_MAX} are allowed");
        return Err(ApiError::invalid(&["batch_name"], message));
    }
    let metadata = body.metadata.unwrap_or_default();
    check_metadata(&metadata)?;
    let names = body.collection_ids.unwrap_or_default();
    let collection_ids = collection_ids(state, &tenant.namespace_id, &names).await?;
    let id = BatchId::from_entropy(state.id_bits());
    Ok(BatchRecord {
        batch_name: body.batch_name,
        collection_ids,
        metadata,
        dedup_strategy: body.dedup_strategy.unwrap_or_default().as_str().to_owned(),
        created_by: Some(tenant.key.key_id.clone()),
        healing: body.healing.map(healing::policy).transpose()?,
        object_count,
        ..BatchRecord::draft(bucket, id, state.now())
    })
}

/// Puts objects into a batch of their own and submits it.
pub(crate) async fn submit_objects(
    state: &ApiState,
    tenant: &Tenant,
    bucket: &BucketRecord,
    objects: Vec<ObjectId>,
) -> Result<(BatchId, Option<TaskId>), ApiError> {
    let count = objects.len() as u64;
    let body = CreateBatchRequest::default();
    let record = draft(state, tenant, bucket, body, count).await?;
    let control = state.control();
    control.store().insert_batch(&record, &objects).await?;
    let submitted = control
        .submit(
            &record.namespace_id,
            &record.batch_id,
            &SubmitOptions::default(),
        )
        .await;
    let (record, _) = submitted
        .map_err(|error| ApiError::from(error).with("batch_id", record.batch_id.as_str()))?;
    Ok((record.batch_id, record.task_id))
}

fn check_metadata(metadata: &Map<String, Value>) -> Result<(), ApiError> {
    // Published clients read these notes with their types.
    let notes = Value::Object(metadata.clone());
    parse_value::<BatchMetadata>(notes, &["metadata".into()])?;
    let size = Value::Object(metadata.clone()).to_string().len();
    if size <= METADATA_BYTES_MAX {
        return Ok(());
    }
    let message = format!("has {size} bytes as JSON; at most {METADATA_BYTES_MAX} are allowed");
    Err(ApiError::invalid(&["metadata"], message))
}

/// The ids of collections that are named by id or name.
pub(super) async fn collection_ids(
    state: &ApiState,
    namespace: &NamespaceId,
    names: &[String],
) -> Result<Vec<CollectionId>, ApiError> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let id = collection(state, namespace, name).await?.collection_id;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The objects that a create names or selects.
async fn chosen_objects(
    state: &ApiState,
    bucket: &BucketRecord,
    body: &CreateBatchRequest,
) -> Result<Vec<ObjectId>, ApiError> {
    if let Some(ids) = &body.object_ids {
        if body.filters.is_some() || body.limit.is_some() {
            return Err(ApiError::invalid(
                &["filters"],
                "`filters` and `limit` select objects in place of `object_ids`; send one or the other",
            ));
        }
        return existing(state, bucket, ids).await;
    }
    if body.filters.is_none() && body.limit.is_none() {
        return Ok(Vec::new());
    }
    let filter = body.filters.as_ref().map(|SentFilter(filter)| filter);
    check_depth(filter)?;
    let most = BATCH_OBJECTS_PER_REQUEST_MAX as u64;
    let limit = body.limit.unwrap_or(most);
    if !(1..=most).contains(&limit) {
        return Err(ApiError::invalid(
            &["limit"],
            format!("must be from 1 to {most}"),
        ));
    }
    let wanted = Wanted {
        limit,
        offset: 0,
        cursor: None,
        include_total: false,
        search: None,
    };
    let holds =
        |object: &ObjectRecord| filter.is_none_or(|filter| filter.matches(&object.searchable()));
    let found = scan(state, bucket, &wanted, holds).await?;
    if found.next.is_some() && body.limit.is_none() {
        let message = format!(
            "more than {most} objects match; narrow the filter, or send `limit` to take the first ones"
        );
        return Err(ApiError::invalid(&["filters"], message));
    }
    if found.records.is_empty() {
        return Err(ApiError::invalid(
            &["filters"],
            "no object of the bucket matches",
        ));
    }
    Ok(found
        .records
        .into_iter()
        .map(|object| object.object_id)
        .collect())
}

/// The objects with these ids, each once; all must exist in the bucket.
async fn existing(
    state: &ApiState,
    bucket: &BucketRecord,
    ids: &[String],
) -> Result<Vec<ObjectId>, ApiError> {
    if !(1..=BATCH_OBJECTS_PER_REQUEST_MAX).contains(&ids.len()) {
        let message = format!(
            "has {} ids; from 1 to {BATCH_OBJECTS_PER_REQUEST_MAX} are allowed in one request",
            ids.len()
        );
        return Err(ApiError::invalid(&["object_ids"], message));
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut wanted: Vec<ObjectId> = Vec::with_capacity(ids.len());
    let mut missing: Vec<&str> = Vec::new();
    for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
        match id.parse() {
            Ok(id) => wanted.push(id),
            Err(_no_id) => missing.push(id),
        }
    }
    let store = state.control().store();
    for chunk in wanted.chunks(LOOKUP_CHUNK) {
        let found = store
            .get_objects(&bucket.namespace_id, &bucket.bucket_id, chunk)
            .await?;
        let found: std::collections::BTreeSet<&ObjectId> =
            found.iter().map(|object| &object.object_id).collect();
        missing.extend(
            chunk
                .iter()
                .filter(|id| !found.contains(id))
                .map(ObjectId::as_str),
        );
    }
    match missing.first() {
        None => Ok(wanted),
        Some(first) => {
            let shown: Vec<Value> = missing
                .iter()
                .take(MISSING_SHOWN_MAX)
                .map(|id| Value::from(*id))
                .collect();
            Err(ApiError::not_found("object", first)
                .with("missing_count", missing.len())
                .with("missing", shown))
        }
    }
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct AddObjectsQuery {
    /// Has no effect: that the objects exist is always checked.
    #[serde(rename = "skip_validation")]
    _skip_validation: Option<bool>,
}

pub(super) async fn add_objects(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Params(_query): Params<AddObjectsQuery>,
    Body(body): Body<AddObjectsRequest>,
) -> Result<Json<BatchModel>, ApiError> {
    let (mut record, run) = batch_at(&state, &tenant, &at).await?;
    must_be_new(run.as_ref(), "adding objects")?;
    let bucket = bucket(&state, &tenant.namespace_id, record.bucket_id.as_str()).await?;
    let objects = existing(&state, &bucket, &body.object_ids).await?;
    record.object_count = state
        .control()
        .store()
        .add_batch_objects(&record.batch_id, &objects)
        .await?;
    view::full(&state, record, None).await.map(Json)
}

/// Only a draft that was never submitted can be changed.
pub(super) fn must_be_new(run: Option<&Batch>, what: &str) -> Result<(), ApiError> {
    let Some(run) = run else { return Ok(()) };
    let status = run.status.as_str();
    let present = match run.status {
        BatchStatus::Draft => "it was submitted before, so its objects and collections stay".into(),
        _ => format!("the batch is {status}"),
    };
    Err(ApiError::conflict(what, present).with("status", status))
}

pub(super) async fn patch(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Body(body): Body<PatchBatchRequest>,
) -> Result<Json<BatchModel>, ApiError> {
    let (mut record, _) = batch_at(&state, &tenant, &at).await?;
    for (key, value) in body.metadata.unwrap_or_default() {
        if value.is_null() {
            record.metadata.remove(&key);
        } else {
            record.metadata.insert(key, value);
        }
    }
    check_metadata(&record.metadata)?;
    record.healing = healing::change(record.healing, body.healing)?;
    record.updated_at = state.now();
    state.control().store().update_batch(&record).await?;
    state
        .control()
        .policies_changed(&record.namespace_id)
        .await?;
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    view::full(&state, record, run).await.map(Json)
}

pub(super) async fn delete(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
) -> Result<Json<DeleteResponse>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    if let Some(run) = run
        .as_ref()
        .filter(|run| !run.status.is_terminal() && run.status != BatchStatus::Draft)
    {
        let status = run.status.as_str();
        let present = format!("the batch is {status}; cancel it first");
        return Err(ApiError::conflict("deleting the batch", present).with("status", status));
    }
    submit::delete_task(&state, &record).await?;
    state
        .control()
        .store()
        .delete_batch(&record.namespace_id, &record.batch_id)
        .await?;
    let manifests = format!("manifests/{}/{}", record.namespace_id, record.batch_id);
    state.control().blobs().delete_prefix(&manifests).await?;
    Ok(Json(DeleteResponse::of(format!(
        "batch {} was deleted; its documents stay",
        record.batch_id
    ))))
}
