//! Events and their deliveries. Most events are written by triggers (`migrations/events.sql`).

use fettle_model::{NamespaceId, UnixMillis};
use fettle_ports::{DeliveryFilter, DeliveryRecord, DeliveryStatus, Page, StoreError, StoredEvent};
use rusqlite::{Connection, params};
use serde_json::{Map, Value};

use super::codec::{corrupt, decode, encode, from_sql, to_sql};
use super::failure::{Failure, changed};
use super::filter::{Conditions, Order};

const EVENT: &str = "event";
const DELIVERY: &str = "webhook delivery";

/// An event in its stored form.
pub(super) struct EventRow {
    namespace: NamespaceId,
    event_type: String,
    at: UnixMillis,
    data: String,
}

impl EventRow {
    pub(super) fn new(
        namespace: &NamespaceId,
        event_type: &str,
        at: UnixMillis,
        data: &Map<String, Value>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            namespace: namespace.clone(),
            event_type: event_type.to_owned(),
            at,
            data: encode(EVENT, event_type, data)?,
        })
    }
}

/// Adds an event where somebody listens.
pub(super) fn append(db: &Connection, row: &EventRow) -> Result<(), Failure> {
    db.prepare_cached(
        "INSERT INTO events (namespace_id, source, at, data) SELECT ?1, ?2, ?3, ?4
         WHERE EXISTS (SELECT 1 FROM resources WHERE kind = 'webhook' AND namespace_id = ?1)",
    )?
    .execute(params![
        row.namespace.as_str(),
        row.event_type,
        row.at.0,
        row.data
    ])?;
    Ok(())
}

/// The oldest events that have not been handed over.
pub(super) fn pending(db: &Connection, limit: u64) -> Result<Vec<StoredEvent>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT seq, namespace_id, source, at, data FROM events ORDER BY seq LIMIT ?1",
    )?;
    let rows = statement.query_map([to_sql(limit)], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, i64>(3)?,
            row.get::<_, String>(4)?,
        ))
    })?;
    let mut events = Vec::new();
    for row in rows {
        let (seq, namespace, source, at, data) = row?;
        let id = seq.to_string();
        events.push(StoredEvent {
            seq,
            namespace_id: namespace
                .parse()
                .map_err(|error| corrupt(EVENT, &id, &error))?,
            source,
            at: UnixMillis(at),
            data: decode(EVENT, &id, &data)?,
        });
    }
    Ok(events)
}

/// A delivery in its stored form.
pub(super) struct DeliveryRow {
    record: DeliveryRecord,
    body: String,
}

impl DeliveryRow {
    pub(super) fn new(record: DeliveryRecord) -> Result<Self, StoreError> {
        let body = encode(DELIVERY, record.delivery_id.as_str(), &record)?;
        Ok(Self { record, body })
    }
}

/// Takes events out and adds their deliveries. A delivery that is there already stays as it is.
pub(super) fn hand_over(
    db: &Connection,
    last: i64,
    deliveries: &[DeliveryRow],
) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM events WHERE seq <= ?1")?
        .execute([last])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO webhook_deliveries (delivery_id, namespace_id, target, channel, event_seq, event_type,
             batch_id, status, next_attempt_at, finished_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (target, channel, event_seq, event_type) DO NOTHING",
    )?;
    for DeliveryRow { record, body } in deliveries {
        insert.execute(params![
            record.delivery_id.as_str(),
            record.namespace_id.as_str(),
            record.target.id(),
            record.target.channel(),
            record.event_seq,
            record.event_type,
            record.batch_id.as_ref().map(AsRef::<str>::as_ref),
            record.status.as_str(),
            record.next_attempt_at.0,
            record.finished_at.map(|at| at.0),
            body
        ])?;
    }
    Ok(())
}

/// Deliveries to be tried, the oldest first, a few to each receiver, so that a slow one does not keep the others waiting.
pub(super) fn due(
    db: &Connection,
    now: UnixMillis,
    per_target: u64,
    limit: u64,
) -> Result<Vec<DeliveryRecord>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT delivery_id, body FROM webhook_deliveries WHERE seq IN (
             SELECT seq FROM (
                 SELECT seq, row_number() OVER (PARTITION BY target ORDER BY seq) AS place
                 FROM webhook_deliveries WHERE status = 'PENDING' AND next_attempt_at <= ?1)
             WHERE place <= ?2 ORDER BY seq LIMIT ?3)
         ORDER BY seq",
    )?;
    let rows = statement.query_map(params![now.0, to_sql(per_target), to_sql(limit)], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut records = Vec::new();
    for row in rows {
        let (id, body) = row?;
        records.push(decode(DELIVERY, &id, &body)?);
    }
    Ok(records)
}

/// How many deliveries to a receiver are pending.
pub(super) fn waiting(db: &Connection, target: &str) -> Result<u64, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT count(*) FROM webhook_deliveries WHERE target = ?1 AND status = 'PENDING'",
    )?;
    Ok(from_sql(statement.query_row([target], |row| row.get(0))?))
}

/// Replaces a delivery.
pub(super) fn update(db: &Connection, row: &DeliveryRow) -> Result<(), Failure> {
    let DeliveryRow { record, body } = row;
    let updated = db
        .prepare_cached(
            "UPDATE webhook_deliveries SET status = ?2, next_attempt_at = ?3, finished_at = ?4, body = ?5
             WHERE delivery_id = ?1",
        )?
        .execute(params![
            record.delivery_id.as_str(),
            record.status.as_str(),
            record.next_attempt_at.0,
            record.finished_at.map(|at| at.0),
            body
        ])?;
    changed(updated, DELIVERY, record.delivery_id.as_str())
}

/// A page of deliveries, newest first, and how many there are in all.
pub(super) fn list(
    db: &Connection,
    namespace: &NamespaceId,
    filter: &DeliveryFilter,
    page: Page,
) -> Result<(Vec<(i64, DeliveryRecord)>, u64), Failure> {
    let mut conditions = Conditions::default();
    conditions.and("namespace_id = ?", namespace.as_str().to_owned());
    conditions.and_if("delivery_id = ?", filter.delivery_id.as_ref());
    conditions.and_if("target = ?", filter.target.as_ref());
    conditions.and_if("batch_id = ?", filter.batch_id.as_ref());
    conditions.and_if("event_type = ?", filter.event_type.as_ref());
    conditions.and_if("status = ?", filter.status.map(DeliveryStatus::as_str));
    let total = conditions.count(db, "webhook_deliveries")?;
    let select = "SELECT seq, delivery_id, body FROM webhook_deliveries";
    let records = conditions.records(db, select, Order::Descending, page, DELIVERY)?;
    Ok((records, total))
}

/// Removes old deliveries that are over.
pub(super) fn prune(db: &Connection, before: UnixMillis) -> Result<u64, Failure> {
    let deleted = db
        .prepare_cached(
            "DELETE FROM webhook_deliveries WHERE finished_at IS NOT NULL AND finished_at < ?1",
        )?
        .execute([before.0])?;
    Ok(deleted as u64)
}
