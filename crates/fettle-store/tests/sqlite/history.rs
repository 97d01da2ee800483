//! The history of attempts: counted once, in their hour and day, for their namespace alone.

use std::collections::BTreeMap;

use fettle_core::{FailedRows, ReopenRows, WhichRows};
use fettle_model::RowOutcome::{Failed, Processed, Skipped};
use fettle_model::{
    AttemptId, DocumentErrorClass, ErrorCategory, HistoryCell, HistoryKey, TierKind, UnixMillis,
};
use fettle_ports::{
    BatchCommit, HistoryEntry, HistoryQuery, HistoryRow, HistorySpan, Store, StoreError,
};

use crate::fixture::{Fixture, batch, job, namespace, record, report, state, step};

const HOUR: i64 = 3_600_000;
/// The second hour of the second day.
const AT: UnixMillis = UnixMillis(25 * HOUR + 5);

fn key(parameters: &str) -> HistoryKey {
    HistoryKey {
        extractor_name: "passthrough".into(),
        extractor_version: "v1".into(),
        parameters: parameters.into(),
        tier_kind: TierKind::Objects,
    }
}

fn entry(n: u8, attempt: u32, at: UnixMillis) -> HistoryEntry {
    let mut cell = HistoryCell {
        attempts: 1,
        worker_ms: 60,
        outcomes: BTreeMap::from([("finished".to_owned(), 1)]),
        ..HistoryCell::default()
    };
    cell.profile.row_us.record(u64::from(attempt) * 1_000, 1);
    HistoryEntry {
        key: key("p"),
        attempt_id: AttemptId::of(&job(n, 0), attempt),
        job_id: job(n, 0),
        at,
        cell,
    }
}

/// Commits the next step of batch `n` with these entries.
async fn commit(
    fixture: &Fixture,
    n: u8,
    version: u64,
    history: Vec<HistoryEntry>,
) -> Result<(), StoreError> {
    let mut batch = state(n, 1);
    batch.version = version;
    let commit = BatchCommit {
        history,
        ..step(&batch)
    };
    fixture.store.commit(commit).await.map(drop)
}

async fn read(fixture: &Fixture, n: u8, span: HistorySpan) -> Vec<HistoryRow> {
    let query = HistoryQuery {
        span,
        from: UnixMillis(0),
        until: UnixMillis(1_000 * HOUR),
        key: None,
    };
    fixture.store.history(&namespace(n), &query).await.unwrap()
}

async fn with_batch(n: u8) -> Fixture {
    let fixture = Fixture::new();
    fixture.store.insert_batch(&record(n), &[]).await.unwrap();
    fixture
}

#[tokio::test]
async fn an_attempt_counts_once_although_its_step_is_taken_twice() {
    let fixture = with_batch(1).await;
    commit(&fixture, 1, 0, vec![entry(1, 1, AT)]).await.unwrap();
    commit(&fixture, 1, 1, vec![entry(1, 1, AT)]).await.unwrap();
    let refused = commit(&fixture, 1, 7, vec![entry(1, 2, AT)]).await;
    assert!(matches!(refused, Err(StoreError::VersionConflict { .. })));
    let fixture = fixture.reopen();
    for (span, starts_at) in [
        (HistorySpan::Hour, 25 * HOUR),
        (HistorySpan::Day, 24 * HOUR),
    ] {
        let rows = read(&fixture, 1, span).await;
        assert_eq!(rows.len(), 1, "{span:?}");
        assert_eq!((rows[0].starts_at.0, &rows[0].key), (starts_at, &key("p")));
        assert_eq!(rows[0].cell.attempts, 1);
        assert_eq!(rows[0].cell.profile.row_us.count(), 1);
    }
}

#[tokio::test]
async fn rows_documents_and_errors_belong_to_the_attempt_that_brought_them() {
    let fixture = with_batch(1).await;
    let first = report(
        1,
        0,
        1,
        &[(0, Processed, 3), (1, Failed, 0), (2, Failed, 0)],
    );
    fixture.store.record_rows(first).await.unwrap();
    commit(&fixture, 1, 0, vec![entry(1, 1, AT)]).await.unwrap();
    let mut batch_state = state(1, 1);
    batch_state.version = 1;
    let reopen = BatchCommit {
        reopen_rows: vec![ReopenRows {
            job: job(1, 0),
            which: WhichRows::Failed(FailedRows::default()),
        }],
        ..step(&batch_state)
    };
    fixture.store.commit(reopen).await.unwrap();
    let second = report(
        1,
        0,
        2,
        &[(1, Processed, 2), (2, Failed, 0), (3, Skipped, 0)],
    );
    fixture.store.record_rows(second).await.unwrap();
    let later = UnixMillis(AT.0 + HOUR);
    commit(&fixture, 1, 2, vec![entry(1, 2, later)])
        .await
        .unwrap();

    let hours = read(&fixture, 1, HistorySpan::Hour).await;
    let counts = |cell: &HistoryCell| {
        (
            cell.rows_processed,
            cell.rows_failed,
            cell.rows_skipped,
            cell.documents,
        )
    };
    assert_eq!(counts(&hours[0].cell), (1, 2, 0, 3));
    assert_eq!(counts(&hours[1].cell), (1, 1, 1, 2));
    assert_eq!(hours[0].cell.worker_us_per_row.max(), 20_000);
    let days = read(&fixture, 1, HistorySpan::Day).await;
    assert_eq!(days.len(), 1);
    assert_eq!(counts(&days[0].cell), (2, 3, 1, 5));
    assert_eq!(days[0].cell.error_categories[&ErrorCategory::Runtime], 3);
    assert_eq!(
        days[0].cell.error_classes[&DocumentErrorClass::Permanent],
        2
    );
    assert_eq!(
        days[0].cell.error_classes[&DocumentErrorClass::Transient],
        1
    );
}

#[tokio::test]
async fn a_history_is_its_namespaces_alone_and_outlives_its_batches() {
    let fixture = with_batch(1).await;
    fixture.store.insert_batch(&record(2), &[]).await.unwrap();
    commit(&fixture, 1, 0, vec![entry(1, 1, AT)]).await.unwrap();
    commit(&fixture, 2, 0, vec![entry(2, 1, AT)]).await.unwrap();
    assert_eq!(
        read(&fixture, 1, HistorySpan::Day).await[0].cell.attempts,
        1
    );
    assert_eq!(read(&fixture, 3, HistorySpan::Day).await, []);
    fixture
        .store
        .delete_batch(&namespace(1), &batch(1))
        .await
        .unwrap();
    assert_eq!(
        read(&fixture, 1, HistorySpan::Day).await[0].cell.attempts,
        1
    );
}

#[tokio::test]
async fn cells_are_found_by_time_and_key_and_old_hours_are_forgotten() {
    let fixture = with_batch(1).await;
    let mut other = entry(1, 2, AT);
    other.key = key("q");
    commit(&fixture, 1, 0, vec![entry(1, 1, AT), other])
        .await
        .unwrap();
    let query = |from: i64, until: i64, key: Option<HistoryKey>| HistoryQuery {
        span: HistorySpan::Hour,
        from: UnixMillis(from),
        until: UnixMillis(until),
        key,
    };
    let count = async |query: HistoryQuery| {
        let rows = fixture.store.history(&namespace(1), &query).await;
        rows.unwrap().len()
    };
    assert_eq!(count(query(25 * HOUR + 1, 26 * HOUR, None)).await, 2);
    assert_eq!(count(query(26 * HOUR, 27 * HOUR, None)).await, 0);
    assert_eq!(count(query(0, 25 * HOUR, None)).await, 0);
    assert_eq!(count(query(0, 26 * HOUR, Some(key("q")))).await, 1);
    let months_later = UnixMillis(AT.0 + 40 * 24 * HOUR);
    commit(&fixture, 1, 1, vec![entry(1, 3, months_later)])
        .await
        .unwrap();
    assert_eq!(count(query(0, 26 * HOUR, None)).await, 0);
    assert_eq!(read(&fixture, 1, HistorySpan::Day).await.len(), 3);
}
