//! Uploads: files that clients send by a signed address, past the API's own limit on bodies.
//!
//! With the embedded blob store the address is the server's own; with S3 it is the store's. Either way nothing is known of a
//! file until its upload is confirmed.

mod address;
mod confirm;
mod create;
mod receive;
mod view;

use std::collections::BTreeMap;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::extract::State;
use axum::response::NoContent;
use axum::{Json, Router};
use fettle_model::UploadId;
use fettle_ports::{BucketRecord, ResourceKind, StoreExt as _, UploadRecord, UploadStatus};
use fettle_wire::page::PageQuery;
use fettle_wire::upload::{
    ListUploadsRequest, ListUploadsResponse, UploadListStats, UploadResponse,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::body::{InPath, OptionalBody, Params};
use crate::choice::Choice;
use crate::error::ApiError;
use crate::lookup::bucket;
use crate::page::Wanted;
use crate::signed::Origin;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) use confirm::{blob_of, resolve, settle};
pub(crate) use receive::{ROUTE as RECEIVE_ROUTE, TIMEOUT as RECEIVE_TIMEOUT};

/// A page has this many uploads when nobody says otherwise, as in the contract.
const PAGE_LIMIT_DEFAULT: u64 = 20;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/buckets/{bucket}/uploads", post(create::one))
        .api_route("/buckets/{bucket}/uploads/batch", post(create::many))
        .api_route("/buckets/{bucket}/uploads/list", post(list))
        .api_route(
            "/buckets/{bucket}/uploads/confirm/batch",
            post(confirm::many),
        )
        .api_route(
            "/buckets/{bucket}/uploads/{upload_id}",
            get(read).delete(delete),
        )
        .api_route(
            "/buckets/{bucket}/uploads/{upload_id}/confirm",
            post(confirm::one),
        )
}

/// Where files come in; the signature in the address is the key.
pub(crate) fn receiving() -> Router<ApiState> {
    receive::routes()
}

/// An upload of the bucket.
async fn upload(
    state: &ApiState,
    bucket: &BucketRecord,
    id: &str,
) -> Result<UploadRecord, ApiError> {
    let none = || ApiError::not_found("upload", id);
    let id: UploadId = id.parse().map_err(|_no_id| none())?;
    let store = state.control().store();
    let found: Option<UploadRecord> = store.find(Some(&bucket.namespace_id), id.as_str()).await?;
    found
        .filter(|record| record.bucket_id == bucket.bucket_id)
        .ok_or_else(none)
}

/// The uploads of the bucket whose name begins with `prefix`, newest first.
async fn named(
    state: &ApiState,
    bucket: &BucketRecord,
    prefix: &str,
) -> Result<Vec<UploadRecord>, ApiError> {
    let store = state.control().store();
    let namespace = Some(&bucket.namespace_id);
    let mut found: Vec<UploadRecord> = store.search_all(namespace, Some(prefix)).await?;
    found.retain(|record| record.name.starts_with(prefix));
    Ok(found)
}

#[derive(Deserialize, JsonSchema)]
struct ReadQuery {
    /// Whether the address of a pending upload is wanted.
    return_presigned_urls: Option<bool>,
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath((name, id)): InPath<(String, String)>,
    Params(query): Params<ReadQuery>,
) -> Result<Json<UploadResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let record = upload(&state, &bucket, &id).await?;
    let with_address = query.return_presigned_urls.unwrap_or(false);
    shown(&state, &origin, record, with_address).await.map(Json)
}

async fn shown(
    state: &ApiState,
    origin: &Origin,
    record: UploadRecord,
    with_address: bool,
) -> Result<UploadResponse, ApiError> {
    let is_open = record.status == UploadStatus::Pending && record.expires_at > state.now();
    let address = if with_address && is_open {
        Some(address::of(state, origin, &record).await?)
    } else {
        None
    };
    Ok(view::view(record, address))
}

async fn list(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath(name): InPath<String>,
    Params(query): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListUploadsRequest>,
) -> Result<Json<ListUploadsResponse>, ApiError> {
    let asked = PageQuery {
        limit: body.limit,
        offset: body.offset,
        search: body.search,
        ..PageQuery::default()
    };
    let wanted = Wanted::of(asked, query, PAGE_LIMIT_DEFAULT)?;
    let choice = Choice::default()
        .filtered_by(body.filters)?
        .sorted_by(body.sort.as_slice())?;
    let search = wanted.search.as_ref().map(|text| text.to_lowercase());
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let prefix = UploadRecord::name_prefix(&bucket.bucket_id);
    let mut chosen = Vec::new();
    for record in named(&state, &bucket, &prefix).await? {
        let fields = serde_json::to_value(view::view(record.clone(), None));
        let Value::Object(fields) = fields.map_err(ApiError::internal)? else {
            continue;
        };
        let is_named = |text: &String| record.filename.to_lowercase().contains(text);
        if choice.holds(&fields) && search.as_ref().is_none_or(is_named) {
            chosen.push((fields, record));
        }
    }
    let records = choice.sort(chosen);
    let stats = stats(&records);
    let page = wanted.of_whole(records)?;
    let with_addresses = body.return_presigned_urls.unwrap_or(false);
    let mut results = Vec::with_capacity(page.results.len());
    for record in page.results {
        results.push(shown(&state, &origin, record, with_addresses).await?);
    }
    Ok(Json(ListUploadsResponse {
        results,
        pagination: page.pagination,
        stats,
    }))
}

fn stats(records: &[UploadRecord]) -> UploadListStats {
    let mut by_status: BTreeMap<String, u64> = BTreeMap::new();
    for record in records {
        let status = record.status.as_str().to_owned();
        *by_status.entry(status).or_default() += 1;
    }
    let sizes: Vec<u64> = records.iter().filter_map(view::size).collect();
    let total: u64 = sizes.iter().sum();
    UploadListStats {
        total_uploads: records.len() as u64,
        total_size_bytes: total,
        avg_file_size_bytes: total as f64 / (sizes.len().max(1) as f64),
        uploads_by_status: by_status,
        unique_buckets: u64::from(!records.is_empty()),
    }
}

#[derive(Deserialize, JsonSchema)]
struct DeleteQuery {
    /// Whether the file goes too, where no object has it; `true` when left out.
    delete_s3_object: Option<bool>,
}

async fn delete(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
    Params(query): Params<DeleteQuery>,
) -> Result<NoContent, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let record = upload(&state, &bucket, &id).await?;
    let _hold = state.hold_upload(&record.upload_id)?;
    remove(&state, &record).await?;
    if record.object_id.is_none() && query.delete_s3_object.unwrap_or(true) {
        state.control().blobs().delete(&record.key).await?;
    }
    Ok(NoContent)
}

async fn remove(state: &ApiState, record: &UploadRecord) -> Result<(), ApiError> {
    let (namespace, id) = (&record.namespace_id, record.upload_id.as_str());
    let store = state.control().store();
    store
        .delete_resource(ResourceKind::Upload, namespace, id)
        .await?;
    Ok(())
}

/// Removes all uploads of a bucket that is being deleted, with their files.
pub(crate) async fn remove_all(state: &ApiState, bucket: &BucketRecord) -> Result<(), ApiError> {
    let prefix = UploadRecord::name_prefix(&bucket.bucket_id);
    for record in named(state, bucket, &prefix).await? {
        remove(state, &record).await?;
    }
    let files = format!("uploads/{}", bucket.bucket_id);
    state.control().blobs().delete_prefix(&files).await?;
    Ok(())
}
