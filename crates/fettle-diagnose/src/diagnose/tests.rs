//! The diagnosis as a whole: verdict, order, actions.

use super::*;
use crate::CaseKind;
use crate::fixture::{self, death};
use fettle_model::{AttemptEvidence, AttemptExit, InfraEventType, JobId, ProcessExit, Stage};

fn segfault() -> ProcessExit {
    ProcessExit {
        code: None,
        signal: Some(11),
    }
}

#[test]
fn equal_facts_give_equal_answers() {
    let deaths = vec![
        death().oom().rows(&[1]).build(),
        death().exit(segfault()).rows(&[2]).build(),
    ];
    let facts = fixture::failed(AttemptExit::OutOfMemory, deaths);
    assert_eq!(diagnose(&facts), diagnose(&facts));
}

#[test]
fn a_failure_without_evidence_is_unknown_and_says_what_would_decide() {
    let mut facts = fixture::failed(AttemptExit::Finished, vec![]);
    facts.tiers[0].jobs[0].counts.processed = 10;
    facts.tiers[0].jobs[0].end_reason = Some("something odd".into());
    let verdict = diagnose(&facts).verdict;
    assert_eq!(verdict.failure_category, Some(FailureCategory::Unknown));
    assert!(verdict.failure_reason.unwrap().contains("something odd"));
    assert!(verdict.confidence <= Some(0.3) && !verdict.would_decide.is_empty());
}

#[test]
fn what_happened_most_often_is_the_cause_and_the_exception_is_not() {
    let mut deaths: Vec<_> = (0..4)
        .map(|row| death().exit(segfault()).rows(&[row]).build())
        .collect();
    deaths.insert(0, death().oom().build());
    let diagnosis = diagnose(&fixture::failed(AttemptExit::WorkersKeepDying, deaths));
    assert_eq!(diagnosis.verdict.case, Some(CaseKind::WorkerCrashed));
    assert_eq!(
        diagnosis.infrastructure_events[0].event_type,
        InfraEventType::Oom
    );
}

#[test]
fn a_worker_s_death_is_not_the_cause_of_its_driver_s() {
    let facts = fixture::failed(AttemptExit::DriverDied, vec![death().oom().build()]);
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.verdict.case, Some(CaseKind::DriverDied));
    assert!(diagnosis.verdict.confidence < Some(0.6));
}

#[test]
fn a_batch_that_completed_has_no_failure_whatever_befell_it() {
    let mut facts = fixture::failed(AttemptExit::OutOfMemory, vec![death().oom().build()]);
    fixture::then_finished(&mut facts);
    let diagnosis = diagnose(&facts);
    assert_eq!(
        (
            diagnosis.verdict.failure_category,
            &diagnosis.verdict.failure_reason
        ),
        (None, &None)
    );
    assert!(
        diagnosis.verdict.summary.contains("1 incident"),
        "{}",
        diagnosis.verdict.summary
    );
    assert_eq!(diagnosis.infrastructure_events.len(), 1);
    assert!(diagnosis.recommended_actions.is_empty() && diagnosis.recommendations.is_empty());
}

#[test]
fn a_running_batch_is_told_of_deaths_without_a_verdict_of_failure() {
    let mut facts = fixture::running();
    let evidence = AttemptEvidence {
        worker_deaths: vec![death().oom().build()],
        ..AttemptEvidence::default()
    };
    facts.tiers[0].jobs[0].attempts[0].evidence = Some(evidence);
    let diagnosis = diagnose(&facts);
    assert_eq!(
        (diagnosis.verdict.failure_category, diagnosis.verdict.case),
        (None, Some(CaseKind::OutOfMemory))
    );
    let retries = |action: &&RemedyAction| matches!(action.kind, RemedyKind::RetryTier { .. });
    assert_eq!(
        diagnosis.recommended_actions.iter().find(retries),
        None,
        "a running batch cannot be retried"
    );
}

#[test]
fn two_jobs_of_a_tier_share_one_retry_that_is_enough_for_both() {
    let mut facts = fixture::failed(AttemptExit::OutOfMemory, vec![death().oom().build()]);
    let mut other = facts.tiers[0].jobs[0].clone();
    other.job_id = JobId::from_entropy([9; 15]);
    let deaths = &mut other.attempts[0].evidence.as_mut().unwrap().worker_deaths;
    deaths[0].memory.limit_bytes = Some(1 << 30);
    facts.tiers[0].jobs.push(other);
    let actions = diagnose(&facts).recommended_actions;
    assert_eq!(actions.len(), 1);
    let RemedyKind::RetryTier { overrides, .. } = actions[0].kind else {
        panic!("{actions:?}")
    };
    assert_eq!(overrides.memory_bytes, Some(2 << 30));
}

#[test]
fn a_tier_says_where_its_time_goes_and_whether_its_rows_balance() {
    let mut facts = fixture::failed(AttemptExit::Finished, vec![]);
    facts.tiers[0].jobs[0].stages.writing.busy_ms = 900;
    facts.tiers[0].jobs[0].stages.loading.busy_ms = 100;
    let tier = &diagnose(&facts).tiers[0];
    assert_eq!(
        tier.bottleneck.as_ref().map(|b| b.stage),
        Some(Stage::Writing)
    );
    assert_eq!(tier.is_balanced, Some(false));
    assert_eq!(tier.memory_limit_bytes, Some(fixture::LIMIT));
}

#[test]
fn empty_facts_are_answered() {
    let mut facts = fixture::running();
    facts.tiers.clear();
    facts.status = BatchStatus::Draft;
    assert!(diagnose(&facts).verdict.summary.contains("draft"));
}

#[test]
fn every_case_has_a_section_in_the_failure_guide() {
    let guide = include_str!("../../../../docs/failures.md");
    for kind in CaseKind::ALL {
        let heading = format!("### {}\n", kind.as_str());
        assert!(
            guide.contains(&heading),
            "docs/failures.md lacks `{}`",
            heading.trim()
        );
    }
    for event in [
        "oom",
        "preemption",
        "node_failure",
        "ray_bug",
        "rolling_update",
    ] {
        assert!(
            guide.contains(&format!("### Event `{event}`\n")),
            "docs/failures.md lacks event {event}"
        );
    }
}
