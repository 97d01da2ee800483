//! Deaths of workers that memory does not explain: crashes, exits and kills from outside.
//!
//! Owns the reading of exit statuses and signals. It must not call exit status 137 or SIGKILL an OOM, and not claim what `memory` or `extractor`
//! claims.

use fettle_model::evidence::{InFlightRow, KilledByDriver};
use fettle_model::{AttemptExit, FailureCategory, InfraEventType, WorkerDeath};

use crate::case::{Case, CaseKind, Standing};
use crate::engine::log_text;
use crate::engine::memory::judge;
use crate::facts::BatchFacts;
use crate::remedy::{HealAction, RemedyAction, RemedyKind, ResourceOverrides};
use crate::scope::{AttemptScope, attempts, tail_offset};
use crate::{signals, words};

/// Deaths that are told line by line.
const DEATHS_TOLD_MAX: usize = 6;

/// How a worker died, as far as its exit tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    /// By a fault of its own code.
    Crash(i32),
    /// By itself, with a status.
    Exit(i32),
    /// From outside.
    Kill(i32),
    /// Nobody saw how.
    Unseen,
}

fn read(death: &WorkerDeath) -> Death {
    match (signals::signal_of(&death.exit), death.exit.code) {
        (Some(signal), _) if signals::OWN_FAULTS.contains(&signal) => Death::Crash(signal),
        (Some(signal), _) => Death::Kill(signal),
        (None, Some(code)) => Death::Exit(code),
        (None, None) => Death::Unseen,
    }
}

/// One case for each way to die in an attempt, and one for rows that were too slow.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    attempts(facts)
        .flat_map(|scope| {
            let mut cases = unintended(&scope);
            cases.extend(timeouts(&scope));
            cases
        })
        .collect()
}

fn unintended(scope: &AttemptScope<'_>) -> Vec<Case> {
    let all = scope.deaths();
    let is_extractor_s = |death: &WorkerDeath| {
        scope.attempt.exit == Some(AttemptExit::ExtractorFailed) && death.exit.code.is_some()
    };
    let rest: Vec<&WorkerDeath> = all
        .iter()
        .copied()
        .filter(|d| judge::worker(d).is_none() && !is_extractor_s(d))
        .collect();
    let mut kinds: Vec<CaseKind> = rest.iter().map(|death| kind_of(read(death))).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let of_kind = |kind: CaseKind| {
        let like = rest
            .iter()
            .copied()
            .filter(|death| kind_of(read(death)) == kind);
        like.collect::<Vec<_>>()
    };
    kinds
        .into_iter()
        .filter_map(|kind| case(scope, kind, &of_kind(kind), all.len()))
        .collect()
}

fn kind_of(death: Death) -> CaseKind {
    match death {
        Death::Crash(_) => CaseKind::WorkerCrashed,
        Death::Exit(_) => CaseKind::WorkerExited,
        Death::Kill(_) | Death::Unseen => CaseKind::WorkerKilled,
    }
}

fn case(
    scope: &AttemptScope<'_>,
    kind: CaseKind,
    deaths: &[&WorkerDeath],
    of: usize,
) -> Option<Case> {
    let first = deaths.first()?;
    let share = deaths.len() as f64 / of.max(1) as f64;
    let mut case = scope.case(kind, scope.deaths_standing(share), first.at);
    let suspect = suspect(deaths);
    let repeated = deaths.iter().all(|death| read(death) == read(first)) && deaths.len() > 1;
    case.confidence = confidence(read(first), repeated, suspect.is_some());
    case.category = Some(match kind {
        CaseKind::WorkerKilled => FailureCategory::Infrastructure,
        _ => FailureCategory::Pipeline,
    });
    case.reason = reason(scope, kind, deaths, suspect);
    case.evidence = deaths
        .iter()
        .take(DEATHS_TOLD_MAX)
        .map(|death| line(scope, kind, death))
        .collect();
    if kind == CaseKind::WorkerKilled {
        case.events = deaths.iter().map(|death| event(scope, death)).collect();
        case.would_decide = vec![
            "the kernel's log of the node, the cluster's events at that moment, or the shell history of who may send signals".to_owned(),
        ];
    }
    advise(&mut case, scope, suspect);
    log_text::join_workers(&mut case, scope, deaths);
    Some(case)
}

/// A killed worker is a plain fact with an unknown sender; a crash that repeats, and with the same row, is the extractor's.
fn confidence(death: Death, repeated: bool, has_suspect: bool) -> f64 {
    let base: f64 = match death {
        Death::Crash(_) => 0.75,
        Death::Exit(126 | 127) => 0.8,
        Death::Exit(0) => 0.3,
        Death::Exit(_) => 0.65,
        Death::Kill(_) => return 0.5,
        Death::Unseen => return 0.3,
    };
    let more = if repeated { 0.05 } else { 0.0 } + if has_suspect { 0.1 } else { 0.0 };
    (base + more).min(0.94)
}

/// The one row that was in work at every death, of two at least.
fn suspect<'a>(deaths: &[&'a WorkerDeath]) -> Option<&'a InFlightRow> {
    let (first, rest) = deaths.split_first()?;
    let everywhere = |row: &&InFlightRow| {
        rest.iter()
            .all(|death| death.in_flight.iter().any(|other| other.row == row.row))
    };
    let mut common = first.in_flight.iter().filter(everywhere);
    match (rest.is_empty(), common.next(), common.next()) {
        (false, Some(row), None) => Some(row),
        _ => None,
    }
}

fn reason(
    scope: &AttemptScope<'_>,
    kind: CaseKind,
    deaths: &[&WorkerDeath],
    suspect: Option<&InFlightRow>,
) -> String {
    let many = words::count(deaths.len() as u64, "worker");
    let of = scope.at.of_tier();
    let exit = deaths
        .first()
        .map_or(String::new(), |death| death.exit.describe());
    let told = deaths
        .iter()
        .rev()
        .find_map(|death| signals::last_line(&death.log_tail));
    let told = told.map_or(String::new(), |line| {
        format!(" The last line of its log: {}", words::clause(line)) + "."
    });
    let row = suspect.map_or(String::new(), |row| {
        format!(
            " Row {} ({}) was in work each time.",
            row.row, row.source_id
        )
    });
    match kind {
        CaseKind::WorkerCrashed => format!(
            "{many} {of} crashed with {exit}: native code of the extractor failed.{row}{told}"
        ),
        CaseKind::WorkerExited => {
            format!("{many} {of} ended with {exit} although rows were left.{row}{told}")
        }
        _ => format!(
            "{many} {of} ended with {exit}; somebody outside sent it, and the evidence does not say who. No out-of-memory kill was counted for it.{row}"
        ),
    }
}

fn line(
    scope: &AttemptScope<'_>,
    kind: CaseKind,
    death: &WorkerDeath,
) -> crate::finding::EvidenceLine {
    let rows: Vec<String> = death
        .in_flight
        .iter()
        .map(|row| row.row.to_string())
        .collect();
    let doing = match (death.ready, rows.is_empty()) {
        (false, _) => "before it was ready for rows".to_owned(),
        (true, true) => "with no row in work".to_owned(),
        (true, false) => format!("with row(s) {} in work", rows.join(", ")),
    };
    let counter = match death.memory.oom_kills {
        Some(0) => "; the kernel counted no out-of-memory kill in its group",
        Some(_) => "",
        None => "; there was no kernel counter of out-of-memory kills",
    };
    let lived = words::duration(death.at.since(death.started_at));
    let exit = death.exit.describe();
    let what = format!(
        "worker {} (pid {}) ended with {exit} after {lived} {doing}{counter}",
        death.worker, death.pid
    );
    let mut line = scope.death_line(death, kind, "process exit", what);
    line.raw = Some(exit);
    line.quote(&death.log_tail, tail_offset(death.log.as_ref()));
    line
}

fn event(scope: &AttemptScope<'_>, death: &WorkerDeath) -> fettle_model::InfraEvent {
    let counted = death
        .memory
        .oom_kills
        .map_or("not counted".to_owned(), |kills| kills.to_string());
    let raw = format!(
        "worker {}: {}; oom_kill {counted}",
        death.worker,
        death.exit.describe()
    );
    scope.event_of_worker(InfraEventType::Unknown, death, raw)
}

fn advise(case: &mut Case, scope: &AttemptScope<'_>, suspect: Option<&InFlightRow>) {
    let tier_num = scope.at.tier.tier_num;
    if let Some(row) = suspect {
        case.recommendations.push(format!(
            "Look at row {} ({}): its worker died of it each time. Quarantine it and the rest can go on.",
            row.row, row.source_id
        ));
    }
    case.recommendations.push(match case.kind {
        CaseKind::WorkerCrashed => "Run the extractor on a row that was in work, alone, with its native libraries up to date; then retry the tier.".to_owned(),
        CaseKind::WorkerExited => "Mend what the last lines of the worker's log name, then retry the tier.".to_owned(),
        _ => "Retry the tier; if it happens again at a like time, ask who stops processes on that node (a scheduler, a session manager, a memory guard).".to_owned(),
    });
    if case.standing == Standing::Aside {
        return;
    }
    if let Some(row) = suspect {
        case.actions.push(RemedyAction {
            kind: RemedyKind::HealTier {
                tier_num,
                action: HealAction::QuarantinePoison,
            },
            reason: format!(
                "row {} ({}) was in work at every death",
                row.row, row.source_id
            ),
            expected_effect: "that row is failed with the reason and the rest is processed"
                .to_owned(),
            confidence: 0.7,
        });
    }
    if case.kind == CaseKind::WorkerKilled {
        case.actions.push(RemedyAction {
            kind: RemedyKind::RetryTier { tier_num, overrides: ResourceOverrides::default() },
            reason: "the workers were ended from outside; nothing speaks against the rows or the extractor".to_owned(),
            expected_effect: "unfinished rows are tried again; finished rows are kept".to_owned(),
            confidence: 0.5,
        });
    }
}

/// Rows that took longer than their limit until the attempt could not go on: the driver ended every worker itself.
fn timeouts(scope: &AttemptScope<'_>) -> Option<Case> {
    let deaths = &scope.evidence()?.worker_deaths;
    let told = |death: &&WorkerDeath| death.driver_s_reason() == Some(KilledByDriver::RowTimeout);
    let late: Vec<&WorkerDeath> = deaths.iter().filter(told).collect();
    let first = late.first()?;
    let share = late.len() as f64 / deaths.len().max(1) as f64;
    let mut case = scope.case(CaseKind::RowTimeout, scope.deaths_standing(share), first.at);
    case.category = Some(FailureCategory::Timeout);
    case.confidence = 0.85;
    let rows = words::count(late.len() as u64, "worker");
    case.reason = format!(
        "{rows} {} took longer for a row than its limit and had to be ended.",
        scope.at.of_tier()
    );
    let lines = late.iter().take(DEATHS_TOLD_MAX).map(|death| {
        let oldest = death.in_flight.iter().min_by_key(|row| row.since);
        let row = oldest.map_or("a row".to_owned(), |row| {
            format!(
                "row {} ({}) for {}",
                row.row,
                row.source_id,
                words::duration(death.at.since(row.since))
            )
        });
        let what = format!(
            "the driver ended worker {}, which had been busy with {row}",
            death.worker
        );
        let mut line = scope.death_line(death, CaseKind::RowTimeout, "driver", what);
        line.raw = death.killed_by_driver.clone();
        line
    });
    case.evidence = lines.collect();
    case.recommendations =
        vec!["Raise the row time-out, or split the objects that take so long.".to_owned()];
    Some(case)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, death};
    use fettle_model::{ProcessExit, WorkStatus};

    fn check(exit: ProcessExit, kind: CaseKind, category: FailureCategory, confidence: (f64, f64)) {
        let facts = fixture::failed(
            AttemptExit::WorkersKeepDying,
            vec![death().exit(exit).build()],
        );
        let found = cases(&facts);
        assert_eq!(found.len(), 1, "{exit:?}");
        assert_eq!(
            (found[0].kind, found[0].category),
            (kind, Some(category)),
            "{exit:?}"
        );
        assert_eq!(found[0].standing, Standing::Cause);
        assert!(
            (confidence.0..=confidence.1).contains(&found[0].confidence),
            "{}",
            found[0].confidence
        );
        assert_eq!(cases(&facts), found, "a second run changes nothing");
    }

    fn by_code(code: i32) -> ProcessExit {
        ProcessExit {
            code: Some(code),
            signal: None,
        }
    }

    fn by_signal(signal: i32) -> ProcessExit {
        ProcessExit {
            code: None,
            signal: Some(signal),
        }
    }

    #[test]
    fn a_kill_without_a_counted_oom_is_infrastructure_of_unknown_cause() {
        for exit in [by_signal(9), by_code(137), by_signal(15), by_code(143)] {
            check(
                exit,
                CaseKind::WorkerKilled,
                FailureCategory::Infrastructure,
                (0.3, 0.5),
            );
            let facts = fixture::failed(
                AttemptExit::WorkersKeepDying,
                vec![death().exit(exit).build()],
            );
            let found = &cases(&facts)[0];
            assert_eq!(found.events[0].event_type, InfraEventType::Unknown);
            assert!(!found.would_decide.is_empty());
        }
    }

    #[test]
    fn a_crash_of_native_code_is_the_pipeline_s() {
        check(
            by_signal(11),
            CaseKind::WorkerCrashed,
            FailureCategory::Pipeline,
            (0.7, 0.8),
        );
        check(
            by_code(134),
            CaseKind::WorkerCrashed,
            FailureCategory::Pipeline,
            (0.7, 0.8),
        );
        check(
            by_code(3),
            CaseKind::WorkerExited,
            FailureCategory::Pipeline,
            (0.6, 0.7),
        );
        check(
            by_code(127),
            CaseKind::WorkerExited,
            FailureCategory::Pipeline,
            (0.8, 0.85),
        );
    }

    #[test]
    fn a_row_that_is_there_at_every_death_is_the_suspect() {
        let dead = |rows: &[u32]| death().exit(by_signal(11)).rows(rows).build();
        let facts = fixture::failed(
            AttemptExit::WorkersKeepDying,
            vec![dead(&[3, 4]), dead(&[4])],
        );
        let found = cases(&facts);
        assert!(found[0].reason.contains("Row 4"), "{}", found[0].reason);
        let quarantine = RemedyKind::HealTier {
            tier_num: 0,
            action: HealAction::QuarantinePoison,
        };
        assert_eq!(found[0].actions[0].kind, quarantine);
    }

    #[test]
    fn what_the_driver_ended_on_purpose_is_not_a_crash() {
        let ended = death()
            .exit(by_signal(9))
            .killed_by_driver("cancelled")
            .build();
        assert!(cases(&fixture::failed(AttemptExit::Cancelled, vec![ended])).is_empty());
    }

    #[test]
    fn rows_over_their_time_limit_are_a_timeout() {
        let late = death()
            .exit(by_signal(9))
            .rows(&[5])
            .killed_by_driver(KilledByDriver::RowTimeout.describe())
            .build();
        let found = cases(&fixture::failed(AttemptExit::WorkersKeepDying, vec![late]));
        assert_eq!(
            (found[0].kind, found[0].category),
            (CaseKind::RowTimeout, Some(FailureCategory::Timeout))
        );
        assert!(found[0].evidence[0].what.contains("row 5"));
    }

    #[test]
    fn a_death_that_the_attempt_outlived_is_an_event_and_no_cause() {
        let mut facts = fixture::failed(
            AttemptExit::Finished,
            vec![death().exit(by_signal(9)).build()],
        );
        facts.tiers[0].jobs[0].status = WorkStatus::Completed;
        let found = cases(&facts);
        assert_eq!(found[0].standing, Standing::Aside);
        assert_eq!(found[0].events.len(), 1);
        assert!(found[0].actions.is_empty());
    }
}
