//! Reading batches with their state.

use fettle_core::Batch;
use fettle_model::{BatchId, BatchStatus, CollectionId, NamespaceId};
use fettle_ports::{BatchFilter, BatchRecord, Page, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::batches::KIND;
use super::codec::{corrupt, decode, encode, from_sql};
use super::failure::Failure;
use super::filter::{Conditions, Order};

/// The states in which the control loop has work with a batch.
const ACTIVE: [BatchStatus; 2] = [BatchStatus::Queued, BatchStatus::Processing];

/// A batch with its sequence number and, once submitted, its state.
pub(super) type Numbered = (i64, BatchRecord, Option<Batch>);

/// A batch as it is stored.
struct Stored {
    seq: i64,
    id: String,
    object_count: i64,
    record: String,
    state: Option<String>,
}

impl Stored {
    const SELECT: &str = "SELECT seq, batch_id, object_count, record, state FROM batches";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: row.get(1)?,
            object_count: row.get(2)?,
            record: row.get(3)?,
            state: row.get(4)?,
        })
    }

    fn parse(&self) -> Result<Numbered, StoreError> {
        let mut record: BatchRecord = decode(KIND, &self.id, &self.record)?;
        // The table of objects knows better than a record that was written beside it.
        record.object_count = from_sql(self.object_count);
        let state = self
            .state
            .as_deref()
            .map(|state| decode(KIND, &self.id, state))
            .transpose()?;
        Ok((self.seq, record, state))
    }
}

/// A batch and, once submitted, its state.
pub(super) fn get(
    db: &Connection,
    namespace: Option<&NamespaceId>,
    batch: &BatchId,
) -> Result<Option<(BatchRecord, Option<Batch>)>, Failure> {
    let sql = format!("{} WHERE batch_id = ?1", Stored::SELECT);
    let mut statement = db.prepare_cached(&sql)?;
    let stored = statement
        .query_row([batch.as_str()], Stored::read)
        .optional()?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let (_, record, state) = stored.parse()?;
    let is_own = namespace.is_none_or(|wanted| *wanted == record.namespace_id);
    Ok(is_own.then_some((record, state)))
}

/// A page of batches, newest first, and how many there are in all.
pub(super) fn list(
    db: &Connection,
    filter: &BatchFilter,
    page: Page,
) -> Result<(Vec<Numbered>, u64), Failure> {
    let mut conditions = Conditions::default();
    conditions.and_if("namespace_id = ?", filter.namespace_id.as_ref());
    conditions.and_if("bucket_id = ?", filter.bucket_id.as_ref());
    conditions.and_if("status = ?", filter.status.map(BatchStatus::as_str));
    conditions.and_if(
        "seq IN (SELECT batch_seq FROM batch_collections WHERE collection_id = ?)",
        filter.collection_id.as_ref(),
    );
    conditions.and_if(
        "seq < (SELECT other.seq FROM batches AS other WHERE other.batch_id = ?)",
        filter.before.as_ref(),
    );
    let total = conditions.count(db, "batches")?;
    let rows = conditions.page(db, Stored::SELECT, Order::Descending, page, Stored::read)?;
    let batches = rows.iter().map(Stored::parse).collect::<Result<_, _>>()?;
    Ok((batches, total))
}

/// A batch in flight that brings one of the same objects to one of these collections.
pub(super) fn overlapping(
    db: &Connection,
    batch: &BatchId,
    collections: &[CollectionId],
) -> Result<Option<BatchId>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT other.batch_id FROM batches AS this
         JOIN batches AS other ON other.namespace_id = this.namespace_id
            AND other.bucket_id = this.bucket_id AND other.seq <> this.seq
            AND other.status IN (?3, ?4)
         WHERE this.batch_id = ?1
            AND EXISTS (SELECT 1 FROM batch_collections WHERE batch_seq = other.seq
                AND collection_id IN (SELECT value FROM json_each(?2)))
            AND EXISTS (SELECT 1 FROM batch_objects AS mine
                JOIN batch_objects AS theirs ON theirs.batch_seq = other.seq
                    AND theirs.object_id = mine.object_id
                WHERE mine.batch_seq = this.seq)
         ORDER BY other.seq LIMIT 1",
    )?;
    let [queued, processing] = ACTIVE.map(BatchStatus::as_str);
    let wanted = encode(KIND, batch.as_str(), &collections)?;
    let found: Option<String> = statement
        .query_row(params![batch.as_str(), wanted, queued, processing], |row| {
            row.get(0)
        })
        .optional()?;
    let parse = |id: String| id.parse().map_err(|error| corrupt(KIND, &id, &error));
    Ok(found.map(parse).transpose()?)
}

/// Submitted batches that are not over, oldest first. One that cannot be read is reported and left out: it must not keep the
/// control loop from all others.
pub(super) fn active(db: &Connection) -> Result<Vec<Batch>, Failure> {
    let sql = format!(
        "{} WHERE status IN (?1, ?2) AND state IS NOT NULL ORDER BY seq",
        Stored::SELECT
    );
    let mut statement = db.prepare_cached(&sql)?;
    let [queued, processing] = ACTIVE.map(BatchStatus::as_str);
    let rows = statement.query_map(params![queued, processing], Stored::read)?;
    let mut batches = Vec::new();
    for stored in rows {
        match stored?.parse() {
            Ok((_, _, state)) => batches.extend(state),
            Err(error) => tracing::error!(%error, "an active batch is left out"),
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_that_is_neither_draft_nor_terminal_is_active() {
        use BatchStatus::{
            Canceled, Completed, CompletedWithErrors, Draft, Failed, Processing, Queued,
        };
        let all = [
            Draft,
            Queued,
            Processing,
            Completed,
            CompletedWithErrors,
            Failed,
            Canceled,
        ];
        for status in all {
            let is_active = status != Draft && !status.is_terminal();
            assert_eq!(ACTIVE.contains(&status), is_active, "{status:?}");
        }
    }
}
