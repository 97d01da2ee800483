-- How often a failed row was given back to be tried again. A row that never was has no entry.
CREATE TABLE row_retries (
    job_key INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    row_num INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    PRIMARY KEY (job_key, row_num)
) STRICT, WITHOUT ROWID;
