//! Jobs that failed before a driver reported: refused requests, rows that could not be prepared, a backend that did not start them.
//!
//! Owns failures without a run. It must not read evidence of runs.

use fettle_model::{AttemptStatus, FailureCategory, NO_NODE_HOLDS, NODES_STAYED_AWAY, WorkStatus};

use crate::case::{Case, CaseKind, Standing};
use crate::facts::BatchFacts;
use crate::remedy::{RemedyAction, RemedyKind, ResourceOverrides};
use crate::scope::{JobScope, jobs};
use crate::words;

/// What the backends' port says of a request that can never run, however often it is made.
const REFUSED_FOR_GOOD: &str = "the backend refused ";

/// One case at most for each job.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    jobs(facts)
        .filter(|scope| scope.job.status == WorkStatus::Failed)
        .filter_map(|scope| case(&scope))
        .collect()
}

fn case(scope: &JobScope<'_>) -> Option<Case> {
    let job = scope.job;
    let told = scope
        .told()
        .map_or(String::new(), |told| format!(": {}", words::clause(told)));
    let of = scope.of_tier();
    let never_admitted = job.attempts.is_empty() && job.rows_submitted.is_some();
    let never_begun = job.attempts.last().is_some_and(|last| last.exit.is_none());
    let is_refused = never_begun && told.contains(REFUSED_FOR_GOOD);
    if told.contains(NODES_STAYED_AWAY) {
        let reason = format!("The job {of} waited for a node that was lost{told}.");
        let advice = format!(
            "Start such a node, then retry tier {}.",
            scope.tier.tier_num
        );
        let kind = CaseKind::BackendRefused;
        return Some(not_started(scope, kind, 0.9, reason, advice));
    }
    if never_admitted || is_refused || scope.was_refused_after_its_last_attempt() {
        return Some(refused(
            scope,
            format!("The job {of} asks for more than there could ever be{told}."),
        ));
    }
    let tier_num = scope.tier.tier_num;
    let (kind, confidence, reason, advice) = match job.attempts.last() {
        None => (
            CaseKind::RowsNotPrepared,
            0.7,
            format!("The rows of the job {of} could not be prepared{told}."),
            format!(
                "See whether the store and the blob store answer (`fettle doctor`), then retry tier {tier_num}."
            ),
        ),
        Some(last) if last.status == AttemptStatus::Ended && last.exit.is_none() => (
            CaseKind::BackendRefused,
            0.8,
            format!("The backend did not start the job {of}{told}."),
            format!("See to the backend (`fettle doctor`), then retry tier {tier_num}."),
        ),
        Some(_) => return None,
    };
    Some(not_started(scope, kind, confidence, reason, advice))
}

fn not_started(
    scope: &JobScope<'_>,
    kind: CaseKind,
    confidence: f64,
    reason: String,
    advice: String,
) -> Case {
    let tier_num = scope.tier.tier_num;
    let mut case = scope.case(kind, Standing::Cause, scope.ended_at());
    case.category = Some(FailureCategory::Infrastructure);
    case.confidence = confidence;
    case.reason = reason;
    case.recommendations = vec![advice];
    case.evidence = vec![evidence(scope, kind)];
    case.actions = vec![RemedyAction {
        kind: RemedyKind::RetryTier {
            tier_num,
            overrides: ResourceOverrides::default(),
        },
        reason: "no row was touched".to_owned(),
        expected_effect: "the tier is prepared and started again".to_owned(),
        confidence: 0.5,
    }];
    case
}

fn evidence(scope: &JobScope<'_>, kind: CaseKind) -> crate::finding::EvidenceLine {
    let what = format!(
        "the job ended FAILED after {} without a run that could have failed",
        words::count(scope.job.attempts.len() as u64, "attempt")
    );
    let mut line = scope.line(kind, "orchestrator's record", what);
    line.at = scope.job.ended_at;
    line.raw = scope.job.end_reason.clone();
    line
}

fn refused(scope: &JobScope<'_>, reason: String) -> Case {
    const KIND: CaseKind = CaseKind::RequestRefused;
    let resources = &scope.job.resources;
    let mut case = scope.case(KIND, Standing::Cause, scope.ended_at());
    case.category = Some(FailureCategory::Validation);
    case.confidence = 0.9;
    case.reason = reason;
    let mut asked = scope.line(
        KIND,
        "the job's resources",
        format!(
            "it asks for {} worker(s) with {} each, {} core(s) and {} GPU(s)",
            resources.workers(),
            words::bytes(resources.memory_bytes),
            resources.num_cpus,
            resources.num_gpus
        ),
    );
    asked.raw = scope
        .facts
        .node_memory_bytes
        .map(|node| format!("the node can give {}", words::bytes(node)));
    case.evidence = vec![evidence(scope, KIND), asked];
    let tier_num = scope.tier.tier_num;
    case.recommendations = vec![format!(
        "Retry tier {tier_num} with resources that fit, or run it where there is more."
    )];
    if scope
        .told()
        .is_some_and(|told| told.contains(NO_NODE_HOLDS))
    {
        let advice = "If an autoscaler starts such nodes, name their type with --ray-node-type.";
        case.recommendations.push(advice.to_owned());
    }
    let each = scope
        .facts
        .node_memory_bytes
        .filter(|node| *node < resources.memory_total_bytes());
    case.actions = each
        .map(|node| RemedyAction {
            kind: RemedyKind::RetryTier {
                tier_num,
                overrides: fitting(node, resources.memory_bytes),
            },
            reason: "so much fits on the node".to_owned(),
            expected_effect: "the job is admitted".to_owned(),
            confidence: 0.6,
        })
        .into_iter()
        .collect();
    case
}

/// Fewer workers with the same memory; where not even one fits, one with all there is.
fn fitting(node: u64, each: u64) -> ResourceOverrides {
    let workers = u32::try_from(node / each.max(1)).unwrap_or(u32::MAX);
    ResourceOverrides {
        num_cpus: Some(f64::from(workers.max(1))),
        memory_bytes: (workers == 0).then_some(node),
        ..ResourceOverrides::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use fettle_model::AttemptExit;

    fn check(facts: &BatchFacts, kind: CaseKind, category: FailureCategory) {
        let found = cases(facts);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind, found[0].category), (kind, Some(category)));
        assert_eq!(cases(facts), found, "a second run changes nothing");
    }

    #[test]
    fn a_request_beyond_the_node_is_validation_and_says_what_fits() {
        let mut facts = fixture::failed(AttemptExit::Finished, vec![]);
        let job = &mut facts.tiers[0].jobs[0];
        job.attempts.clear();
        job.params = None;
        job.resources.num_cpus = 64.0;
        check(
            &facts,
            CaseKind::RequestRefused,
            FailureCategory::Validation,
        );
        let overrides = ResourceOverrides {
            num_cpus: Some(32.0),
            ..ResourceOverrides::default()
        };
        let expected = RemedyKind::RetryTier {
            tier_num: 0,
            overrides,
        };
        assert_eq!(cases(&facts)[0].actions[0].kind, expected);
    }

    #[test]
    fn a_node_that_stayed_away_is_infrastructure_and_can_be_tried_again() {
        let mut facts = fixture::failed(AttemptExit::Finished, vec![]);
        let job = &mut facts.tiers[0].jobs[0];
        job.attempts.clear();
        job.end_reason = Some(format!(
            "no node can hold it; what could have held it {NODES_STAYED_AWAY}: n1"
        ));
        check(
            &facts,
            CaseKind::BackendRefused,
            FailureCategory::Infrastructure,
        );
        let found = cases(&facts);
        assert!(matches!(
            found[0].actions[0].kind,
            RemedyKind::RetryTier { .. }
        ));
    }

    #[test]
    fn a_retry_that_asked_for_too_much_is_refused_whatever_the_last_attempt_died_of() {
        let mut facts = fixture::failed(
            AttemptExit::OutOfMemory,
            vec![fixture::death().oom().build()],
        );
        facts.tiers[0].jobs[0].resources.memory_bytes = 1 << 50;
        check(
            &facts,
            CaseKind::RequestRefused,
            FailureCategory::Validation,
        );
        assert_eq!(
            crate::diagnose(&facts).verdict.case,
            Some(CaseKind::RequestRefused)
        );
    }

    #[test]
    fn rows_that_could_not_be_prepared_and_a_backend_that_refused_are_infrastructure() {
        let mut facts = fixture::failed(AttemptExit::Finished, vec![]);
        let job = &mut facts.tiers[0].jobs[0];
        job.attempts[0].exit = None;
        job.attempts[0].started_at = None;
        check(
            &facts,
            CaseKind::BackendRefused,
            FailureCategory::Infrastructure,
        );
        let job = &mut facts.tiers[0].jobs[0];
        job.end_reason =
            Some("the backend refused a1: no node of the cluster can hold it".to_owned());
        check(
            &facts,
            CaseKind::RequestRefused,
            FailureCategory::Validation,
        );
        let advice = cases(&facts)[0].recommendations.join(" ");
        assert!(advice.contains("--ray-node-type"), "{advice}");
        let job = &mut facts.tiers[0].jobs[0];
        job.attempts.clear();
        job.rows_submitted = None;
        check(
            &facts,
            CaseKind::RowsNotPrepared,
            FailureCategory::Infrastructure,
        );
    }

    #[test]
    fn a_job_that_ran_or_did_not_fail_is_not_its_matter() {
        let mut facts = fixture::failed(AttemptExit::OutOfMemory, vec![]);
        assert!(cases(&facts).is_empty());
        fixture::then_finished(&mut facts);
        assert!(cases(&facts).is_empty());
    }
}
