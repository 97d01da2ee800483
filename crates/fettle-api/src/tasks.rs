//! Tasks: get, list, delete, which cancels. A task stands for a submitted batch.

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use fettle_core::Batch;
use fettle_ports::{BatchRecord, StoreExt as _, TaskRecord};
use fettle_wire::page::{DeleteResponse, ListResponse, PageQuery};
use fettle_wire::task::{ListTasksRequest, TaskResponse};

use crate::batches::{cancel_whole, status_named, task_of};
use crate::body::{InPath, OptionalBody, Params};
use crate::choice::Choice;
use crate::error::ApiError;
use crate::lookup::find;
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
    let found = batch_of(&state, &record).await?;
    let (batch, run) = found.ok_or_else(|| ApiError::not_found("task", &id))?;
    let mut shown = view(&state, &record, &batch, run.as_ref())?;
    if let Some(run) = &run {
        let wait = state.control().expected_wait(run).await?;
        shown.estimated_wait_minutes = wait.map(|wait| wait.as_secs_f64() / 60.0);
    }
    Ok(Json(shown))
}

/// What a task stands for; none when its batch is gone.
async fn batch_of(
    state: &ApiState,
    record: &TaskRecord,
) -> Result<Option<(BatchRecord, Option<Batch>)>, ApiError> {
    let store = state.control().store();
    let namespace = Some(&record.namespace_id);
    Ok(store.get_batch(namespace, &record.batch_id).await?)
}

fn view(
    state: &ApiState,
    record: &TaskRecord,
    batch: &BatchRecord,
    run: Option<&Batch>,
) -> Result<TaskResponse, ApiError> {
    Ok(TaskResponse {
        task_id: record.task_id.to_string(),
        task_type: record.task_type.clone(),
        ..task_of(state, batch, run)?
    })
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
    let choice = Choice::default().filtered_by(body.filters)?;
    let choice = choice.sorted_by(body.sort.as_slice())?;
    let is_one = |asked: &Option<String>, is: &String| asked.as_ref().is_none_or(|it| it == is);
    let store = state.control().store();
    let (namespace, search) = (Some(&tenant.namespace_id), wanted.search.as_deref());
    let mut tasks = Vec::new();
    for record in store.search_all::<TaskRecord>(namespace, search).await? {
        let Some((batch, run)) = batch_of(state, &record).await? else {
            continue;
        };
        let task = view(state, &record, &batch, run.as_ref())?;
        if is_one(&body.status, &task.status) && is_one(&body.task_type, &task.task_type) {
            tasks.push(task);
        }
    }
    Ok(Json(wanted.of_whole(choice.pick(tasks)?)?))
}

async fn delete(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(id): InPath<String>,
) -> Result<Json<DeleteResponse>, ApiError> {
    let record: TaskRecord = find(&state, &tenant.namespace_id, &id).await?;
    let found = batch_of(&state, &record).await?;
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
