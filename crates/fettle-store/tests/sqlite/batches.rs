//! Batches: drafts, filters, deletion.

use fettle_core::{Effect, TimelineEntry, TimelineKind};
use fettle_model::{AttemptEvidence, AttemptId, BatchStatus, RowOutcome, UnixMillis};
use fettle_ports::{BatchCommit, BatchFilter, BatchRecord, Page, Store, StoreError};

use crate::fixture::{
    Fixture, all, batch, bucket, collection, job, namespace, object, record, report, state, step,
};

async fn listed(fixture: &Fixture, filter: &BatchFilter) -> Vec<fettle_model::BatchId> {
    let (rows, total) = fixture.store.list_batches(filter, all()).await.unwrap();
    assert_eq!(rows.len() as u64, total);
    rows.into_iter()
        .map(|(_, record, _)| record.batch_id)
        .collect()
}

#[tokio::test]
async fn a_draft_keeps_its_objects_in_order_and_each_once() {
    let fixture = Fixture::new();
    let first = [object(3), object(1), object(3)];
    fixture
        .store
        .insert_batch(&record(1), &first)
        .await
        .unwrap();
    let more = [object(2), object(1), object(9)];
    assert_eq!(
        fixture
            .store
            .add_batch_objects(&batch(1), &more)
            .await
            .unwrap(),
        4
    );
    let objects = fixture.store.batch_objects(&batch(1)).await.unwrap();
    assert_eq!(objects, [object(3), object(1), object(2), object(9)]);

    let stale = BatchRecord {
        object_count: 77,
        batch_name: None,
        ..record(1)
    };
    fixture.store.update_batch(&stale).await.unwrap();
    let (read, state) = fixture
        .reopen()
        .store
        .get_batch(None, &batch(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        read,
        BatchRecord {
            object_count: 4,
            batch_name: None,
            ..record(1)
        }
    );
    assert_eq!(state, None);
}

#[tokio::test]
async fn a_submitted_batch_takes_no_more_objects() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    let error = fixture
        .store
        .add_batch_objects(&batch(1), &[object(5)])
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::VersionConflict { .. }),
        "{error:?}"
    );
    assert_eq!(
        fixture.store.batch_objects(&batch(1)).await.unwrap(),
        [object(1)]
    );
}

#[tokio::test]
async fn a_batch_is_added_once() {
    let fixture = Fixture::new();
    fixture.store.insert_batch(&record(1), &[]).await.unwrap();
    let again = fixture.store.insert_batch(&record(1), &[object(1)]).await;
    assert!(matches!(
        again,
        Err(StoreError::AlreadyExists { kind: "batch", .. })
    ));
    assert!(
        fixture
            .store
            .batch_objects(&batch(1))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn another_tenant_neither_reads_changes_nor_deletes_a_batch() {
    let fixture = Fixture::new();
    let state = fixture.submitted(1, 1).await;
    assert_eq!(
        fixture
            .store
            .get_batch(Some(&namespace(2)), &batch(1))
            .await
            .unwrap(),
        None
    );
    let stolen = BatchRecord {
        namespace_id: namespace(2),
        ..record(1)
    };
    let update = fixture.store.update_batch(&stolen).await;
    assert!(matches!(update, Err(StoreError::NotFound { .. })));
    let delete = fixture.store.delete_batch(&namespace(2), &batch(1)).await;
    assert!(matches!(delete, Err(StoreError::NotFound { .. })));
    let own = fixture
        .store
        .get_batch(Some(&namespace(1)), &batch(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(own, (record(1), Some(state)));
}

#[tokio::test]
async fn batches_are_filtered_by_tenant_bucket_status_and_collection() {
    let fixture = Fixture::new();
    fixture.submitted(1, 2).await;
    fixture.submitted(2, 1).await;
    let draft = BatchRecord {
        namespace_id: namespace(1),
        collection_ids: vec![collection(50), collection(100)],
        ..record(3)
    };
    fixture.store.insert_batch(&draft, &[]).await.unwrap();

    let any = BatchFilter::default();
    assert_eq!(listed(&fixture, &any).await, [batch(3), batch(2), batch(1)]);
    let own = BatchFilter {
        namespace_id: Some(namespace(1)),
        ..any.clone()
    };
    assert_eq!(listed(&fixture, &own).await, [batch(3), batch(1)]);
    let of_bucket = BatchFilter {
        bucket_id: Some(bucket(1)),
        ..own.clone()
    };
    assert_eq!(listed(&fixture, &of_bucket).await, [batch(1)]);
    let queued = BatchFilter {
        status: Some(BatchStatus::Queued),
        ..any.clone()
    };
    assert_eq!(listed(&fixture, &queued).await, [batch(2), batch(1)]);
    let drafts = BatchFilter {
        status: Some(BatchStatus::Draft),
        ..own.clone()
    };
    assert_eq!(listed(&fixture, &drafts).await, [batch(3)]);
    let feeding = |n| BatchFilter {
        collection_id: Some(collection(n)),
        ..any.clone()
    };
    assert_eq!(
        listed(&fixture, &feeding(100)).await,
        [batch(3), batch(2), batch(1)]
    );
    assert_eq!(listed(&fixture, &feeding(101)).await, [batch(1)]);
    assert_eq!(listed(&fixture, &feeding(50)).await, [batch(3)]);
    let all_at_once = BatchFilter {
        status: Some(BatchStatus::Queued),
        collection_id: Some(collection(100)),
        ..of_bucket
    };
    assert_eq!(listed(&fixture, &all_at_once).await, [batch(1)]);
}

#[tokio::test]
async fn the_collections_of_a_submitted_batch_are_those_of_its_jobs() {
    let fixture = Fixture::new();
    let draft = BatchRecord {
        collection_ids: vec![collection(50)],
        ..record(1)
    };
    fixture
        .store
        .insert_batch(&draft, &[object(1)])
        .await
        .unwrap();
    fixture.store.commit(step(&state(1, 1))).await.unwrap();
    let feeding = |n| BatchFilter {
        collection_id: Some(collection(n)),
        ..BatchFilter::default()
    };
    assert_eq!(listed(&fixture, &feeding(100)).await, [batch(1)]);
    assert!(listed(&fixture, &feeding(50)).await.is_empty());
    fixture.store.update_batch(&draft).await.unwrap();
    assert_eq!(
        listed(&fixture, &feeding(100)).await,
        [batch(1)],
        "an update changes the user's part only"
    );
}

#[tokio::test]
async fn pages_of_batches_run_newest_first() {
    let fixture = Fixture::new();
    for n in 1..=5 {
        fixture.store.insert_batch(&record(n), &[]).await.unwrap();
    }
    let filter = BatchFilter::default();
    let first = Page {
        limit: 2,
        ..Page::default()
    };
    let (rows, total) = fixture.store.list_batches(&filter, first).await.unwrap();
    assert_eq!((rows[0].1.batch_id.clone(), total), (batch(5), 5));
    let next = Page {
        limit: 2,
        after: Some(rows[1].0),
        ..Page::default()
    };
    let (rows, total) = fixture.store.list_batches(&filter, next).await.unwrap();
    assert_eq!((rows[0].1.batch_id.clone(), total), (batch(3), 5));
}

#[tokio::test]
async fn a_deleted_batch_leaves_nothing_behind_and_nothing_of_others_goes() {
    let fixture = Fixture::new();
    let mut batches = Vec::new();
    for n in [1, 2] {
        batches.push(fixture.submitted(n, 1).await);
        let attempt = AttemptId::of(&job(n, 0), 1);
        let mut next = state(n, 1);
        next.version = 1;
        let entry = TimelineEntry {
            at: UnixMillis(1),
            kind: TimelineKind::Note,
            message: "noted".to_owned(),
            tier_num: None,
            job_id: None,
            attempt_id: None,
        };
        let commit = BatchCommit {
            timeline: vec![entry],
            effects: vec![Effect::StartAttempt {
                attempt: attempt.clone(),
            }],
            ..step(&next)
        };
        fixture.store.commit(commit).await.unwrap();
        let rows = report(
            n,
            0,
            1,
            &[(0, RowOutcome::Processed, 1), (1, RowOutcome::Failed, 0)],
        );
        fixture.store.record_rows(rows).await.unwrap();
        let evidence = AttemptEvidence::default();
        fixture
            .store
            .put_evidence(&batch(n), &attempt, &evidence, None)
            .await
            .unwrap();
    }
    fixture
        .store
        .delete_batch(&namespace(1), &batch(1))
        .await
        .unwrap();

    let tables = [
        "batches",
        "batch_objects",
        "batch_collections",
        "outbox",
        "timeline",
        "jobs",
        "row_errors",
        "evidence",
    ];
    for table in tables {
        assert_eq!(
            fixture.number(&format!("SELECT COUNT(*) FROM {table}")),
            1,
            "{table}"
        );
    }
    assert_eq!(fixture.number("SELECT COUNT(*) FROM row_outcomes"), 2);
    assert_eq!(
        fixture.store.get_batch(None, &batch(1)).await.unwrap(),
        None
    );
    assert_eq!(
        fixture.store.pending_effects().await.unwrap()[0].batch_id,
        batch(2)
    );
    let late = fixture
        .store
        .record_rows(report(1, 0, 1, &[(2, RowOutcome::Processed, 1)]))
        .await;
    assert!(
        matches!(late, Err(StoreError::NotFound { kind: "batch", .. })),
        "{late:?}"
    );
    let again = fixture.store.delete_batch(&namespace(1), &batch(1)).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })));
}
