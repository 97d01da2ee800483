//! Accounting of rows.

use std::collections::BTreeMap;

use RowOutcome::{Failed, Processed, Skipped};
use fettle_model::{DocumentErrorClass, RowCounts, RowNumber, RowOutcome};
use fettle_ports::{BatchCommit, JobCounts, RowErrorQuery, Store, StoreError};

use crate::fixture::{Fixture, batch, collection, failed_rows, job, report, step};

fn counts(processed: u64, failed: u64, skipped: u64, documents: u64) -> JobCounts {
    JobCounts {
        rows: RowCounts {
            processed,
            failed,
            skipped,
        },
        documents,
        ..JobCounts::default()
    }
}

fn everything() -> RowErrorQuery {
    RowErrorQuery {
        limit: 1_000,
        ..RowErrorQuery::default()
    }
}

async fn errors(fixture: &Fixture, query: &RowErrorQuery) -> (Vec<(u32, RowNumber)>, u64) {
    let (errors, total) = fixture.store.row_errors(&batch(1), query).await.unwrap();
    (
        errors
            .iter()
            .map(|stored| (stored.tier_num, stored.error.row))
            .collect(),
        total,
    )
}

#[tokio::test]
async fn a_row_keeps_its_first_outcome_and_a_repeated_report_changes_nothing() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    let first = report(
        1,
        0,
        1,
        &[(0, Processed, 2), (1, Failed, 0), (2, Skipped, 0)],
    );
    let after = fixture.store.record_rows(first.clone()).await.unwrap();
    assert_eq!(after, counts(1, 1, 1, 2));
    assert_eq!(fixture.store.record_rows(first).await.unwrap(), after);
    let contrary = report(
        1,
        0,
        2,
        &[(0, Failed, 0), (1, Processed, 9), (3, Processed, 1)],
    );
    assert_eq!(
        fixture.store.record_rows(contrary).await.unwrap(),
        counts(2, 1, 1, 3)
    );
    let fixture = fixture.reopen();
    assert_eq!(
        fixture.store.job_counts(&job(1, 0)).await.unwrap(),
        counts(2, 1, 1, 3)
    );
    assert_eq!(
        fixture.store.finished_rows(&job(1, 0)).await.unwrap(),
        [0, 1, 2, 3]
    );
    let (stored, _) = fixture
        .store
        .row_errors(&batch(1), &everything())
        .await
        .unwrap();
    assert_eq!(stored.len(), 1, "no error of a row that had an outcome");
    assert_eq!(stored[0].error.row, 1);
    assert_eq!(stored[0].attempt_id.split().unwrap().1, 1);
}

#[tokio::test]
async fn an_error_without_a_newly_failed_row_is_not_kept() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    let mut stray = report(1, 0, 1, &[(0, Failed, 0)]);
    stray.outcomes = vec![(0, Processed, 1)];
    fixture.store.record_rows(stray).await.unwrap();
    assert_eq!(errors(&fixture, &everything()).await.1, 0);
}

#[tokio::test]
async fn a_row_twice_in_one_report_counts_once() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    let twice = report(1, 0, 1, &[(0, Processed, 1), (0, Failed, 0)]);
    assert_eq!(
        fixture.store.record_rows(twice).await.unwrap(),
        counts(1, 0, 0, 1)
    );
    assert_eq!(errors(&fixture, &everything()).await.1, 0);
}

#[tokio::test]
async fn a_job_without_reports_has_no_rows() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    assert_eq!(
        fixture.store.job_counts(&job(1, 0)).await.unwrap(),
        JobCounts::default()
    );
    assert!(
        fixture
            .store
            .finished_rows(&job(1, 0))
            .await
            .unwrap()
            .is_empty()
    );
    let empty = fixture
        .store
        .record_rows(report(1, 0, 1, &[]))
        .await
        .unwrap();
    assert_eq!(empty, JobCounts::default());
}

#[tokio::test]
async fn a_job_reports_to_its_own_batch_only() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    fixture.submitted(2, 1).await;
    fixture
        .store
        .record_rows(report(1, 0, 1, &[(0, Processed, 1)]))
        .await
        .unwrap();
    let mut astray = report(1, 0, 1, &[(1, Processed, 1)]);
    astray.batch_id = batch(2);
    let error = fixture.store.record_rows(astray).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NotFound { kind: "job", .. }),
        "{error:?}"
    );
    assert_eq!(
        fixture.store.job_counts(&job(1, 0)).await.unwrap(),
        counts(1, 0, 0, 1)
    );
}

#[tokio::test]
async fn errors_are_filtered_paged_and_in_order_of_tier_job_and_row() {
    let fixture = Fixture::new();
    fixture.submitted(1, 2).await;
    let failed = |rows: &[RowNumber]| rows.iter().map(|row| (*row, Failed, 0)).collect::<Vec<_>>();
    fixture
        .store
        .record_rows(report(1, 1, 1, &failed(&[4, 2])))
        .await
        .unwrap();
    fixture
        .store
        .record_rows(report(1, 0, 1, &failed(&[9, 10, 1])))
        .await
        .unwrap();

    let in_order = vec![(0, 1), (0, 9), (0, 10), (1, 2), (1, 4)];
    assert_eq!(errors(&fixture, &everything()).await, (in_order.clone(), 5));
    let page = RowErrorQuery {
        offset: 2,
        limit: 2,
        ..RowErrorQuery::default()
    };
    assert_eq!(errors(&fixture, &page).await, (in_order[2..4].to_vec(), 5));
    let checks = [
        (
            RowErrorQuery {
                tier_num: Some(1),
                ..everything()
            },
            vec![(1, 2), (1, 4)],
        ),
        (
            RowErrorQuery {
                job_id: Some(job(1, 1)),
                ..everything()
            },
            vec![(1, 2), (1, 4)],
        ),
        (
            RowErrorQuery {
                collection_id: Some(collection(100)),
                ..everything()
            },
            vec![(0, 1), (0, 9), (0, 10)],
        ),
        (
            RowErrorQuery {
                class: Some(DocumentErrorClass::Transient),
                ..everything()
            },
            vec![(0, 1), (0, 9)],
        ),
        (
            RowErrorQuery {
                class: Some(DocumentErrorClass::Resource),
                tier_num: Some(0),
                ..everything()
            },
            vec![],
        ),
    ];
    for (query, expected) in checks {
        let total = expected.len() as u64;
        assert_eq!(
            errors(&fixture, &query).await,
            (expected, total),
            "{query:?}"
        );
    }
}

/// A generator of numbers that is good enough to mix cases, and the same on every run.
struct Mixer(u64);

impl Mixer {
    fn below(&mut self, end: u64) -> u64 {
        // Constants of Knuth's MMIX generator; the high bits are the mixed ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[tokio::test]
async fn counts_equal_what_is_counted_whatever_is_reported_and_given_back() {
    let fixture = Fixture::new();
    let mut state = fixture.submitted(1, 1).await;
    let mut model: BTreeMap<RowNumber, (RowOutcome, u32)> = BTreeMap::new();
    let mut mixer = Mixer(42);
    for round in 0..200 {
        if mixer.below(10) == 0 {
            state.version += 1;
            let reopen = BatchCommit {
                reopen_rows: vec![failed_rows(1, 0)],
                ..step(&state)
            };
            fixture.store.commit(reopen).await.unwrap();
            model.retain(|_, (outcome, _)| *outcome != Failed);
        }
        let rows: Vec<_> = (0..mixer.below(40))
            .map(|_| {
                let outcome = [Processed, Failed, Skipped][mixer.below(3) as usize];
                (
                    mixer.below(500) as RowNumber,
                    outcome,
                    mixer.below(4) as u32,
                )
            })
            .collect();
        for (row, outcome, documents) in &rows {
            model.entry(*row).or_insert((*outcome, *documents));
        }
        let told = fixture
            .store
            .record_rows(report(1, 0, round, &rows))
            .await
            .unwrap();
        let of = |wanted| {
            model
                .values()
                .filter(|(outcome, _)| *outcome == wanted)
                .count() as u64
        };
        let documents = model
            .values()
            .map(|(_, documents)| u64::from(*documents))
            .sum();
        assert_eq!(
            told,
            counts(of(Processed), of(Failed), of(Skipped), documents),
            "round {round}"
        );
    }
    let told = fixture.store.job_counts(&job(1, 0)).await.unwrap();
    let finished = fixture.store.finished_rows(&job(1, 0)).await.unwrap();
    assert_eq!(finished, model.keys().copied().collect::<Vec<_>>());
    let count = |outcome: i64| {
        let sql = format!("SELECT COUNT(*) FROM row_outcomes WHERE outcome = {outcome}");
        fixture.number(&sql) as u64
    };
    let documents = fixture.number("SELECT SUM(documents) FROM row_outcomes") as u64;
    assert_eq!(told, counts(count(0), count(1), count(2), documents));
    let failed: Vec<_> = model
        .iter()
        .filter(|(_, (outcome, _))| *outcome == Failed)
        .map(|(row, _)| (0, *row))
        .collect();
    let total = failed.len() as u64;
    assert_eq!(
        errors(&fixture, &everything()).await,
        (failed, total),
        "one error a failed row"
    );
}
