//! What webhooks are told: events that wait to be handed over, and their deliveries.
//!
//! The store writes most events itself, in the transaction of the change that they tell of, and only where somebody listens.

use async_trait::async_trait;
use fettle_model::{BatchId, DeliveryId, NamespaceId, UnixMillis, WebhookId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::store::{Page, StoreError};

/// Something that happened and has not been handed over yet.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its place among all events; never given twice.
    pub seq: i64,
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// `timeline` for an entry of a batch's timeline; else the event's type.
    pub source: String,
    /// When.
    pub at: UnixMillis,
    /// What it is about. For the timeline: `{batch_id, bucket_id, entry}`.
    pub data: Map<String, Value>,
}

/// Whom a delivery goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum DeliveryTarget {
    /// A channel of a webhook.
    Webhook {
        /// The webhook.
        webhook_id: WebhookId,
        /// The channel's place in it, from zero.
        channel: u32,
    },
    /// The address that the batch was submitted with.
    Batch {
        /// The batch.
        batch_id: BatchId,
    },
}

impl DeliveryTarget {
    /// The id of the webhook or the batch.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Webhook { webhook_id, .. } => webhook_id.as_str(),
            Self::Batch { batch_id } => batch_id.as_str(),
        }
    }

    /// The channel's place.
    #[must_use]
    pub fn channel(&self) -> u32 {
        match self {
            Self::Webhook { channel, .. } => *channel,
            Self::Batch { .. } => 0,
        }
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeliveryStatus {
    /// It will be tried, or tried again.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryStatus {
    /// Its name in the store and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Delivered => "DELIVERED",
            Self::Failed => "FAILED",
        }
    }
}

/// One try of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    /// When it was begun.
    pub at: UnixMillis,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The HTTP status of the answer, where there was one.
    pub status: Option<u16>,
    /// Why it does not count as taken.
    pub error: Option<String>,
}

/// One event on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// Its id, the same at every try.
    pub delivery_id: DeliveryId,
    /// Whom it goes to.
    pub target: DeliveryTarget,
    /// Place of its event among all events.
    pub event_seq: i64,
    /// Type of its event.
    pub event_type: String,
    /// The batch that the event is about.
    pub batch_id: Option<BatchId>,
    /// What is sent.
    pub payload: Value,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Its tries, in order.
    pub attempts: Vec<DeliveryAttempt>,
    /// When it is tried next, while it is pending.
    pub next_attempt_at: UnixMillis,
    /// When the event was handed over.
    pub created_at: UnixMillis,
    /// When it was delivered or given up.
    pub finished_at: Option<UnixMillis>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Only this one.
    pub delivery_id: Option<String>,
    /// Only to this webhook, or only to the address of this batch.
    pub target: Option<String>,
    /// Only of events about this batch.
    pub batch_id: Option<BatchId>,
    /// Only of this type.
    pub event_type: Option<String>,
    /// Only with this status.
    pub status: Option<DeliveryStatus>,
}

/// Events and deliveries.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Adds an event that the store cannot see for itself, if anybody in the namespace listens.
    async fn append_event(
        &self,
        namespace: &NamespaceId,
        event_type: &str,
        at: UnixMillis,
        data: Map<String, Value>,
    ) -> Result<(), StoreError>;
    /// The oldest events that have not been handed over, at most `limit`.
    async fn pending_events(&self, limit: u64) -> Result<Vec<StoredEvent>, StoreError>;
    /// Takes the events up to `last` out and adds their deliveries, in one transaction.
    async fn hand_over(&self, last: i64, deliveries: Vec<DeliveryRecord>)
    -> Result<(), StoreError>;
    /// Deliveries to be tried by `now`, the oldest first, at most `per_target` to one receiver.
    async fn due_deliveries(
        &self,
        now: UnixMillis,
        per_target: u64,
        limit: u64,
    ) -> Result<Vec<DeliveryRecord>, StoreError>;
    /// How many deliveries to a receiver have not been delivered or given up.
    async fn waiting_deliveries(&self, target: &str) -> Result<u64, StoreError>;
    /// Replaces a delivery.
    async fn update_delivery(&self, delivery: &DeliveryRecord) -> Result<(), StoreError>;
    /// A page of deliveries, newest first, with sequence numbers, and how many there are in all.
    async fn list_deliveries(
        &self,
        namespace: &NamespaceId,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<(Vec<(i64, DeliveryRecord)>, u64), StoreError>;
    /// Removes deliveries that were delivered or given up before `before`; says how many.
    async fn prune_deliveries(&self, before: UnixMillis) -> Result<u64, StoreError>;
}
