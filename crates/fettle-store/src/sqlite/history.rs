//! The history of attempts: cells of hours and days, and the ledger of what they hold.

use fettle_model::{
    AttemptId, DocumentErrorClass, ErrorCategory, HistoryCell, HistoryKey, JobId, NamespaceId,
    TierKind, UnixMillis,
};
use fettle_ports::history::{DAYS_KEPT, HOURS_KEPT_DAYS};
use fettle_ports::{HistoryEntry, HistoryQuery, HistoryRow, HistorySpan, JobCounts};
use rusqlite::{Connection, named_params, params};

use super::codec::{corrupt, decode, encode, from_sql, to_sql};
use super::failure::Failure;
use super::rows;

/// The kind in error messages.
const KIND: &str = "history cell";
const DAY_MS: u64 = 86_400_000;

/// Adds an attempt to its hour and its day, unless it has been added before.
pub(super) fn record(
    db: &Connection,
    batch: i64,
    namespace: &NamespaceId,
    entry: &HistoryEntry,
) -> Result<(), Failure> {
    let counts = enter(db, batch, entry)?;
    let Some(JobCounts {
        rows, documents, ..
    }) = counts
    else {
        return Ok(());
    };
    let mut cell = entry.cell.clone();
    cell.rows_processed = rows.processed;
    cell.rows_skipped = rows.skipped;
    cell.documents = documents;
    add_errors(db, batch, entry, &mut cell)?;
    per_row(&mut cell);
    for span in [HistorySpan::Hour, HistorySpan::Day] {
        add(db, namespace, span, entry, &cell)?;
        forget_old(db, namespace, span, entry.at)?;
    }
    Ok(())
}

/// What a row took and brought on average, where the attempt did rows and said how long it worked.
fn per_row(cell: &mut HistoryCell) {
    let (rows @ 1.., worker_ms @ 1..) = (cell.rows(), cell.worker_ms) else {
        return;
    };
    let us = worker_ms.saturating_mul(1_000) / rows;
    cell.worker_us_per_row.record(us, 1);
    let documents = cell.documents.saturating_mul(1_000) / rows;
    cell.documents_per_1000_rows.record(documents, 1);
}

/// Enters the attempt in the ledger with what it brought; `None` when it stands there already.
fn enter(db: &Connection, batch: i64, entry: &HistoryEntry) -> Result<Option<JobCounts>, Failure> {
    let now = rows::counts(db, &entry.job_id)?;
    let before = entered(db, batch, &entry.job_id)?;
    let mut brought = JobCounts::default();
    brought.rows.processed = now.rows.processed.saturating_sub(before.rows.processed);
    brought.rows.skipped = now.rows.skipped.saturating_sub(before.rows.skipped);
    brought.documents = now.documents.saturating_sub(before.documents);
    let is_new = db
        .prepare_cached(
            "INSERT INTO history_ledger (attempt_id, batch_seq, job_id, processed, skipped, documents)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            entry.attempt_id.as_str(),
            batch,
            entry.job_id.as_str(),
            to_sql(brought.rows.processed),
            to_sql(brought.rows.skipped),
            to_sql(brought.documents),
        ])?;
    Ok((is_new == 1).then_some(brought))
}

/// What earlier attempts of the job brought.
fn entered(db: &Connection, batch: i64, job: &JobId) -> Result<JobCounts, Failure> {
    let mut select = db.prepare_cached(
        "SELECT COALESCE(SUM(processed), 0), COALESCE(SUM(skipped), 0), COALESCE(SUM(documents), 0)
         FROM history_ledger WHERE batch_seq = ?1 AND job_id = ?2",
    )?;
    Ok(select.query_row(params![batch, job.as_str()], |row| {
        let mut counts = JobCounts::default();
        counts.rows.processed = from_sql(row.get(0)?);
        counts.rows.skipped = from_sql(row.get(1)?);
        counts.documents = from_sql(row.get(2)?);
        Ok(counts)
    })?)
}

/// Adds the errors that the attempt reported.
fn add_errors(
    db: &Connection,
    batch: i64,
    entry: &HistoryEntry,
    cell: &mut HistoryCell,
) -> Result<(), Failure> {
    let mut select = db.prepare_cached(
        "SELECT json_extract(body, '$.category'), class, COUNT(DISTINCT row_num) FROM row_errors
         WHERE batch_seq = ?1 AND job_id = ?2 AND attempt_id = ?3 GROUP BY 1, 2",
    )?;
    let (job, attempt) = (entry.job_id.as_str(), entry.attempt_id.as_str());
    let groups = select.query_map(params![batch, job, attempt], |row| {
        Ok((row.get(0)?, row.get(1)?, from_sql(row.get(2)?)))
    })?;
    for group in groups {
        let (category, class, count): (String, String, u64) = group?;
        let category: ErrorCategory = word(&entry.attempt_id, &category)?;
        let class: DocumentErrorClass = word(&entry.attempt_id, &class)?;
        *cell.error_categories.entry(category).or_default() += count;
        *cell.error_classes.entry(class).or_default() += count;
        cell.rows_failed += count;
    }
    Ok(())
}

fn word<T: serde::de::DeserializeOwned>(attempt: &AttemptId, word: &str) -> Result<T, Failure> {
    let parsed = serde_json::from_value(serde_json::Value::String(word.to_owned()));
    Ok(parsed.map_err(|error| corrupt("row error", attempt.as_str(), &error))?)
}

fn add(
    db: &Connection,
    namespace: &NamespaceId,
    span: HistorySpan,
    entry: &HistoryEntry,
    cell: &HistoryCell,
) -> Result<(), Failure> {
    let starts_at = span.start_of(entry.at);
    let query = HistoryQuery {
        span,
        from: starts_at,
        until: starts_at.plus_ms(1),
        key: Some(entry.key.clone()),
    };
    let mut sum = cells(db, namespace, &query)?
        .pop()
        .map(|row| row.cell)
        .unwrap_or_default();
    sum.merge(cell);
    db.prepare_cached(
        "INSERT INTO history_cells VALUES (:namespace, :span, :starts_at, :name, :version, :parameters, :kind, :body)
         ON CONFLICT DO UPDATE SET body = excluded.body",
    )?
    .execute(named_params! {
        ":namespace": namespace.as_str(),
        ":span": letter(span),
        ":starts_at": starts_at.0,
        ":name": entry.key.extractor_name,
        ":version": entry.key.extractor_version,
        ":parameters": entry.key.parameters,
        ":kind": entry.key.tier_kind.as_str(),
        ":body": encode(KIND, &entry.key.extractor_name, &sum)?,
    })?;
    Ok(())
}

/// Cells that nobody asks for any more go when newer ones come.
fn forget_old(
    db: &Connection,
    namespace: &NamespaceId,
    span: HistorySpan,
    now: UnixMillis,
) -> Result<(), Failure> {
    let days = match span {
        HistorySpan::Hour => HOURS_KEPT_DAYS,
        HistorySpan::Day => DAYS_KEPT,
    };
    let before = now.0.saturating_sub_unsigned(days * DAY_MS);
    db.prepare_cached(
        "DELETE FROM history_cells WHERE namespace_id = ?1 AND span = ?2 AND starts_at < ?3",
    )?
    .execute(params![namespace.as_str(), letter(span), before])?;
    Ok(())
}

/// Cells of a namespace, oldest first.
pub(super) fn cells(
    db: &Connection,
    namespace: &NamespaceId,
    query: &HistoryQuery,
) -> Result<Vec<HistoryRow>, Failure> {
    let key = query.key.as_ref();
    let mut select = db.prepare_cached(
        "SELECT starts_at, extractor_name, extractor_version, parameters, tier_kind, body FROM history_cells
         WHERE namespace_id = :namespace AND span = :span AND starts_at > :after AND starts_at < :until
           AND (:name IS NULL OR (extractor_name = :name AND extractor_version = :version
                AND parameters = :parameters AND tier_kind = :kind))
         ORDER BY starts_at, extractor_name, extractor_version, parameters, tier_kind",
    )?;
    let found = select.query_map(
        named_params! {
            ":namespace": namespace.as_str(),
            ":span": letter(query.span),
            ":after": query.from.0.saturating_sub(query.span.length_ms()),
            ":until": query.until.0,
            ":name": key.map(|key| &key.extractor_name),
            ":version": key.map(|key| &key.extractor_version),
            ":parameters": key.map(|key| &key.parameters),
            ":kind": key.map(|key| key.tier_kind.as_str()),
        },
        |row| {
            let kind: String = row.get(4)?;
            let key = HistoryKey {
                extractor_name: row.get(1)?,
                extractor_version: row.get(2)?,
                parameters: row.get(3)?,
                tier_kind: tier_kind(&kind),
            };
            Ok((UnixMillis(row.get(0)?), key, row.get::<_, String>(5)?))
        },
    )?;
    let mut rows = Vec::new();
    for row in found {
        let (starts_at, key, body) = row?;
        let cell = decode(KIND, &key.extractor_name, &body)?;
        rows.push(HistoryRow {
            starts_at,
            key,
            cell,
        });
    }
    Ok(rows)
}

fn tier_kind(word: &str) -> TierKind {
    if word == TierKind::Documents.as_str() {
        TierKind::Documents
    } else {
        TierKind::Objects
    }
}

fn letter(span: HistorySpan) -> &'static str {
    match span {
        HistorySpan::Hour => "h",
        HistorySpan::Day => "d",
    }
}
