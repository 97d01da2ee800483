//! Tests that must reach into the writer: full databases and groups of writes.

use std::sync::mpsc;

use fettle_model::NamespaceId;
use fettle_ports::{Page, ResourceKind, Store, StoreError};
use serde_json::json;

use super::failure::Failure;
use super::{SqliteStore, resources, writer};

fn open() -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("fettle.db")).unwrap();
    (dir, store)
}

fn namespace() -> NamespaceId {
    NamespaceId::from_entropy([1; 15])
}

async fn insert(store: &SqliteStore, id: &str, bytes: usize) -> Result<(), StoreError> {
    let body = json!({ "text": "x".repeat(bytes) });
    store
        .insert_resource(ResourceKind::Bucket, &namespace(), id, id, body)
        .await
}

async fn ids(store: &SqliteStore) -> Vec<String> {
    let page = Page {
        limit: 10_000,
        ..Page::default()
    };
    let listed = store.read(move |db| {
        resources::list(db, ResourceKind::Bucket, Some(&namespace()), None, page)?;
        let mut statement = db.prepare("SELECT id FROM resources ORDER BY seq")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    });
    listed.await.unwrap()
}

/// Sets how large the database may grow; zero gives the room back.
async fn limit_pages(store: &SqliteStore, more: i64) {
    let limited = store.write(move |db| {
        let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        let limit = if more == 0 {
            i64::from(u32::MAX - 1)
        } else {
            pages + more
        };
        db.query_row(&format!("PRAGMA max_page_count = {limit}"), [], |_| Ok(()))?;
        Ok(())
    });
    limited.await.unwrap();
}

/// Keeps the writer busy until the answer is dropped, so that what is sent meanwhile forms one group.
async fn hold(store: &SqliteStore) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let (entered, is_held) = tokio::sync::oneshot::channel();
    let entered = std::sync::Mutex::new(Some(entered));
    let request = store.writer.send(move |_| {
        if let Some(entered) = entered.lock().unwrap().take() {
            entered.send(()).unwrap();
        }
        held.lock().unwrap().recv().unwrap_err();
        Ok(())
    });
    drop(request.await.unwrap());
    is_held.await.unwrap();
    release
}

#[tokio::test]
async fn a_full_database_answers_full_keeps_what_it_acknowledged_and_works_again_with_room() {
    let (dir, store) = open();
    insert(&store, "bkt_before", 10).await.unwrap();
    limit_pages(&store, 20).await;
    let mut kept = vec!["bkt_before".to_owned()];
    let error = loop {
        let id = format!("bkt_{}", kept.len());
        match insert(&store, &id, 3_000).await {
            Ok(()) => kept.push(id),
            Err(error) => break error,
        }
        assert!(kept.len() < 1_000, "the limit was not felt");
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert!(kept.len() > 5, "{kept:?}");
    assert_eq!(ids(&store).await, kept);
    store.check().await.unwrap();

    limit_pages(&store, 0).await;
    insert(&store, "bkt_after", 3_000).await.unwrap();
    kept.push("bkt_after".to_owned());
    drop(store);
    let store = SqliteStore::open(&dir.path().join("fettle.db")).unwrap();
    assert_eq!(ids(&store).await, kept);
}

#[tokio::test]
async fn a_write_too_large_for_the_disk_does_not_fail_its_neighbours() {
    let (_dir, store) = open();
    insert(&store, "bkt_before", 10).await.unwrap();
    limit_pages(&store, 50).await;
    let release = hold(&store).await;
    let (small, large, other) = tokio::join!(
        insert(&store, "bkt_small", 10),
        insert(&store, "bkt_large", 10_000_000),
        async {
            let other = insert(&store, "bkt_other", 10);
            drop(release);
            other.await
        }
    );
    small.unwrap();
    assert!(matches!(large, Err(StoreError::Full)), "{large:?}");
    other.unwrap();
    assert_eq!(ids(&store).await, ["bkt_before", "bkt_small", "bkt_other"]);
}

#[tokio::test]
async fn a_refused_write_leaves_nothing_and_its_neighbours_stand() {
    let (_dir, store) = open();
    let release = hold(&store).await;
    let half = store.write(|db| {
        db.execute(
            "INSERT INTO resources VALUES (NULL, 'bucket', 'n', 'i', 's', 'm', 'm', '{}')",
            [],
        )?;
        Err::<(), _>(Failure::Refused(StoreError::Full))
    });
    let broken = store.write(|db| Ok(db.execute("INSERT INTO no_such_table VALUES (1)", [])?));
    let (good, half, broken, twice, ()) = tokio::join!(
        insert(&store, "bkt_good", 10),
        half,
        broken,
        insert(&store, "bkt_good", 10),
        async { drop(release) }
    );
    good.unwrap();
    assert!(matches!(half, Err(StoreError::Full)));
    assert!(matches!(broken, Err(StoreError::Unavailable { .. })));
    assert!(
        matches!(twice, Err(StoreError::AlreadyExists { kind: "bucket", .. })),
        "{twice:?}"
    );
    assert_eq!(ids(&store).await, ["bkt_good"]);
}

#[tokio::test]
async fn more_writes_than_the_queue_holds_are_all_done() {
    let (_dir, store) = open();
    let release = hold(&store).await;
    let store = std::sync::Arc::new(store);
    let tasks: Vec<_> = (0..writer::QUEUE_MAX * 3)
        .map(|n| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move { insert(&store, &format!("bkt_{n}"), 10).await })
        })
        .collect();
    drop(release);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(ids(&store).await.len(), writer::QUEUE_MAX * 3);
}

#[tokio::test]
async fn a_write_whose_caller_has_gone_is_done_all_the_same() {
    let (dir, store) = open();
    let release = hold(&store).await;
    let body = serde_json::to_string(&json!({})).unwrap();
    let answer = store.writer.send(move |db| {
        db.execute(
            "INSERT INTO resources VALUES (NULL, 'bucket', 'n', 'bkt_orphan', 's', 'm', 'm', ?1)",
            [&body],
        )?;
        Ok(())
    });
    drop(answer.await.unwrap());
    drop(release);
    drop(store);
    let store = SqliteStore::open(&dir.path().join("fettle.db")).unwrap();
    assert_eq!(ids(&store).await, ["bkt_orphan"]);
}

#[tokio::test]
async fn the_writer_syncs_at_every_commit_and_keeps_foreign_keys() {
    let (_dir, store) = open();
    let settings = store.write(|db| {
        let read = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
        let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        Ok((
            mode,
            read("PRAGMA synchronous")?,
            read("PRAGMA foreign_keys")?,
        ))
    });
    // 2 is FULL (https://www.sqlite.org/pragma.html#pragma_synchronous).
    assert_eq!(settings.await.unwrap(), ("wal".to_owned(), 2, 1));
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let (_dir, store) = open();
    let written = store
        .read(|db| Ok(db.execute("DELETE FROM batches", [])?))
        .await;
    assert!(
        matches!(written, Err(StoreError::Unavailable { .. })),
        "{written:?}"
    );
    store.check().await.unwrap();
}

#[tokio::test]
async fn frequent_questions_are_answered_from_indexes() {
    let (_dir, store) = open();
    let checks = [
        (
            "SELECT * FROM batches WHERE status IN ('a', 'b') AND state IS NOT NULL ORDER BY seq",
            "batches_by_status",
        ),
        (
            "SELECT * FROM batches WHERE namespace_id = 'a' ORDER BY seq DESC",
            "batches_by_namespace",
        ),
        (
            "SELECT * FROM objects WHERE namespace_id = 'a' AND bucket_id = 'b' AND seq > 5 ORDER BY seq",
            "objects_by_bucket",
        ),
        (
            "SELECT * FROM row_errors WHERE batch_seq = 1 ORDER BY tier_num, job_id, row_num, seq",
            "row_errors_in_order",
        ),
        (
            "SELECT * FROM timeline WHERE batch_seq = 1 ORDER BY seq",
            "timeline_by_batch",
        ),
    ];
    for (sql, index) in checks {
        let plan = store.read(move |db| {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let steps = statement.query_map([], |row| row.get::<_, String>(3))?;
            Ok(steps.collect::<Result<Vec<_>, _>>()?.join("; "))
        });
        let plan = plan.await.unwrap();
        assert!(plan.contains(index), "{sql}: {plan}");
    }
}
