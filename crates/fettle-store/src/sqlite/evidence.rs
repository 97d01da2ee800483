//! Evidence and stage timings of attempts.

use fettle_model::{AttemptEvidence, AttemptId, BatchId, StageTimings};
use fettle_ports::StoreError;
use rusqlite::{Connection, OptionalExtension, params};

use super::batches::locate;
use super::codec::{corrupt, decode, encode};
use super::failure::Failure;

/// The kind in error messages.
const KIND: &str = "evidence";

/// Evidence on its way to the writer thread.
pub(super) struct EvidenceRow {
    attempt: AttemptId,
    evidence: AttemptEvidence,
    stages: Option<String>,
}

impl EvidenceRow {
    /// Encodes evidence.
    pub(super) fn new(
        attempt: &AttemptId,
        evidence: &AttemptEvidence,
        stages: Option<&StageTimings>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            attempt: attempt.clone(),
            evidence: evidence.clone(),
            stages: stages
                .map(|stages| encode(KIND, attempt.as_str(), stages))
                .transpose()?,
        })
    }
}

/// Adds evidence to what is kept of an attempt, and returns all of it; stage timings stay where none are given.
pub(super) fn put(
    db: &Connection,
    batch: &BatchId,
    row: &EvidenceRow,
) -> Result<AttemptEvidence, Failure> {
    let located = locate(db, None, batch)?;
    let attempt = row.attempt.as_str();
    let mut evidence = row.evidence.clone();
    let earlier: Option<String> = db
        .prepare_cached("SELECT body FROM evidence WHERE batch_seq = ?1 AND attempt_id = ?2")?
        .query_row(params![located.seq, attempt], |row| row.get(0))
        .optional()?;
    if let Some(earlier) = earlier {
        evidence.absorb(decode(KIND, attempt, &earlier)?);
    }
    let body = encode(KIND, attempt, &evidence)?;
    db.prepare_cached(
        "INSERT INTO evidence (batch_seq, attempt_id, body, stages) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (batch_seq, attempt_id)
         DO UPDATE SET body = excluded.body, stages = COALESCE(excluded.stages, stages)",
    )?
    .execute(params![located.seq, attempt, body, row.stages])?;
    Ok(evidence)
}

/// Evidence of one attempt.
pub(super) fn of_attempt(
    db: &Connection,
    batch: &BatchId,
    attempt: &AttemptId,
) -> Result<Option<AttemptEvidence>, Failure> {
    let located = locate(db, None, batch)?;
    let mut statement =
        db.prepare_cached("SELECT body FROM evidence WHERE batch_seq = ?1 AND attempt_id = ?2")?;
    let body: Option<String> = statement
        .query_row(params![located.seq, attempt.as_str()], |row| row.get(0))
        .optional()?;
    let evidence = body.map(|body| decode(KIND, attempt.as_str(), &body));
    Ok(evidence.transpose()?)
}

/// Evidence of a batch's attempts, in the order in which it first came.
pub(super) fn of_batch(
    db: &Connection,
    batch: &BatchId,
) -> Result<Vec<(AttemptId, AttemptEvidence, Option<StageTimings>)>, Failure> {
    let located = locate(db, None, batch)?;
    let mut statement = db.prepare_cached(
        "SELECT attempt_id, body, stages FROM evidence WHERE batch_seq = ?1 ORDER BY seq",
    )?;
    let rows = statement.query_map([located.seq], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, Option<String>>(2)?,
        ))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (attempt, body, stages) = row?;
        let evidence = decode(KIND, &attempt, &body)?;
        let stages = stages
            .map(|stages| decode(KIND, &attempt, &stages))
            .transpose()?;
        let id = attempt
            .parse()
            .map_err(|error| corrupt(KIND, &attempt, &error))?;
        found.push((id, evidence, stages));
    }
    Ok(found)
}
