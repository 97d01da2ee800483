-- Requests with an idempotency key. `status` is NULL until the request is answered.
CREATE TABLE requests (
    key_id TEXT NOT NULL,
    namespace TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    server TEXT NOT NULL,
    begun_at INTEGER NOT NULL,
    status INTEGER,
    content_type TEXT,
    answer BLOB,
    PRIMARY KEY (key_id, namespace, method, path, idempotency_key)
) STRICT;
CREATE INDEX requests_by_time ON requests (begun_at);
