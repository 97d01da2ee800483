-- What was done about ends of attempts and what became of it. It outlives its batch, because the success of a remedy is learned from
-- all of them. `outcome` is NULL until it is known.
CREATE TABLE remedies (
    seq INTEGER PRIMARY KEY,
    namespace_id TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    cause TEXT NOT NULL,
    remedy TEXT NOT NULL,
    outcome TEXT,
    body TEXT NOT NULL,
    UNIQUE (job_id, number)
) STRICT;
CREATE INDEX remedies_by_batch ON remedies (batch_id);
CREATE INDEX remedies_by_rule ON remedies (namespace_id, cause, remedy, outcome);
