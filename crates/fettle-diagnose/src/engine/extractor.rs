//! Extractors that could not be started: bad parameters, a missing model, a plugin that does not load.
//!
//! Owns the end `ExtractorFailed` and the deaths of the workers that reported it, unless memory explains them. It must not read row errors.

use fettle_model::{AttemptExit, FailureCategory, WorkerDeath};

use crate::case::{Case, CaseKind, Standing};
use crate::engine::{log_text, memory, parameters};
use crate::facts::BatchFacts;
use crate::finding::EvidenceLine;
use crate::remedy::{RemedyAction, RemedyKind, ResourceOverrides};
use crate::scope::{AttemptScope, attempts, tail_offset};
use crate::{signals, words};

/// The driver says so itself; only a counted out-of-memory kill during loading is a stronger word.
const CONFIDENCE: f64 = 0.9;

/// One case for each attempt whose extractor could not be started.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    let failed =
        |scope: &AttemptScope<'_>| scope.attempt.exit == Some(AttemptExit::ExtractorFailed);
    attempts(facts)
        .filter(failed)
        .filter(|scope| memory::judged(scope).is_empty())
        .map(|scope| case(&scope))
        .collect()
}

fn case(scope: &AttemptScope<'_>) -> Case {
    const KIND: CaseKind = CaseKind::ExtractorFailed;
    let mut case = scope.case(KIND, scope.end_standing(), scope.ended_at());
    case.category = Some(FailureCategory::Pipeline);
    case.confidence = CONFIDENCE;
    let job = scope.at.job;
    let name = job
        .params
        .as_ref()
        .map_or("the extractor".to_owned(), |params| {
            format!("{} {}", params.extractor_name, params.extractor_version)
        });
    let told = told(scope);
    let why = told
        .as_deref()
        .map_or(String::new(), |told| format!(": {}", words::clause(told)));
    case.reason = format!("{name} {} could not be started{why}.", scope.at.of_tier());
    case.evidence = evidence(scope, KIND);
    case.recommendations = vec![format!(
        "Mend what keeps {name} from starting (its parameters in the collection, a model, a plugin's requirement), then retry tier {}.",
        scope.at.tier.tier_num
    )];
    if told.is_none() {
        case.would_decide =
            vec!["the log of the driver or of its first worker; none was kept".to_owned()];
    }
    if case.standing == Standing::Cause {
        case.actions = vec![RemedyAction {
            kind: RemedyKind::RetryTier {
                tier_num: scope.at.tier.tier_num,
                overrides: ResourceOverrides::default(),
            },
            reason: "only after the cause is mended; as it is, the same will happen again"
                .to_owned(),
            expected_effect: "all unfinished rows are tried with the mended extractor".to_owned(),
            confidence: 0.2,
        }];
    }
    log_text::join_workers(&mut case, scope, &failed_workers(scope));
    let refused = told.and_then(|told| Some((parameters::refused(job, &told)?, told)));
    if let Some((parameter, told)) = refused {
        parameters::blame(&mut case, parameter, "what the extractor said", &told);
    }
    case
}

/// Workers that ended by themselves; the one that reported the failure is among them, and those that were stopped for it are not.
pub(crate) fn failed_workers<'a>(scope: &AttemptScope<'a>) -> Vec<&'a WorkerDeath> {
    let deaths = scope.evidence().map_or(&[][..], |e| &e.worker_deaths);
    let by_itself = |death: &&WorkerDeath| death.exit.code.is_some_and(|code| code != 0);
    deaths.iter().filter(by_itself).collect()
}

/// The best words for it: the recorded reason, else the last message, else the last line of a log.
fn told(scope: &AttemptScope<'_>) -> Option<String> {
    let recorded = scope.at.told().filter(|_| scope.is_decisive);
    let logs = || {
        let evidence = scope.evidence()?;
        let said = evidence.driver_message.as_ref();
        if let Some(message) = said.or(evidence.backend_messages.last()) {
            return Some(message.clone());
        }
        let workers = evidence
            .worker_deaths
            .iter()
            .map(|death| death.log_tail.as_str());
        let mut tails = workers.chain([evidence.driver_log_tail.as_str()]);
        tails.find_map(signals::last_line).map(str::to_owned)
    };
    recorded.map(str::to_owned).or_else(logs)
}

fn evidence(scope: &AttemptScope<'_>, kind: CaseKind) -> Vec<EvidenceLine> {
    let said = "the driver reported that the extractor could not be started".to_owned();
    let mut first = scope.line(kind, "driver's exit report", said);
    first.raw = scope
        .at
        .job
        .end_reason
        .clone()
        .filter(|_| scope.is_decisive);
    let mut lines = vec![first];
    if let Some(death) = failed_workers(scope).first() {
        let before = if death.ready {
            ""
        } else {
            " before it was ready"
        };
        let exit = death.exit.describe();
        let what = format!("worker {} ended with {exit}{before}", death.worker);
        let mut line = scope.death_line(death, kind, "worker's standard error", what);
        line.quote(&death.log_tail, tail_offset(death.log.as_ref()));
        lines.push(line);
    }
    lines.extend(scope.driver_log_line(kind));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use fettle_model::WorkStatus;

    #[test]
    fn an_extractor_that_does_not_start_is_the_pipeline_s() {
        let mut facts = fixture::failed(AttemptExit::ExtractorFailed, vec![]);
        facts.tiers[0].jobs[0].end_reason =
            Some("the extractor could not be started: no module named `torch`".to_owned());
        let found = cases(&facts);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].category, Some(FailureCategory::Pipeline));
        assert_eq!(found[0].standing, Standing::Cause);
        let expected = "text_extractor v1 of tier 0 could not be started: no module named `torch`.";
        assert_eq!(found[0].reason, expected);
        assert_eq!(cases(&facts), found, "a second run changes nothing");
    }

    #[test]
    fn a_parameter_that_it_refuses_is_the_request_s() {
        let mut facts = fixture::failed(AttemptExit::ExtractorFailed, vec![]);
        let job = &mut facts.tiers[0].jobs[0];
        job.end_reason = Some("invalid `embedding`: there is no model `big`".to_owned());
        assert_eq!(cases(&facts)[0].category, Some(FailureCategory::Pipeline));
        let job = &mut facts.tiers[0].jobs[0];
        job.profile.extractor.parameters =
            serde_json::Map::from_iter([("embedding".to_owned(), "big".into())]);
        let found = &cases(&facts)[0];
        assert_eq!(found.category, Some(FailureCategory::Validation));
        assert!(found.evidence[0].what.contains("embedding"));
    }

    #[test]
    fn another_end_is_not_the_extractor_s() {
        assert!(cases(&fixture::failed(AttemptExit::DriverDied, vec![])).is_empty());
    }

    #[test]
    fn it_closes_when_a_later_attempt_finishes() {
        let mut facts = fixture::failed(AttemptExit::ExtractorFailed, vec![]);
        fixture::then_finished(&mut facts);
        assert_eq!(facts.tiers[0].jobs[0].status, WorkStatus::Completed);
        let found = cases(&facts);
        assert_eq!(found[0].standing, Standing::Aside);
        assert!(found[0].actions.is_empty());
    }
}
