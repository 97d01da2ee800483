//! The tables, and the steps that lead from one version of them to the next.
//!
//! A released migration is never changed; a change is a new one at the end. `PRAGMA user_version` counts those applied.

use std::path::Path;

use rusqlite::Connection;

use super::OpenError;
use super::connection::database_error;

/// Marks the file as ours (`PRAGMA application_id`): "Fttl" in ASCII.
const APPLICATION_ID: i64 = 0x4674_746c;

/// One entry per version, applied in order.
const MIGRATIONS: &[&str] = &[
    V1,
    V2,
    EVENTS,
    ERROR_GROUPS,
    REQUESTS,
    ROW_RETRIES,
    REMEDIES,
    HISTORY,
    REPLACED,
];

/// Sequence numbers are cursors and outbox ids; AUTOINCREMENT keeps them from ever being given twice.
/// Everything of a batch hangs on `batches.seq` and goes with it. Bodies are JSON of the types in `fettle-ports`,
/// `fettle-core` and `fettle-model`; what is filtered or ordered by has a column of its own.
const V1: &str = "
-- `scope` is the namespace, or empty where names are unique over all namespaces.
CREATE TABLE resources (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    namespace_id TEXT NOT NULL,
    id TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, id),
    UNIQUE (kind, scope, name)
) STRICT;
CREATE INDEX resources_by_namespace ON resources (kind, namespace_id);

CREATE TABLE objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace_id TEXT NOT NULL,
    bucket_id TEXT NOT NULL,
    object_id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT,
    size_bytes INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX objects_by_bucket ON objects (namespace_id, bucket_id);
CREATE UNIQUE INDEX objects_by_idempotency_key ON objects (namespace_id, bucket_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- Kept by triggers, so that a bucket of millions need not be counted for each page of its list.
CREATE TABLE bucket_totals (
    namespace_id TEXT NOT NULL,
    bucket_id TEXT NOT NULL,
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (namespace_id, bucket_id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER objects_inserted AFTER INSERT ON objects BEGIN
    INSERT INTO bucket_totals VALUES (NEW.namespace_id, NEW.bucket_id, 1, NEW.size_bytes)
    ON CONFLICT DO UPDATE SET objects = objects + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER objects_updated AFTER UPDATE OF size_bytes ON objects BEGIN
    UPDATE bucket_totals SET bytes = bytes + NEW.size_bytes - OLD.size_bytes
    WHERE namespace_id = NEW.namespace_id AND bucket_id = NEW.bucket_id;
END;
CREATE TRIGGER objects_deleted AFTER DELETE ON objects BEGIN
    UPDATE bucket_totals SET objects = objects - 1, bytes = bytes - OLD.size_bytes
    WHERE namespace_id = OLD.namespace_id AND bucket_id = OLD.bucket_id;
END;

-- `record` is the user's part; `state` is the orchestrator's, and with `version` NULL until the batch is submitted.
CREATE TABLE batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_id TEXT NOT NULL UNIQUE,
    namespace_id TEXT NOT NULL,
    bucket_id TEXT NOT NULL,
    status TEXT NOT NULL,
    version INTEGER,
    object_count INTEGER NOT NULL,
    record TEXT NOT NULL,
    state TEXT
) STRICT;
CREATE INDEX batches_by_namespace ON batches (namespace_id);
CREATE INDEX batches_by_bucket ON batches (namespace_id, bucket_id);
CREATE INDEX batches_by_status ON batches (status, namespace_id);

CREATE TABLE batch_objects (
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    object_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (batch_seq, object_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_objects_in_order ON batch_objects (batch_seq, position);

CREATE TABLE batch_collections (
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    collection_id TEXT NOT NULL,
    PRIMARY KEY (batch_seq, collection_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_collections_by_collection ON batch_collections (collection_id);

CREATE TABLE outbox (
    effect_id INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_by_batch ON outbox (batch_seq);

CREATE TABLE timeline (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX timeline_by_batch ON timeline (batch_seq);

-- The counts are those of row_outcomes, kept in the same transactions.
CREATE TABLE jobs (
    job_key INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL UNIQUE,
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    tier_num INTEGER NOT NULL,
    processed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    documents INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_by_batch ON jobs (batch_seq);

-- outcome: 0 processed, 1 failed, 2 skipped.
CREATE TABLE row_outcomes (
    job_key INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    row_num INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    PRIMARY KEY (job_key, row_num)
) STRICT, WITHOUT ROWID;

CREATE TABLE row_errors (
    seq INTEGER PRIMARY KEY,
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    tier_num INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    row_num INTEGER NOT NULL,
    collection_id TEXT NOT NULL,
    class TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX row_errors_in_order ON row_errors (batch_seq, tier_num, job_id, row_num);

CREATE TABLE evidence (
    seq INTEGER PRIMARY KEY,
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    attempt_id TEXT NOT NULL,
    body TEXT NOT NULL,
    stages TEXT,
    UNIQUE (batch_seq, attempt_id)
) STRICT;
";

/// Objects are known by a unique key and by their content, each beside the idempotency key that held all three before.
const V2: &str = "
ALTER TABLE objects ADD COLUMN unique_key TEXT;
ALTER TABLE objects ADD COLUMN content_hash TEXT;
UPDATE objects SET unique_key = substr(idempotency_key, 8), idempotency_key = NULL,
    body = json_set(body, '$.unique_key', substr(idempotency_key, 8), '$.idempotency_key', NULL)
    WHERE idempotency_key LIKE 'unique:%';
UPDATE objects SET content_hash = substr(idempotency_key, 7), idempotency_key = NULL,
    body = json_set(body, '$.content_hash', substr(idempotency_key, 7), '$.idempotency_key', NULL)
    WHERE idempotency_key LIKE 'blobs:%';
UPDATE objects SET idempotency_key = substr(idempotency_key, 5),
    body = json_set(body, '$.idempotency_key', substr(idempotency_key, 5))
    WHERE idempotency_key LIKE 'key:%';
CREATE UNIQUE INDEX objects_by_unique_key ON objects (namespace_id, bucket_id, unique_key)
    WHERE unique_key IS NOT NULL;
CREATE INDEX objects_by_content ON objects (namespace_id, bucket_id, content_hash)
    WHERE content_hash IS NOT NULL;
";

/// Events for webhooks, and their deliveries.
const EVENTS: &str = include_str!("migrations/events.sql");

/// Row errors by what their messages have in common.
const ERROR_GROUPS: &str = include_str!("migrations/error_groups.sql");
/// Requests with an idempotency key.
const REQUESTS: &str = include_str!("migrations/requests.sql");

/// How often failed rows were retried.
const ROW_RETRIES: &str = include_str!("migrations/row_retries.sql");

/// Remedies of healing.
const REMEDIES: &str = include_str!("migrations/remedies.sql");

/// What attempts measured, by hour and day.
const HISTORY: &str = include_str!("migrations/history.sql");

/// Documents that took the place of others, and those that were removed.
const REPLACED: &str = "
ALTER TABLE jobs ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
";

/// The version that this code writes.
fn known_version() -> i64 {
    // A handful of migrations; the cast cannot wrap.
    MIGRATIONS.len() as i64
}

/// Brings the database up to date. Each version is one transaction, so a kill in between leaves a whole version.
pub(super) fn migrate(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |source| database_error(path, source);
    let found = check_version(db, path)?;
    for (at, migration) in (0_i64..).zip(MIGRATIONS) {
        if at < found {
            continue;
        }
        let next = at + 1;
        let transaction = db.unchecked_transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", next)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        tracing::info!(version = next, path = %path.display(), "migrated the state database");
    }
    Ok(())
}

/// The version of the file, once it is sure that the file is ours and not newer than this code. Only reads.
pub(super) fn check_version(db: &Connection, path: &Path) -> Result<i64, OpenError> {
    let failed = |source| database_error(path, source);
    let read = |sql: &str| {
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(failed)
    };
    let application = read("PRAGMA application_id")?;
    let tables = read("SELECT COUNT(*) FROM sqlite_schema")?;
    let found = read("PRAGMA user_version")?;
    let known = known_version();
    if application != APPLICATION_ID && (application != 0 || tables != 0 || found != 0) {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    if found > known {
        return Err(OpenError::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as it was before `migration`.
    fn before(migration: &str) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        for earlier in MIGRATIONS.iter().take_while(|one| **one != migration) {
            db.execute_batch(earlier).unwrap();
        }
        db
    }

    #[test]
    fn errors_that_were_stored_without_groups_are_counted_by_kind() {
        let db = before(ERROR_GROUPS);
        db.execute_batch(
            "INSERT INTO batches (seq, batch_id, namespace_id, bucket_id, status, object_count, record)
                VALUES (1, 'b', 'n', 'k', 'FAILED', 0, '{}')",
        )
        .unwrap();
        let body = |stage: &str| {
            format!("{{\"category\":\"runtime\",\"stage\":\"{stage}\",\"component\":\"c\"}}")
        };
        for (row, stage) in ["loading", "loading", "writing"].iter().enumerate() {
            db.execute(
                "INSERT INTO row_errors
                    (batch_seq, tier_num, job_id, row_num, collection_id, class, attempt_id, body)
                 VALUES (1, 0, 'j', ?1, 'c', 'permanent', 'a', ?2)",
                rusqlite::params![row, body(stage)],
            )
            .unwrap();
        }
        db.execute_batch(ERROR_GROUPS).unwrap();
        let counts = |db: &Connection| -> Vec<i64> {
            let mut select = db
                .prepare("SELECT count FROM error_groups ORDER BY stage")
                .unwrap();
            let counts = select.query_map([], |row| row.get(0)).unwrap();
            counts.collect::<Result<_, _>>().unwrap()
        };
        assert_eq!(counts(&db), [2, 1]);
        db.execute_batch("DELETE FROM row_errors WHERE row_num <> 1")
            .unwrap();
        assert_eq!(counts(&db), [1], "each row knows its group");
    }
}
