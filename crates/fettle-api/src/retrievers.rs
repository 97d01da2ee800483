//! Searches: stages that find and filter documents, run as they are sent.

mod inputs;
mod run;
mod sent;
mod stage;
mod vector;

use aide::axum::ApiRouter;
use aide::axum::routing::post;
use axum::Json;
use axum::extract::State;
use fettle_wire::document::{ExecuteRequest, ExecuteResponse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{Body, Params};
use crate::documents::add_addresses;
use crate::error::ApiError;
use crate::lookup::only;
use crate::signed::Origin;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Most documents of one answer, as in the contract.
const LIMIT_MAX: u64 = 500;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new().api_route("/retrievers/execute", post(execute))
}

#[derive(Deserialize, JsonSchema)]
struct ExecuteQuery {
    return_vectors: Option<bool>,
    return_presigned_urls: Option<bool>,
}

async fn execute(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    Params(query): Params<ExecuteQuery>,
    Body(body): Body<ExecuteRequest>,
) -> Result<Json<ExecuteResponse>, ApiError> {
    only("return_vectors", query.return_vectors, &false)?;
    only("stream", body.stream, &false)?;
    if body
        .limit
        .is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit))
    {
        return Err(ApiError::invalid(
            &["limit"],
            format!("must be from 1 to {LIMIT_MAX}"),
        ));
    }
    let stages = stage::parse_all(&body.stages, body.inputs.as_ref())?;
    let mut answer = run::run(&state, &tenant.namespace_id, body, stages).await?;
    if query.return_presigned_urls.unwrap_or(false) {
        for document in &mut answer.documents {
            add_addresses(&state, &origin, document).await?;
        }
    }
    Ok(Json(answer))
}
