//! `fettle_ports::EventLog` for SQLite.

use async_trait::async_trait;
use fettle_model::{NamespaceId, UnixMillis};
use fettle_ports::{DeliveryFilter, DeliveryRecord, EventLog, Page, StoreError, StoredEvent};
use serde_json::{Map, Value};

use super::events::{DeliveryRow, EventRow};
use super::{SqliteStore, events};

#[async_trait]
impl EventLog for SqliteStore {
    async fn append_event(
        &self,
        namespace: &NamespaceId,
        event_type: &str,
        at: UnixMillis,
        data: Map<String, Value>,
    ) -> Result<(), StoreError> {
        let row = EventRow::new(namespace, event_type, at, &data)?;
        self.write(move |db| events::append(db, &row)).await
    }

    async fn pending_events(&self, limit: u64) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |db| events::pending(db, limit)).await
    }

    async fn hand_over(
        &self,
        last: i64,
        deliveries: Vec<DeliveryRecord>,
    ) -> Result<(), StoreError> {
        let rows = deliveries
            .into_iter()
            .map(DeliveryRow::new)
            .collect::<Result<Vec<_>, _>>()?;
        self.write(move |db| events::hand_over(db, last, &rows))
            .await
    }

    async fn due_deliveries(
        &self,
        now: UnixMillis,
        per_target: u64,
        limit: u64,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.read(move |db| events::due(db, now, per_target, limit))
            .await
    }

    async fn waiting_deliveries(&self, target: &str) -> Result<u64, StoreError> {
        let target = target.to_owned();
        self.read(move |db| events::waiting(db, &target)).await
    }

    async fn update_delivery(&self, delivery: &DeliveryRecord) -> Result<(), StoreError> {
        let row = DeliveryRow::new(delivery.clone())?;
        self.write(move |db| events::update(db, &row)).await
    }

    async fn list_deliveries(
        &self,
        namespace: &NamespaceId,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<(Vec<(i64, DeliveryRecord)>, u64), StoreError> {
        let (namespace, filter) = (namespace.clone(), filter.clone());
        self.read(move |db| events::list(db, &namespace, &filter, page))
            .await
    }

    async fn prune_deliveries(&self, before: UnixMillis) -> Result<u64, StoreError> {
        self.write(move |db| events::prune(db, before)).await
    }
}
