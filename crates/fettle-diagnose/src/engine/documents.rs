//! Rows that failed: how many, of what, and whether trying again can help.
//!
//! Owns the reading of row errors. It must not explain why a whole tier failed: rows that fail do not fail their tier.

use std::collections::BTreeMap;

use fettle_model::{
    BatchStatus, DocumentErrorClass, ErrorCategory, FailureCategory, InfraEvent, InfraEventType,
    UnixMillis,
};

use crate::case::{Case, CaseKind, Standing};
use crate::engine::{log_text, memory, parameters};
use crate::facts::{BatchFacts, ErrorGroup, JobFacts, TierFacts};
use crate::finding::EvidenceLine;
use crate::remedy::{RemedyAction, RemedyKind, RetryMode};
use crate::scope::{AttemptScope, attempts};
use crate::sizing::next_memory;
use crate::words;

/// Groups that are told in the evidence.
const GROUPS_TOLD_MAX: usize = 5;

/// One case for each tier with failed rows.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    facts
        .tiers
        .iter()
        .filter_map(|tier| case(facts, tier))
        .collect()
}

fn case(facts: &BatchFacts, tier: &TierFacts) -> Option<Case> {
    let failed: u64 = tier.jobs.iter().map(|job| job.counts.failed).sum();
    if failed == 0 {
        return None;
    }
    let groups: Vec<&ErrorGroup> = facts
        .error_groups
        .iter()
        .filter(|g| g.tier_num == tier.tier_num)
        .collect();
    let standing = match facts.status {
        BatchStatus::CompletedWithErrors => Standing::Cause,
        status if status.is_terminal() => Standing::Aside,
        _ => Standing::Concern,
    };
    let mut case = Case::new(
        CaseKind::DocumentErrors,
        standing,
        first_at(&groups, tier, facts),
    );
    case.tier_num = Some(tier.tier_num);
    case.category = Some(FailureCategory::Pipeline);
    // The outcome of each row is recorded; how sure the reason is depends on whether its error is at hand.
    case.confidence = if groups.is_empty() { 0.6 } else { 0.9 };
    case.reason = reason(tier, failed, &groups);
    case.evidence = evidence(tier, failed, &groups);
    if groups.is_empty() {
        case.would_decide = vec!["the errors of the failed rows; none is at hand".to_owned()];
    }
    let classes = classes(facts, tier.tier_num);
    case.recommendations = recommendations(&classes);
    if standing == Standing::Cause {
        case.actions = actions(facts, tier.tier_num, &classes);
    }
    blame_parameters(&mut case, tier, &groups);
    let event = log_text::join_rows(&mut case, &groups);
    case.events = event
        .and_then(|event| befell(facts, tier, event, &groups))
        .into_iter()
        .collect();
    Some(case)
}

/// Where every row of a job fails alike, and the error refuses a parameter of the job, the request is to blame and not the rows.
fn blame_parameters(case: &mut Case, tier: &TierFacts, groups: &[&ErrorGroup]) {
    let Some(most) = groups.first() else { return };
    let of_group = |job: &&JobFacts| job.job_id == most.job_id;
    let Some(job) = tier.jobs.iter().find(of_group) else {
        return;
    };
    if most.count < 2 || most.count != job.counts.total() {
        return;
    }
    let message = &most.example.message;
    if let Some(parameter) = parameters::refused(job, message) {
        let who = format!("the error of all {} rows", most.count);
        parameters::blame(case, parameter, &who, message);
    }
}

/// What befell the machine while rows failed, unless deaths of workers tell it already.
fn befell(
    facts: &BatchFacts,
    tier: &TierFacts,
    event: InfraEventType,
    groups: &[&ErrorGroup],
) -> Option<InfraEvent> {
    let error = &groups.first()?.example;
    let of_tier = |scope: &AttemptScope<'_>| scope.at.tier.tier_num == tier.tier_num;
    let scopes: Vec<AttemptScope<'_>> = attempts(facts).filter(of_tier).collect();
    if scopes.iter().any(|scope| !scope.deaths().is_empty()) {
        return None;
    }
    let then = |scope: &&AttemptScope<'_>| scope.attempt.planned_at <= error.at;
    let scope = scopes.iter().rev().find(then)?;
    let raw = words::tail(&error.message).map_or("", |(_, raw)| raw);
    Some(scope.event(event, error.at, raw.to_owned()))
}

fn first_at(groups: &[&ErrorGroup], tier: &TierFacts, facts: &BatchFacts) -> UnixMillis {
    let first = groups.iter().map(|group| group.example.at).min();
    first.or(tier.ended_at).unwrap_or(facts.now)
}

/// Errors of a tier by class and category.
type Classes = BTreeMap<(DocumentErrorClass, ErrorCategory), u64>;

fn classes(facts: &BatchFacts, tier_num: u32) -> Classes {
    let mut classes = Classes::new();
    for count in facts
        .error_counts
        .iter()
        .filter(|c| c.tier_num == tier_num && c.count > 0)
    {
        *classes.entry((count.class, count.category)).or_default() += count.count;
    }
    classes
}

fn of_class(classes: &Classes, class: DocumentErrorClass) -> u64 {
    classes
        .iter()
        .filter(|((c, _), _)| *c == class)
        .map(|(_, count)| count)
        .sum()
}

fn reason(tier: &TierFacts, failed: u64, groups: &[&ErrorGroup]) -> String {
    let submitted: Option<u64> = tier.jobs.iter().map(|job| job.rows_submitted).sum();
    let of = submitted.map_or(String::new(), |all| format!(" of {all}"));
    let most = groups.first().map_or(String::new(), |group| {
        format!(
            " Most frequent ({} of them): {}.",
            group.count,
            words::clause(&group.example.message)
        )
    });
    format!("{failed}{of} rows of tier {} failed.{most}", tier.tier_num)
}

fn evidence(tier: &TierFacts, failed: u64, groups: &[&ErrorGroup]) -> Vec<EvidenceLine> {
    let line = |at, what, source: &str| EvidenceLine {
        at,
        tier_num: Some(tier.tier_num),
        attempt: None,
        worker: None,
        what,
        source: source.to_owned(),
        raw: None,
        log_offset: None,
        rule_ids: Vec::new(),
        supports: CaseKind::DocumentErrors,
    };
    let processed: u64 = tier.jobs.iter().map(|job| job.counts.processed).sum();
    let what = format!("{processed} rows were processed and {failed} failed");
    let told = groups.iter().take(GROUPS_TOLD_MAX).map(|group| {
        let what = format!(
            "{} with a {} {} error while {} ({})",
            words::count(group.count, "row"),
            group.class.as_str(),
            group.category.as_str(),
            group.stage.as_str(),
            group.component
        );
        let mut line = line(Some(group.example.at), what, "row errors");
        line.quote(&group.example.message, None);
        line
    });
    [line(tier.ended_at, what, "row accounting")]
        .into_iter()
        .chain(told)
        .collect()
}

fn recommendations(classes: &Classes) -> Vec<String> {
    let told = classes.iter().map(|((class, category), count)| {
        let rows = words::count(*count, "row");
        match (class, category) {
            (DocumentErrorClass::Transient, _) => format!("{rows} failed of something that may pass: retry them as they are."),
            (DocumentErrorClass::Resource, _) => format!("{rows} ran out of memory, disk or a quota: raise it, then retry them."),
            (_, ErrorCategory::Authentication) => format!("{rows} were refused access: renew the credentials or the permission, then retry them."),
            (_, ErrorCategory::Dependency) => format!("{rows} lack a program, file or service: install or start it, then retry them."),
            (_, ErrorCategory::Validation) => format!("{rows} do not have the form that is needed: mend or leave out those objects; a retry alone gives the same."),
            (_, ErrorCategory::Network) => format!("{rows} could not be fetched: see whether their addresses are right and reachable, then retry them."),
            (_, ErrorCategory::Runtime | ErrorCategory::Resource) => format!("{rows} failed in the extractor: see the traceback of the example; a retry alone gives the same."),
        }
    });
    told.collect()
}

fn actions(facts: &BatchFacts, tier_num: u32, classes: &Classes) -> Vec<RemedyAction> {
    let mut actions = Vec::new();
    let transient = of_class(classes, DocumentErrorClass::Transient);
    if transient > 0 {
        actions.push(RemedyAction {
            kind: RemedyKind::RetryFailedDocuments {
                tier_nums: vec![tier_num],
                mode: RetryMode::TransientOnly,
            },
            reason: format!("{transient} row error(s) are transient"),
            expected_effect: "those rows are tried again; the others stay as they are".to_owned(),
            confidence: 0.7,
        });
    }
    if of_class(classes, DocumentErrorClass::Resource) > 0 {
        actions.extend(more_memory(facts, tier_num));
    }
    actions
}

/// Rows that killed their workers by memory, and were failed for it, fit when there is more.
fn more_memory(facts: &BatchFacts, tier_num: u32) -> Option<RemedyAction> {
    let of_tier = |scope: &AttemptScope<'_>| scope.at.tier.tier_num == tier_num;
    let scopes: Vec<AttemptScope<'_>> = attempts(facts).filter(of_tier).collect();
    let inputs = scopes.iter().filter_map(|scope| {
        let judged = memory::judged(scope);
        let pattern = memory::pattern_of(scope, &judged);
        (!judged.is_empty()).then(|| memory::input(scope, &judged, &pattern))
    });
    let next = next_memory(&inputs.max_by_key(|input| input.peak_bytes)?);
    let grant = next.grant()?;
    Some(RemedyAction {
        kind: RemedyKind::RetryTier {
            tier_num,
            overrides: grant.overrides(),
        },
        reason: format!(
            "rows were failed because they killed their workers by memory; {}",
            grant.basis
        ),
        expected_effect: format!(
            "failed rows are tried again with {} for each worker",
            words::bytes(grant.memory_bytes)
        ),
        confidence: if grant.is_capped { 0.4 } else { 0.65 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, death};
    use crate::remedy::ResourceOverrides;
    use fettle_model::AttemptExit;

    #[test]
    fn failed_rows_of_a_batch_that_ran_to_its_end_are_its_cause() {
        let facts = fixture::with_row_errors(
            DocumentErrorClass::Transient,
            &["row 1: reset", "row 2: reset"],
        );
        let found = cases(&facts);
        assert_eq!((found.len(), found[0].standing), (1, Standing::Cause));
        assert_eq!(found[0].category, Some(FailureCategory::Pipeline));
        let retry = RemedyKind::RetryFailedDocuments {
            tier_nums: vec![0],
            mode: RetryMode::TransientOnly,
        };
        assert_eq!(found[0].actions[0].kind, retry);
        assert_eq!(cases(&facts), found, "a second run changes nothing");
    }

    #[test]
    fn permanent_errors_are_not_retried() {
        let facts = fixture::with_row_errors(DocumentErrorClass::Permanent, &["bad"]);
        assert!(cases(&facts)[0].actions.is_empty());
        assert!(!cases(&facts)[0].recommendations.is_empty());
    }

    #[test]
    fn rows_that_killed_their_workers_by_memory_get_more_of_it() {
        let mut facts =
            fixture::with_row_errors(DocumentErrorClass::Resource, &["killed its worker twice"]);
        facts.tiers[0].jobs[0].attempts[0] = fixture::attempt(
            1,
            AttemptExit::Finished,
            vec![death().oom().rows(&[1]).build()],
        );
        let diagnosis = crate::diagnose(&facts);
        assert_eq!(diagnosis.verdict.case, Some(CaseKind::DocumentErrors));
        let overrides = ResourceOverrides {
            memory_bytes: Some(512 << 20),
            ..ResourceOverrides::default()
        };
        assert_eq!(
            diagnosis.recommended_actions[0].kind,
            RemedyKind::RetryTier {
                tier_num: 0,
                overrides
            }
        );
        assert_eq!(diagnosis.infrastructure_events.len(), 1);
    }

    #[test]
    fn what_befell_the_machine_or_took_too_long_is_not_the_extractor_s() {
        use FailureCategory::{Infrastructure, Pipeline, Timeout};
        let expected = [
            ("MemoryError: ", Infrastructure, Some(InfraEventType::Oom)),
            (
                "OSError: [Errno 28] No space left on device",
                Infrastructure,
                Some(InfraEventType::Unknown),
            ),
            (
                "the row took longer than 2000 ms, the most that a row may take",
                Timeout,
                None,
            ),
            ("ValueError: bad", Pipeline, None),
            (
                "`http://h/a` answered with status 429; it may work when tried again",
                Pipeline,
                None,
            ),
        ];
        for (message, category, event) in expected {
            let facts =
                fixture::with_row_errors(DocumentErrorClass::Permanent, &[message, message]);
            let case = &cases(&facts)[0];
            assert_eq!(case.category, Some(category), "{message}");
            assert_eq!(
                case.events.first().map(|e| e.event_type),
                event,
                "{message}"
            );
            let measured = category == Timeout;
            assert!(
                case.confidence >= if measured { 0.94 } else { 0.8 },
                "{message}"
            );
        }
        let mixed = ["MemoryError: ", "ValueError: bad"];
        let facts = fixture::with_row_errors(DocumentErrorClass::Permanent, &mixed);
        assert_eq!(
            cases(&facts)[0].category,
            Some(Pipeline),
            "half is not most"
        );
    }

    #[test]
    fn a_parameter_is_to_blame_where_every_row_says_so_and_only_there() {
        let of_rows = |count: u64| {
            let message = "ValueError: mode: 'nope' is not one of fast, exact";
            let mut facts = fixture::with_row_errors(DocumentErrorClass::Permanent, &[message]);
            let job = &mut facts.tiers[0].jobs[0];
            job.profile.extractor.parameters =
                serde_json::Map::from_iter([("mode".to_owned(), "nope".into())]);
            job.counts.failed = count;
            job.counts.processed = 10 - count;
            facts.error_groups[0].count = count;
            cases(&facts)[0].clone()
        };
        let found = of_rows(10);
        assert_eq!(found.category, Some(FailureCategory::Validation));
        assert!(found.confidence >= 0.8);
        assert!(found.evidence[0].what.contains("mode=\"nope\""));
        assert_eq!(of_rows(10), found, "a second run changes nothing");
        assert_eq!(of_rows(9).category, Some(FailureCategory::Pipeline));
    }

    #[test]
    fn in_a_failed_batch_they_are_beside_the_point_and_without_failures_there_are_none() {
        let mut facts = fixture::with_row_errors(DocumentErrorClass::Permanent, &["bad"]);
        facts.status = BatchStatus::Failed;
        assert_eq!(cases(&facts)[0].standing, Standing::Aside);
        facts.tiers[0].jobs[0].counts.failed = 0;
        assert!(cases(&facts).is_empty());
    }
}
