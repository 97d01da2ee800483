//! Steps of the orchestrator: versions, outbox, timeline, evidence.

use fettle_core::{Effect, Remedy, TimelineEntry, TimelineKind};
use fettle_model::{
    AppliedBy, AttemptEvidence, AttemptId, BatchStatus, Cause, RemedyOutcome, RemedyTaken,
    RowCounts, RowOutcome, StageTimings, TaskId, UnixMillis,
};
use fettle_ports::{
    BatchCommit, BatchRecord, EffectId, RowErrorQuery, Store, StoreError, StoreExt, Submission,
    TaskRecord, TrackRecord,
};

use crate::fixture::{Fixture, batch, failed_rows, job, namespace, record, report, state, step};

fn note(message: &str) -> TimelineEntry {
    TimelineEntry {
        at: UnixMillis(1),
        kind: TimelineKind::Note,
        message: message.to_owned(),
        tier_num: None,
        job_id: None,
        attempt_id: None,
    }
}

fn start(n: u8, number: u32) -> Effect {
    Effect::StartAttempt {
        attempt: AttemptId::of(&job(n, 0), number),
    }
}

async fn messages(fixture: &Fixture) -> Vec<String> {
    let entries = fixture.store.timeline(&batch(1)).await.unwrap();
    entries.into_iter().map(|entry| entry.message).collect()
}

#[tokio::test]
async fn a_step_is_read_back_whole_after_a_restart() {
    let fixture = Fixture::new();
    fixture.store.insert_batch(&record(1), &[]).await.unwrap();
    let first = state(1, 2);
    let commit = BatchCommit {
        timeline: vec![note("a"), note("b")],
        effects: vec![start(1, 1), start(1, 2)],
        ..step(&first)
    };
    let ids = fixture.store.commit(commit).await.unwrap();
    let fixture = fixture.reopen();
    assert_eq!(fixture.store.active_batches().await.unwrap(), [first]);
    let pending = fixture.store.pending_effects().await.unwrap();
    let seen: Vec<_> = pending.iter().map(|p| (p.id, p.effect.clone())).collect();
    assert_eq!(seen, [(ids[0], start(1, 1)), (ids[1], start(1, 2))]);
    fixture
        .store
        .append_timeline(&batch(1), vec![note("c")])
        .await
        .unwrap();
    assert_eq!(messages(&fixture).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_step_on_a_version_that_is_not_the_next_is_refused_and_nothing_written() {
    let fixture = Fixture::new();
    fixture.store.insert_batch(&record(1), &[]).await.unwrap();
    let commit = |version: u64, text: &str| {
        let mut batch = state(1, 1);
        batch.version = version;
        BatchCommit {
            timeline: vec![note(text)],
            effects: vec![start(1, 1)],
            ..step(&batch)
        }
    };
    let refused = |result: Result<Vec<EffectId>, StoreError>| {
        assert!(
            matches!(result, Err(StoreError::VersionConflict { .. })),
            "{result:?}"
        );
    };
    refused(fixture.store.commit(commit(1, "too early")).await);
    fixture.store.commit(commit(0, "first")).await.unwrap();
    refused(fixture.store.commit(commit(0, "again")).await);
    refused(fixture.store.commit(commit(2, "skipped one")).await);
    fixture.store.commit(commit(1, "second")).await.unwrap();
    assert_eq!(messages(&fixture).await, ["first", "second"]);
    assert_eq!(fixture.store.pending_effects().await.unwrap().len(), 2);
}

#[tokio::test]
async fn of_two_writers_at_once_one_wins() {
    let fixture = Fixture::new();
    fixture.store.insert_batch(&record(1), &[]).await.unwrap();
    let one = || fixture.store.commit(step(&state(1, 1)));
    let (a, b) = tokio::join!(one(), one());
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
}

#[tokio::test]
async fn a_step_of_a_batch_that_does_not_exist_is_refused() {
    let fixture = Fixture::new();
    let error = fixture.store.commit(step(&state(1, 1))).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NotFound { kind: "batch", .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn active_batches_are_those_submitted_and_not_over() {
    let fixture = Fixture::new();
    fixture.store.insert_batch(&record(9), &[]).await.unwrap();
    let all = [
        BatchStatus::Queued,
        BatchStatus::Processing,
        BatchStatus::Completed,
        BatchStatus::CompletedWithErrors,
        BatchStatus::Failed,
        BatchStatus::Canceled,
    ];
    for (n, status) in (1..).zip(all) {
        fixture.store.insert_batch(&record(n), &[]).await.unwrap();
        let mut batch = state(n, 1);
        batch.status = status;
        fixture.store.commit(step(&batch)).await.unwrap();
    }
    let active = fixture.store.active_batches().await.unwrap();
    let ids: Vec<_> = active.into_iter().map(|active| active.id).collect();
    assert_eq!(ids, [batch(1), batch(2)]);
}

#[tokio::test]
async fn one_unreadable_batch_does_not_keep_the_loop_from_the_others() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    fixture.submitted(2, 1).await;
    for n in [1, 2] {
        let mut next = state(n, 1);
        next.version = 1;
        fixture
            .store
            .commit(BatchCommit {
                effects: vec![start(n, 1)],
                ..step(&next)
            })
            .await
            .unwrap();
    }
    fixture.tamper("UPDATE batches SET state = '{}' WHERE seq = 1; UPDATE outbox SET body = '{}' WHERE effect_id = 1");
    let active = fixture.store.active_batches().await.unwrap();
    assert_eq!(
        active.iter().map(|b| b.id.clone()).collect::<Vec<_>>(),
        [batch(2)]
    );
    let pending = fixture.store.pending_effects().await.unwrap();
    assert_eq!(
        pending
            .iter()
            .map(|p| p.batch_id.clone())
            .collect::<Vec<_>>(),
        [batch(2)]
    );
    let read = fixture.store.get_batch(None, &batch(1)).await;
    assert!(
        matches!(read, Err(StoreError::Corrupt { kind: "batch", .. })),
        "{read:?}"
    );
}

#[tokio::test]
async fn effect_ids_are_never_given_twice_and_done_is_safe_to_repeat() {
    let fixture = Fixture::new();
    let mut batch = fixture.submitted(1, 1).await;
    let mut last = EffectId(0);
    for _ in 0..3 {
        batch.version += 1;
        let commit = BatchCommit {
            effects: vec![start(1, 1)],
            ..step(&batch)
        };
        let ids = fixture.store.commit(commit).await.unwrap();
        assert!(ids[0] > last, "{ids:?} after {last:?}");
        last = ids[0];
        fixture.store.effect_done(last).await.unwrap();
        fixture.store.effect_done(last).await.unwrap();
    }
    assert!(fixture.store.pending_effects().await.unwrap().is_empty());
}

#[tokio::test]
async fn failed_rows_are_given_back_in_the_step_that_says_so() {
    let fixture = Fixture::new();
    let mut batch_state = fixture.submitted(1, 2).await;
    use RowOutcome::{Failed, Processed, Skipped};
    let rows = [
        (0, Processed, 2),
        (1, Failed, 1),
        (2, Skipped, 0),
        (3, Failed, 0),
    ];
    fixture
        .store
        .record_rows(report(1, 0, 1, &rows))
        .await
        .unwrap();
    fixture
        .store
        .record_rows(report(1, 1, 1, &[(0, Failed, 0)]))
        .await
        .unwrap();

    let conflict = BatchCommit {
        reopen_rows: vec![failed_rows(1, 0)],
        ..step(&batch_state)
    };
    fixture.store.commit(conflict).await.unwrap_err();
    assert_eq!(
        fixture.store.finished_rows(&job(1, 0)).await.unwrap(),
        [0, 1, 2, 3]
    );

    batch_state.version += 1;
    let reopen = BatchCommit {
        reopen_rows: vec![failed_rows(1, 0), failed_rows(2, 0), failed_rows(1, 7)],
        ..step(&batch_state)
    };
    fixture.store.commit(reopen).await.unwrap();
    assert_eq!(
        fixture.store.finished_rows(&job(1, 0)).await.unwrap(),
        [0, 2]
    );
    let counts = fixture.store.job_counts(&job(1, 0)).await.unwrap();
    assert_eq!(
        counts.rows,
        RowCounts {
            processed: 1,
            failed: 0,
            skipped: 1
        }
    );
    assert_eq!(counts.documents, 2);
    let query = RowErrorQuery {
        limit: 10,
        ..RowErrorQuery::default()
    };
    let (errors, total) = fixture.store.row_errors(&batch(1), &query).await.unwrap();
    assert_eq!(
        (total, errors[0].tier_num),
        (1, 1),
        "the other tier's errors stay"
    );

    let again = report(1, 0, 2, &[(1, Processed, 1), (3, Failed, 0)]);
    let counts = fixture.store.record_rows(again).await.unwrap();
    assert_eq!(
        counts.rows,
        RowCounts {
            processed: 2,
            failed: 1,
            skipped: 1
        }
    );
}

#[tokio::test]
async fn a_step_cannot_give_back_rows_of_another_batch() {
    let fixture = Fixture::new();
    let mut first = fixture.submitted(1, 1).await;
    fixture.submitted(2, 1).await;
    let rows = report(2, 0, 1, &[(0, RowOutcome::Failed, 0)]);
    fixture.store.record_rows(rows).await.unwrap();
    first.version += 1;
    let reopen = BatchCommit {
        reopen_rows: vec![failed_rows(2, 0)],
        ..step(&first)
    };
    fixture.store.commit(reopen).await.unwrap();
    assert_eq!(
        fixture
            .store
            .job_counts(&job(2, 0))
            .await
            .unwrap()
            .rows
            .failed,
        1
    );
}

#[tokio::test]
async fn evidence_only_grows_and_stage_timings_stay_where_none_are_given() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    let attempt = |number| AttemptId::of(&job(1, 0), number);
    let mut stages = StageTimings::default();
    stages.loading.busy_ms = 5;
    let old = AttemptEvidence::default();
    fixture
        .store
        .put_evidence(&batch(1), &attempt(2), &old, Some(&stages))
        .await
        .unwrap();
    fixture
        .store
        .put_evidence(&batch(1), &attempt(10), &old, None)
        .await
        .unwrap();
    let new = AttemptEvidence {
        node: Some("n1".to_owned()),
        ..AttemptEvidence::default()
    };
    fixture
        .store
        .put_evidence(&batch(1), &attempt(2), &new, None)
        .await
        .unwrap();
    let tail = AttemptEvidence {
        driver_log_tail: "said".to_owned(),
        ..AttemptEvidence::default()
    };
    let all = fixture
        .store
        .put_evidence(&batch(1), &attempt(2), &tail, None)
        .await
        .unwrap();
    let both = AttemptEvidence {
        driver_log_tail: "said".to_owned(),
        ..new
    };
    assert_eq!(all, both);
    let read = fixture.store.evidence(&batch(1)).await.unwrap();
    assert_eq!(
        read,
        [(attempt(2), both, Some(stages)), (attempt(10), old, None)]
    );
    let nowhere = fixture
        .store
        .put_evidence(&batch(2), &attempt(1), &read[0].1, None)
        .await;
    assert!(matches!(nowhere, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_submission_writes_its_task_with_the_first_step_or_not_at_all() {
    let fixture = Fixture::new();
    fixture.store.insert_batch(&record(1), &[]).await.unwrap();
    let task = |n: u8| TaskRecord {
        namespace_id: namespace(1),
        task_id: TaskId::from_entropy([n; 15]),
        task_type: "api_buckets_batches_process".to_owned(),
        batch_id: batch(1),
        created_at: UnixMillis(9),
    };
    let submission = |n: u8| Submission {
        record: BatchRecord {
            task_id: Some(task(n).task_id),
            ..record(1)
        },
        task: task(n),
    };
    let commit = |n: u8| BatchCommit {
        submission: Some(submission(n)),
        ..step(&state(1, 1))
    };
    fixture.store.commit(commit(1)).await.unwrap();
    let error = fixture.store.commit(commit(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::VersionConflict { .. }));
    let (kept, _) = fixture
        .store
        .get_batch(None, &batch(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.task_id, Some(task(1).task_id));
    for (n, is_there) in [(1, true), (2, false)] {
        let id = task(n).task_id;
        let found = fixture
            .store
            .find::<TaskRecord>(None, id.as_str())
            .await
            .unwrap();
        assert_eq!(found.is_some(), is_there, "task {n}");
    }
}

fn remedy(number: u32, outcome: Option<RemedyOutcome>) -> Remedy {
    Remedy {
        job_id: job(1, 0),
        tier_num: 0,
        number,
        after: Some(AttemptId::of(&job(1, 0), number)),
        cause: Cause::OutOfMemory,
        taken: RemedyTaken::RaiseMemory {
            from_bytes: 1,
            to_bytes: 2,
        },
        by: AppliedBy::Policy,
        reason: "no memory".to_owned(),
        at: UnixMillis(3),
        outcome,
        ended_at: outcome.map(|_| UnixMillis(4)),
    }
}

#[tokio::test]
async fn a_remedy_is_kept_with_its_outcome_and_its_count_outlives_the_batch() {
    let fixture = Fixture::new();
    let mut state = fixture.submitted(1, 1).await;
    let (worked, failed) = (Some(RemedyOutcome::Worked), Some(RemedyOutcome::Failed));
    for remedies in [
        vec![remedy(1, None)],
        vec![remedy(1, failed), remedy(2, None)],
        vec![remedy(2, worked)],
    ] {
        state.version += 1;
        let commit = BatchCommit {
            remedies,
            ..step(&state)
        };
        fixture.store.commit(commit).await.unwrap();
    }
    let kept = fixture.store.remedies(&batch(1)).await.unwrap();
    assert_eq!(kept, [remedy(1, failed), remedy(2, worked)]);
    fixture
        .store
        .delete_batch(&namespace(1), &batch(1))
        .await
        .unwrap();
    let learned = TrackRecord {
        cause: "out_of_memory".to_owned(),
        remedy: "raise_memory".to_owned(),
        worked: 1,
        failed: 1,
    };
    let records = fixture.store.track_record(&namespace(1)).await.unwrap();
    assert_eq!(records, [learned]);
    let others = fixture.store.track_record(&namespace(2)).await.unwrap();
    assert_eq!(others, [], "tenants learn from their own");
}
