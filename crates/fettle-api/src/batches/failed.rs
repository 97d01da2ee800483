//! Documents that could not be made, page by page.

use axum::Json;
use axum::extract::State;
use fettle_ports::{RowErrorQuery, StoredRowError};
use fettle_wire::batch::{FailedDocument, FailedDocumentsResponse};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, batch_at};
use crate::body::{InPath, Params};
use crate::error::ApiError;
use crate::lookup::collection;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Documents of a page when nobody says otherwise.
const LIMIT_DEFAULT: u64 = 100;
/// Documents of a page at most: each comes with a message and perhaps a traceback.
const LIMIT_MAX: u64 = 1000;

#[derive(Deserialize, JsonSchema)]
pub(super) struct FailedQuery {
    collection_id: Option<String>,
    tier_num: Option<u32>,
    limit: Option<u64>,
    offset: Option<u64>,
}

pub(super) async fn failed_documents(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Params(query): Params<FailedQuery>,
) -> Result<Json<FailedDocumentsResponse>, ApiError> {
    let (record, _) = batch_at(&state, &tenant, &at).await?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid_query(
            "limit",
            format!("must be from 1 to {LIMIT_MAX}"),
        ));
    }
    let collection_id = match &query.collection_id {
        Some(name) => Some(
            collection(&state, &tenant.namespace_id, name)
                .await?
                .collection_id,
        ),
        None => None,
    };
    let offset = query.offset.unwrap_or(0);
    let wanted = RowErrorQuery {
        tier_num: query.tier_num,
        collection_id,
        offset,
        limit,
        ..RowErrorQuery::default()
    };
    let (errors, total) = state
        .control()
        .store()
        .row_errors(&record.batch_id, &wanted)
        .await?;
    let shown = errors.len() as u64;
    Ok(Json(FailedDocumentsResponse {
        batch_id: record.batch_id.to_string(),
        failed_documents: errors.into_iter().map(view).collect(),
        total,
        limit,
        offset,
        has_more: offset + shown < total,
    }))
}

/// A failed document as it is shown.
pub(super) fn view(stored: StoredRowError) -> FailedDocument {
    let error = stored.error;
    FailedDocument {
        object_id: (stored.tier_num == 0).then(|| error.source_id.clone()),
        document_id: error.source_id,
        collection_id: stored.collection_id.to_string(),
        tier_num: stored.tier_num,
        ray_job_id: stored.job_id.to_string(),
        attempt_id: stored.attempt_id.to_string(),
        row: error.row,
        error: error.message,
        error_type: error.class.as_str().to_owned(),
        error_category: error.category.as_str().to_owned(),
        stage: error.stage.as_str().to_owned(),
        component: error.component,
        traceback: error.traceback,
        retry_count: stored.retries,
        timestamp: error.at.into(),
    }
}
