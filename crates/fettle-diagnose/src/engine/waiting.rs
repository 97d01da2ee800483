//! Work that waits or does not move: for capacity, for the end of a back-off, for a driver's first word, for any word, for a row.
//!
//! Owns findings with an age. It must not call anything dead: a finding of "stuck" is no proof, and killing is a remedy for others to order.

use fettle_model::{AttemptStatus, UnixMillis, WorkStatus};

use crate::case::{Case, CaseKind, Standing};
use crate::facts::{AttemptFacts, Awaited, BatchFacts, NodeWait, WaitFacts, WaitReason};
use crate::remedy::{HealAction, RemedyAction, RemedyKind};
use crate::scope::{JobScope, jobs};
use crate::words;

/// A driver that has not reported for so long after it was handed over is late: a local start takes under a second, a cold Ray worker tens.
const SLOW_START_MS: u64 = 60_000;
/// Heartbeats come about once a second; thirty missed ones are no hiccup.
const SILENT_MS: u64 = 30_000;
/// Without knowledge of the job's pace, so long without a finished row is worth a look.
const NO_PROGRESS_FLOOR_MS: u64 = 300_000;
/// With it, so many times the mean time for a row is.
const NO_PROGRESS_PACE: u64 = 10;

/// One case at most for each job that is under way.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    jobs(facts)
        .filter(|scope| scope.job.status == WorkStatus::InProgress)
        .filter_map(|scope| match (&scope.job.waiting, &scope.job.node_wait) {
            (Some(_), Some(lack)) => Some(case(&scope, for_nodes(&scope, lack))),
            (Some(wait), None) => Some(waiting(&scope, wait)),
            (None, _) => moving(&scope),
        })
        .collect()
}

/// What is to be said of one job.
struct Said {
    kind: CaseKind,
    confidence: f64,
    since: UnixMillis,
    reason: String,
    source: &'static str,
    raw: Option<String>,
    advice: Option<String>,
    action: Option<RemedyAction>,
}

fn case(scope: &JobScope<'_>, said: Said) -> Case {
    let mut case = scope.case(said.kind, Standing::Concern, said.since);
    let mut line = scope.line(
        said.kind,
        said.source,
        words::clause(&said.reason).to_owned(),
    );
    line.at = Some(said.since);
    line.raw = said.raw;
    case.attempt = live(scope).map(|attempt| attempt.attempt_id.clone());
    line.attempt = case.attempt.clone();
    case.confidence = said.confidence;
    case.reason = said.reason;
    case.evidence = vec![line];
    case.recommendations = said.advice.into_iter().collect();
    case.actions = said.action.into_iter().collect();
    case
}

fn live<'a>(scope: &JobScope<'a>) -> Option<&'a AttemptFacts> {
    scope
        .job
        .attempts
        .last()
        .filter(|attempt| attempt.status.may_be_alive())
}

fn waiting(scope: &JobScope<'_>, wait: &WaitFacts) -> Case {
    let now = scope.facts.now;
    let since = wait.since.or(scope.job.started_at).unwrap_or(now);
    let age = words::duration(now.since(since));
    let of = scope.of_tier();
    let detail = wait.detail.as_deref().map_or(String::new(), |detail| {
        format!(" ({})", words::clause(detail))
    });
    let resources = &scope.job.resources;
    let total = resources.memory_total_bytes();
    let never_fits = scope
        .facts
        .node_memory_bytes
        .is_some_and(|node| total > node);
    let (kind, reason, advice) = match wait.reason {
        WaitReason::Backoff { until } => (
            CaseKind::BackingOff,
            format!(
                "The job {of} is tried again in {}{detail}.",
                words::duration(until.since(now))
            ),
            None,
        ),
        WaitReason::EarlierBatch => (
            CaseKind::WaitingForCapacity,
            format!("The job {of} has waited for an earlier batch for {age}{detail}."),
            Some("Raise its priority, or wait for the earlier batch.".to_owned()),
        ),
        WaitReason::Capacity => (
            CaseKind::WaitingForCapacity,
            format!(
                "The job {of} has waited for {} core(s) and {} of memory for {age}{detail}.",
                resources.num_cpus,
                words::bytes(total)
            ),
            Some(if never_fits {
                "It can never be admitted: it asks for more memory than the node has. Cancel it and submit it with less.".to_owned()
            } else {
                "Wait for running jobs to end, ask for less, or raise its priority.".to_owned()
            }),
        ),
    };
    let action = (never_fits && kind == CaseKind::WaitingForCapacity).then(|| RemedyAction {
        kind: RemedyKind::CancelBatch,
        reason: "it asks for more memory than there is".to_owned(),
        expected_effect: "the batch ends, and can be retried with less".to_owned(),
        confidence: 0.8,
    });
    let raw = wait.detail.clone();
    case(
        scope,
        Said {
            kind,
            confidence: 0.95,
            since,
            reason,
            source: "orchestrator's record",
            raw,
            advice,
            action,
        },
    )
}

/// A job that should move: has its attempt reported, does it still, do rows finish?
fn moving(scope: &JobScope<'_>) -> Option<Case> {
    let attempt = live(scope)?;
    let said = match attempt.status {
        AttemptStatus::Planned | AttemptStatus::Submitted => {
            cold_start(scope).or_else(|| slow_start(scope, attempt))?
        }
        AttemptStatus::Running => silent(scope, attempt)
            .or_else(|| no_progress(scope, attempt))
            .or_else(|| cold_start(scope))?,
        AttemptStatus::Cancelling | AttemptStatus::Ended | AttemptStatus::Lost => return None,
    };
    Some(case(scope, said))
}

fn heal(scope: &JobScope<'_>, action: HealAction, expected_effect: &str) -> Option<RemedyAction> {
    Some(RemedyAction {
        kind: RemedyKind::HealTier {
            tier_num: scope.tier.tier_num,
            action,
        },
        reason: "a long silence is not yet a proof".to_owned(),
        expected_effect: expected_effect.to_owned(),
        confidence: 0.6,
    })
}

fn cold_start(scope: &JobScope<'_>) -> Option<Said> {
    let (now, window_ms) = (scope.facts.now, scope.facts.cold_start_ms);
    let lack = scope.job.node_wait.as_ref()?;
    // A driver that no place was found for in that time is late; hosts are only missed.
    let is_told = lack.is_cold_start(now, window_ms)
        || (lack.what == Awaited::Hosts && now.since(lack.since) >= window_ms);
    is_told.then(|| for_nodes(scope, lack))
}

/// The cluster lacks machines, or places on them.
fn for_nodes(scope: &JobScope<'_>, lack: &NodeWait) -> Said {
    let (facts, of) = (scope.facts, scope.of_tier());
    let age = words::duration(facts.now.since(lack.since));
    let window = words::duration(facts.cold_start_ms);
    let (reason, source, advice) = match lack.what {
        Awaited::Node => (
            format!("The job {of} has waited {age} for a node that is not there."),
            "nodes of the cluster",
            format!(
                "Start such a node, or submit it with what the living nodes have; a lost node is waited for {window}, then the job is refused. If an autoscaler starts such nodes, name their type with --ray-node-type."
            ),
        ),
        Awaited::Driver => (
            format!("The cluster has taken the job {of} and has had no place for it for {age}."),
            "the backend's word on the attempt",
            "See whether the nodes that could hold it are there and what runs on them.".to_owned(),
        ),
        Awaited::Hosts => (
            format!(
                "The job {of} works with the workers that it has; more were asked for {age} ago and are not placed yet."
            ),
            "heartbeat of the driver",
            "Nothing needs to be done: it goes on without them. See whether other nodes have so much left."
                .to_owned(),
        ),
    };
    Said {
        kind: CaseKind::WaitingForNodes,
        confidence: 0.95,
        since: lack.since,
        reason: format!("{reason} It lacks {}.", words::clause(&lack.detail)),
        source,
        raw: Some(lack.detail.clone()),
        advice: Some(advice),
        action: None,
    }
}

fn slow_start(scope: &JobScope<'_>, attempt: &AttemptFacts) -> Option<Said> {
    let age = scope.facts.now.since(attempt.planned_at);
    (age >= SLOW_START_MS).then(|| Said {
        kind: CaseKind::SlowStart,
        confidence: 0.8,
        since: attempt.planned_at,
        reason: format!(
            "Attempt {} {} was handed to the backend {} ago and its driver has not reported.",
            attempt.number,
            scope.of_tier(),
            words::duration(age)
        ),
        source: "first report of the driver",
        raw: None,
        advice: Some(
            "See whether the backend has room for it and can start it (`fettle doctor`)."
                .to_owned(),
        ),
        action: heal(
            scope,
            HealAction::SyncStatus,
            "what the backend knows of the attempt is taken over",
        ),
    })
}

fn silent(scope: &JobScope<'_>, attempt: &AttemptFacts) -> Option<Said> {
    let last = scope.job.last_heartbeat_at.or(attempt.started_at)?;
    let age = scope.facts.now.since(last);
    (age >= SILENT_MS).then(|| Said {
        kind: CaseKind::Silent,
        confidence: 0.8,
        since: last,
        reason: format!(
            "Attempt {} {} has not reported for {}.",
            attempt.number,
            scope.of_tier(),
            words::duration(age)
        ),
        source: "heartbeats of the driver",
        raw: None,
        advice: Some(
            "Sync the tier's status: only the backend can say whether the attempt still exists."
                .to_owned(),
        ),
        action: heal(
            scope,
            HealAction::SyncStatus,
            "an attempt that is gone is recorded as gone and tried again",
        ),
    })
}

fn no_progress(scope: &JobScope<'_>, attempt: &AttemptFacts) -> Option<Said> {
    let job = scope.job;
    let last = job.last_activity_at.max(attempt.started_at)?;
    let age = scope.facts.now.since(last);
    let limit = pace_ms(scope)
        .saturating_mul(NO_PROGRESS_PACE)
        .max(NO_PROGRESS_FLOOR_MS);
    (age >= limit).then(|| Said {
        kind: CaseKind::NoProgress,
        confidence: 0.7,
        since: last,
        reason: format!(
            "Attempt {} {} reports but has finished no row for {}; a row of this job has taken {} so far.",
            attempt.number,
            scope.of_tier(),
            words::duration(age),
            match pace_ms(scope) {
                0 => "an unknown time".to_owned(),
                pace => format!("{} on average", words::duration(pace)),
            }
        ),
        source: "time of the last finished row",
        raw: None,
        advice: Some("Let `detect_stuck` look where it stands before anything is ended.".to_owned()),
        action: heal(scope, HealAction::DetectStuck, "it is told apart whether it hangs, spins, or has a slow row in work"),
    })
}

/// Mean busy time of a row over all stages, in milliseconds; zero when no row is known.
fn pace_ms(scope: &JobScope<'_>) -> u64 {
    let stages = &scope.job.stages;
    let busy = stages.loading.busy_ms + stages.processing.busy_ms + stages.writing.busy_ms;
    busy.checked_div(stages.processing.rows).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn check(facts: &BatchFacts, kind: CaseKind) {
        let found = cases(facts);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].kind, found[0].standing, found[0].category),
            (kind, Standing::Concern, None)
        );
        assert_eq!(cases(facts), found, "a second run changes nothing");
        assert_eq!(crate::diagnose(facts).verdict.failure_category, None);
    }

    fn after(facts: &mut BatchFacts, ms: u64) {
        facts.now = facts.now.plus_ms(ms);
    }

    #[test]
    fn a_wait_says_on_what_and_for_how_long() {
        let mut facts = fixture::running();
        let job = &mut facts.tiers[0].jobs[0];
        job.attempts.clear();
        job.waiting = Some(WaitFacts {
            reason: WaitReason::Capacity,
            since: Some(fixture::START),
            detail: Some("2 of 2 cores in use".into()),
        });
        facts.now = fixture::START.plus_ms(90_000);
        check(&facts, CaseKind::WaitingForCapacity);
        let found = &cases(&facts)[0];
        assert!(
            found.reason.contains("1 min 30 s") && found.reason.contains("2 of 2 cores"),
            "{}",
            found.reason
        );
        assert!(found.actions.is_empty());
        facts.node_memory_bytes = Some(1 << 20);
        assert_eq!(cases(&facts)[0].actions[0].kind, RemedyKind::CancelBatch);
        facts.tiers[0].jobs[0].waiting = Some(WaitFacts {
            reason: WaitReason::Backoff {
                until: facts.now.plus_ms(4_000),
            },
            since: None,
            detail: None,
        });
        check(&facts, CaseKind::BackingOff);
        assert!(cases(&facts)[0].reason.contains("in 4 s"));
    }

    #[test]
    fn a_wait_for_nodes_is_a_cold_start_until_its_window_is_over() {
        let mut facts = fixture::running();
        facts.cold_start_ms = 100_000;
        let since = facts.now;
        let lack = |what| {
            Some(NodeWait {
                what,
                since,
                detail: "a node with 1 GPU(s)".into(),
            })
        };
        // A driver that waits for its place: late once the window is over.
        facts.tiers[0].jobs[0].attempts[0].status = AttemptStatus::Submitted;
        facts.tiers[0].jobs[0].node_wait = lack(Awaited::Driver);
        assert!(cases(&facts).is_empty(), "that is a normal start");
        after(&mut facts, 20_000);
        check(&facts, CaseKind::WaitingForNodes);
        assert!(cases(&facts)[0].reason.contains("a node with 1 GPU(s)"));
        after(&mut facts, 100_000);
        check(&facts, CaseKind::SlowStart);
        // Places for more workers: told for as long as they are missed, and never called more than that.
        facts.tiers[0].jobs[0].attempts[0].status = AttemptStatus::Running;
        facts.tiers[0].jobs[0].last_heartbeat_at = Some(facts.now);
        facts.tiers[0].jobs[0].last_activity_at = Some(facts.now);
        facts.tiers[0].jobs[0].node_wait = lack(Awaited::Hosts);
        check(&facts, CaseKind::WaitingForNodes);
        // A job that waits for the node itself.
        let job = &mut facts.tiers[0].jobs[0];
        job.attempts.clear();
        job.waiting = Some(WaitFacts {
            reason: WaitReason::Capacity,
            since: Some(since),
            detail: None,
        });
        job.node_wait = lack(Awaited::Node);
        check(&facts, CaseKind::WaitingForNodes);
    }

    #[test]
    fn a_job_that_moves_is_no_concern() {
        assert!(cases(&fixture::running()).is_empty());
    }

    #[test]
    fn a_driver_that_does_not_report_is_late_and_then_no_longer() {
        let mut facts = fixture::running();
        facts.tiers[0].jobs[0].attempts[0].status = AttemptStatus::Submitted;
        after(&mut facts, SLOW_START_MS);
        check(&facts, CaseKind::SlowStart);
        facts.tiers[0].jobs[0].attempts[0].status = AttemptStatus::Running;
        facts.tiers[0].jobs[0].last_heartbeat_at = Some(facts.now);
        facts.tiers[0].jobs[0].last_activity_at = Some(facts.now);
        assert!(cases(&facts).is_empty());
    }

    #[test]
    fn silence_and_standing_still_are_two_things() {
        let mut facts = fixture::running();
        after(&mut facts, NO_PROGRESS_FLOOR_MS);
        check(&facts, CaseKind::Silent);
        facts.tiers[0].jobs[0].last_heartbeat_at = Some(facts.now);
        check(&facts, CaseKind::NoProgress);
        // Rows of this job take three minutes: five without one are no news.
        facts.tiers[0].jobs[0].stages.processing.busy_ms = 360_000;
        facts.tiers[0].jobs[0].stages.processing.rows = 2;
        assert!(cases(&facts).is_empty());
    }

    #[test]
    fn a_job_that_is_over_waits_for_nothing() {
        let mut facts = fixture::running();
        after(&mut facts, NO_PROGRESS_FLOOR_MS);
        fixture::then_finished(&mut facts);
        assert!(cases(&facts).is_empty());
    }
}
