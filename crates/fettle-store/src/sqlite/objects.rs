//! Source objects of buckets.

use fettle_model::{BucketId, NamespaceId, ObjectId, UnixMillis};
use fettle_ports::{ObjectRecord, ObjectStats, Page, StoreError};
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::codec::{decode, encode, from_sql, to_sql};
use super::failure::{Failure, changed, taken};
use super::filter::{Conditions, Order};

/// The kind in error messages.
const KIND: &str = "object";

/// An object with its stored form, made outside the writer thread.
pub(super) struct ObjectRow {
    record: ObjectRecord,
    body: String,
}

impl ObjectRow {
    /// Encodes an object.
    pub(super) fn new(record: ObjectRecord) -> Result<Self, StoreError> {
        let body = encode(KIND, record.object_id.as_str(), &record)?;
        Ok(Self { record, body })
    }

    /// Sum of the blobs' sizes that are known.
    fn size_bytes(&self) -> i64 {
        let sizes = self.record.blobs.iter().filter_map(|blob| blob.size_bytes);
        to_sql(sizes.fold(0, u64::saturating_add))
    }
}

/// Adds objects; where one is known by a key or by its content the present object is the answer.
pub(super) fn insert(
    db: &Connection,
    rows: &[ObjectRow],
) -> Result<Vec<(ObjectRecord, bool)>, Failure> {
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        match present(db, &row.record)? {
            Some(present) => answers.push((present, true)),
            None => {
                insert_one(db, row)?;
                answers.push((row.record.clone(), false));
            }
        }
    }
    Ok(answers)
}

/// The object that is there in place of a new one.
fn present(db: &Connection, new: &ObjectRecord) -> Result<Option<ObjectRecord>, Failure> {
    const BY_IDEMPOTENCY_KEY: &str = "SELECT object_id, body FROM objects
         WHERE namespace_id = ?1 AND bucket_id = ?2 AND idempotency_key = ?3";
    const BY_CONTENT: &str = "SELECT object_id, body FROM objects
         WHERE namespace_id = ?1 AND bucket_id = ?2 AND content_hash = ?3 ORDER BY seq LIMIT 1";
    let content = new.content_hash.as_ref().filter(|_| new.skip_duplicates);
    let ways = [
        (BY_IDEMPOTENCY_KEY, new.idempotency_key.as_ref()),
        (BY_UNIQUE_KEY, new.unique_key.as_ref()),
        (BY_CONTENT, content),
    ];
    for (sql, key) in ways {
        let Some(key) = key else { continue };
        let found = first(db, sql, &new.namespace_id, &new.bucket_id, key)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

const BY_UNIQUE_KEY: &str = "SELECT object_id, body FROM objects
     WHERE namespace_id = ?1 AND bucket_id = ?2 AND unique_key = ?3";

/// The object with this unique key.
pub(super) fn by_unique_key(
    db: &Connection,
    namespace: &NamespaceId,
    bucket: &BucketId,
    key: &str,
) -> Result<Option<ObjectRecord>, Failure> {
    first(db, BY_UNIQUE_KEY, namespace, bucket, key)
}

fn first(
    db: &Connection,
    sql: &str,
    namespace: &NamespaceId,
    bucket: &BucketId,
    key: &str,
) -> Result<Option<ObjectRecord>, Failure> {
    let mut statement = db.prepare_cached(sql)?;
    let values = params![namespace.as_str(), bucket.as_str(), key];
    let found: Option<(String, String)> = statement
        .query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found
        .map(|(id, body)| decode(KIND, &id, &body))
        .transpose()?)
}

fn insert_one(db: &Connection, row: &ObjectRow) -> Result<(), Failure> {
    let record = &row.record;
    let mut statement = db.prepare_cached(
        "INSERT INTO objects (namespace_id, bucket_id, object_id, idempotency_key, unique_key,
                              content_hash, size_bytes, body)
         VALUES (:namespace, :bucket, :id, :key, :unique, :content, :size, :body)",
    )?;
    let inserted = statement.execute(named_params! {
        ":namespace": record.namespace_id.as_str(),
        ":bucket": record.bucket_id.as_str(),
        ":id": record.object_id.as_str(),
        ":key": record.idempotency_key,
        ":unique": record.unique_key,
        ":content": record.content_hash,
        ":size": row.size_bytes(),
        ":body": row.body,
    });
    inserted.map_err(|error| taken(error, KIND, record.object_id.as_str()))?;
    Ok(())
}

/// Replaces an object.
pub(super) fn update(db: &Connection, row: &ObjectRow) -> Result<(), Failure> {
    let record = &row.record;
    let mut statement = db.prepare_cached(
        "UPDATE objects SET idempotency_key = :key, unique_key = :unique, content_hash = :content,
                            size_bytes = :size, body = :body
         WHERE object_id = :id AND namespace_id = :namespace AND bucket_id = :bucket",
    )?;
    let updated = statement.execute(named_params! {
        ":namespace": record.namespace_id.as_str(),
        ":bucket": record.bucket_id.as_str(),
        ":id": record.object_id.as_str(),
        ":key": record.idempotency_key,
        ":unique": record.unique_key,
        ":content": record.content_hash,
        ":size": row.size_bytes(),
        ":body": row.body,
    });
    // Only a key can be taken: the id does not change.
    let name = record
        .unique_key
        .as_deref()
        .or(record.idempotency_key.as_deref())
        .unwrap_or(record.object_id.as_str());
    let rows = updated.map_err(|error| taken(error, KIND, name))?;
    changed(rows, KIND, record.object_id.as_str())
}

/// Objects in the order of `ids`; those that do not exist in the bucket are left out.
pub(super) fn get(
    db: &Connection,
    namespace: &NamespaceId,
    bucket: &BucketId,
    ids: &[ObjectId],
) -> Result<Vec<ObjectRecord>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT body FROM objects WHERE object_id = ?1 AND namespace_id = ?2 AND bucket_id = ?3",
    )?;
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        let values = params![id.as_str(), namespace.as_str(), bucket.as_str()];
        let body: Option<String> = statement.query_row(values, |row| row.get(0)).optional()?;
        if let Some(body) = body {
            records.push(decode(KIND, id.as_str(), &body)?);
        }
    }
    Ok(records)
}

/// A page of objects, oldest first, and how many there are in all.
pub(super) fn list(
    db: &Connection,
    namespace: &NamespaceId,
    bucket: &BucketId,
    page: Page,
) -> Result<(Vec<(i64, ObjectRecord)>, u64), Failure> {
    let total = stats(db, namespace, bucket)?.objects;
    let mut conditions = Conditions::default();
    conditions.and("namespace_id = ?", namespace.as_str().to_owned());
    conditions.and("bucket_id = ?", bucket.as_str().to_owned());
    let select = "SELECT seq, object_id, body FROM objects";
    let records = conditions.records(db, select, Order::Ascending, page, KIND)?;
    Ok((records, total))
}

/// Removes an object.
pub(super) fn delete(
    db: &Connection,
    namespace: &NamespaceId,
    bucket: &BucketId,
    id: &ObjectId,
) -> Result<(), Failure> {
    let mut statement = db.prepare_cached(
        "DELETE FROM objects WHERE object_id = ?1 AND namespace_id = ?2 AND bucket_id = ?3",
    )?;
    let deleted = statement.execute(params![id.as_str(), namespace.as_str(), bucket.as_str()])?;
    changed(deleted, KIND, id.as_str())
}

/// How many objects a bucket has, and their known bytes.
pub(super) fn stats(
    db: &Connection,
    namespace: &NamespaceId,
    bucket: &BucketId,
) -> Result<ObjectStats, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT objects, bytes, (SELECT json_extract(body, '$.created_at') FROM objects
            WHERE namespace_id = ?1 AND bucket_id = ?2 ORDER BY seq DESC LIMIT 1)
         FROM bucket_totals WHERE namespace_id = ?1 AND bucket_id = ?2",
    )?;
    let totals = statement
        .query_row(params![namespace.as_str(), bucket.as_str()], |row| {
            Ok(ObjectStats {
                objects: from_sql(row.get(0)?),
                bytes: from_sql(row.get(1)?),
                newest_at: row.get::<_, Option<i64>>(2)?.map(UnixMillis),
            })
        })
        .optional()?;
    Ok(totals.unwrap_or_default())
}
