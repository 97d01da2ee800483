//! Batches as their users made them: the record, its objects, its collections.

use std::collections::BTreeSet;

use fettle_model::{BatchId, BatchStatus, CollectionId, NamespaceId, ObjectId};
use fettle_ports::{BatchRecord, StoreError};
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::codec::{corrupt, encode, from_sql};
use super::failure::{Failure, changed, not_found, taken};

/// The kind in error messages.
pub(super) const KIND: &str = "batch";

/// A batch's record with its stored form.
pub(super) struct RecordRow {
    record: BatchRecord,
    body: String,
}

impl RecordRow {
    /// Encodes a record.
    pub(super) fn new(record: &BatchRecord) -> Result<Self, StoreError> {
        let body = encode(KIND, record.batch_id.as_str(), record)?;
        Ok(Self {
            record: record.clone(),
            body,
        })
    }
}

/// Where a batch is, as far as writers must know.
pub(super) struct Located {
    /// Its sequence number, on which all that belongs to it hangs.
    pub(super) seq: i64,
    /// Version of the orchestrator's state; none while it is a draft.
    pub(super) version: Option<i64>,
}

/// Finds a batch; with a namespace only that tenant's.
pub(super) fn locate(
    db: &Connection,
    namespace: Option<&NamespaceId>,
    batch: &BatchId,
) -> Result<Located, Failure> {
    let mut statement =
        db.prepare_cached("SELECT seq, version, namespace_id FROM batches WHERE batch_id = ?1")?;
    let found: Option<(Located, String)> = statement
        .query_row([batch.as_str()], |row| {
            Ok((
                Located {
                    seq: row.get(0)?,
                    version: row.get(1)?,
                },
                row.get(2)?,
            ))
        })
        .optional()?;
    found
        .filter(|(_, owner)| namespace.is_none_or(|wanted| wanted.as_str() == owner))
        .map(|(located, _)| located)
        .ok_or_else(|| not_found(KIND, batch.as_str()))
}

/// Adds a draft.
pub(super) fn insert(
    db: &Connection,
    row: &RecordRow,
    objects: &[ObjectId],
) -> Result<(), Failure> {
    let record = &row.record;
    let mut statement = db.prepare_cached(
        "INSERT INTO batches (batch_id, namespace_id, bucket_id, status, object_count, record)
         VALUES (:id, :namespace, :bucket, :status, 0, :record)",
    )?;
    let inserted = statement.execute(named_params! {
        ":id": record.batch_id.as_str(),
        ":namespace": record.namespace_id.as_str(),
        ":bucket": record.bucket_id.as_str(),
        ":status": BatchStatus::Draft.as_str(),
        ":record": row.body,
    });
    inserted.map_err(|error| taken(error, KIND, record.batch_id.as_str()))?;
    let batch = db.last_insert_rowid();
    put_collections(db, batch, &record.collection_ids.iter().collect())?;
    put_objects(db, batch, objects)?;
    Ok(())
}

/// Replaces the user's part. The collections of a submitted batch are the orchestrator's and stay.
pub(super) fn update(db: &Connection, row: &RecordRow) -> Result<(), Failure> {
    let record = &row.record;
    let located = locate(db, Some(&record.namespace_id), &record.batch_id)?;
    let mut statement = db.prepare_cached("UPDATE batches SET record = ?2 WHERE seq = ?1")?;
    let rows = statement.execute(params![located.seq, row.body])?;
    if located.version.is_none() {
        put_collections(db, located.seq, &record.collection_ids.iter().collect())?;
    }
    changed(rows, KIND, record.batch_id.as_str())
}

/// Adds objects to a draft; returns how many it has now.
pub(super) fn add_objects(
    db: &Connection,
    batch: &BatchId,
    objects: &[ObjectId],
) -> Result<u64, Failure> {
    let located = locate(db, None, batch)?;
    if located.version.is_some() {
        return Err(StoreError::VersionConflict {
            batch: batch.clone(),
        }
        .into());
    }
    put_objects(db, located.seq, objects)
}

/// Appends those objects that the batch lacks; keeps its count. There are no gaps in the positions, so the count is the next one.
fn put_objects(db: &Connection, batch: i64, objects: &[ObjectId]) -> Result<u64, Failure> {
    let mut count: i64 = db
        .prepare_cached("SELECT object_count FROM batches WHERE seq = ?1")?
        .query_row([batch], |row| row.get(0))?;
    let mut insert = db.prepare_cached(
        "INSERT INTO batch_objects (batch_seq, object_id, position) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING",
    )?;
    for object in objects {
        if insert.execute(params![batch, object.as_str(), count])? == 1 {
            count += 1;
        }
    }
    db.prepare_cached("UPDATE batches SET object_count = ?2 WHERE seq = ?1")?
        .execute(params![batch, count])?;
    Ok(from_sql(count))
}

/// Makes `wanted` the collections that the batch feeds. Writes only when they differ.
pub(super) fn put_collections(
    db: &Connection,
    batch: i64,
    wanted: &BTreeSet<&CollectionId>,
) -> Result<(), Failure> {
    let mut select = db.prepare_cached(
        "SELECT collection_id FROM batch_collections WHERE batch_seq = ?1 ORDER BY collection_id",
    )?;
    let present: BTreeSet<String> = select
        .query_map([batch], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if present
        .iter()
        .map(String::as_str)
        .eq(wanted.iter().map(|id| id.as_str()))
    {
        return Ok(());
    }
    db.prepare_cached("DELETE FROM batch_collections WHERE batch_seq = ?1")?
        .execute([batch])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO batch_collections (batch_seq, collection_id) VALUES (?1, ?2)",
    )?;
    for collection in wanted {
        insert.execute(params![batch, collection.as_str()])?;
    }
    Ok(())
}

/// The objects of a batch in their order.
pub(super) fn objects(db: &Connection, batch: &BatchId) -> Result<Vec<ObjectId>, Failure> {
    let located = locate(db, None, batch)?;
    let mut statement = db.prepare_cached(
        "SELECT object_id FROM batch_objects WHERE batch_seq = ?1 ORDER BY position",
    )?;
    let ids: Vec<String> = statement
        .query_map([located.seq], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let parsed = ids
        .into_iter()
        .map(|id| ObjectId::try_from(id).map_err(|error| corrupt(KIND, batch.as_str(), &error)))
        .collect::<Result<_, _>>()?;
    Ok(parsed)
}

/// Removes a batch; the foreign keys take all that belongs to it along.
pub(super) fn delete(
    db: &Connection,
    namespace: &NamespaceId,
    batch: &BatchId,
) -> Result<(), Failure> {
    let located = locate(db, Some(namespace), batch)?;
    // What its remedies came to is kept as counts; what they were about goes with it.
    db.prepare_cached("UPDATE remedies SET body = '' WHERE batch_id = ?1")?
        .execute([batch.as_str()])?;
    let mut statement = db.prepare_cached("DELETE FROM batches WHERE seq = ?1")?;
    changed(statement.execute([located.seq])?, KIND, batch.as_str())
}
