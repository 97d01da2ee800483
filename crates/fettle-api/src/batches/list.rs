//! Lists of batches.

use axum::Json;
use axum::extract::State;
use fettle_model::BatchStatus;
use fettle_ports::BatchFilter;
use fettle_wire::batch::{BatchModel, ListBatchesRequest, ListBatchesResponse};
use fettle_wire::page::PageQuery;
use schemars::JsonSchema;
use serde::Deserialize;

use super::view;
use crate::body::{InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::lookup::{bucket, collection};
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted};
use crate::state::ApiState;
use crate::tenant::Tenant;

#[derive(Deserialize, JsonSchema)]
pub(super) struct ListQuery {
    status: Option<String>,
    bucket_id: Option<String>,
    collection_id: Option<String>,
}

impl ListQuery {
    fn into_body(self) -> ListBatchesRequest {
        ListBatchesRequest {
            status: self.status,
            bucket_id: self.bucket_id,
            collection_id: self.collection_id,
            ..ListBatchesRequest::default()
        }
    }
}

pub(super) async fn all_get(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(paging): Params<PageQuery>,
    Params(query): Params<ListQuery>,
) -> Result<Json<ListBatchesResponse>, ApiError> {
    list(&state, &tenant, None, paging, query.into_body()).await
}

pub(super) async fn all_post(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(paging): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListBatchesRequest>,
) -> Result<Json<ListBatchesResponse>, ApiError> {
    list(&state, &tenant, None, paging, body).await
}

pub(super) async fn of_bucket_get(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(paging): Params<PageQuery>,
    Params(query): Params<ListQuery>,
) -> Result<Json<ListBatchesResponse>, ApiError> {
    list(&state, &tenant, Some(name), paging, query.into_body()).await
}

pub(super) async fn of_bucket_post(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(paging): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListBatchesRequest>,
) -> Result<Json<ListBatchesResponse>, ApiError> {
    list(&state, &tenant, Some(name), paging, body).await
}

async fn list(
    state: &ApiState,
    tenant: &Tenant,
    bucket_name: Option<String>,
    paging: PageQuery,
    body: ListBatchesRequest,
) -> Result<Json<ListBatchesResponse>, ApiError> {
    if body
        .namespace_id
        .as_deref()
        .is_some_and(|id| id != tenant.namespace_id.as_str())
    {
        return Err(ApiError::invalid(
            &["namespace_id"],
            "is not the namespace of this request; name it in the X-Namespace header",
        ));
    }
    let sent = PageQuery {
        limit: body.limit,
        offset: body.offset,
        page: body.page,
        page_size: body.page_size,
        cursor: body.cursor.clone(),
        ..PageQuery::default()
    };
    let wanted = Wanted::of(sent, paging, PAGE_LIMIT_DEFAULT)?;
    let filter = filter(state, tenant, bucket_name, &body).await?;
    let (rows, total) = state
        .control()
        .store()
        .list_batches(&filter, wanted.store_page()?)
        .await?;
    let rows: Vec<(i64, BatchModel)> = rows
        .into_iter()
        .map(|(seq, record, run)| (seq, view::brief(state, &record, run.as_ref())))
        .collect();
    let answer = wanted.answer(rows, total, |model| model);
    Ok(Json(ListBatchesResponse {
        results: answer.results,
        total_count: answer.total_count,
        pagination: answer.pagination,
    }))
}

async fn filter(
    state: &ApiState,
    tenant: &Tenant,
    bucket_name: Option<String>,
    body: &ListBatchesRequest,
) -> Result<BatchFilter, ApiError> {
    let mut filter = BatchFilter {
        namespace_id: Some(tenant.namespace_id.clone()),
        ..BatchFilter::default()
    };
    if let Some(name) = bucket_name.as_ref().or(body.bucket_id.as_ref()) {
        filter.bucket_id = Some(bucket(state, &tenant.namespace_id, name).await?.bucket_id);
    }
    if let Some(name) = &body.collection_id {
        filter.collection_id = Some(
            collection(state, &tenant.namespace_id, name)
                .await?
                .collection_id,
        );
    }
    filter.status = body.status.as_deref().map(status).transpose()?;
    Ok(filter)
}

/// A batch status by its name in the contract.
pub(crate) fn status(name: &str) -> Result<BatchStatus, ApiError> {
    serde_json::from_value(name.into()).map_err(|_unknown| {
        ApiError::invalid(
            &["status"],
            format!("`{name}` is not a status of batches; they are DRAFT, QUEUED, PROCESSING, COMPLETED, COMPLETED_WITH_ERRORS, FAILED and CANCELED"),
        )
    })
}
