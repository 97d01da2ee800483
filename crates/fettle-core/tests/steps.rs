//! What each event means, one story a test.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic where it stands"
)]

use fettle_core::plan::{PlannedCollection, levels};
use fettle_core::{
    Advice, Batch, BatchPlan, DedupTally, Effect, Effects, Event, FailedRows, JobPlan, JobState,
    Overrides, PlanError, PreparedRows, Refusal, Remedy, ReopenRows, Scope, SkipRows, SkippedRows,
    Submission, TierPlan, TierSource, Wait, WhichRows, laws, step,
};
use fettle_model::{
    AppliedBy, AttemptExit, AttemptId, BatchId, BatchStatus, BucketId, Cause, CollectionId,
    DocumentErrorClass, ExtractorRef, HealingMode, HealingPolicy, JobId, ManifestRef, NamespaceId,
    RemedyOutcome, RemedyTaken, Resources, RowCounts, UnixMillis, WorkStatus,
};
use serde_json::Map;

const ROWS: u64 = 10;
const NOW: UnixMillis = UnixMillis(1_000);
const MIB: u64 = 1024 * 1024;

fn extractor() -> ExtractorRef {
    ExtractorRef {
        name: "text_extractor".into(),
        version: "v1".into(),
        parameters: Map::new(),
    }
}

fn job_id(n: u8) -> JobId {
    JobId::from_entropy([n; 15])
}

fn collection(n: u8) -> CollectionId {
    CollectionId::from_entropy([n; 15])
}

/// A batch whose tier `n` has one job, `job_id(n)`.
fn batch(tiers: u8) -> Batch {
    let resources = Resources {
        num_cpus: 1.0,
        num_gpus: 0.0,
        memory_bytes: 96 * MIB,
        requires_gpu: false,
        priority: 0,
    };
    let tier = |n: u8| TierPlan {
        source: TierSource::Bucket,
        jobs: vec![JobPlan {
            id: job_id(n),
            extractor: extractor(),
            collection_ids: vec![collection(n)],
            resources: resources.clone(),
        }],
    };
    let plan = BatchPlan {
        id: BatchId::from_entropy([0; 15]),
        namespace_id: NamespaceId::from_entropy([0; 15]),
        bucket_id: BucketId::from_entropy([0; 15]),
        tiers: (0..tiers).map(tier).collect(),
        healing: HealingPolicy::default(),
    };
    let (batch, effects) = plan.submit(NOW);
    assert_eq!(
        effects.effects,
        vec![Effect::BuildManifest { job: job_id(0) }]
    );
    batch
}

#[track_caller]
fn take(batch: &mut Batch, event: Event) -> Decided {
    let Effects {
        effects,
        reopen_rows,
        skip_rows,
        ..
    } = step(batch, NOW, event).unwrap();
    assert_eq!(laws::broken(batch), Vec::<String>::new());
    Decided {
        effects,
        reopen_rows,
        skip_rows,
    }
}

/// What a step decided, without the duty to commit it.
#[derive(Debug)]
struct Decided {
    effects: Vec<Effect>,
    reopen_rows: Vec<ReopenRows>,
    skip_rows: Vec<SkipRows>,
}

fn failed_rows_of(n: u8, which: FailedRows) -> ReopenRows {
    ReopenRows {
        job: job_id(n),
        which: WhichRows::Failed(which),
    }
}

/// The rows of a job's first preparation.
fn built(n: u8, rows: u64) -> Event {
    built_in(1, n, rows)
}

fn built_in(generation: u32, n: u8, rows: u64) -> Event {
    prepared(generation, n, rows, SkippedRows::default())
}

fn prepared(generation: u32, n: u8, rows: u64, skipped: SkippedRows) -> Event {
    let manifest = ManifestRef {
        key: "m".into(),
        rows,
        sizes: None,
        left_out: 0,
    };
    Event::ManifestBuilt {
        job: job_id(n),
        rows: PreparedRows {
            generation,
            manifest,
            counts: RowCounts::default(),
            skipped,
        },
    }
}

fn admitted(n: u8) -> Event {
    Event::JobAdmitted {
        job: job_id(n),
        submission: Submission::default(),
    }
}

fn ended(n: u8, number: u32, exit: AttemptExit, processed: u64, failed: u64) -> Event {
    let counts = RowCounts {
        processed,
        failed,
        skipped: 0,
    };
    let attempt = AttemptId::of(&job_id(n), number);
    Event::AttemptEnded {
        attempt,
        exit,
        counts,
        summary: "as told".into(),
        advice: Advice::default(),
    }
}

/// A batch whose first job has attempt 1 alive.
fn running(tiers: u8) -> Batch {
    let mut batch = batch(tiers);
    take(&mut batch, built(0, ROWS));
    let effects = take(&mut batch, admitted(0));
    let attempt = AttemptId::of(&job_id(0), 1);
    assert_eq!(effects.effects, vec![Effect::StartAttempt { attempt }]);
    batch
}

#[test]
fn a_tier_ends_well_and_the_next_begins() {
    let mut batch = running(2);
    let effects = take(&mut batch, ended(0, 1, AttemptExit::Finished, ROWS, 0));
    assert!(
        effects
            .effects
            .contains(&Effect::BuildManifest { job: job_id(1) }),
        "{effects:?}"
    );
    assert_eq!(batch.tiers[0].status, WorkStatus::Completed);
    take(&mut batch, built(1, 0));
    assert_eq!(
        batch.status,
        BatchStatus::Completed,
        "a tier without rows is done at once"
    );
}

#[test]
fn failed_rows_end_a_batch_with_errors_and_no_worse() {
    let mut batch = running(1);
    take(&mut batch, ended(0, 1, AttemptExit::Finished, ROWS - 3, 3));
    assert_eq!(batch.status, BatchStatus::CompletedWithErrors);
}

#[test]
fn memory_is_no_cause_for_a_blind_retry_and_raised_memory_sticks() {
    let mut batch = running(2);
    take(&mut batch, ended(0, 1, AttemptExit::OutOfMemory, 4, 1));
    assert_eq!(batch.status, BatchStatus::Failed);
    assert_eq!(batch.tiers[1].status, WorkStatus::Skipped);

    let overrides = Overrides {
        memory_bytes: Some(512 * MIB),
        ..Overrides::default()
    };
    let effects = take(
        &mut batch,
        Event::RetryRequested {
            tier_num: 0,
            overrides,
        },
    );
    assert_eq!(
        effects.reopen_rows,
        vec![failed_rows_of(0, FailedRows::default())],
        "failed rows are tried again"
    );
    take(&mut batch, admitted(0));
    let (_, job) = batch.job(&job_id(0)).unwrap();
    assert_eq!(
        job.attempts[0].params.resources.memory_bytes,
        96 * MIB,
        "history is kept"
    );
    assert_eq!(job.attempts[1].params.resources.memory_bytes, 512 * MIB);

    take(&mut batch, ended(0, 2, AttemptExit::DriverDied, 5, 0));
    take(&mut batch, Event::BackoffElapsed { job: job_id(0) });
    take(&mut batch, admitted(0));
    let (_, job) = batch.job(&job_id(0)).unwrap();
    assert_eq!(
        job.attempts[2].params.resources.memory_bytes,
        512 * MIB,
        "also after another cause"
    );
}

#[test]
fn a_vanished_driver_is_replaced_until_its_budget_is_spent() {
    let mut batch = running(1);
    for number in 1..=3 {
        take(&mut batch, ended(0, number, AttemptExit::DriverDied, 1, 0));
        let (_, job) = batch.job(&job_id(0)).unwrap();
        let JobState::Waiting(Wait::Backoff { until, .. }) = &job.state else {
            panic!("{job:?}")
        };
        assert!(*until > NOW);
        take(&mut batch, Event::BackoffElapsed { job: job_id(0) });
        take(&mut batch, admitted(0));
    }
    take(&mut batch, ended(0, 4, AttemptExit::DriverDied, 1, 0));
    assert_eq!(batch.status, BatchStatus::Failed);
}

#[test]
fn an_attempt_that_says_it_is_done_and_lost_rows_fails() {
    let mut batch = running(1);
    take(&mut batch, ended(0, 1, AttemptExit::Finished, ROWS - 1, 0));
    assert_eq!(batch.status, BatchStatus::Failed);
    let (_, job) = batch.job(&job_id(0)).unwrap();
    assert!(
        job.reason().unwrap().contains("1 row(s) have no outcome"),
        "{:?}",
        job.reason()
    );
}

#[test]
fn an_attempt_that_died_after_its_last_row_did_its_work() {
    let mut batch = running(1);
    take(&mut batch, ended(0, 1, AttemptExit::DriverDied, ROWS, 0));
    assert_eq!(batch.status, BatchStatus::Completed);
}

#[test]
fn a_late_report_of_a_superseded_attempt_changes_nothing() {
    let mut batch = running(1);
    take(&mut batch, ended(0, 1, AttemptExit::DriverDied, 1, 0));
    take(&mut batch, Event::BackoffElapsed { job: job_id(0) });
    take(&mut batch, admitted(0));
    let before = batch.clone();
    for late in [
        ended(0, 1, AttemptExit::Finished, ROWS, 0),
        Event::AttemptReported {
            attempt: AttemptId::of(&job_id(0), 1),
        },
        Event::AttemptLost {
            attempt: AttemptId::of(&job_id(0), 1),
            counts: RowCounts::default(),
        },
    ] {
        let refusal = step(&mut batch, NOW, late).unwrap_err();
        assert!(matches!(refusal, Refusal::Stale { .. }), "{refusal}");
    }
    assert_eq!(batch, before);
}

#[test]
fn a_running_job_is_cancelled_when_its_process_is_gone_and_not_before() {
    let mut batch = running(2);
    let cancel = |scope| Event::CancelRequested {
        scope,
        reason: Some("enough".into()),
    };
    let effects = take(&mut batch, cancel(Scope::Batch));
    let attempt = AttemptId::of(&job_id(0), 1);
    assert_eq!(effects.effects, vec![Effect::StopAttempt { attempt }]);
    assert_eq!(batch.status, BatchStatus::Processing);
    let again = take(&mut batch, cancel(Scope::Batch));
    assert_eq!(again.effects, Vec::new(), "asking twice does nothing twice");
    take(&mut batch, ended(0, 1, AttemptExit::Cancelled, 4, 0));
    assert_eq!(batch.status, BatchStatus::Canceled);
    assert_eq!(batch.tiers[0].status, WorkStatus::Canceled);
    assert_eq!(batch.tiers[1].status, WorkStatus::Skipped);
    let refusal = step(&mut batch, NOW, cancel(Scope::Batch)).unwrap_err();
    assert!(refusal.to_string().contains("CANCELED"), "{refusal}");
}

#[test]
fn a_waiting_job_is_cancelled_at_once() {
    let mut batch = batch(1);
    take(&mut batch, built(0, ROWS));
    let scope = Scope::Job { job: job_id(0) };
    take(
        &mut batch,
        Event::CancelRequested {
            scope,
            reason: None,
        },
    );
    assert_eq!(batch.status, BatchStatus::Canceled);
}

#[test]
fn a_retry_is_refused_with_the_present_state_and_what_would_be_possible() {
    let retry = |tier_num| Event::RetryRequested {
        tier_num,
        overrides: Overrides::default(),
    };
    let mut batch = running(2);
    let refusal = step(&mut batch, NOW, retry(0)).unwrap_err().to_string();
    assert!(refusal.contains("PROCESSING"), "{refusal}");
    take(&mut batch, ended(0, 1, AttemptExit::OutOfMemory, 0, 0));
    let refusal = step(&mut batch, NOW, retry(1)).unwrap_err().to_string();
    assert!(refusal.contains("retry tier 0"), "{refusal}");
    let refusal = step(&mut batch, NOW, retry(7)).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::NoSuch {
            kind: "tier",
            id: "7".into()
        }
    );
}

/// Both tiers ended, the first with 2 failed rows, the second with 3.
fn ended_with_errors() -> Batch {
    let mut batch = running(2);
    take(&mut batch, ended(0, 1, AttemptExit::Finished, ROWS - 2, 2));
    take(&mut batch, built(1, ROWS - 2));
    take(&mut batch, admitted(1));
    take(&mut batch, ended(1, 1, AttemptExit::Finished, ROWS - 5, 3));
    assert_eq!(batch.status, BatchStatus::CompletedWithErrors);
    batch
}

fn transient() -> FailedRows {
    FailedRows {
        classes: vec![DocumentErrorClass::Transient],
        source_ids: Vec::new(),
        retries_max: Some(3),
    }
}

fn retry_failed(batch: &Batch, jobs: &[(u8, u64)]) -> Event {
    Event::FailedRowsRetryRequested {
        version: batch.version,
        which: transient(),
        jobs: jobs.iter().map(|(n, rows)| (job_id(*n), *rows)).collect(),
    }
}

#[test]
fn failed_rows_of_several_tiers_are_retried_in_the_order_of_the_tiers() {
    let mut batch = ended_with_errors();
    let event = retry_failed(&batch, &[(0, 1), (1, 2)]);
    let decided = take(&mut batch, event);
    assert_eq!(
        decided.reopen_rows,
        vec![
            failed_rows_of(0, transient()),
            failed_rows_of(1, transient())
        ]
    );
    assert_eq!(batch.status, BatchStatus::Queued);
    assert_eq!(batch.tiers[1].status, WorkStatus::Pending);
    let failed: Vec<u64> = batch.jobs().map(|(_, job)| job.counts.failed).collect();
    assert_eq!(failed, vec![1, 1], "the others keep their outcome");
    take(&mut batch, admitted(0));
    let decided = take(&mut batch, ended(0, 2, AttemptExit::Finished, ROWS - 1, 1));
    assert_eq!(
        decided.effects.last(),
        Some(&Effect::BuildManifest { job: job_id(1) }),
        "the next tier reads what was written"
    );
}

#[test]
fn a_tier_without_wanted_rows_is_left_as_it_is() {
    let mut batch = ended_with_errors();
    let event = retry_failed(&batch, &[(0, 0), (1, 2)]);
    take(&mut batch, event);
    assert_eq!(batch.tiers[0].status, WorkStatus::CompletedWithErrors);
    assert_eq!(batch.tiers[1].status, WorkStatus::InProgress);
}

#[test]
fn a_retry_of_failed_rows_is_refused_when_it_would_do_nothing_or_rests_on_old_counts() {
    let mut batch = ended_with_errors();
    let nothing = retry_failed(&batch, &[(0, 0), (1, 0)]);
    let refusal = step(&mut batch, NOW, nothing).unwrap_err().to_string();
    assert!(refusal.contains("no failed document matches"), "{refusal}");
    let event = retry_failed(&batch, &[(1, 2)]);
    batch.version += 1;
    let refusal = step(&mut batch, NOW, event).unwrap_err().to_string();
    assert!(refusal.contains("changed meanwhile"), "{refusal}");

    let mut batch = running(2);
    let event = retry_failed(&batch, &[(0, 1)]);
    let refusal = step(&mut batch, NOW, event).unwrap_err().to_string();
    assert!(refusal.contains("PROCESSING"), "{refusal}");
    take(&mut batch, ended(0, 1, AttemptExit::OutOfMemory, 4, 1));
    let event = retry_failed(&batch, &[(1, 0)]);
    let refusal = step(&mut batch, NOW, event).unwrap_err().to_string();
    assert!(
        refusal.contains("tier 0 is FAILED and comes before"),
        "{refusal}"
    );
    let event = retry_failed(&batch, &[(0, 0), (1, 0)]);
    take(&mut batch, event);
    assert_eq!(
        batch.status,
        BatchStatus::Queued,
        "rows without an outcome are taken up"
    );
}

#[test]
fn a_batch_cancelled_after_the_last_row_of_a_tier_goes_on_with_the_next() {
    let mut batch = running(2);
    take(
        &mut batch,
        Event::CancelRequested {
            scope: Scope::Batch,
            reason: None,
        },
    );
    take(&mut batch, ended(0, 1, AttemptExit::Cancelled, ROWS, 0));
    assert_eq!(batch.status, BatchStatus::Canceled);
    assert_eq!(batch.tiers[0].status, WorkStatus::Completed);
    let retry = Event::RetryRequested {
        tier_num: 1,
        overrides: Overrides::default(),
    };
    let decided = take(&mut batch, retry);
    assert_eq!(
        decided.effects,
        vec![Effect::BuildManifest { job: job_id(1) }]
    );
}

/// Rows of which the first ones exist already.
fn built_with_skipped(rows: u64, skipped: u32) -> Event {
    let mut tally = DedupTally::default();
    for row in 0..rows {
        tally.count(&format!("obj_{row}"), row < u64::from(skipped));
    }
    let skipped = SkippedRows {
        rows: (0..skipped).collect(),
        tally: [(collection(0), tally)].into(),
    };
    prepared(1, 0, rows, skipped)
}

#[test]
fn rows_whose_documents_exist_are_skipped_with_the_manifest() {
    let mut batch = batch(1);
    let decided = take(&mut batch, built_with_skipped(30, 25));
    let skipped = SkipRows {
        job: job_id(0),
        tier_num: 0,
        rows: (0..25).collect(),
    };
    assert_eq!(decided.skip_rows, vec![skipped]);
    let (_, job) = batch.job(&job_id(0)).unwrap();
    assert_eq!((job.counts.skipped, job.unfinished_rows()), (25, 5));
    let tally = &job.dedup[&collection(0)];
    assert_eq!((tally.total, tally.skipped), (30, 25));
    assert_eq!(tally.sample.len(), 20, "a sample stays a sample");
}

#[test]
fn a_batch_with_nothing_new_ends_without_an_attempt() {
    let mut batch = batch(1);
    take(&mut batch, built_with_skipped(3, 3));
    assert_eq!(batch.status, BatchStatus::Completed);
    assert!(batch.job(&job_id(0)).unwrap().1.attempts.is_empty());
}

fn resubmit(from_tier: u32, hold: bool) -> Event {
    Event::ResubmitRequested { from_tier, hold }
}

fn all_rows_of(n: u8) -> ReopenRows {
    ReopenRows {
        job: job_id(n),
        which: WhichRows::All,
    }
}

#[test]
fn a_resubmitted_batch_does_everything_from_a_tier_on_anew() {
    let mut batch = ended_with_errors();
    let decided = take(&mut batch, resubmit(1, false));
    assert_eq!(decided.reopen_rows, vec![all_rows_of(1)]);
    assert_eq!(
        decided.effects,
        vec![Effect::BuildManifest { job: job_id(1) }]
    );
    assert_eq!(batch.tiers[0].status, WorkStatus::CompletedWithErrors);
    let late = step(&mut batch, NOW, built_in(1, 1, ROWS)).unwrap_err();
    assert!(
        matches!(late, Refusal::Stale { .. }),
        "rows of the run before: {late}"
    );
    take(&mut batch, built_in(2, 1, 4));
    take(&mut batch, admitted(1));
    take(&mut batch, ended(1, 2, AttemptExit::Finished, 4, 0));
    assert_eq!(
        batch.status,
        BatchStatus::CompletedWithErrors,
        "the first tier's errors stay"
    );
}

#[test]
fn a_held_batch_waits_for_its_submission_and_for_nothing_else() {
    let mut batch = ended_with_errors();
    let decided = take(&mut batch, resubmit(0, true));
    assert_eq!(decided.reopen_rows, vec![all_rows_of(0), all_rows_of(1)]);
    assert_eq!(decided.effects, Vec::new());
    assert_eq!(batch.status, BatchStatus::Draft);
    let cancel = Event::CancelRequested {
        scope: Scope::Batch,
        reason: None,
    };
    for event in [resubmit(0, false), retry_failed(&batch, &[(0, 1)]), cancel] {
        let refusal = step(&mut batch, NOW, event).unwrap_err().to_string();
        assert!(refusal.contains("DRAFT"), "{refusal}");
    }
    let overrides = Overrides {
        memory_bytes: Some(512 * MIB),
        ..Overrides::default()
    };
    let submit = Event::HeldBatchSubmitted {
        overrides: [(1, overrides)].into(),
    };
    let decided = take(&mut batch, submit.clone());
    assert_eq!(
        decided.effects,
        vec![Effect::BuildManifest { job: job_id(0) }]
    );
    let memory: Vec<u64> = batch
        .jobs()
        .map(|(_, job)| job.resources.memory_bytes)
        .collect();
    assert_eq!(memory, vec![96 * MIB, 512 * MIB]);
    let refusal = step(&mut batch, NOW, submit).unwrap_err().to_string();
    assert!(refusal.contains("QUEUED"), "{refusal}");
}

#[test]
fn a_resubmission_does_not_pass_over_a_tier_that_failed() {
    let mut batch = running(2);
    take(&mut batch, ended(0, 1, AttemptExit::OutOfMemory, 0, 0));
    let refusal = step(&mut batch, NOW, resubmit(1, false))
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("resubmit from it"), "{refusal}");
    assert!(step(&mut batch, NOW, resubmit(2, false)).is_err());
}

#[test]
fn a_job_that_can_never_fit_fails_and_says_why() {
    let mut batch = batch(1);
    take(&mut batch, built(0, ROWS));
    let message = "asks for 64 GPU(s); there are 0".to_owned();
    take(
        &mut batch,
        Event::JobRefused {
            job: job_id(0),
            message: message.clone(),
        },
    );
    assert_eq!(batch.status, BatchStatus::Failed);
    assert_eq!(
        batch.job(&job_id(0)).unwrap().1.reason(),
        Some(message.as_str())
    );
}

fn planned(n: u8, reads: &[u8]) -> PlannedCollection {
    let reads = reads.iter().map(|n| collection(*n)).collect();
    PlannedCollection {
        id: collection(n),
        reads,
        extractor: extractor(),
    }
}

#[track_caller]
fn check_levels(collections: &[PlannedCollection], expected: &[&[u8]]) {
    let ids =
        |level: &Vec<PlannedCollection>| level.iter().map(|c| c.id.clone()).collect::<Vec<_>>();
    let found: Vec<_> = levels(collections).unwrap().iter().map(ids).collect();
    let expected: Vec<Vec<_>> = expected
        .iter()
        .map(|level| level.iter().map(|n| collection(*n)).collect())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_collection_runs_after_everything_it_reads() {
    check_levels(
        &[
            planned(3, &[1, 2]),
            planned(2, &[1]),
            planned(1, &[]),
            planned(4, &[]),
        ],
        &[&[1, 4], &[2], &[3]],
    );
    check_levels(
        &[planned(1, &[]), planned(2, &[9]), planned(3, &[2])],
        &[&[1]],
    );
}

#[test]
fn a_circle_and_an_empty_plan_are_refused() {
    let circle = levels(&[planned(1, &[]), planned(2, &[3]), planned(3, &[2])]).unwrap_err();
    assert!(
        matches!(&circle, PlanError::Cycle { collections } if collections.len() == 2),
        "{circle}"
    );
    assert_eq!(levels(&[]).unwrap_err(), PlanError::NoCollections);
}

/// A batch like `running(1)` whose policy is this one.
fn running_with(healing: HealingPolicy) -> Batch {
    let mut batch = running(1);
    if batch.healing != healing {
        take(&mut batch, Event::PolicySet { policy: healing });
    }
    batch
}

fn auto() -> HealingPolicy {
    HealingPolicy {
        mode: HealingMode::Auto,
        ..HealingPolicy::default()
    }
}

fn out_of_memory(number: u32, advised: Option<u64>) -> Event {
    let mut event = ended(0, number, AttemptExit::OutOfMemory, 0, 0);
    if let Event::AttemptEnded { advice, .. } = &mut event {
        advice.overrides.memory_bytes = advised;
    }
    event
}

/// Takes the event, and tells what it says of remedies: what was done, and what became of it.
#[track_caller]
fn remedies(batch: &mut Batch, event: Event) -> Vec<(RemedyTaken, Option<RemedyOutcome>)> {
    let effects = step(batch, NOW, event).unwrap();
    assert_eq!(laws::broken(batch), Vec::<String>::new());
    let told = |remedy: &Remedy| (remedy.taken, remedy.outcome);
    effects.remedies.iter().map(told).collect()
}

fn next_attempt(batch: &mut Batch) {
    take(batch, Event::BackoffElapsed { job: job_id(0) });
    take(batch, admitted(0));
}

fn raise(from: u64, to: u64) -> RemedyTaken {
    RemedyTaken::RaiseMemory {
        from_bytes: from * MIB,
        to_bytes: to * MIB,
    }
}

#[test]
fn with_auto_memory_is_raised_as_advised_and_it_is_known_that_it_worked() {
    let mut batch = running_with(auto());
    let applied = remedies(&mut batch, out_of_memory(1, Some(192 * MIB)));
    assert_eq!(applied, vec![(raise(96, 192), None)]);
    assert_eq!(batch.status, BatchStatus::Processing);
    next_attempt(&mut batch);
    let (_, job) = batch.job(&job_id(0)).unwrap();
    assert_eq!(job.attempts[1].params.resources.memory_bytes, 192 * MIB);
    assert_eq!(job.attempts[1].cause, "workers ran out of memory");
    let settled = remedies(&mut batch, ended(0, 2, AttemptExit::Finished, ROWS, 0));
    assert_eq!(settled, vec![(raise(96, 192), Some(RemedyOutcome::Worked))]);
    assert_eq!(batch.status, BatchStatus::Completed);
}

#[test]
fn memory_is_raised_within_cap_growth_and_budget_and_then_no_more() {
    let mut batch = running_with(HealingPolicy {
        memory_bytes_max: Some(500 * MIB),
        memory_growth_max: Some(3.0),
        ..auto()
    });
    let grown = remedies(&mut batch, out_of_memory(1, Some(4_000 * MIB)));
    assert_eq!(grown, vec![(raise(96, 288), None)]);
    next_attempt(&mut batch);
    let capped = remedies(&mut batch, out_of_memory(2, Some(4_000 * MIB)));
    let failed = (raise(96, 288), Some(RemedyOutcome::Failed));
    assert_eq!(capped, vec![failed, (raise(288, 500), None)]);
    next_attempt(&mut batch);
    take(&mut batch, out_of_memory(3, Some(4_000 * MIB)));
    assert_eq!(batch.status, BatchStatus::Failed);
    let reason = batch.job(&job_id(0)).unwrap().1.reason().unwrap();
    assert!(reason.contains("no higher limit"), "{reason}");
}

#[test]
fn failed_rows_whose_error_may_pass_are_tried_again_within_the_budget_and_no_more() {
    let mut batch = running_with(auto());
    let finished = |number, failed, transient_rows| {
        let mut event = ended(0, number, AttemptExit::Finished, ROWS - failed, failed);
        if let Event::AttemptEnded { advice, .. } = &mut event {
            advice.transient_rows = transient_rows;
        }
        event
    };
    let decided = take(&mut batch, finished(1, 3, 2));
    let transient = FailedRows {
        classes: vec![DocumentErrorClass::Transient],
        ..FailedRows::default()
    };
    assert_eq!(decided.reopen_rows, vec![failed_rows_of(0, transient)]);
    assert_eq!(batch.job(&job_id(0)).unwrap().1.unfinished_rows(), 2);
    next_attempt(&mut batch);
    let given_back = |rows| RemedyTaken::RetryFailedRows { rows };
    let worked = remedies(&mut batch, finished(2, 2, 1));
    let outcome = (given_back(2), Some(RemedyOutcome::Worked));
    assert_eq!(worked, vec![outcome, (given_back(1), None)]);
    next_attempt(&mut batch);
    let in_vain = remedies(&mut batch, finished(3, 2, 1));
    let outcome = (given_back(1), Some(RemedyOutcome::Failed));
    assert_eq!(in_vain, vec![outcome], "the budget is two");
    assert_eq!(batch.status, BatchStatus::CompletedWithErrors);
}

/// The end of an attempt that did all rows, `failed` of them in vain, and what is advised about them.
fn all_done(number: u32, failed: u64, advised: Advice) -> Event {
    let mut event = ended(0, number, AttemptExit::Finished, ROWS - failed, failed);
    if let Event::AttemptEnded { advice, .. } = &mut event {
        *advice = advised;
    }
    event
}

fn lacking_memory(rows: u64, advised_mib: u64) -> Advice {
    Advice {
        overrides: Overrides {
            memory_bytes: Some(advised_mib * MIB),
            ..Overrides::default()
        },
        resource_rows: rows,
        ..Advice::default()
    }
}

#[test]
fn rows_that_lacked_memory_are_tried_again_alone_with_more_of_it() {
    let lane = |from, to| RemedyTaken::Lane {
        rows: 1,
        from_bytes: from * MIB,
        to_bytes: to * MIB,
    };
    let mut batch = running_with(auto());
    let opened = remedies(&mut batch, all_done(1, 2, lacking_memory(1, 192)));
    assert_eq!(opened, vec![(lane(96, 192), None)]);
    let (_, job) = batch.job(&job_id(0)).unwrap();
    assert_eq!((job.unfinished_rows(), job.counts.failed), (1, 1));
    next_attempt(&mut batch);
    let in_vain = remedies(&mut batch, all_done(2, 2, lacking_memory(1, 384)));
    let failed = (lane(96, 192), Some(RemedyOutcome::Failed));
    assert_eq!(in_vain, vec![failed, (lane(192, 384), None)]);
    next_attempt(&mut batch);
    let worked = remedies(&mut batch, all_done(3, 1, Advice::default()));
    assert_eq!(worked, vec![(lane(192, 384), Some(RemedyOutcome::Worked))]);
    assert_eq!(batch.status, BatchStatus::CompletedWithErrors);
    let mut suggested = running_with(HealingPolicy::default());
    let end = all_done(1, 2, lacking_memory(1, 192));
    assert_eq!(remedies(&mut suggested, end), vec![]);
}

#[test]
fn raised_memory_stays_after_a_preemption_and_is_lowered_by_a_policy_that_says_so() {
    let enough = Advice {
        memory_enough_bytes: Some(100 * MIB),
        transient_rows: 1,
        ..Advice::default()
    };
    for (shrinks, left) in [(false, 192), (true, 100)] {
        let mut batch = running_with(HealingPolicy {
            memory_shrinks: shrinks,
            ..auto()
        });
        let memory = |batch: &Batch| batch.job(&job_id(0)).unwrap().1.resources.memory_bytes / MIB;
        take(&mut batch, out_of_memory(1, Some(192 * MIB)));
        next_attempt(&mut batch);
        take(&mut batch, ended(0, 2, AttemptExit::Cancelled, 0, 0));
        assert_eq!(memory(&batch), 192, "a preemption says nothing of the need");
        next_attempt(&mut batch);
        take(&mut batch, all_done(3, 1, enough.clone()));
        assert_eq!(memory(&batch), left);
    }
}

#[test]
fn rows_that_are_quarantined_after_the_end_are_counted_once_and_at_once() {
    let mut batch = running_with(HealingPolicy::default());
    let counts = |failed| RowCounts {
        processed: 3,
        failed,
        ..RowCounts::default()
    };
    let quarantined = |failed| Event::RowsQuarantined {
        job: job_id(0),
        counts: counts(failed),
    };
    let early = step(&mut batch, NOW, quarantined(1)).unwrap_err();
    assert!(matches!(early, Refusal::Stale { .. }), "{early}");
    take(&mut batch, ended(0, 1, AttemptExit::WorkersKeepDying, 3, 0));
    take(&mut batch, quarantined(2));
    assert_eq!(batch.job(&job_id(0)).unwrap().1.counts, counts(2));
    let again = step(&mut batch, NOW, quarantined(2)).unwrap_err();
    assert!(matches!(again, Refusal::Stale { .. }), "{again}");
}

#[test]
fn a_policy_that_is_off_lets_the_first_end_stand() {
    let mut batch = running_with(HealingPolicy {
        mode: HealingMode::Off,
        ..HealingPolicy::default()
    });
    take(&mut batch, ended(0, 1, AttemptExit::DriverDied, 1, 0));
    assert_eq!(batch.status, BatchStatus::Failed);
}

#[test]
fn a_restart_ends_the_attempt_once_and_its_unfinished_rows_follow() {
    let mut batch = running_with(auto());
    let restart = |number| Event::RestartRequested {
        attempt: AttemptId::of(&job_id(0), number),
        cause: Cause::Stuck,
        by: AppliedBy::Policy,
        reason: "no row for an hour".into(),
    };
    let effects = take(&mut batch, restart(1));
    let attempt = AttemptId::of(&job_id(0), 1);
    assert_eq!(effects.effects, vec![Effect::StopAttempt { attempt }]);
    let before = batch.clone();
    let again = step(&mut batch, NOW, restart(1)).unwrap_err();
    assert!(matches!(again, Refusal::Stale { .. }), "{again}");
    assert_eq!(batch, before, "asking twice changes nothing");

    let applied = remedies(&mut batch, ended(0, 1, AttemptExit::Cancelled, 4, 0));
    assert_eq!(applied, vec![(RemedyTaken::Restart, None)]);
    next_attempt(&mut batch);
    let superseded = step(&mut batch, NOW, restart(1)).unwrap_err();
    assert!(matches!(superseded, Refusal::Stale { .. }), "{superseded}");
    let (_, job) = batch.job(&job_id(0)).unwrap();
    assert_eq!(job.budgets.spent(Cause::Stuck), 1);
    assert_eq!(job.budgets.spent(Cause::Preempted), 0, "its own budget");
    assert_eq!(job.kept_work().rows, 4);
}

#[test]
fn a_restart_without_a_budget_is_refused_unless_a_user_asks() {
    let restart = |by| Event::RestartRequested {
        attempt: AttemptId::of(&job_id(0), 1),
        cause: Cause::Stuck,
        by,
        reason: "it hangs".into(),
    };
    let mut batch = running(1);
    let refused = step(&mut batch, NOW, restart(AppliedBy::Policy)).unwrap_err();
    assert!(refused.to_string().contains("0 of 0 restarts"), "{refused}");
    take(&mut batch, restart(AppliedBy::User));
    take(&mut batch, ended(0, 1, AttemptExit::Cancelled, 0, 0));
    assert_eq!(batch.status, BatchStatus::Processing);
}

#[test]
fn too_many_failed_rows_stop_the_batch_and_keep_what_is_done() {
    let mut batch = running_with(HealingPolicy {
        failed_percent_max: Some(20.0),
        ..HealingPolicy::default()
    });
    let counted = |failed| Event::RowsCounted {
        job: job_id(0),
        counts: RowCounts {
            processed: 4,
            failed,
            skipped: 0,
        },
    };
    assert!(step(&mut batch, NOW, counted(2)).is_err());
    let effects = take(&mut batch, counted(3));
    let attempt = AttemptId::of(&job_id(0), 1);
    assert_eq!(effects.effects, vec![Effect::StopAttempt { attempt }]);
    take(&mut batch, ended(0, 1, AttemptExit::Cancelled, 4, 3));
    assert_eq!(batch.status, BatchStatus::Failed);
    let (_, job) = batch.job(&job_id(0)).unwrap();
    assert_eq!(job.counts.processed, 4);
    assert!(job.reason().unwrap().contains("3 of 10 row(s) failed"));
}

#[test]
fn a_cancel_outranks_a_restart() {
    let mut batch = running_with(auto());
    take(
        &mut batch,
        Event::RestartRequested {
            attempt: AttemptId::of(&job_id(0), 1),
            cause: Cause::Stuck,
            by: AppliedBy::Policy,
            reason: "it hangs".into(),
        },
    );
    take(
        &mut batch,
        Event::CancelRequested {
            scope: Scope::Batch,
            reason: None,
        },
    );
    take(&mut batch, ended(0, 1, AttemptExit::Cancelled, 4, 0));
    assert_eq!(batch.status, BatchStatus::Canceled);
}

#[test]
fn kept_work_counts_rows_and_the_time_they_took() {
    let mut batch = running(1);
    let attempt = AttemptId::of(&job_id(0), 1);
    take(&mut batch, Event::AttemptReported { attempt });
    let died = ended(0, 1, AttemptExit::DriverDied, 8, 0);
    let _ = step(&mut batch, NOW.plus_ms(4_000), died).unwrap();
    next_attempt(&mut batch);
    let kept = batch.job(&job_id(0)).unwrap().1.kept_work();
    assert_eq!((kept.rows, kept.saved_ms), (8, 4_000));
}

/// The event is refused, and the batch stays as it is.
fn refused(batch: &mut Batch, event: Event) {
    let before = batch.clone();
    step(batch, NOW, event).unwrap_err();
    assert_eq!(*batch, before);
}

fn found_running(n: u8, number: u32) -> Event {
    Event::AttemptAdopted {
        attempt: AttemptId::of(&job_id(n), number),
        submission: Submission::default(),
    }
}

fn submitted(n: u8, is_found: bool) -> Event {
    Event::AttemptSubmitted {
        attempt: AttemptId::of(&job_id(n), 1),
        is_found,
    }
}

#[test]
fn a_start_that_finds_a_forgotten_run_takes_it_over() {
    for has_reported in [false, true] {
        let mut batch = running(1);
        if has_reported {
            let attempt = AttemptId::of(&job_id(0), 1);
            take(&mut batch, Event::AttemptReported { attempt });
        }
        take(&mut batch, submitted(0, true));
        assert!(batch.tiers[0].jobs[0].attempts[0].is_adopted);
        refused(&mut batch, submitted(0, true));
        take(&mut batch, ended(0, 1, AttemptExit::Finished, ROWS - 2, 0));
        let waits = &batch.tiers[0].jobs[0].state;
        assert!(matches!(waits, JobState::Waiting(Wait::Backoff { .. })));
    }
}

#[test]
fn a_refused_start_of_an_attempt_that_reports_takes_it_over() {
    let mut batch = running(1);
    let attempt = AttemptId::of(&job_id(0), 1);
    let report = attempt.clone();
    take(&mut batch, Event::AttemptReported { attempt: report });
    let refusal = Event::AttemptRefused {
        attempt,
        message: "its id is taken".into(),
        retryable: true,
    };
    take(&mut batch, refusal.clone());
    assert!(batch.tiers[0].jobs[0].attempts[0].is_adopted);
    refused(&mut batch, refusal);
}

#[test]
fn an_attempt_that_was_begun_here_and_leaves_rows_fails_its_job() {
    let mut batch = running(1);
    take(&mut batch, submitted(0, false));
    refused(&mut batch, submitted(0, false));
    take(&mut batch, ended(0, 1, AttemptExit::Finished, ROWS - 2, 0));
    assert_eq!(batch.status, BatchStatus::Failed);
}

#[test]
fn a_run_that_was_forgotten_is_taken_over_and_its_forgotten_rows_are_done_again() {
    let mut batch = batch(1);
    refused(&mut batch, found_running(0, 1));
    take(&mut batch, built(0, ROWS));
    refused(&mut batch, found_running(0, 2));
    let effects = take(&mut batch, found_running(0, 1));
    assert_eq!(
        effects.effects,
        Vec::<Effect>::new(),
        "it is not started a second time"
    );
    assert_eq!(batch.status, BatchStatus::Processing);
    refused(&mut batch, found_running(0, 1));
    // Two of its rows were told to the memory that was lost.
    take(&mut batch, ended(0, 1, AttemptExit::Finished, ROWS - 2, 0));
    let waits = &batch.tiers[0].jobs[0].state;
    assert!(matches!(waits, JobState::Waiting(Wait::Backoff { .. })));
}
