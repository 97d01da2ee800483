//! Row errors with like messages.

use fettle_core::{FailedRows, ReopenRows, WhichRows};
use fettle_model::{DocumentErrorClass, ErrorCategory, ErrorCount, RowOutcome};
use fettle_ports::{
    BatchCommit, ERROR_GROUPS_PER_JOB_MAX, ErrorGroups, FINGERPRINT_OF_OTHERS, Store,
};

use crate::fixture::{Fixture, batch, job, namespace, report, step};

async fn groups(fixture: &Fixture, limit: u64) -> ErrorGroups {
    fixture.store.error_groups(&batch(1), limit).await.unwrap()
}

fn count(tier_num: u32, class: DocumentErrorClass, count: u64) -> ErrorCount {
    ErrorCount {
        tier_num,
        category: ErrorCategory::Runtime,
        class,
        count,
    }
}

#[tokio::test]
async fn like_errors_are_counted_together_until_their_rows_are_given_back() {
    let fixture = Fixture::new();
    let mut state = fixture.submitted(1, 2).await;
    let failed: Vec<_> = (1..8).map(|row| (row, RowOutcome::Failed, 0)).collect();
    for rows in failed.chunks(3) {
        let report = report(1, 0, 1, rows);
        fixture.store.record_rows(report.clone()).await.unwrap();
        // A report that is repeated changes nothing.
        fixture.store.record_rows(report).await.unwrap();
    }
    fixture
        .store
        .record_rows(report(1, 1, 1, &failed[1..2]))
        .await
        .unwrap();

    let found = groups(&fixture, 2).await;
    let told: Vec<_> = found
        .groups
        .iter()
        .map(|group| (group.tier_num, group.count, group.example.row))
        .collect();
    assert_eq!(told, [(0, 4, 1), (0, 3, 2)]);
    assert_eq!(found.groups[0].fingerprint, "row <n> failed");
    assert_eq!(
        found.groups[0].source_ids,
        ["obj_1", "obj_3", "obj_5", "obj_7"]
    );
    use DocumentErrorClass::{Permanent, Transient};
    let all = [
        count(0, Transient, 4),
        count(0, Permanent, 3),
        count(1, Permanent, 1),
    ];
    let mut counted = found.counts;
    counted.sort_by_key(|one| (one.tier_num, std::cmp::Reverse(one.count)));
    assert_eq!(counted, all, "also what is beyond the limit");

    state.version += 1;
    let reopen = BatchCommit {
        reopen_rows: vec![ReopenRows {
            job: job(1, 0),
            which: WhichRows::Failed(FailedRows::default()),
        }],
        ..step(&state)
    };
    fixture.store.commit(reopen).await.unwrap();
    assert_eq!(groups(&fixture, 9).await.counts, [count(1, Permanent, 1)]);

    fixture
        .store
        .delete_batch(&namespace(1), &batch(1))
        .await
        .unwrap();
    let db = rusqlite::Connection::open(fixture.path()).unwrap();
    let left: i64 = db
        .query_row("SELECT COUNT(*) FROM error_groups", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn messages_without_anything_in_common_share_a_group_beyond_the_limit() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    let rows: Vec<_> = (0..u32::try_from(ERROR_GROUPS_PER_JOB_MAX).unwrap() + 50)
        .map(|row| (row * 2, RowOutcome::Failed, 0))
        .collect();
    let mut report = report(1, 0, 1, &rows);
    for (at, error) in report.errors.iter_mut().enumerate() {
        error.fingerprint = format!("kind {at}");
    }
    fixture.store.record_rows(report).await.unwrap();
    let found = groups(&fixture, 2 * ERROR_GROUPS_PER_JOB_MAX).await.groups;
    assert_eq!(found.len() as u64, ERROR_GROUPS_PER_JOB_MAX + 1);
    assert_eq!(
        (found[0].fingerprint.as_str(), found[0].count),
        (FINGERPRINT_OF_OTHERS, 50)
    );
}
