//! Webhooks and their deliveries.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::page::PaginationResponse;
use crate::time::Timestamp;

/// Stands in answers where a credential is kept; sent back, it means that the credential stays.
pub const KEPT: &str = "********";

/// The types of event, as in the contract, and those that Fettle adds.
pub const EVENT_TYPES: &[&str] = &[
    "object.created",
    "objects.created.batch",
    "object.updated",
    "object.deleted",
    "document.created",
    "document.updated",
    "document.deleted",
    "documents.updated.batch",
    "documents.deleted.batch",
    "collection.created",
    "collection.updated",
    "collection.deleted",
    "collection.documents.written",
    "collection.documents.batch_completed",
    "cluster.created",
    "cluster.updated",
    "cluster.deleted",
    "cluster.execution.started",
    "cluster.execution.completed",
    "cluster.execution.failed",
    "trigger.created",
    "trigger.updated",
    "trigger.deleted",
    "trigger.paused",
    "trigger.resumed",
    "trigger.fired",
    "trigger.execution.completed",
    "trigger.execution.failed",
    "taxonomy.created",
    "taxonomy.updated",
    "taxonomy.deleted",
    "alert.created",
    "alert.updated",
    "alert.deleted",
    "alert.triggered",
    "alert.execution.completed",
    "alert.execution.failed",
    "annotation.created",
    "annotation.updated",
    "annotation.deleted",
    "resource.executed",
    "resource.execution_failed",
    "manifest.apply.resource_state",
    "batch.submitted",
    "batch.ended",
    "tier.ended",
];

/// A type of event; one of [`EVENT_TYPES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct WebhookEventType(String);

impl WebhookEventType {
    /// A type that was checked before.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// Its text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

impl TryFrom<String> for WebhookEventType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if EVENT_TYPES.contains(&text.as_str()) {
            return Ok(Self(text));
        }
        let shown: String = text.chars().take(80).collect();
        let known = EVENT_TYPES.join(", ");
        Err(format!("there is no event `{shown}`; there are {known}"))
    }
}

impl JsonSchema for WebhookEventType {
    fn schema_name() -> Cow<'static, str> {
        "WebhookEventType".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": EVENT_TYPES})
    }
}

/// What a receiver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationChannel {
    /// An incoming webhook of Slack.
    Slack,
    /// An address that takes signed JSON.
    Webhook,
}

/// One receiver of a new or changed webhook.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChannelInput {
    /// What it is.
    pub channel: NotificationChannel,
    /// Where it is and what it is sent.
    pub configs: ChannelConfigs,
}

/// Where a receiver is and what it is sent: `url` to `timeout` for `webhook`, `webhook_url` to `icon_url` for `slack`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfigs {
    /// Address that takes signed JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headers that are sent along. Answers show `********` in the place of values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// What deliveries are signed with. Shown once, in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
    /// How long the receiver may take, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Address of Slack's incoming webhook. Answers show no more than its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// Slack's channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The name to post under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The emoji to post with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon_emoji: Option<String>,
    /// The picture to post with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
}

impl std::fmt::Debug for ChannelConfigs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Addresses, headers and secrets may be credentials.
        f.write_str("ChannelConfigs(…)")
    }
}

/// `POST /v1/organizations/webhooks`, and `PUT` of one, which replaces it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookInput {
    /// Its name, unique in the namespace.
    pub webhook_name: String,
    /// The events that it is told of.
    pub event_types: Vec<WebhookEventType>,
    /// Its receivers.
    pub channels: Vec<WebhookChannelInput>,
    /// Only events about these kinds of resource: `object`, `document`, `collection`, `batch`.
    pub resource_types: Option<Vec<String>>,
    /// Whether it is told of anything; `true` when left out.
    pub is_active: Option<bool>,
    /// Has no effect; answers can be sent back as they are.
    pub webhook_id: Option<String>,
    /// Has no effect.
    pub internal_id: Option<String>,
    /// Has no effect.
    pub created_at: Option<Timestamp>,
    /// Has no effect.
    pub updated_at: Option<Timestamp>,
    /// Has no effect.
    pub delivery_health: Option<Map<String, Value>>,
}

/// One receiver as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WebhookChannelOutput {
    /// What it is.
    pub channel: NotificationChannel,
    /// Where it is and what it is sent.
    pub configs: ChannelConfigs,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WebhookOutput {
    /// Its id.
    pub webhook_id: String,
    /// Its name.
    pub webhook_name: String,
    /// The events that it is told of.
    pub event_types: Vec<WebhookEventType>,
    /// Only events about these kinds of resource; none means all.
    pub resource_types: Option<Vec<String>>,
    /// Whether it is told of anything.
    pub is_active: bool,
    /// Its receivers.
    pub channels: Vec<WebhookChannelOutput>,
    /// `pending`, `delivered` and `failed` deliveries of the last week, and the `last_error` of one that was given up.
    pub delivery_health: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// `POST /v1/organizations/webhooks/list`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListWebhooksRequest {
    /// Only those that are told of this event.
    pub event_type: Option<WebhookEventType>,
    /// Only those that are, or are not, active.
    pub is_active: Option<bool>,
}

/// The answer to a list of webhooks.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ListWebhooksResponse {
    /// The page.
    pub results: Vec<WebhookOutput>,
    /// Where it stands.
    pub pagination: PaginationResponse,
    /// How many there are in all.
    pub total: u64,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WebhookDeliveryStatus {
    /// It will be tried, or tried again.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

/// One try of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WebhookDeliveryAttempt {
    /// When it was begun.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The HTTP status of the receiver's answer, where there was one.
    pub status: Option<u16>,
    /// Why it does not count as taken.
    pub error: Option<String>,
}

/// One event on its way to one receiver. Beyond the contract.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WebhookDelivery {
    /// Its id; the header `webhook-id` of each try.
    pub delivery_id: String,
    /// The webhook; none for the address that a batch was submitted with.
    pub webhook_id: Option<String>,
    /// The channel's place in the webhook, from zero.
    pub channel: Option<u32>,
    /// The batch that the event is about.
    pub batch_id: Option<String>,
    /// The event's type.
    pub event_type: String,
    /// Where it stands.
    pub status: WebhookDeliveryStatus,
    /// Its tries, in order.
    pub attempts: Vec<WebhookDeliveryAttempt>,
    /// When it is tried next, while it is pending.
    pub next_attempt_at: Option<Timestamp>,
    /// What is sent.
    pub payload: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
}
