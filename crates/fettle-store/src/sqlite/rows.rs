//! Outcomes of rows and their accounting. A row that has an outcome keeps it until a retry gives it back.

use std::collections::BTreeSet;

use fettle_model::{BatchId, JobId, RowCounts, RowNumber, RowOutcome};
use fettle_ports::{FailedRow, JobCounts, RowErrorQuery, RowsCommit, StoreError, StoredRowError};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::batches::locate;
use super::codec::{corrupt, decode, encode, from_sql, outcome_to_sql, to_sql};
use super::error_groups::{self, Place};
use super::failure::{Failure, not_found};
use super::filter::Conditions;

/// A report with its errors in their stored form, made outside the writer thread.
pub(super) struct ReportRow {
    report: RowsCommit,
    error_bodies: Vec<String>,
}

impl ReportRow {
    /// Encodes a report.
    pub(super) fn new(report: RowsCommit) -> Result<Self, StoreError> {
        let encode_error =
            |row: &FailedRow| encode("row error", report.job_id.as_str(), &row.error);
        let error_bodies = report
            .errors
            .iter()
            .map(encode_error)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            report,
            error_bodies,
        })
    }
}

/// A job as the accounting knows it.
struct Account {
    key: i64,
    batch: i64,
}

/// Records outcomes; returns the job's counts after it.
pub(super) fn record(db: &Connection, row: &ReportRow) -> Result<JobCounts, Failure> {
    let account = open_account(db, &row.report)?;
    let mut added = JobCounts {
        replaced: row.report.replaced,
        deleted: row.report.deleted,
        ..JobCounts::default()
    };
    let mut failed = BTreeSet::new();
    let mut insert = db.prepare_cached(
        "INSERT INTO row_outcomes (job_key, row_num, outcome, documents) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
    )?;
    for (number, outcome, documents) in &row.report.outcomes {
        let values = params![account.key, number, outcome_to_sql(*outcome), documents];
        if insert.execute(values)? == 0 {
            continue;
        }
        added.documents += u64::from(*documents);
        match outcome {
            RowOutcome::Processed => added.rows.processed += 1,
            RowOutcome::Skipped => added.rows.skipped += 1,
            RowOutcome::Failed => {
                added.rows.failed += 1;
                failed.insert(*number);
            }
        }
    }
    insert_errors(db, &account, row, &failed)?;
    book(db, account.key, &added)
}

/// The job's account, opened with its first report. A batch that is gone takes no reports, and a job belongs to one batch.
fn open_account(db: &Connection, report: &RowsCommit) -> Result<Account, Failure> {
    let job = report.job_id.as_str();
    let batch = locate(db, None, &report.batch_id)?.seq;
    let mut select = db.prepare_cached("SELECT job_key, batch_seq FROM jobs WHERE job_id = ?1")?;
    let found = select
        .query_row([job], |row| {
            Ok(Account {
                key: row.get(0)?,
                batch: row.get(1)?,
            })
        })
        .optional()?;
    match found {
        Some(account) if account.batch == batch => Ok(account),
        Some(_) => Err(not_found("job", job)),
        None => {
            let key = db
                .prepare_cached(
                    "INSERT INTO jobs (job_id, batch_seq, tier_num) VALUES (?1, ?2, ?3)",
                )?
                .insert(params![job, batch, report.tier_num])?;
            Ok(Account { key, batch })
        }
    }
}

/// Keeps the errors of rows whose failure is news.
fn insert_errors(
    db: &Connection,
    account: &Account,
    row: &ReportRow,
    failed: &BTreeSet<RowNumber>,
) -> Result<(), Failure> {
    let report = &row.report;
    let mut insert = db.prepare_cached(
        "INSERT INTO row_errors
            (batch_seq, tier_num, job_id, row_num, collection_id, class, attempt_id, body, group_key)
         VALUES (:batch, :tier, :job, :row, :collection, :class, :attempt, :body, :group)",
    )?;
    let place = Place {
        batch: account.batch,
        tier_num: report.tier_num,
        job: report.job_id.as_str(),
    };
    let with_bodies = report.errors.iter().zip(&row.error_bodies);
    for (one, body) in with_bodies.filter(|(one, _)| failed.contains(&one.error.row)) {
        let error = &one.error;
        insert.execute(named_params! {
            ":batch": account.batch,
            ":tier": report.tier_num,
            ":job": report.job_id.as_str(),
            ":row": error.row,
            ":collection": one.collection_id.as_str(),
            ":class": error.class.as_str(),
            ":attempt": report.attempt_id.as_str(),
            ":body": body,
            ":group": error_groups::of_error(db, &place, error, &one.fingerprint)?,
        })?;
    }
    Ok(())
}

fn book(db: &Connection, job_key: i64, added: &JobCounts) -> Result<JobCounts, Failure> {
    let mut update = db.prepare_cached(
        "UPDATE jobs SET processed = processed + :processed, failed = failed + :failed,
            skipped = skipped + :skipped, documents = documents + :documents,
            replaced = replaced + :replaced, deleted = deleted + :deleted
         WHERE job_key = :job
         RETURNING processed, failed, skipped, documents, replaced, deleted",
    )?;
    let values = named_params! {
        ":job": job_key,
        ":processed": to_sql(added.rows.processed),
        ":failed": to_sql(added.rows.failed),
        ":skipped": to_sql(added.rows.skipped),
        ":documents": to_sql(added.documents),
        ":replaced": to_sql(added.replaced),
        ":deleted": to_sql(added.deleted),
    };
    Ok(update.query_row(values, read_counts)?)
}

fn read_counts(row: &Row<'_>) -> rusqlite::Result<JobCounts> {
    Ok(JobCounts {
        rows: RowCounts {
            processed: from_sql(row.get(0)?),
            failed: from_sql(row.get(1)?),
            skipped: from_sql(row.get(2)?),
        },
        documents: from_sql(row.get(3)?),
        replaced: from_sql(row.get(4)?),
        deleted: from_sql(row.get(5)?),
    })
}

/// A job's counts; zeros before its first report.
pub(super) fn counts(db: &Connection, job: &JobId) -> Result<JobCounts, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT processed, failed, skipped, documents, replaced, deleted FROM jobs
         WHERE job_id = ?1",
    )?;
    let counts = statement
        .query_row([job.as_str()], read_counts)
        .optional()?;
    Ok(counts.unwrap_or_default())
}

/// Rows of a job that have an outcome, ascending.
pub(super) fn finished(db: &Connection, job: &JobId) -> Result<Vec<RowNumber>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT row_num FROM row_outcomes
         WHERE job_key = (SELECT job_key FROM jobs WHERE job_id = ?1) ORDER BY row_num",
    )?;
    let rows = statement.query_map([job.as_str()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many sources of a tier failed in `rows` rows, and how many in fewer.
pub(super) fn failed_sources(
    db: &Connection,
    batch: &BatchId,
    tier_num: u32,
    rows: u64,
) -> Result<(u64, u64), Failure> {
    let mut statement = db.prepare_cached(
        "SELECT COALESCE(SUM(failed >= ?3), 0), COALESCE(SUM(failed < ?3), 0) FROM (
            SELECT COUNT(*) AS failed FROM row_errors WHERE batch_seq = ?1 AND tier_num = ?2
            GROUP BY json_extract(body, '$.source_id'))",
    )?;
    let seq = locate(db, None, batch)?.seq;
    let counts = statement.query_row(params![seq, tier_num, to_sql(rows)], |row| {
        Ok((from_sql(row.get(0)?), from_sql(row.get(1)?)))
    })?;
    Ok(counts)
}

/// Errors of a batch's failed rows, in order of tier, job and row, and how many there are in all.
pub(super) fn errors(
    db: &Connection,
    batch: &BatchId,
    query: &RowErrorQuery,
) -> Result<(Vec<StoredRowError>, u64), Failure> {
    let mut conditions = Conditions::default();
    conditions.and("batch_seq = ?", locate(db, None, batch)?.seq);
    if let Some(tier_num) = query.tier_num {
        conditions.and("tier_num = ?", i64::from(tier_num));
    }
    conditions.and_if("job_id = ?", query.job_id.as_ref());
    conditions.and_if("collection_id = ?", query.collection_id.as_ref());
    conditions.and_if("class = ?", query.class.map(|class| class.as_str()));
    let total = conditions.count(db, "row_errors")?;
    let select = "SELECT tier_num, job_id, attempt_id, collection_id, body,
        COALESCE((SELECT retries FROM row_retries JOIN jobs USING (job_key)
            WHERE jobs.job_id = row_errors.job_id AND row_retries.row_num = row_errors.row_num), 0)
        FROM row_errors";
    let order = " ORDER BY tier_num, job_id, row_num, seq";
    let rows: Vec<ErrorColumns> =
        conditions.rows(db, select, order, query.offset, query.limit, |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
            ))
        })?;
    let errors = rows
        .into_iter()
        .map(parse_error)
        .collect::<Result<_, _>>()?;
    Ok((errors, total))
}

/// Tier, job, attempt, collection, body, retries.
type ErrorColumns = (u32, String, String, String, String, u32);

fn parse_error(columns: ErrorColumns) -> Result<StoredRowError, StoreError> {
    let (tier_num, job, attempt, collection, body, retries) = columns;
    let bad_id = |error: fettle_model::IdError| corrupt("row error", &job, &error);
    Ok(StoredRowError {
        error: decode("row error", &job, &body)?,
        tier_num,
        attempt_id: attempt.parse().map_err(bad_id)?,
        collection_id: collection.parse().map_err(bad_id)?,
        job_id: job.parse().map_err(bad_id)?,
        retries,
    })
}
