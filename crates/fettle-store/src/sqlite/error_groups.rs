//! Row errors with like messages. Their counts are kept by triggers on `row_errors`, whoever adds or removes rows there.

use fettle_model::{BatchId, DocumentErrorClass, ErrorCategory, ErrorCount, RowError};
use fettle_ports::{
    ERROR_GROUPS_PER_JOB_MAX, ErrorGroups, FINGERPRINT_OF_OTHERS, StoreError, StoredErrorGroup,
};
use rusqlite::{Connection, OptionalExtension, named_params, params};
use serde::de::DeserializeOwned;

use super::batches::locate;
use super::codec::{corrupt, decode, from_sql, to_sql};
use super::failure::Failure;

/// The kind in error messages.
const KIND: &str = "error group";
/// Sources that are named for each group; whoever wants all lists the failed documents.
const SOURCES_MAX: usize = 10;

/// Where a new row error belongs.
pub(super) struct Place<'a> {
    pub(super) batch: i64,
    pub(super) tier_num: u32,
    pub(super) job: &'a str,
}

/// The group of a row error, made where there is none.
pub(super) fn of_error(
    db: &Connection,
    place: &Place<'_>,
    error: &RowError,
    fingerprint: &str,
) -> Result<i64, Failure> {
    if let Some(known) = find(db, place, error, fingerprint)? {
        return Ok(known);
    }
    let groups: i64 = db
        .prepare_cached("SELECT COUNT(*) FROM error_groups WHERE batch_seq = ?1 AND job_id = ?2")?
        .query_row(params![place.batch, place.job], |row| row.get(0))?;
    if from_sql(groups) >= ERROR_GROUPS_PER_JOB_MAX && fingerprint != FINGERPRINT_OF_OTHERS {
        return of_error(db, place, error, FINGERPRINT_OF_OTHERS);
    }
    let key = db
        .prepare_cached(
            "INSERT INTO error_groups
                (batch_seq, tier_num, job_id, fingerprint, category, class, stage, component, count)
             VALUES (:batch, :tier, :job, :fingerprint, :category, :class, :stage, :component, 0)",
        )?
        .insert(named_params! {
            ":batch": place.batch,
            ":tier": place.tier_num,
            ":job": place.job,
            ":fingerprint": fingerprint,
            ":category": error.category.as_str(),
            ":class": error.class.as_str(),
            ":stage": error.stage.as_str(),
            ":component": error.component,
        })?;
    Ok(key)
}

fn find(
    db: &Connection,
    place: &Place<'_>,
    error: &RowError,
    fingerprint: &str,
) -> Result<Option<i64>, Failure> {
    let mut select = db.prepare_cached(
        "SELECT group_key FROM error_groups
         WHERE batch_seq = :batch AND job_id = :job AND fingerprint = :fingerprint
            AND category = :category AND class = :class AND stage = :stage AND component = :component",
    )?;
    let values = named_params! {
        ":batch": place.batch,
        ":job": place.job,
        ":fingerprint": fingerprint,
        ":category": error.category.as_str(),
        ":class": error.class.as_str(),
        ":stage": error.stage.as_str(),
        ":component": error.component,
    };
    Ok(select.query_row(values, |row| row.get(0)).optional()?)
}

/// The groups of a batch, the largest first, `limit` at most, and how many errors of each kind there are in all.
pub(super) fn of_batch(
    db: &Connection,
    batch: &BatchId,
    limit: u64,
) -> Result<ErrorGroups, Failure> {
    let seq = locate(db, None, batch)?.seq;
    let mut select = db.prepare_cached(
        "SELECT group_key, tier_num, job_id, fingerprint, count FROM error_groups
         WHERE batch_seq = ?1 ORDER BY count DESC, group_key LIMIT ?2",
    )?;
    let columns = select.query_map(params![seq, to_sql(limit)], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        ))
    })?;
    let mut groups = Vec::new();
    for row in columns {
        groups.push(group(db, row?)?);
    }
    Ok(ErrorGroups {
        groups,
        counts: counts(db, seq)?,
    })
}

/// Key, tier, job, fingerprint, count.
type GroupColumns = (i64, u32, String, String, i64);

fn group(db: &Connection, columns: GroupColumns) -> Result<StoredErrorGroup, Failure> {
    let (key, tier_num, job, fingerprint, count) = columns;
    let example: String = db
        .prepare_cached("SELECT body FROM row_errors WHERE group_key = ?1 ORDER BY seq LIMIT 1")?
        .query_row([key], |row| row.get(0))?;
    let mut select = db.prepare_cached(
        "SELECT json_extract(body, '$.source_id') FROM row_errors WHERE group_key = ?1 ORDER BY seq LIMIT ?2",
    )?;
    let sources = select.query_map(params![key, SOURCES_MAX], |row| row.get(0))?;
    Ok(StoredErrorGroup {
        tier_num,
        fingerprint,
        count: from_sql(count),
        example: decode(KIND, &job, &example)?,
        source_ids: sources.collect::<Result<_, _>>()?,
        job_id: job.parse().map_err(|error| corrupt(KIND, &job, &error))?,
    })
}

fn counts(db: &Connection, batch: i64) -> Result<Vec<ErrorCount>, Failure> {
    let mut select = db.prepare_cached(
        "SELECT tier_num, category, class, SUM(count) FROM error_groups
         WHERE batch_seq = ?1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    )?;
    let columns = select.query_map([batch], |row| {
        Ok((
            row.get(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get(3)?,
        ))
    })?;
    let mut counts = Vec::new();
    for row in columns {
        let (tier_num, category, class, count) = row?;
        counts.push(ErrorCount {
            tier_num,
            category: word::<ErrorCategory>(&category)?,
            class: word::<DocumentErrorClass>(&class)?,
            count: from_sql(count),
        });
    }
    Ok(counts)
}

/// A value that is stored as its name.
fn word<T: DeserializeOwned>(name: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::from(name))
        .map_err(|error| corrupt(KIND, name, &error))
}
