//! Objects: create one or many, get, list, change, delete.

mod address;
mod blob;
mod create;
mod identity;
mod list;
mod view;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use fettle_model::{BlobId, NamespaceId, ObjectId};
use fettle_ports::{
    BucketRecord, CollectionRecord, DocumentQuery, IndexError, ObjectRecord, StoreError,
    UploadRecord,
};
use fettle_wire::bucket::UniqueKeyPolicy;
use fettle_wire::object::{
    CreateObjectRequest, CreateObjectsBatchRequest, CreateObjectsBatchResponse, ObjectResponse,
    PatchObjectRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::body::{Body, InPath, Open, Params};
use crate::buckets::schema;
use crate::error::ApiError;
use crate::lookup::{all, bucket, only};
use crate::signed::Origin;
use crate::state::ApiState;
use crate::tenant::Tenant;
use crate::uploads::{blob_of, resolve, settle};

pub(crate) use create::check_own_fields;
pub(crate) use list::scan;

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
            get(read).patch(patch).put(put).delete(delete),
        )
}

#[derive(Deserialize, JsonSchema)]
struct CreateQuery {
    auto_process: Option<bool>,
    policy: Option<UniqueKeyPolicy>,
}

async fn create_one(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<CreateQuery>,
    Open(body): Open<CreateObjectRequest>,
) -> Result<Json<ObjectResponse>, ApiError> {
    only("auto_process", query.auto_process, &false)?;
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let policy = identity::policy(&bucket, query.policy)?;
    let uploads = resolve(&state, &bucket, body.blobs.as_deref().unwrap_or_default()).await?;
    let built = create::build(&state, &bucket, body, &uploads)?;
    let made = store_one(&state, &bucket, built, policy).await?;
    settle(&state, uploads, &made.object_id).await?;
    Ok(Json(made))
}

/// Stores an object, or puts it in the place of the one that has its unique key.
async fn store_one(
    state: &ApiState,
    bucket: &BucketRecord,
    built: create::Built,
    policy: UniqueKeyPolicy,
) -> Result<ObjectResponse, ApiError> {
    let built = match identity::replace(state, policy, built).await? {
        Ok(record) => return Ok(view::view(record)),
        Err(built) => built,
    };
    let mut made = create::insert(state, bucket, vec![built]).await?;
    match made.pop() {
        Some(made) => made.answer(),
        None => Err(ApiError::internal("an object was stored without an answer")),
    }
}

/// Makes an object of a confirmed upload.
pub(crate) async fn create_from_upload(
    state: &ApiState,
    bucket: &BucketRecord,
    upload: &UploadRecord,
    policy: Option<UniqueKeyPolicy>,
) -> Result<ObjectId, ApiError> {
    let policy = identity::policy(bucket, policy)?;
    let request = CreateObjectRequest {
        fields: upload.object_metadata.clone(),
        ..CreateObjectRequest::default()
    };
    let blob = blob_of(upload, BlobId::from_entropy(state.id_bits()));
    let built = create::assemble(state, bucket, request, vec![blob])?;
    let made = store_one(state, bucket, built, policy).await?;
    made.object_id.parse().map_err(ApiError::internal)
}

/// Whether the object is still there.
pub(crate) async fn exists(
    state: &ApiState,
    bucket: &BucketRecord,
    id: &ObjectId,
) -> Result<bool, ApiError> {
    let store = state.control().store();
    let ids = std::slice::from_ref(id);
    let found = store
        .get_objects(&bucket.namespace_id, &bucket.bucket_id, ids)
        .await?;
    Ok(!found.is_empty())
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
    /// Whether addresses are wanted by which its files can be read.
    return_presigned_urls: Option<bool>,
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath((name, id)): InPath<(String, String)>,
    Params(query): Params<ReadQuery>,
) -> Result<Json<ObjectResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let record = object(&state, &tenant.namespace_id, &bucket, &id).await?;
    let documents = match query.include_document_count {
        Some(true) => Some(document_count(&state, &record).await?),
        _ => None,
    };
    let mut shown = ObjectResponse {
        document_count: documents,
        ..view::view(record)
    };
    if query.return_presigned_urls.unwrap_or(false) {
        view::add_addresses(&state, &origin, &mut shown).await?;
    }
    Ok(Json(shown))
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
    set_fields(&mut record.fields, checked(&body)?);
    set_metadata(&mut record.fields, body.metadata.as_ref())?;
    record.key_prefix = body.key_prefix.or(record.key_prefix);
    change(&state, &bucket, record).await
}

async fn put(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
    Open(body): Open<PatchObjectRequest>,
) -> Result<Json<ObjectResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let mut record = object(&state, &tenant.namespace_id, &bucket, &id).await?;
    let sent = checked(&body)?;
    if body.metadata.is_none() {
        record.fields.clear();
    }
    set_fields(&mut record.fields, sent);
    set_metadata(&mut record.fields, body.metadata.as_ref())?;
    record.key_prefix = body.key_prefix;
    change(&state, &bucket, record).await
}

/// Sets fields; a null removes one.
fn set_fields(fields: &mut Map<String, Value>, sent: &Map<String, Value>) {
    for (key, value) in sent {
        if value.is_null() {
            fields.remove(key);
        } else {
            fields.insert(key.clone(), value.clone());
        }
    }
}

/// Changes fields where the object has them: in its own field `metadata`, or at its root.
fn set_metadata(
    fields: &mut Map<String, Value>,
    sent: Option<&Map<String, Value>>,
) -> Result<(), ApiError> {
    let (mut inner, mut outer) = (Map::new(), Map::new());
    let own = fields.get("metadata").and_then(Value::as_object);
    for (key, value) in sent.into_iter().flatten() {
        let is_inner = own.is_some_and(|own| own.contains_key(key));
        let target = if is_inner { &mut inner } else { &mut outer };
        target.insert(key.clone(), value.clone());
    }
    check_own_fields(&outer)?;
    set_fields(fields, &outer);
    if let Some(Value::Object(own)) = fields.get_mut("metadata") {
        set_fields(own, &inner);
    }
    Ok(())
}

/// The fields of a change, which may not touch blobs.
fn checked(body: &PatchObjectRequest) -> Result<&Map<String, Value>, ApiError> {
    only("skip_duplicates", body.skip_duplicates, &false)?;
    if body.fields.contains_key("blobs") {
        return Err(ApiError::invalid(
            &["blobs"],
            "an object's blobs stay as they are; create another object",
        ));
    }
    check_own_fields(&body.fields)?;
    Ok(&body.fields)
}

/// Stores a changed object, once it fits the bucket's schema.
async fn change(
    state: &ApiState,
    bucket: &BucketRecord,
    mut record: ObjectRecord,
) -> Result<Json<ObjectResponse>, ApiError> {
    let filled = record
        .blobs
        .iter()
        .map(|blob| blob.property.as_str())
        .collect();
    schema::check_fields(&schema::of(bucket)?, &mut record.fields, &filled)?;
    record.unique_key = identity::unique_key(bucket, &record.blobs, &record.fields)?;
    record.updated_at = state.now();
    match state.control().store().update_object(&record).await {
        Err(StoreError::AlreadyExists { name, .. }) => {
            Err(ApiError::exists("object with this unique key", &name))
        }
        other => other
            .map(|()| Json(view::view(record)))
            .map_err(ApiError::from),
    }
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
    blob::delete_bytes(&state, &record.blobs).await?;
    let prefix = blob::prefix(&record.bucket_id, &record.object_id);
    state.control().blobs().delete_prefix(&prefix).await?;
    Ok(NoContent)
}
