//! Steps of the orchestrator: its state, the timeline and the outbox, in one transaction.

use std::collections::BTreeSet;

use fettle_core::{Effect, ReopenRows, SkipRows, TimelineEntry};
use fettle_model::{AttemptId, BatchId, CollectionId, NamespaceId, RowNumber, RowOutcome};
use fettle_ports::{
    BatchCommit, EffectId, HistoryEntry, PendingEffect, RowsCommit, StoreError, Submission,
};
use rusqlite::{Connection, params};

use super::batches::{self, RecordRow, locate, put_collections};
use super::codec::{decode, encode, to_sql};
use super::failure::Failure;
use super::history;
use super::remedies::{self, RemedyRow};
use super::reopen;
use super::resources::{self, ResourceRow};
use super::rows::{self, ReportRow};

/// A step with its parts in their stored form, made outside the writer thread.
pub(super) struct StepRow {
    batch_id: BatchId,
    namespace: NamespaceId,
    status: &'static str,
    version: i64,
    state: String,
    collections: BTreeSet<CollectionId>,
    timeline: Vec<String>,
    effects: Vec<String>,
    remedies: Vec<RemedyRow>,
    reopen: Vec<ReopenRows>,
    skip: Vec<ReportRow>,
    submission: Option<(RecordRow, ResourceRow)>,
    history: Vec<HistoryEntry>,
}

impl StepRow {
    /// Encodes a step.
    pub(super) fn new(commit: &BatchCommit) -> Result<Self, StoreError> {
        let BatchCommit {
            batch,
            timeline,
            effects,
            remedies,
            reopen_rows,
            skip_rows,
            submission,
            history,
        } = commit;
        let id = batch.id.as_str();
        let jobs = batch.tiers.iter().flat_map(|tier| &tier.jobs);
        Ok(Self {
            batch_id: batch.id.clone(),
            namespace: batch.namespace_id.clone(),
            status: batch.status.as_str(),
            version: to_sql(batch.version),
            state: encode(batches::KIND, id, batch)?,
            collections: jobs
                .flat_map(|job| job.collection_ids.iter().cloned())
                .collect(),
            timeline: encode_timeline(&batch.id, timeline)?,
            effects: effects
                .iter()
                .map(|effect| encode("effect", id, effect))
                .collect::<Result<_, _>>()?,
            remedies: remedies
                .iter()
                .map(RemedyRow::new)
                .collect::<Result<_, _>>()?,
            reopen: reopen_rows.clone(),
            skip: skip_rows
                .iter()
                .map(|rows| ReportRow::new(skipped(&batch.id, rows)))
                .collect::<Result<_, _>>()?,
            submission: submission.as_ref().map(encode_submission).transpose()?,
            history: history.clone(),
        })
    }
}

/// Skipped rows as a report of nobody.
fn skipped(batch: &BatchId, skip: &SkipRows) -> RowsCommit {
    let outcome = |row: &RowNumber| (*row, RowOutcome::Skipped, 0);
    RowsCommit {
        batch_id: batch.clone(),
        attempt_id: AttemptId::of(&skip.job, 0),
        job_id: skip.job.clone(),
        tier_num: skip.tier_num,
        outcomes: skip.rows.iter().map(outcome).collect(),
        errors: Vec::new(),
        replaced: 0,
        deleted: 0,
    }
}

fn encode_submission(submission: &Submission) -> Result<(RecordRow, ResourceRow), StoreError> {
    let record = RecordRow::new(&submission.record)?;
    Ok((record, ResourceRow::of(&submission.task)?))
}

/// Entries in their stored form.
pub(super) fn encode_timeline(
    batch: &BatchId,
    entries: &[TimelineEntry],
) -> Result<Vec<String>, StoreError> {
    entries
        .iter()
        .map(|entry| encode("timeline entry", batch.as_str(), entry))
        .collect()
}

/// Writes a step, unless somebody else has written one since the batch was read.
pub(super) fn commit(db: &Connection, step: &StepRow) -> Result<Vec<EffectId>, Failure> {
    let located = locate(db, Some(&step.namespace), &step.batch_id)?;
    let next = located
        .version
        .map_or(0, |version| version.saturating_add(1));
    if step.version != next {
        return Err(StoreError::VersionConflict {
            batch: step.batch_id.clone(),
        }
        .into());
    }
    if let Some((record, task)) = &step.submission {
        batches::update(db, record)?;
        resources::insert(db, task)?;
    }
    db.prepare_cached("UPDATE batches SET status = ?2, version = ?3, state = ?4 WHERE seq = ?1")?
        .execute(params![located.seq, step.status, step.version, step.state])?;
    put_collections(db, located.seq, &step.collections.iter().collect())?;
    append_timeline(db, located.seq, &step.timeline)?;
    for remedy in &step.remedies {
        remedies::put(db, &step.namespace, &step.batch_id, remedy)?;
    }
    for entry in &step.history {
        history::record(db, located.seq, &step.namespace, entry)?;
    }
    for rows in &step.reopen {
        reopen::reopen(db, located.seq, rows)?;
    }
    for rows in &step.skip {
        rows::record(db, rows)?;
    }
    append_effects(db, located.seq, &step.effects)
}

fn append_effects(
    db: &Connection,
    batch: i64,
    effects: &[String],
) -> Result<Vec<EffectId>, Failure> {
    let mut insert = db.prepare_cached("INSERT INTO outbox (batch_seq, body) VALUES (?1, ?2)")?;
    let mut ids = Vec::with_capacity(effects.len());
    for effect in effects {
        ids.push(EffectId(insert.insert(params![batch, effect])?));
    }
    Ok(ids)
}

fn append_timeline(db: &Connection, batch: i64, entries: &[String]) -> Result<(), Failure> {
    let mut insert = db.prepare_cached("INSERT INTO timeline (batch_seq, body) VALUES (?1, ?2)")?;
    for entry in entries {
        insert.execute(params![batch, entry])?;
    }
    Ok(())
}

/// Adds to the timeline outside a step.
pub(super) fn append_timeline_of(
    db: &Connection,
    batch: &BatchId,
    entries: &[String],
) -> Result<(), Failure> {
    let located = locate(db, None, batch)?;
    append_timeline(db, located.seq, entries)
}

/// What happened to a batch, oldest first.
pub(super) fn timeline(db: &Connection, batch: &BatchId) -> Result<Vec<TimelineEntry>, Failure> {
    let located = locate(db, None, batch)?;
    let mut statement =
        db.prepare_cached("SELECT body FROM timeline WHERE batch_seq = ?1 ORDER BY seq")?;
    let bodies = statement.query_map([located.seq], |row| row.get::<_, String>(0))?;
    let mut entries = Vec::new();
    for body in bodies {
        entries.push(decode("timeline entry", batch.as_str(), &body?)?);
    }
    Ok(entries)
}

/// Effects not carried out yet, oldest first. One that cannot be read is reported and left out: it must not keep the control
/// loop from all others.
pub(super) fn pending_effects(db: &Connection) -> Result<Vec<PendingEffect>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT effect_id, batch_id, body FROM outbox JOIN batches ON batches.seq = outbox.batch_seq
         ORDER BY effect_id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
        ))
    })?;
    let mut effects = Vec::new();
    for row in rows {
        let (id, batch, body) = row?;
        match parse_effect(&batch, &body) {
            Ok((batch_id, effect)) => {
                effects.push(PendingEffect {
                    id: EffectId(id),
                    batch_id,
                    effect,
                });
            }
            Err(error) => tracing::error!(%error, effect = id, "a pending effect is left out"),
        }
    }
    Ok(effects)
}

fn parse_effect(batch: &str, body: &str) -> Result<(BatchId, Effect), StoreError> {
    let effect = decode("effect", batch, body)?;
    let batch_id = batch
        .parse()
        .map_err(|error| super::codec::corrupt(batches::KIND, batch, &error))?;
    Ok((batch_id, effect))
}

/// Takes an effect out of the outbox. It may be gone already, with its batch or by an earlier call.
pub(super) fn effect_done(db: &Connection, effect: EffectId) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM outbox WHERE effect_id = ?1")?
        .execute([effect.0])?;
    Ok(())
}
