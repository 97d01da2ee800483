//! Rows that are given back, and how often.

use RowOutcome::{Failed, Processed};
use fettle_core::{Batch, FailedRows, ReopenRows, WhichRows};
use fettle_model::{DocumentErrorClass, RowNumber, RowOutcome};
use fettle_ports::{BatchCommit, RowErrorQuery, Store};

use crate::fixture::{Fixture, batch, job, report, step};

/// Rows 0 to 3 of the first tier failed, the even ones for good, and row 4 went well.
async fn with_failed_rows(fixture: &Fixture) -> Batch {
    let state = fixture.submitted(1, 2).await;
    fail_again(fixture).await;
    state
}

async fn fail_again(fixture: &Fixture) {
    let mut rows: Vec<_> = (0..4).map(|row| (row, Failed, 1)).collect();
    rows.push((4, Processed, 1));
    fixture
        .store
        .record_rows(report(1, 0, 1, &rows))
        .await
        .unwrap();
}

async fn give_back(fixture: &Fixture, state: &mut Batch, which: &FailedRows) {
    state.version += 1;
    let rows = ReopenRows {
        job: job(1, 0),
        which: WhichRows::Failed(which.clone()),
    };
    let commit = BatchCommit {
        reopen_rows: vec![rows],
        ..step(state)
    };
    fixture.store.commit(commit).await.unwrap();
}

async fn count(fixture: &Fixture, which: &FailedRows) -> u64 {
    fixture
        .store
        .count_failed_rows(&job(1, 0), which)
        .await
        .unwrap()
}

/// Gives rows back and tells which rows have an outcome then.
async fn check(which: FailedRows, left: &[RowNumber]) {
    let fixture = Fixture::new();
    let mut state = with_failed_rows(&fixture).await;
    assert_eq!(
        count(&fixture, &which).await,
        5 - left.len() as u64,
        "{which:?}"
    );
    give_back(&fixture, &mut state, &which).await;
    let finished = fixture.store.finished_rows(&job(1, 0)).await.unwrap();
    assert_eq!(finished, left, "{which:?}");
    let counts = fixture.store.job_counts(&job(1, 0)).await.unwrap();
    assert_eq!(counts.rows.total(), left.len() as u64);
    assert_eq!(counts.documents, left.len() as u64);
    let query = RowErrorQuery {
        limit: 10,
        ..RowErrorQuery::default()
    };
    let (errors, _) = fixture.store.row_errors(&batch(1), &query).await.unwrap();
    let failed: Vec<RowNumber> = errors.iter().map(|stored| stored.error.row).collect();
    assert_eq!(
        failed,
        &left[..left.len() - 1],
        "row 4 is the last, and went well"
    );
}

#[tokio::test]
async fn failed_rows_are_given_back_by_class_and_source() {
    check(FailedRows::default(), &[4]).await;
    let transient = FailedRows {
        classes: vec![DocumentErrorClass::Transient],
        ..FailedRows::default()
    };
    check(transient.clone(), &[0, 2, 4]).await;
    let of_sources = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    let single = FailedRows {
        source_ids: of_sources(&["obj_2", "obj_4", "obj_9"]),
        ..FailedRows::default()
    };
    check(single, &[0, 1, 3, 4]).await;
    let both = FailedRows {
        source_ids: of_sources(&["obj_2", "obj_3"]),
        ..transient
    };
    check(both, &[0, 1, 2, 4]).await;
}

#[tokio::test]
async fn each_row_counts_its_retries_and_is_left_when_they_are_spent() {
    let fixture = Fixture::new();
    let mut state = with_failed_rows(&fixture).await;
    let first = FailedRows {
        source_ids: vec!["obj_0".to_owned()],
        ..FailedRows::default()
    };
    let twice = FailedRows {
        retries_max: Some(2),
        ..FailedRows::default()
    };
    give_back(&fixture, &mut state, &first).await;
    fail_again(&fixture).await;
    assert_eq!(count(&fixture, &twice).await, 4);
    give_back(&fixture, &mut state, &twice).await;
    fail_again(&fixture).await;
    assert_eq!(count(&fixture, &twice).await, 3, "row 0 was retried twice");
    let query = RowErrorQuery {
        limit: 10,
        ..RowErrorQuery::default()
    };
    let (errors, _) = fixture.store.row_errors(&batch(1), &query).await.unwrap();
    let retries: Vec<u32> = errors.iter().map(|stored| stored.retries).collect();
    assert_eq!(retries, [2, 1, 1, 1]);
}
