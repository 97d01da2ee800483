//! The log of deliveries, and another try of one that was given up.

use axum::Json;
use axum::extract::State;
use fettle_ports::{
    DeliveryFilter, DeliveryRecord, DeliveryStatus, DeliveryTarget, Page, WebhookRecord,
};
use fettle_wire::page::{ListResponse, PageQuery};
use fettle_wire::webhook::{
    WebhookDelivery, WebhookDeliveryAttempt, WebhookDeliveryStatus, WebhookEventType,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{InPath, Params};
use crate::error::ApiError;
use crate::lookup::{batch, find};
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted};
use crate::state::ApiState;
use crate::tenant::Tenant;

#[derive(Deserialize, JsonSchema)]
pub(super) struct DeliveriesQuery {
    /// Id or name of a webhook.
    webhook_id: Option<String>,
    /// Only events about this batch.
    batch_id: Option<String>,
    /// Only this type of event.
    event_type: Option<WebhookEventType>,
    /// Only with this status.
    status: Option<WebhookDeliveryStatus>,
    /// How many at most.
    limit: Option<u64>,
    /// How many to pass over.
    offset: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) async fn list(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<DeliveriesQuery>,
) -> Result<Json<ListResponse<WebhookDelivery>>, ApiError> {
    let namespace = &tenant.namespace_id;
    let target = match &query.webhook_id {
        Some(name) => {
            let webhook: WebhookRecord = find(&state, namespace, name).await?;
            Some(webhook.webhook_id.to_string())
        }
        None => None,
    };
    let batch_id = match &query.batch_id {
        Some(id) => Some(batch(&state, namespace, None, id).await?.0.batch_id),
        None => None,
    };
    let filter = DeliveryFilter {
        target,
        batch_id,
        event_type: query.event_type.map(WebhookEventType::into_text),
        status: query.status.map(status_of),
        ..DeliveryFilter::default()
    };
    let page = PageQuery {
        limit: query.limit,
        offset: query.offset,
        cursor: query.cursor,
        ..PageQuery::default()
    };
    let wanted = Wanted::of(PageQuery::default(), page, PAGE_LIMIT_DEFAULT)?;
    let (rows, total) = state
        .control()
        .store()
        .list_deliveries(namespace, &filter, wanted.store_page()?)
        .await?;
    Ok(Json(wanted.answer(rows, total, view)))
}

pub(super) async fn retry(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(id): InPath<String>,
) -> Result<Json<WebhookDelivery>, ApiError> {
    let filter = DeliveryFilter {
        delivery_id: Some(id.clone()),
        ..DeliveryFilter::default()
    };
    let page = Page {
        limit: 1,
        ..Page::default()
    };
    let store = state.control().store();
    let (rows, _) = store
        .list_deliveries(&tenant.namespace_id, &filter, page)
        .await?;
    let found = rows.into_iter().next();
    let (_, mut record) = found.ok_or_else(|| ApiError::not_found("webhook delivery", &id))?;
    if record.status != DeliveryStatus::Failed {
        let present = format!("it is {}", record.status.as_str());
        return Err(ApiError::conflict("trying the delivery again", present));
    }
    record.status = DeliveryStatus::Pending;
    record.next_attempt_at = state.now();
    record.finished_at = None;
    store.update_delivery(&record).await?;
    Ok(Json(view(record)))
}

fn status_of(status: WebhookDeliveryStatus) -> DeliveryStatus {
    match status {
        WebhookDeliveryStatus::Pending => DeliveryStatus::Pending,
        WebhookDeliveryStatus::Delivered => DeliveryStatus::Delivered,
        WebhookDeliveryStatus::Failed => DeliveryStatus::Failed,
    }
}

fn view(record: DeliveryRecord) -> WebhookDelivery {
    let (webhook_id, channel) = match &record.target {
        DeliveryTarget::Webhook {
            webhook_id,
            channel,
        } => (Some(webhook_id.to_string()), Some(*channel)),
        DeliveryTarget::Batch { .. } => (None, None),
    };
    let is_pending = record.status == DeliveryStatus::Pending;
    let attempts = record.attempts.into_iter();
    WebhookDelivery {
        delivery_id: record.delivery_id.to_string(),
        webhook_id,
        channel,
        batch_id: record.batch_id.map(Into::into),
        event_type: record.event_type,
        status: match record.status {
            DeliveryStatus::Pending => WebhookDeliveryStatus::Pending,
            DeliveryStatus::Delivered => WebhookDeliveryStatus::Delivered,
            DeliveryStatus::Failed => WebhookDeliveryStatus::Failed,
        },
        attempts: attempts
            .map(|attempt| WebhookDeliveryAttempt {
                at: attempt.at.into(),
                duration_ms: attempt.duration_ms,
                status: attempt.status,
                error: attempt.error,
            })
            .collect(),
        next_attempt_at: is_pending.then(|| record.next_attempt_at.into()),
        payload: record.payload,
        created_at: record.created_at.into(),
        finished_at: record.finished_at.map(Into::into),
    }
}
