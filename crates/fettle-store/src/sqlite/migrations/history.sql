-- What attempts measured, added up by hour and by day. `span` is h or d, `starts_at` its first millisecond.
CREATE TABLE history_cells (
    namespace_id TEXT NOT NULL,
    span TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    extractor_name TEXT NOT NULL,
    extractor_version TEXT NOT NULL,
    parameters TEXT NOT NULL,
    tier_kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (namespace_id, span, starts_at, extractor_name, extractor_version, parameters, tier_kind)
) STRICT, WITHOUT ROWID;

-- The attempts that have been added, each with what it brought of its job's counts, so that nothing counts twice.
CREATE TABLE history_ledger (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    job_id TEXT NOT NULL,
    processed INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    documents INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX history_ledger_by_batch ON history_ledger (batch_seq, job_id);
