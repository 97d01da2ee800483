//! From events to deliveries: who is told of what.

use std::collections::BTreeMap;

use fettle_model::{BatchId, DeliveryId, NamespaceId, UnixMillis};
use fettle_ports::{
    BatchRecord, DeliveryRecord, DeliveryStatus, DeliveryTarget, StoreError, StoreExt as _,
    WebhookRecord,
};
use serde_json::{Value, json};

use crate::deliver::WebhookPorts;
use crate::event::{Event, Found, ONE_OFF_TYPE, batch_id, events_of, grouped};

/// Events that are handed over in one transaction.
const EVENTS_MAX: u64 = 500;
/// Deliveries that may wait for one receiver. One that is away for a day while a busy namespace goes on would fill the disk;
/// what comes on top is given up at once and says so.
pub const WAITING_MAX: u64 = 10_000;

/// Hands over what waits. Says whether more may wait.
pub(crate) async fn hand_over(ports: &WebhookPorts) -> Result<bool, StoreError> {
    let stored = ports.store.pending_events(EVENTS_MAX).await?;
    let Some(last) = stored.last().map(|event| event.seq) else {
        return Ok(false);
    };
    let mut events = grouped(&stored);
    let mut batches: BTreeMap<BatchId, Found> = BTreeMap::new();
    for event in &stored {
        let batch = match batch_id(event) {
            Some(id) => found(ports, &mut batches, id).await?,
            None => &None,
        };
        events.extend(events_of(event, batch));
    }
    events.sort_by_key(|event| event.seq);
    let deliveries = deliveries(ports, &events, &batches).await?;
    ports.store.hand_over(last, deliveries).await?;
    Ok(stored.len() as u64 == EVENTS_MAX)
}

async fn found<'a>(
    ports: &WebhookPorts,
    batches: &'a mut BTreeMap<BatchId, Found>,
    id: BatchId,
) -> Result<&'a Found, StoreError> {
    if !batches.contains_key(&id) {
        let found = ports.store.get_batch(None, &id).await?;
        batches.insert(id.clone(), found);
    }
    Ok(batches.entry(id).or_default())
}

async fn deliveries(
    ports: &WebhookPorts,
    events: &[Event],
    batches: &BTreeMap<BatchId, Found>,
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let mut webhooks: BTreeMap<&NamespaceId, Vec<WebhookRecord>> = BTreeMap::new();
    for event in events {
        if !webhooks.contains_key(&event.namespace_id) {
            let listening = ports.store.list_all(&event.namespace_id).await?;
            webhooks.insert(&event.namespace_id, listening);
        }
    }
    let now = ports.clock.now();
    let mut room = Room::default();
    let mut deliveries = Vec::new();
    for event in events {
        let listening = webhooks.get(&event.namespace_id).into_iter().flatten();
        let mut targets: Vec<DeliveryTarget> = listening
            .filter(|webhook| wants(webhook, event))
            .flat_map(channels)
            .collect();
        targets.extend(own_address(event, batches));
        for target in targets {
            let has_room = room.take(ports, &target).await?;
            let id = DeliveryId::from_entropy(ports.entropy.bytes15());
            deliveries.push(delivery(event, target, id, now, has_room));
        }
    }
    Ok(deliveries)
}

/// What happened before a webhook was made is none of its business, though it is handed over later.
fn wants(webhook: &WebhookRecord, event: &Event) -> bool {
    let resource = event.resource_type();
    let fits = |wanted: &Vec<String>, what: &str| wanted.iter().any(|it| it == what);
    webhook.is_active
        && event.at >= webhook.created_at
        && fits(&webhook.event_types, &event.event_type)
        && (webhook.resource_types.is_empty() || fits(&webhook.resource_types, resource))
}

fn channels(webhook: &WebhookRecord) -> impl Iterator<Item = DeliveryTarget> {
    let places = (0_u32..).zip(&webhook.channels);
    places.map(|(channel, _)| DeliveryTarget::Webhook {
        webhook_id: webhook.webhook_id.clone(),
        channel,
    })
}

/// The address that the event's batch was submitted with, if this is what it is told.
fn own_address(event: &Event, batches: &BTreeMap<BatchId, Found>) -> Option<DeliveryTarget> {
    let id = event.batch_id.as_ref()?;
    let record: &BatchRecord = &batches.get(id)?.as_ref()?.0;
    let is_told = event.event_type == ONE_OFF_TYPE && record.webhook_url.is_some();
    is_told.then(|| DeliveryTarget::Batch {
        batch_id: id.clone(),
    })
}

/// How many more deliveries may wait for each receiver.
#[derive(Default)]
struct Room(BTreeMap<String, u64>);

impl Room {
    async fn take(
        &mut self,
        ports: &WebhookPorts,
        target: &DeliveryTarget,
    ) -> Result<bool, StoreError> {
        let id = target.id();
        if !self.0.contains_key(id) {
            let waiting = ports.store.waiting_deliveries(id).await?;
            self.0
                .insert(id.to_owned(), WAITING_MAX.saturating_sub(waiting));
        }
        let room = self.0.entry(id.to_owned()).or_default();
        let has_room = *room > 0;
        *room = room.saturating_sub(1);
        Ok(has_room)
    }
}

fn delivery(
    event: &Event,
    target: DeliveryTarget,
    delivery_id: DeliveryId,
    now: UnixMillis,
    has_room: bool,
) -> DeliveryRecord {
    let status = if has_room {
        DeliveryStatus::Pending
    } else {
        DeliveryStatus::Failed
    };
    DeliveryRecord {
        namespace_id: event.namespace_id.clone(),
        delivery_id,
        target,
        event_seq: event.seq,
        event_type: event.event_type.clone(),
        batch_id: event.batch_id.clone(),
        payload: payload(event),
        status,
        attempts: Vec::new(),
        next_attempt_at: now,
        created_at: now,
        finished_at: (!has_room).then_some(now),
    }
}

fn payload(event: &Event) -> Value {
    json!({
        "event_id": format!("evt_{}", event.seq),
        "type": event.event_type,
        "timestamp_ms": event.at,
        "namespace_id": event.namespace_id,
        "data": event.data,
    })
}
