//! Remedies, and how often each has worked.

use fettle_core::Remedy;
use fettle_model::{BatchId, NamespaceId};
use fettle_ports::{StoreError, TrackRecord};
use rusqlite::{Connection, params};

use super::codec::{decode, encode, from_sql};
use super::failure::Failure;

/// The kind in error messages.
const KIND: &str = "remedy";

/// A remedy in its stored form, made outside the writer thread.
pub(super) struct RemedyRow {
    remedy: Remedy,
    body: String,
}

impl RemedyRow {
    /// Encodes a remedy.
    pub(super) fn new(remedy: &Remedy) -> Result<Self, StoreError> {
        Ok(Self {
            body: encode(KIND, remedy.job_id.as_str(), remedy)?,
            remedy: remedy.clone(),
        })
    }
}

/// Keeps a remedy, or what became of one.
pub(super) fn put(
    db: &Connection,
    namespace: &NamespaceId,
    batch: &BatchId,
    row: &RemedyRow,
) -> Result<(), Failure> {
    let remedy = &row.remedy;
    db.prepare_cached(
        "INSERT INTO remedies (namespace_id, batch_id, job_id, number, cause, remedy, outcome, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (job_id, number) DO UPDATE SET outcome = excluded.outcome, body = excluded.body",
    )?
    .execute(params![
        namespace.as_str(),
        batch.as_str(),
        remedy.job_id.as_str(),
        remedy.number,
        remedy.cause.as_str(),
        remedy.taken.as_str(),
        remedy.outcome.map(|outcome| outcome.as_str()),
        row.body
    ])?;
    Ok(())
}

/// A batch's remedies, oldest first.
pub(super) fn of_batch(db: &Connection, batch: &BatchId) -> Result<Vec<Remedy>, Failure> {
    let mut statement =
        db.prepare_cached("SELECT body FROM remedies WHERE batch_id = ?1 ORDER BY seq")?;
    let bodies = statement.query_map([batch.as_str()], |row| row.get::<_, String>(0))?;
    let mut remedies = Vec::new();
    for body in bodies {
        remedies.push(decode(KIND, batch.as_str(), &body?)?);
    }
    Ok(remedies)
}

/// How often each remedy of a tenant has worked, by cause.
pub(super) fn track_record(
    db: &Connection,
    namespace: &NamespaceId,
) -> Result<Vec<TrackRecord>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT cause, remedy, COUNT(*) FILTER (WHERE outcome = 'worked'),
             COUNT(*) FILTER (WHERE outcome = 'failed')
         FROM remedies WHERE namespace_id = ?1 GROUP BY cause, remedy ORDER BY cause, remedy",
    )?;
    let rows = statement.query_map([namespace.as_str()], |row| {
        Ok(TrackRecord {
            cause: row.get(0)?,
            remedy: row.get(1)?,
            worked: from_sql(row.get(2)?),
            failed: from_sql(row.get(3)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
