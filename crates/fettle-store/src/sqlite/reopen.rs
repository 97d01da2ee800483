//! Rows that lose their outcome, to be done again, and how often that happened to each.

use fettle_core::{FailedRows, ReopenRows, WhichRows};
use fettle_model::{JobId, RowNumber};
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::codec::{FAILED, encode, to_sql};
use super::failure::Failure;

/// A job with rows. Row errors hang on the batch, tier and job.
struct Account {
    key: i64,
    batch: i64,
    tier_num: u32,
    job: String,
}

/// A failed row.
struct FailedRow {
    number: RowNumber,
    documents: i64,
}

/// Gives rows of a job of this batch back.
pub(super) fn reopen(db: &Connection, batch: i64, rows: &ReopenRows) -> Result<(), Failure> {
    // A job without a report has no outcomes, and one of another batch is none of this batch's business.
    let Some(account) = account(db, &rows.job)?.filter(|account| account.batch == batch) else {
        return Ok(());
    };
    let WhichRows::Failed(which) = &rows.which else {
        return forget_all(db, &account);
    };
    let failed = failed(db, &account, which)?;
    let mut forget =
        db.prepare_cached("DELETE FROM row_outcomes WHERE job_key = ?1 AND row_num = ?2")?;
    let mut forget_errors = db.prepare_cached(
        "DELETE FROM row_errors
         WHERE batch_seq = ?1 AND tier_num = ?2 AND job_id = ?3 AND row_num = ?4",
    )?;
    let mut count = db.prepare_cached(
        "INSERT INTO row_retries (job_key, row_num, retries) VALUES (?1, ?2, 1)
         ON CONFLICT DO UPDATE SET retries = retries + 1",
    )?;
    for row in &failed {
        forget.execute(params![account.key, row.number])?;
        forget_errors.execute(params![batch, account.tier_num, account.job, row.number])?;
        count.execute(params![account.key, row.number])?;
    }
    let documents: i64 = failed.iter().map(|row| row.documents).sum();
    db.prepare_cached(
        "UPDATE jobs SET failed = failed - ?2, documents = documents - ?3 WHERE job_key = ?1",
    )?
    .execute(params![account.key, to_sql(failed.len() as u64), documents])?;
    Ok(())
}

/// The job stands as it did before its first report.
fn forget_all(db: &Connection, account: &Account) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM row_outcomes WHERE job_key = ?1")?
        .execute([account.key])?;
    db.prepare_cached("DELETE FROM row_retries WHERE job_key = ?1")?
        .execute([account.key])?;
    db.prepare_cached(
        "DELETE FROM row_errors WHERE batch_seq = ?1 AND tier_num = ?2 AND job_id = ?3",
    )?
    .execute(params![account.batch, account.tier_num, account.job])?;
    db.prepare_cached(
        "UPDATE jobs SET processed = 0, failed = 0, skipped = 0, documents = 0, replaced = 0,
            deleted = 0
         WHERE job_key = ?1",
    )?
    .execute([account.key])?;
    Ok(())
}

/// How many failed rows of a job are meant.
pub(super) fn count(db: &Connection, job: &JobId, which: &FailedRows) -> Result<u64, Failure> {
    let Some(account) = account(db, job)? else {
        return Ok(0);
    };
    Ok(failed(db, &account, which)?.len() as u64)
}

fn account(db: &Connection, job: &JobId) -> Result<Option<Account>, Failure> {
    let mut select =
        db.prepare_cached("SELECT job_key, batch_seq, tier_num FROM jobs WHERE job_id = ?1")?;
    let found = select.query_row([job.as_str()], |row| {
        Ok(Account {
            key: row.get(0)?,
            batch: row.get(1)?,
            tier_num: row.get(2)?,
            job: job.to_string(),
        })
    });
    Ok(found.optional()?)
}

/// The failed rows that are meant. A filter that is null lets everything pass.
fn failed(
    db: &Connection,
    account: &Account,
    which: &FailedRows,
) -> Result<Vec<FailedRow>, Failure> {
    let classes: Vec<&str> = which.classes.iter().map(|class| class.as_str()).collect();
    let list = |values: &[&str]| {
        let is_filter = !values.is_empty();
        is_filter
            .then(|| encode("row filter", &account.job, &values))
            .transpose()
    };
    let sources: Vec<&str> = which.source_ids.iter().map(String::as_str).collect();
    let mut select = db.prepare_cached(
        "SELECT row_num, documents FROM row_outcomes AS it
         WHERE job_key = :key AND outcome = :failed
            AND (:retries_max IS NULL OR :retries_max > COALESCE(
                (SELECT retries FROM row_retries
                 WHERE job_key = it.job_key AND row_num = it.row_num), 0))
            AND (:classes IS NULL AND :sources IS NULL OR EXISTS (
                SELECT 1 FROM row_errors
                WHERE batch_seq = :batch AND tier_num = :tier AND job_id = :job
                    AND row_num = it.row_num
                    AND (:classes IS NULL OR class IN (SELECT value FROM json_each(:classes)))
                    AND (:sources IS NULL OR json_extract(body, '$.source_id') IN
                        (SELECT value FROM json_each(:sources)))))",
    )?;
    let values = named_params! {
        ":key": account.key,
        ":failed": FAILED,
        ":retries_max": which.retries_max,
        ":classes": list(&classes)?,
        ":sources": list(&sources)?,
        ":batch": account.batch,
        ":tier": account.tier_num,
        ":job": account.job,
    };
    let rows = select.query_map(values, |row| {
        Ok(FailedRow {
            number: row.get(0)?,
            documents: row.get(1)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
