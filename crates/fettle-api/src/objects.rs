//! Objects: create one or many, get, list, change, delete.

mod address;
mod blob;
mod create;
mod list;
mod view;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use fettle_model::NamespaceId;
use fettle_ports::{BucketRecord, CollectionRecord, DocumentQuery, IndexError, ObjectRecord};
use fettle_wire::object::{
    CreateObjectRequest, CreateObjectsBatchRequest, CreateObjectsBatchResponse, ObjectResponse,
    PatchObjectRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{Body, InPath, Open, Params};
use crate::buckets::schema;
use crate::error::ApiError;
use crate::lookup::{all, bucket, only};
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) use list::{check_depth, scan};
pub(crate) use view::searchable;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route(
            "/buckets/{bucket}/objects",
            post(create_one).get(list::list_get),
        )
        .api_route("/buckets/{bucket}/objects/batch", post(create_many))
        .api_route("/buckets/{bucket}/objects/list", post(list::list_post))
        .api_route(
            "/buckets/{bucket}/objects/{object}",
            get(read).patch(patch).put(patch).delete(delete),
        )
}

#[derive(Deserialize, JsonSchema)]
struct CreateQuery {
    auto_process: Option<bool>,
    policy: Option<String>,
}

async fn create_one(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<CreateQuery>,
    Open(body): Open<CreateObjectRequest>,
) -> Result<Json<ObjectResponse>, ApiError> {
    only("auto_process", query.auto_process, &false)?;
    only("policy", query.policy, &"insert".to_owned())?;
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let mut made =
        create::insert(&state, &bucket, vec![create::build(&state, &bucket, body)?]).await?;
    match made.pop() {
        Some(made) => made.answer().map(Json),
        None => Err(ApiError::internal("an object was stored without an answer")),
    }
}

async fn create_many(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<CreateQuery>,
    Body(body): Body<CreateObjectsBatchRequest>,
) -> Result<Json<CreateObjectsBatchResponse>, ApiError> {
    only("auto_process", query.auto_process, &false)?;
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    create::insert_each(&state, &bucket, body.objects)
        .await
        .map(Json)
}

/// An object of the bucket.
pub(crate) async fn object(
    state: &ApiState,
    namespace: &NamespaceId,
    bucket: &BucketRecord,
    id: &str,
) -> Result<ObjectRecord, ApiError> {
    let no_object = || ApiError::not_found("object", id);
    let object_id = id.parse().map_err(|_no_id| no_object())?;
    let store = state.control().store();
    let mut found = store
        .get_objects(namespace, &bucket.bucket_id, &[object_id])
        .await?;
    found.pop().ok_or_else(no_object)
}

#[derive(Deserialize, JsonSchema)]
struct ReadQuery {
    include_document_count: Option<bool>,
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
    Params(query): Params<ReadQuery>,
) -> Result<Json<ObjectResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let record = object(&state, &tenant.namespace_id, &bucket, &id).await?;
    let documents = match query.include_document_count {
        Some(true) => Some(document_count(&state, &record).await?),
        _ => None,
    };
    Ok(Json(ObjectResponse {
        document_count: documents,
        ..view::view(record)
    }))
}

/// How many documents were made of the object itself; documents of documents are not counted.
async fn document_count(state: &ApiState, object: &ObjectRecord) -> Result<u64, ApiError> {
    let collections: Vec<CollectionRecord> = all(state, &object.namespace_id).await?;
    let mut query = DocumentQuery::default();
    query
        .internal_eq
        .insert("source_id".to_owned(), object.object_id.to_string());
    let mut count = 0;
    for collection in collections {
        let index = state.control().index();
        match index
            .count(&object.namespace_id, &collection.collection_id, &query)
            .await
        {
            Ok(found) => count += found,
            Err(IndexError::NoCollection { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}

async fn patch(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
    Open(body): Open<PatchObjectRequest>,
) -> Result<Json<ObjectResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let mut record = object(&state, &tenant.namespace_id, &bucket, &id).await?;
    if body.fields.contains_key("blobs") {
        return Err(ApiError::invalid(
            &["blobs"],
            "an object's blobs stay as they are; create another object",
        ));
    }
    create::check_own_fields(&body.fields)?;
    for (key, value) in body.fields {
        if value.is_null() {
            record.fields.remove(&key);
        } else {
            record.fields.insert(key, value);
        }
    }
    let filled = record
        .blobs
        .iter()
        .map(|blob| blob.property.as_str())
        .collect();
    schema::check_fields(&schema::of(&bucket)?, &mut record.fields, &filled)?;
    record.key_prefix = body.key_prefix.or(record.key_prefix);
    record.updated_at = state.now();
    state.control().store().update_object(&record).await?;
    Ok(Json(view::view(record)))
}

async fn delete(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
) -> Result<NoContent, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let record = object(&state, &tenant.namespace_id, &bucket, &id).await?;
    let store = state.control().store();
    store
        .delete_object(&tenant.namespace_id, &bucket.bucket_id, &record.object_id)
        .await?;
    let prefix = blob::prefix(&record.bucket_id, &record.object_id);
    state.control().blobs().delete_prefix(&prefix).await?;
    Ok(NoContent)
}
