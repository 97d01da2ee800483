-- Row errors with like messages, counted by triggers, so that ten thousand of them are told in as many steps as there are kinds.
-- `fingerprint` is the message without what differs from row to row; empty for errors that were stored before there were groups.
CREATE TABLE error_groups (
    group_key INTEGER PRIMARY KEY,
    batch_seq INTEGER NOT NULL REFERENCES batches ON DELETE CASCADE,
    tier_num INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    category TEXT NOT NULL,
    class TEXT NOT NULL,
    stage TEXT NOT NULL,
    component TEXT NOT NULL,
    count INTEGER NOT NULL,
    UNIQUE (batch_seq, job_id, fingerprint, category, class, stage, component)
) STRICT;

ALTER TABLE row_errors ADD COLUMN group_key INTEGER;
INSERT INTO error_groups (batch_seq, tier_num, job_id, fingerprint, category, class, stage, component, count)
    SELECT batch_seq, tier_num, job_id, '', json_extract(body, '$.category'), class, json_extract(body, '$.stage'),
        json_extract(body, '$.component'), COUNT(*)
    FROM row_errors GROUP BY 1, 2, 3, 5, 6, 7, 8;
UPDATE row_errors SET group_key = (
    SELECT group_key FROM error_groups AS g
    WHERE g.batch_seq = row_errors.batch_seq AND g.job_id = row_errors.job_id AND g.class = row_errors.class
        AND g.category = json_extract(body, '$.category') AND g.stage = json_extract(body, '$.stage')
        AND g.component = json_extract(body, '$.component')
);
CREATE INDEX row_errors_by_group ON row_errors (group_key);

CREATE TRIGGER row_errors_inserted AFTER INSERT ON row_errors BEGIN
    UPDATE error_groups SET count = count + 1 WHERE group_key = NEW.group_key;
END;
CREATE TRIGGER row_errors_deleted AFTER DELETE ON row_errors BEGIN
    UPDATE error_groups SET count = count - 1 WHERE group_key = OLD.group_key;
    DELETE FROM error_groups WHERE group_key = OLD.group_key AND count = 0;
END;
