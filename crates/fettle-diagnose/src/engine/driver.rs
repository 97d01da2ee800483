//! Ends of the driver and of whole attempts: failed, crashed, died without a word, stopped from outside, lost; and rows without an outcome.
//!
//! Owns everything about an attempt's end that is not its workers' or its extractor's. It must not claim an end that the memory engine
//! can prove.

use fettle_model::{AttemptExit, AttemptStatus, FailureCategory, InfraEventType, WorkStatus};

use crate::case::{Case, CaseKind, Standing};
use crate::engine::log_text;
use crate::engine::memory::judge;
use crate::facts::BatchFacts;
use crate::remedy::{HealAction, RemedyAction, RemedyKind, ResourceOverrides};
use crate::scope::{AttemptScope, attempts};
use crate::{signals, words};

/// Exit status of a Rust program that panicked.
const PANICKED: i32 = 101;
/// SIGTERM: asked to end.
const SIGTERM: i32 = 15;

/// One case at most for each attempt.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    attempts(facts).filter_map(|scope| case(&scope)).collect()
}

/// Whether the driver ended without a report of its own.
pub(crate) fn died(scope: &AttemptScope<'_>) -> bool {
    scope.attempt.exit == Some(AttemptExit::DriverDied)
        || scope.attempt.status == AttemptStatus::Lost
}

fn case(scope: &AttemptScope<'_>) -> Option<Case> {
    let mut case = match &scope.attempt.exit {
        _ if died(scope) && judge::driver(scope.attempt).is_some() => return None,
        _ if scope.attempt.status == AttemptStatus::Lost => lost(scope),
        Some(AttemptExit::DriverDied) => silent_end(scope),
        Some(AttemptExit::DriverFailed) => failed(scope),
        Some(AttemptExit::Cancelled) => stopped(scope)?,
        Some(AttemptExit::Finished) => rows_lost(scope)?,
        Some(AttemptExit::OutOfMemory | AttemptExit::WorkersKeepDying) => unproven(scope)?,
        Some(AttemptExit::ExtractorFailed) | None => return None,
    };
    match &scope.attempt.exit {
        Some(AttemptExit::DriverDied | AttemptExit::DriverFailed) => {
            log_text::join_driver(&mut case, scope);
        }
        // One that fell silent is told to stop, and what silenced it may be seen only then.
        Some(AttemptExit::Cancelled) => log_text::join_backend(&mut case, scope),
        _ => {}
    }
    case.evidence.extend(scope.backend_lines(case.kind));
    let again = scope.like_ends();
    if again > 1 && case.standing != Standing::Aside {
        case.reason
            .push_str(&format!(" It was attempt {again} in a row to end so."));
    }
    if case.standing == Standing::Aside {
        case.actions.clear();
    }
    Some(case)
}

fn start(
    scope: &AttemptScope<'_>,
    kind: CaseKind,
    category: FailureCategory,
    confidence: f64,
) -> Case {
    let mut case = scope.case(kind, scope.end_standing(), scope.ended_at());
    case.category = Some(category);
    case.confidence = confidence;
    case
}

fn retry(scope: &AttemptScope<'_>, reason: &str, confidence: f64) -> RemedyAction {
    RemedyAction {
        kind: RemedyKind::RetryTier {
            tier_num: scope.at.tier.tier_num,
            overrides: ResourceOverrides::default(),
        },
        reason: reason.to_owned(),
        expected_effect: "unfinished rows are tried again; finished rows are kept".to_owned(),
        confidence,
    }
}

fn silent_end(scope: &AttemptScope<'_>) -> Case {
    let evidence = scope.evidence();
    let exit = evidence.and_then(|evidence| evidence.driver_exit);
    let log = evidence.map_or("", |evidence| evidence.driver_log_tail.as_str());
    let signal = exit.as_ref().and_then(signals::signal_of);
    let crashed = signals::panic_line(log).is_some()
        || exit.is_some_and(|exit| exit.code == Some(PANICKED))
        || matches!(signal, Some(4 | 6 | 7 | 8 | 11));
    let how = exit.map_or("exit unknown".to_owned(), |exit| exit.describe());
    let mut case = if crashed {
        crashed_case(scope, &how, log)
    } else {
        vanished_case(scope, &how, signal)
    };
    let what = format!("the driver ended with {how} and sent no report");
    let mut line = scope.line(case.kind, "process exit", what);
    line.raw = Some(how.clone());
    case.evidence = [line]
        .into_iter()
        .chain(scope.driver_log_line(case.kind))
        .collect();
    let raw = format!("driver: {how}");
    case.events = vec![scope.event(InfraEventType::Unknown, scope.ended_at(), raw)];
    case
}

fn crashed_case(scope: &AttemptScope<'_>, how: &str, log: &str) -> Case {
    let category = FailureCategory::Infrastructure;
    let mut case = start(scope, CaseKind::DriverCrashed, category, 0.75);
    let panic =
        signals::panic_line(log).map_or(String::new(), |line| format!(": {}", words::clause(line)));
    case.reason = format!(
        "The driver of attempt {} {} crashed ({how}){panic}. That is a fault of Fettle, not of the data.",
        scope.attempt.number,
        scope.at.of_tier()
    );
    case.recommendations = vec![
        "Retry the tier, and report the driver's last lines with the version of Fettle.".to_owned(),
    ];
    case.actions = vec![retry(
        scope,
        "the driver crashed; its rows are untouched",
        0.5,
    )];
    case
}

fn vanished_case(scope: &AttemptScope<'_>, how: &str, signal: Option<i32>) -> Case {
    let confidence = if signal.is_some() { 0.5 } else { 0.35 };
    let category = FailureCategory::Infrastructure;
    let mut case = start(scope, CaseKind::DriverDied, category, confidence);
    let asked = match signal {
        Some(SIGTERM) => "was asked to end from outside",
        _ => "ended without a word",
    };
    case.reason = format!(
        "The driver of attempt {} {} {asked} ({how}), and the evidence does not say why.",
        scope.attempt.number,
        scope.at.of_tier()
    );
    case.would_decide = vec![
        "the kernel's log and the service manager's log of the node at that moment (a reboot, a shutdown, a kill)"
            .to_owned(),
    ];
    case.recommendations = vec![
        "Retry the tier; if drivers keep vanishing, look at what ends processes on that node."
            .to_owned(),
    ];
    case.actions = vec![retry(
        scope,
        "nothing speaks against the rows or the extractor",
        0.6,
    )];
    case
}

fn lost(scope: &AttemptScope<'_>) -> Case {
    let mut case = start(
        scope,
        CaseKind::AttemptLost,
        FailureCategory::Orphaned,
        0.85,
    );
    case.reason = format!(
        "Attempt {} {} is gone without a record: the backend no longer knows it.",
        scope.attempt.number,
        scope.at.of_tier()
    );
    let what = "the backend was asked for the attempt and knew nothing of it".to_owned();
    case.evidence = vec![scope.line(case.kind, "backend status", what)];
    case.events = vec![scope.event(
        InfraEventType::Unknown,
        scope.ended_at(),
        "the backend knows nothing of it".to_owned(),
    )];
    case.recommendations = vec![
        "Sync the tier's status, then retry it; finished rows are kept. Ask whether the backend was restarted or its records were deleted.".to_owned(),
    ];
    let tier_num = scope.at.tier.tier_num;
    case.actions = vec![
        retry(scope, "the attempt is gone; its finished rows are not", 0.7),
        RemedyAction {
            kind: RemedyKind::HealTier {
                tier_num,
                action: HealAction::SyncStatus,
            },
            reason: "the backend may know it again after its own restart".to_owned(),
            expected_effect: "the recorded status agrees with the backend's".to_owned(),
            confidence: 0.3,
        },
    ];
    case
}

fn failed(scope: &AttemptScope<'_>) -> Case {
    let log = scope
        .evidence()
        .map_or("", |evidence| evidence.driver_log_tail.as_str());
    let recorded = scope.at.told().filter(|_| scope.is_decisive);
    let told = recorded.or(signals::last_line(log));
    let why = told.map_or(String::new(), |told| format!(": {}", words::clause(told)));
    let category = FailureCategory::Infrastructure;
    let mut case = start(scope, CaseKind::DriverFailed, category, 0.7);
    case.reason = format!(
        "The driver of attempt {} {} could not go on{why}.",
        scope.attempt.number,
        scope.at.of_tier()
    );
    let mut line = scope.line(
        case.kind,
        "driver's exit report",
        "the driver reported that something it needs is gone".to_owned(),
    );
    line.raw = told.map(str::to_owned);
    case.evidence = [line]
        .into_iter()
        .chain(scope.driver_log_line(case.kind))
        .collect();
    case.events = vec![scope.event(
        InfraEventType::Unknown,
        scope.ended_at(),
        told.unwrap_or("driver failed").to_owned(),
    )];
    case.recommendations = vec!["See to what the driver names (the manifest, the blob store, the disk), then retry the tier.".to_owned()];
    case.actions = vec![retry(scope, "after the cause is mended", 0.4)];
    case
}

/// A stop that nobody recorded asking for; one that was asked for is the matter of `canceled`.
fn stopped(scope: &AttemptScope<'_>) -> Option<Case> {
    if scope.at.facts.cancel.is_some() || scope.at.job.status == WorkStatus::Canceled {
        return None;
    }
    let mut case = start(
        scope,
        CaseKind::StoppedFromOutside,
        FailureCategory::Infrastructure,
        0.5,
    );
    case.reason = format!(
        "Attempt {} {} was stopped, and no request to cancel is recorded: a shutdown, or somebody with access to the backend.",
        scope.attempt.number,
        scope.at.of_tier()
    );
    case.evidence = vec![scope.line(
        case.kind,
        "driver's exit report",
        "the driver stopped on request".to_owned(),
    )];
    case.events = vec![scope.event(
        InfraEventType::Unknown,
        scope.ended_at(),
        "stopped without a recorded request".to_owned(),
    )];
    case.would_decide = vec!["the backend's own log of who asked for the stop".to_owned()];
    case.recommendations = vec!["Retry the tier; finished rows are kept.".to_owned()];
    case.actions = vec![retry(
        scope,
        "nothing speaks against the rows or the extractor",
        0.6,
    )];
    Some(case)
}

/// The accounting does not balance.
fn rows_lost(scope: &AttemptScope<'_>) -> Option<Case> {
    let job = scope.at.job;
    let submitted = job.rows_submitted?;
    let missing = submitted.saturating_sub(job.counts.total());
    if missing == 0 || scope.end_standing() != Standing::Cause {
        return None;
    }
    let mut case = start(scope, CaseKind::RowsLost, FailureCategory::Unknown, 0.6);
    case.reason = format!(
        "{missing} of {submitted} rows {} have no outcome although the attempt says that it finished.",
        scope.at.of_tier()
    );
    let what = format!(
        "submitted {submitted}, processed {}, failed {}, skipped {}",
        job.counts.processed, job.counts.failed, job.counts.skipped
    );
    case.evidence = vec![scope.line(case.kind, "row accounting", what)];
    case.would_decide = vec!["the driver's log of the shards that hold those rows".to_owned()];
    case.recommendations = vec!["Retry the tier: only the rows without an outcome are run. Report it, for Fettle must not lose rows.".to_owned()];
    case.actions = vec![retry(scope, "the missing rows are known by number", 0.8)];
    Some(case)
}

/// The driver says that its workers died, and nothing of those deaths was kept.
fn unproven(scope: &AttemptScope<'_>) -> Option<Case> {
    if !scope.deaths().is_empty() {
        return None;
    }
    let says_memory = scope.attempt.exit == Some(AttemptExit::OutOfMemory);
    let (kind, confidence, of) = if says_memory {
        (CaseKind::MemorySuspected, 0.7, "of their memory limit")
    } else {
        (CaseKind::WorkerKilled, 0.3, "again and again")
    };
    let mut case = start(scope, kind, FailureCategory::Infrastructure, confidence);
    case.reason = format!(
        "The driver {} reported that its workers died {of}; the evidence of their deaths was not kept.",
        scope.at.of_tier()
    );
    case.evidence = vec![scope.line(
        kind,
        "driver's exit report",
        format!("the workers died {of}"),
    )];
    case.would_decide = vec!["the deaths of the workers; a retry records them afresh".to_owned()];
    case.recommendations =
        vec!["Retry the tier; the evidence of the next deaths will decide.".to_owned()];
    case.actions = vec![retry(scope, "to learn more", 0.3)];
    Some(case)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use fettle_model::{AttemptEvidence, ProcessExit};

    fn with_driver(exit: ProcessExit, log: &str) -> BatchFacts {
        let mut facts = fixture::failed(AttemptExit::DriverDied, vec![]);
        let evidence = AttemptEvidence {
            driver_exit: Some(exit),
            driver_log_tail: log.to_owned(),
            ..AttemptEvidence::default()
        };
        facts.tiers[0].jobs[0].attempts[0].evidence = Some(evidence);
        facts
    }

    fn check(facts: &BatchFacts, kind: CaseKind, category: FailureCategory) {
        let found = cases(facts);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind, found[0].category), (kind, Some(category)));
        assert_eq!(found[0].standing, Standing::Cause);
        assert!(found[0].confidence < 0.95);
        assert_eq!(cases(facts), found, "a second run changes nothing");
    }

    #[test]
    fn a_killed_driver_is_infrastructure_of_unknown_cause() {
        let killed = ProcessExit {
            code: None,
            signal: Some(9),
        };
        check(
            &with_driver(killed, ""),
            CaseKind::DriverDied,
            FailureCategory::Infrastructure,
        );
    }

    #[test]
    fn a_driver_that_panicked_is_fettle_s_own_fault() {
        let exit = ProcessExit {
            code: Some(101),
            signal: None,
        };
        check(
            &with_driver(exit, "thread 'main' panicked at x.rs:1"),
            CaseKind::DriverCrashed,
            FailureCategory::Infrastructure,
        );
    }

    #[test]
    fn a_lost_attempt_is_orphaned() {
        let mut facts = fixture::failed(AttemptExit::DriverDied, vec![]);
        let attempt = &mut facts.tiers[0].jobs[0].attempts[0];
        attempt.status = AttemptStatus::Lost;
        attempt.exit = None;
        check(&facts, CaseKind::AttemptLost, FailureCategory::Orphaned);
    }

    #[test]
    fn a_backend_s_own_word_decides_what_no_log_can() {
        let told_of = |exit: AttemptExit, message: &str| {
            let mut facts = fixture::failed(exit, vec![]);
            let attempt = &mut facts.tiers[0].jobs[0].attempts[0];
            attempt.evidence = Some(AttemptEvidence {
                backend_messages: vec![message.to_owned()],
                ..AttemptEvidence::default()
            });
            let case = cases(&facts).remove(0);
            (case.category, case.events[0].event_type)
        };
        let told = |message: &str| told_of(AttemptExit::DriverDied, message);
        let replaced = "ray: the cluster was replaced: the job was submitted to session_1 and is unknown to session_2";
        assert_eq!(
            told(replaced),
            (
                Some(FailureCategory::Orphaned),
                InfraEventType::RollingUpdate
            )
        );
        // A driver that fell silent was told to stop before that showed.
        assert_eq!(told_of(AttemptExit::Cancelled, replaced), told(replaced));
        let stopped = "Job was intentionally stopped.";
        assert_eq!(
            told_of(AttemptExit::Cancelled, stopped).1,
            InfraEventType::Unknown
        );
        let ended = "ray: node 10.0.0.3 (ab12) is DEAD: Expected termination: received SIGTERM";
        assert_eq!(told(ended).1, InfraEventType::RollingUpdate);
        // What Ray was told before says why its node ended, whatever is said of the end itself.
        let drained = "ray: node 10.0.0.3 (ab12) was draining since 2026-11-26T01:20:02Z: Ray had been told that it would be taken away";
        let lost = "Job supervisor actor died: The actor died unexpectedly before finishing this task.\n\tclass_name: JobSupervisor\nThe actor died because its node has died. Node Id: ab12\n\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats";
        let unheard = "ray: node 10.0.0.3 (ab12) is DEAD: Unexpected termination: health check failed due to missing too many heartbeats";
        let lines = [
            "ray: job FAILED: JOB_SUPERVISOR_ACTOR_DIED",
            lost,
            drained,
            unheard,
        ];
        assert_eq!(told(&lines.join("\n")).1, InfraEventType::Preemption);
        assert_eq!(
            told(&[lost, unheard].join("\n")).1,
            InfraEventType::NodeFailure
        );
        assert_eq!(
            told(&[drained, ended].join("\n")).1,
            InfraEventType::Preemption
        );
        let invalid = "runtime_env setup failed: the field of runtime_env is not supported";
        assert_eq!(told(invalid).0, Some(FailureCategory::Validation));
    }

    #[test]
    fn a_full_disk_is_named() {
        let mut facts = fixture::failed(AttemptExit::DriverFailed, vec![]);
        facts.tiers[0].jobs[0].end_reason =
            Some("writing outbox: No space left on device".to_owned());
        check(
            &facts,
            CaseKind::DriverFailed,
            FailureCategory::Infrastructure,
        );
        assert!(cases(&facts)[0].recommendations[0].contains("Free space"));
    }

    #[test]
    fn rows_without_an_outcome_are_not_a_success() {
        let mut facts = fixture::failed(AttemptExit::Finished, vec![]);
        facts.tiers[0].jobs[0].counts.processed = 7;
        check(&facts, CaseKind::RowsLost, FailureCategory::Unknown);
        facts.tiers[0].jobs[0].counts.processed = 10;
        assert!(cases(&facts).is_empty());
    }

    #[test]
    fn a_stop_is_only_strange_when_nobody_asked_for_it() {
        let mut facts = fixture::failed(AttemptExit::Cancelled, vec![]);
        check(
            &facts,
            CaseKind::StoppedFromOutside,
            FailureCategory::Infrastructure,
        );
        facts.cancel = Some(crate::facts::CancelFacts {
            at: facts.now,
            reason: None,
        });
        assert!(cases(&facts).is_empty());
    }

    #[test]
    fn it_closes_when_a_later_attempt_finishes() {
        let mut facts = with_driver(
            ProcessExit {
                code: None,
                signal: Some(9),
            },
            "",
        );
        fixture::then_finished(&mut facts);
        let found = cases(&facts);
        assert_eq!((found.len(), found[0].standing), (1, Standing::Aside));
        assert_eq!(found[0].events.len(), 1, "it remains an event");
    }
}
