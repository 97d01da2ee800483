//! Webhooks: create, get, list, change, delete; and the log of their deliveries.
//!
//! A signing secret is shown in the answer that made it and never again; credentials in headers and addresses are never shown.

mod channels;
mod deliveries;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use fettle_model::WebhookId;
use fettle_ports::{
    DeliveryFilter, DeliveryStatus, Page, ResourceKind, StoreExt as _, WebhookRecord,
};
use fettle_wire::page::PageQuery;
use fettle_wire::webhook::{
    ListWebhooksRequest, ListWebhooksResponse, WebhookEventType, WebhookInput, WebhookOutput,
};
use serde_json::{Map, Value, json};

use crate::body::{Body, InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::lookup::{all, check_name, find};
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted};
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) use channels::check_receiver;

/// Longest name, as in the contract.
const NAME_LENGTH_MAX: usize = 200;
/// Webhooks of one namespace: each is looked at for each event.
const WEBHOOKS_MAX: usize = 100;
/// Receivers of one webhook.
const CHANNELS_MAX: usize = 10;
/// Kinds of resource that events are about.
const RESOURCE_TYPES: [&str; 4] = ["object", "document", "collection", "batch"];

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/organizations/webhooks", post(create))
        .api_route("/organizations/webhooks/list", post(list))
        .api_route(
            "/organizations/webhooks/{identifier}",
            get(read).put(replace).delete(delete),
        )
        .api_route("/organizations/webhook-deliveries", get(deliveries::list))
        .api_route(
            "/organizations/webhook-deliveries/{delivery_id}/retry",
            post(deliveries::retry),
        )
}

async fn create(
    State(state): State<ApiState>,
    tenant: Tenant,
    Body(body): Body<WebhookInput>,
) -> Result<Json<WebhookOutput>, ApiError> {
    let present: Vec<WebhookRecord> = all(&state, &tenant.namespace_id).await?;
    if present.len() >= WEBHOOKS_MAX {
        let why = format!("the namespace has {WEBHOOKS_MAX} webhooks, which is the most");
        return Err(ApiError::conflict("making a webhook", why));
    }
    let now = state.now();
    let record = WebhookRecord {
        namespace_id: tenant.namespace_id,
        webhook_id: new_id(&state)?,
        webhook_name: String::new(),
        event_types: Vec::new(),
        resource_types: Vec::new(),
        is_active: true,
        channels: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    let (record, new_secrets) = applied(&state, record, body)?;
    state.control().store().insert(&record).await?;
    view(&state, record, &new_secrets).await.map(Json)
}

/// `wh_` and 16 hexadecimal digits: published clients take no other form.
fn new_id(state: &ApiState) -> Result<WebhookId, ApiError> {
    let bits = state.id_bits();
    let digits: String = bits
        .iter()
        .rev()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("wh_{digits}").parse().map_err(ApiError::internal)
}

async fn replace(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(identifier): InPath<String>,
    Body(body): Body<WebhookInput>,
) -> Result<Json<WebhookOutput>, ApiError> {
    let present: WebhookRecord = find(&state, &tenant.namespace_id, &identifier).await?;
    let (mut record, new_secrets) = applied(&state, present, body)?;
    record.updated_at = state.now();
    state.control().store().update(&record).await?;
    view(&state, record, &new_secrets).await.map(Json)
}

/// The record as the body wants it, and the places of channels whose secret was made now.
fn applied(
    state: &ApiState,
    present: WebhookRecord,
    body: WebhookInput,
) -> Result<(WebhookRecord, Vec<usize>), ApiError> {
    check_name("webhook_name", &body.webhook_name, 1, NAME_LENGTH_MAX)?;
    if body.event_types.is_empty() {
        return Err(ApiError::invalid(&["event_types"], "names no event"));
    }
    let resource_types = body.resource_types.unwrap_or_default();
    if let Some(other) = resource_types
        .iter()
        .find(|it| !RESOURCE_TYPES.contains(&it.as_str()))
    {
        let known = RESOURCE_TYPES.join(", ");
        let message = format!("`{other}` is not a kind of resource that events are about: {known}");
        return Err(ApiError::invalid(&["resource_types"], message));
    }
    if !(1..=CHANNELS_MAX).contains(&body.channels.len()) {
        let message = format!("must have from 1 to {CHANNELS_MAX}");
        return Err(ApiError::invalid(&["channels"], message));
    }
    let mut channels = Vec::with_capacity(body.channels.len());
    let mut new_secrets = Vec::new();
    for (place, sent) in body.channels.into_iter().enumerate() {
        let built = channels::build(state, place, sent, present.channels.get(place))?;
        if built.is_secret_new {
            new_secrets.push(place);
        }
        channels.push(built.channel);
    }
    let types = body.event_types.into_iter();
    let record = WebhookRecord {
        webhook_name: body.webhook_name,
        event_types: types.map(WebhookEventType::into_text).collect(),
        resource_types,
        is_active: body.is_active.unwrap_or(true),
        channels,
        ..present
    };
    Ok((record, new_secrets))
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(identifier): InPath<String>,
) -> Result<Json<WebhookOutput>, ApiError> {
    let record = find(&state, &tenant.namespace_id, &identifier).await?;
    view(&state, record, &[]).await.map(Json)
}

async fn list(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListWebhooksRequest>,
) -> Result<Json<ListWebhooksResponse>, ApiError> {
    let wanted = Wanted::of(PageQuery::default(), query, PAGE_LIMIT_DEFAULT)?;
    let event_type = body.event_type.map(WebhookEventType::into_text);
    let mut records: Vec<WebhookRecord> = all(&state, &tenant.namespace_id).await?;
    records.retain(|it| {
        body.is_active.is_none_or(|wanted| it.is_active == wanted)
            && event_type
                .as_ref()
                .is_none_or(|wanted| it.event_types.contains(wanted))
    });
    let page = wanted.of_whole(records)?;
    let mut results = Vec::with_capacity(page.results.len());
    for record in page.results {
        results.push(view(&state, record, &[]).await?);
    }
    Ok(Json(ListWebhooksResponse {
        results,
        pagination: page.pagination,
        total: page.total_count,
    }))
}

async fn delete(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(identifier): InPath<String>,
) -> Result<NoContent, ApiError> {
    let record: WebhookRecord = find(&state, &tenant.namespace_id, &identifier).await?;
    let store = state.control().store();
    store
        .delete_resource(
            ResourceKind::Webhook,
            &record.namespace_id,
            record.webhook_id.as_str(),
        )
        .await?;
    Ok(NoContent)
}

async fn view(
    state: &ApiState,
    record: WebhookRecord,
    new_secrets: &[usize],
) -> Result<WebhookOutput, ApiError> {
    let channels = record.channels.iter().enumerate();
    let types = record.event_types.iter().cloned();
    Ok(WebhookOutput {
        delivery_health: health(state, &record).await?,
        channels: channels
            .map(|(place, channel)| channels::view(channel, new_secrets.contains(&place)))
            .collect(),
        event_types: types.map(WebhookEventType::stored).collect(),
        resource_types: Some(record.resource_types).filter(|types| !types.is_empty()),
        webhook_id: record.webhook_id.to_string(),
        webhook_name: record.webhook_name,
        is_active: record.is_active,
        created_at: record.created_at.into(),
        updated_at: record.updated_at.into(),
    })
}

/// How its deliveries of the last days went.
async fn health(state: &ApiState, record: &WebhookRecord) -> Result<Map<String, Value>, ApiError> {
    let mut health = Map::new();
    for status in [
        DeliveryStatus::Pending,
        DeliveryStatus::Delivered,
        DeliveryStatus::Failed,
    ] {
        let filter = DeliveryFilter {
            target: Some(record.webhook_id.to_string()),
            status: Some(status),
            ..DeliveryFilter::default()
        };
        let page = Page {
            limit: 1,
            ..Page::default()
        };
        let store = state.control().store();
        let (last, count) = store
            .list_deliveries(&record.namespace_id, &filter, page)
            .await?;
        health.insert(status.as_str().to_lowercase(), json!(count));
        let last = last.first().and_then(|(_, it)| it.attempts.last());
        if status == DeliveryStatus::Failed {
            let error = last.and_then(|it| it.error.as_deref());
            health.insert("last_error".to_owned(), json!(error));
        }
    }
    Ok(health)
}
