//! The memory engine: when it opens, closes, and what it advises.

use fettle_model::{AttemptExit, MemoryEvidence, ProcessExit};

use super::*;
use crate::case::Standing;
use crate::fixture::{self, LIMIT, death};
use crate::remedy::{HealAction, RemedyKind, ResourceOverrides};

fn oom(deaths: Vec<WorkerDeath>) -> BatchFacts {
    fixture::failed(AttemptExit::OutOfMemory, deaths)
}

fn only(facts: &BatchFacts) -> Case {
    let mut found = cases(facts);
    assert_eq!(found.len(), 1);
    assert_eq!(cases(facts), found, "a second run changes nothing");
    found.remove(0)
}

fn retry(memory_mib: u64) -> RemedyKind {
    let overrides = ResourceOverrides {
        memory_bytes: Some(memory_mib << 20),
        ..ResourceOverrides::default()
    };
    RemedyKind::RetryTier {
        tier_num: 0,
        overrides,
    }
}

#[test]
fn a_kill_that_the_kernel_counted_is_an_oom() {
    let found = only(&oom(vec![death().oom().build()]));
    assert_eq!(
        (found.kind, found.standing),
        (CaseKind::OutOfMemory, Standing::Cause)
    );
    assert!(found.confidence >= 0.95);
    assert_eq!(found.category, Some(FailureCategory::Infrastructure));
    assert_eq!(found.events[0].event_type, InfraEventType::Oom);
    let counter = &found.evidence[0];
    assert_eq!(counter.source, "cgroup memory.oom_control oom_kill");
    assert_eq!(counter.worker, Some(0));
    assert!(
        found.evidence[1]
            .what
            .contains("256 MiB of 256 MiB (100 %)"),
        "{}",
        found.evidence[1].what
    );
    assert_eq!(found.actions[0].kind, retry(512));
}

#[test]
fn sigkill_or_137_near_the_limit_is_no_oom_when_the_counter_stands_at_zero() {
    let mut dead = death().build();
    dead.memory.peak_bytes = Some(LIMIT);
    assert!(cases(&oom(vec![dead.clone()])).is_empty());
    dead.exit = ProcessExit {
        code: Some(137),
        signal: None,
    };
    assert!(cases(&oom(vec![dead])).is_empty());
}

#[test]
fn what_the_driver_ended_is_not_read_as_memory() {
    assert!(
        cases(&oom(vec![
            death().oom().killed_by_driver("cancelled").build()
        ]))
        .is_empty()
    );
}

#[test]
fn it_closes_when_a_later_attempt_finishes() {
    let mut facts = oom(vec![death().oom().build()]);
    fixture::then_finished(&mut facts);
    let found = only(&facts);
    assert_eq!(found.standing, Standing::Aside);
    assert!(found.actions.is_empty());
}

#[test]
fn without_a_counter_it_is_less_sure() {
    let aborted = ProcessExit {
        code: None,
        signal: Some(6),
    };
    let log = "memory allocation of 104857600 bytes failed";
    let near = only(&oom(vec![
        death().rlimit(240 << 20).exit(aborted).log(log).build(),
    ]));
    assert_eq!(near.kind, CaseKind::OutOfMemory);
    assert!((0.8..0.95).contains(&near.confidence));
    // 240 MiB in use and 100 MiB more were asked for: 1.5 times 340 MiB.
    assert_eq!(near.actions[0].kind, retry(512));
    let suspected = only(&oom(vec![death().rlimit(LIMIT).exit(aborted).build()]));
    assert_eq!(suspected.kind, CaseKind::MemorySuspected);
    assert!(suspected.confidence <= 0.5 && !suspected.would_decide.is_empty());
    assert_eq!(suspected.events[0].event_type, InfraEventType::Unknown);
    assert!(cases(&oom(vec![death().rlimit(LIMIT / 2).exit(aborted).build()])).is_empty());
}

#[test]
fn a_need_before_the_first_row_is_steady() {
    let found = only(&oom(vec![death().oom().not_ready().build()]));
    assert!(
        found.reason.contains("before the first row"),
        "{}",
        found.reason
    );
}

#[test]
fn growth_with_the_rows_is_a_leak() {
    let curve = [20, 40, 70, 100, 130, 160, 190, 220, 245];
    let dead = death()
        .oom()
        .rows(&[41])
        .last_finished(Some(40))
        .curve_mib(&curve)
        .build();
    let mut facts = oom(vec![dead]);
    facts.tiers[0].jobs[0].counts.processed = 5;
    let found = only(&facts);
    assert!(found.reason.contains("leak"), "{}", found.reason);
    assert!(found.recommendations[0].contains("smaller shards"));
    assert!(
        found.actions[0].confidence < 0.6,
        "more memory only delays it"
    );
}

#[test]
fn a_row_that_is_there_each_time_is_the_big_one() {
    let facts = oom(vec![
        death().oom().rows(&[3, 4]).build(),
        death().oom().rows(&[4]).build(),
    ]);
    let found = only(&facts);
    assert!(found.reason.contains("row 4 (obj_4"), "{}", found.reason);
    let quarantine = RemedyKind::HealTier {
        tier_num: 0,
        action: HealAction::QuarantinePoison,
    };
    assert_eq!(found.actions[0].kind, quarantine);
    assert_eq!(found.actions[1].kind, retry(512));
}

#[test]
fn two_lonely_rows_are_not_one_big_row() {
    let dead = |row| death().oom().rows(&[row]).last_finished(None).build();
    let mut facts = oom(vec![dead(3)]);
    facts.tiers[0].jobs[0].counts.processed = 5;
    assert!(only(&facts).reason.contains("row 3 (obj_3"));
    let mut facts = oom(vec![dead(3), dead(4)]);
    facts.tiers[0].jobs[0].counts.processed = 5;
    assert!(!only(&facts).reason.contains("; row"));
}

#[test]
fn a_sudden_rise_with_one_row_in_work_is_probably_that_row() {
    let dead = death()
        .oom()
        .rows(&[7])
        .last_finished(Some(6))
        .curve_mib(&[20, 40, 41, 40, 41, 42])
        .build();
    let mut facts = oom(vec![dead]);
    facts.tiers[0].jobs[0].counts.processed = 5;
    assert!(only(&facts).reason.contains("probably takes it"));
}

#[test]
fn when_no_row_was_ever_finished_every_row_needs_more() {
    let dead = |row| death().oom().rows(&[row]).last_finished(None).build();
    assert!(
        only(&oom(vec![dead(1), dead(2)]))
            .reason
            .contains("every row")
    );
}

#[test]
fn a_curve_that_had_levelled_off_measures_the_need() {
    let curve = [20, 230, 240, 241, 242, 243, 244, 245];
    let mut dead = death().oom().curve_mib(&curve).build();
    dead.memory.peak_bytes = Some(246 << 20);
    assert_eq!(only(&oom(vec![dead])).actions[0].kind, retry(376));
}

#[test]
fn a_node_without_more_memory_says_what_would_help_instead() {
    let mut facts = oom(vec![death().oom().build()]);
    facts.node_memory_bytes = Some(LIMIT);
    let found = only(&facts);
    assert!(found.actions.is_empty());
    assert!(found.recommendations[0].starts_with("More memory will not help"));
    assert!(found.recommendations[0].contains("smaller shards"));
}

#[test]
fn a_kill_beyond_the_recorded_deaths_took_the_driver() {
    let mut facts = fixture::failed(AttemptExit::DriverDied, vec![]);
    let evidence = facts.tiers[0].jobs[0].attempts[0]
        .evidence
        .as_mut()
        .unwrap();
    evidence.driver_exit = Some(ProcessExit {
        code: None,
        signal: Some(9),
    });
    evidence.attempt_memory = Some(MemoryEvidence {
        oom_kills: Some(1),
        ..death().oom().build().memory
    });
    let found = only(&facts);
    assert!(
        (0.8..0.95).contains(&found.confidence),
        "it was not that very process's counter"
    );
    assert_eq!(
        crate::diagnose(&facts).verdict.case,
        Some(CaseKind::OutOfMemory)
    );
    // The same kill, explained by a worker's death, says nothing of the driver.
    let evidence = facts.tiers[0].jobs[0].attempts[0]
        .evidence
        .as_mut()
        .unwrap();
    evidence.worker_deaths = vec![death().oom().build()];
    assert_eq!(
        crate::diagnose(&facts).verdict.case,
        Some(CaseKind::DriverDied)
    );
}

#[test]
fn a_worker_that_lived_on_after_its_child_was_killed_is_an_event() {
    let mut facts = fixture::failed(AttemptExit::Finished, vec![]);
    fixture::then_finished(&mut facts);
    let evidence = facts.tiers[0].jobs[0].attempts[0]
        .evidence
        .as_mut()
        .unwrap();
    evidence.memory = Some(death().oom().build().memory);
    let found = only(&facts);
    assert_eq!((found.standing, found.events.len()), (Standing::Aside, 1));
}

#[test]
fn a_worker_that_the_driver_found_above_its_limit_ran_out_of_memory() {
    let words = fettle_model::evidence::KilledByDriver::OverLimit.describe();
    let dead = death().rlimit(LIMIT + 1).killed_by_driver(words).build();
    let facts = fixture::failed(AttemptExit::OutOfMemory, vec![dead]);
    let found = cases(&facts);
    assert_eq!((found.len(), found[0].kind), (1, CaseKind::OutOfMemory));
    assert_eq!(found[0].standing, Standing::Cause);
    assert_eq!(found[0].events[0].event_type, InfraEventType::Oom);
    assert!((0.85..0.95).contains(&found[0].confidence));
    assert!(!found[0].actions.is_empty());
}
