//! Tasks: get, list, delete, which cancels. A task stands for a submitted batch.

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use fettle_ports::{Page, StoreExt, TaskRecord};
use fettle_wire::page::{DeleteResponse, ListResponse, PageQuery};
use fettle_wire::task::{ListTasksRequest, TaskResponse};

use crate::batches::{cancel_whole, status_named, task_of};
use crate::body::{InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::lookup::{SCAN_PAGE, find};
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted};
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/tasks", get(list_get))
        .api_route("/tasks/list", post(list_post))
        .api_route("/tasks/{task}", get(read).delete(delete))
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(id): InPath<String>,
) -> Result<Json<TaskResponse>, ApiError> {
    let record: TaskRecord = find(&state, &tenant.namespace_id, &id).await?;
    let shown = view(&state, &record).await?;
    shown
        .map(Json)
        .ok_or_else(|| ApiError::not_found("task", &id))
}

/// A task; none when its batch is gone.
async fn view(state: &ApiState, record: &TaskRecord) -> Result<Option<TaskResponse>, ApiError> {
    let found = state
        .control()
        .store()
        .get_batch(Some(&record.namespace_id), &record.batch_id)
        .await?;
    let Some((batch, run)) = found else {
        return Ok(None);
    };
    let task = task_of(state, &batch, run.as_ref())?;
    Ok(Some(TaskResponse {
        task_id: record.task_id.to_string(),
        task_type: record.task_type.clone(),
        ..task
    }))
}

async fn list_get(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
) -> Result<Json<ListResponse<TaskResponse>>, ApiError> {
    list(&state, &tenant, query, ListTasksRequest::default()).await
}

async fn list_post(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListTasksRequest>,
) -> Result<Json<ListResponse<TaskResponse>>, ApiError> {
    list(&state, &tenant, query, body).await
}

async fn list(
    state: &ApiState,
    tenant: &Tenant,
    query: PageQuery,
    body: ListTasksRequest,
) -> Result<Json<ListResponse<TaskResponse>>, ApiError> {
    let wanted = Wanted::of(body.page(), query, PAGE_LIMIT_DEFAULT)?;
    if let Some(status) = &body.status {
        status_named(status)?;
    }
    let holds = |task: &TaskResponse| {
        body.status
            .as_ref()
            .is_none_or(|status| *status == task.status)
            && body
                .task_type
                .as_ref()
                .is_none_or(|kind| *kind == task.task_type)
    };
    let (mut shown, mut matched) = (Vec::new(), 0_u64);
    let mut page = Page {
        limit: SCAN_PAGE,
        offset: 0,
        after: wanted.after()?,
    };
    loop {
        let (namespace, search) = (Some(&tenant.namespace_id), wanted.search.as_deref());
        let (rows, _) = state
            .control()
            .store()
            .list::<TaskRecord>(namespace, search, page)
            .await?;
        let Some((last, _)) = rows.last() else { break };
        page.after = Some(*last);
        for (seq, record) in rows {
            let Some(task) = view(state, &record).await?.filter(holds) else {
                continue;
            };
            matched += 1;
            if matched > wanted.offset && (shown.len() as u64) < wanted.limit {
                shown.push((seq, task));
            }
        }
    }
    Ok(Json(wanted.answer(shown, matched, |task| task)))
}

async fn delete(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(id): InPath<String>,
) -> Result<Json<DeleteResponse>, ApiError> {
    let record: TaskRecord = find(&state, &tenant.namespace_id, &id).await?;
    let found = state
        .control()
        .store()
        .get_batch(Some(&record.namespace_id), &record.batch_id)
        .await?;
    let gone = || ApiError::not_found("task", &id);
    let (batch, run) = found.ok_or_else(gone)?;
    let run = run.ok_or_else(gone)?;
    cancel_whole(
        &state,
        &batch,
        &run,
        Some("its task was deleted".to_owned()),
    )
    .await?;
    Ok(Json(DeleteResponse::of(format!(
        "task {id} is being cancelled"
    ))))
}
