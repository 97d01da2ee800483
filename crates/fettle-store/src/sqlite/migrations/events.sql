-- What happened and was not handed to webhooks yet. Triggers write it in the transaction of the change itself, so that no kill
-- can part the two, and only where somebody listens.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace_id TEXT NOT NULL,
    source TEXT NOT NULL,
    at INTEGER NOT NULL,
    data TEXT NOT NULL
) STRICT;

-- `target` is the id of the webhook, or of the batch whose own address is told.
CREATE TABLE webhook_deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id TEXT NOT NULL UNIQUE,
    namespace_id TEXT NOT NULL,
    target TEXT NOT NULL,
    channel INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    batch_id TEXT,
    status TEXT NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    finished_at INTEGER,
    body TEXT NOT NULL,
    UNIQUE (target, channel, event_seq, event_type)
) STRICT;
CREATE INDEX webhook_deliveries_by_namespace ON webhook_deliveries (namespace_id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (target, seq, next_attempt_at) WHERE status = 'PENDING';
CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;

CREATE TRIGGER event_object_created AFTER INSERT ON objects
WHEN EXISTS (SELECT 1 FROM resources WHERE kind = 'webhook' AND namespace_id = NEW.namespace_id) BEGIN
    INSERT INTO events (namespace_id, source, at, data)
    VALUES (NEW.namespace_id, 'object.created', CAST(unixepoch('subsec') * 1000 AS INTEGER),
            json_object('bucket_id', NEW.bucket_id, 'object_id', NEW.object_id));
END;
CREATE TRIGGER event_object_updated AFTER UPDATE OF body ON objects
WHEN EXISTS (SELECT 1 FROM resources WHERE kind = 'webhook' AND namespace_id = NEW.namespace_id) BEGIN
    INSERT INTO events (namespace_id, source, at, data)
    VALUES (NEW.namespace_id, 'object.updated', CAST(unixepoch('subsec') * 1000 AS INTEGER),
            json_object('bucket_id', NEW.bucket_id, 'object_id', NEW.object_id));
END;
CREATE TRIGGER event_object_deleted AFTER DELETE ON objects
WHEN EXISTS (SELECT 1 FROM resources WHERE kind = 'webhook' AND namespace_id = OLD.namespace_id) BEGIN
    INSERT INTO events (namespace_id, source, at, data)
    VALUES (OLD.namespace_id, 'object.deleted', CAST(unixepoch('subsec') * 1000 AS INTEGER),
            json_object('bucket_id', OLD.bucket_id, 'object_id', OLD.object_id));
END;

CREATE TRIGGER event_collection_created AFTER INSERT ON resources
WHEN NEW.kind = 'collection'
 AND EXISTS (SELECT 1 FROM resources WHERE kind = 'webhook' AND namespace_id = NEW.namespace_id) BEGIN
    INSERT INTO events (namespace_id, source, at, data)
    VALUES (NEW.namespace_id, 'collection.created', CAST(unixepoch('subsec') * 1000 AS INTEGER),
            json_object('collection_id', NEW.id, 'collection_name', NEW.name));
END;
CREATE TRIGGER event_collection_updated AFTER UPDATE OF body ON resources
WHEN NEW.kind = 'collection'
 AND EXISTS (SELECT 1 FROM resources WHERE kind = 'webhook' AND namespace_id = NEW.namespace_id) BEGIN
    INSERT INTO events (namespace_id, source, at, data)
    VALUES (NEW.namespace_id, 'collection.updated', CAST(unixepoch('subsec') * 1000 AS INTEGER),
            json_object('collection_id', NEW.id, 'collection_name', NEW.name));
END;
CREATE TRIGGER event_collection_deleted AFTER DELETE ON resources
WHEN OLD.kind = 'collection'
 AND EXISTS (SELECT 1 FROM resources WHERE kind = 'webhook' AND namespace_id = OLD.namespace_id) BEGIN
    INSERT INTO events (namespace_id, source, at, data)
    VALUES (OLD.namespace_id, 'collection.deleted', CAST(unixepoch('subsec') * 1000 AS INTEGER),
            json_object('collection_id', OLD.id, 'collection_name', OLD.name));
END;

-- Only the kinds of entry that make an event (fettle-webhook, event.rs).
CREATE TRIGGER event_timeline AFTER INSERT ON timeline
WHEN json_extract(NEW.body, '$.kind') IN ('batch_submitted', 'tier_ended', 'job_ended', 'batch_ended') BEGIN
    INSERT INTO events (namespace_id, source, at, data)
    SELECT batches.namespace_id, 'timeline', json_extract(NEW.body, '$.at'),
           json_object('batch_id', batches.batch_id, 'bucket_id', batches.bucket_id, 'entry', json(NEW.body))
    FROM batches
    WHERE batches.seq = NEW.batch_seq
      AND (json_extract(batches.record, '$.webhook_url') IS NOT NULL
           OR EXISTS (SELECT 1 FROM resources WHERE kind = 'webhook' AND resources.namespace_id = batches.namespace_id));
END;
