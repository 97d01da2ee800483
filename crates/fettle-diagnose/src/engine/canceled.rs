//! Batches that somebody ended.
//!
//! Owns the end on request. It must not hide what had gone wrong before: a cancel after out-of-memory kills says so.

use fettle_model::{BatchStatus, WorkStatus};

use crate::case::{Case, CaseKind, Standing};
use crate::engine::memory::judge::{self, OOM_CONFIDENCE_MIN};
use crate::facts::BatchFacts;
use crate::finding::EvidenceLine;
use crate::remedy::{RemedyAction, RemedyKind, ResourceOverrides};
use crate::scope::{attempts, jobs};
use crate::words;

/// One case when the batch was cancelled, or is being.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    let is_over = facts.status == BatchStatus::Canceled;
    let is_asked = facts.cancel.is_some() && !facts.status.is_terminal();
    if !is_over && !is_asked {
        return Vec::new();
    }
    let at = facts
        .cancel
        .as_ref()
        .map(|cancel| cancel.at)
        .or(facts.ended_at)
        .unwrap_or(facts.now);
    let standing = if is_over {
        Standing::Cause
    } else {
        Standing::Concern
    };
    let mut case = Case::new(CaseKind::Canceled, standing, at);
    // A recorded request is certain; a bare status is the word of whoever set it.
    case.confidence = if facts.cancel.is_some() { 1.0 } else { 0.9 };
    case.reason = reason(facts, is_over);
    case.evidence = vec![line(facts, at)];
    if is_over {
        let first = jobs(facts).find(|scope| scope.job.status == WorkStatus::Canceled);
        case.tier_num = first.map(|scope| scope.tier.tier_num);
        case.recommendations =
            vec!["To go on, retry the tier that was ended: finished rows are kept.".to_owned()];
        case.actions = case.tier_num.map(retry).into_iter().collect();
    }
    vec![case]
}

fn reason(facts: &BatchFacts, is_over: bool) -> String {
    let words = facts
        .cancel
        .as_ref()
        .and_then(|cancel| cancel.reason.as_deref());
    let why = words.map_or(String::new(), |why| format!(" ({})", words::clause(why)));
    // While it runs, the request may be for a tier or a job of it only.
    let what = if is_over {
        "The batch was canceled on request"
    } else {
        "A request to cancel it, or a part of it, is being carried out"
    };
    let killed: usize = attempts(facts)
        .map(|scope| {
            let judged = scope.deaths().into_iter().filter_map(judge::worker);
            judged
                .filter(|judgement| judgement.confidence >= OOM_CONFIDENCE_MIN)
                .count()
        })
        .sum();
    let before = match killed {
        0 => String::new(),
        killed => format!(
            " Before that {} had run out of memory; the cancel does not mend that.",
            words::count(killed as u64, "worker")
        ),
    };
    format!("{what}{why}.{before}")
}

fn line(facts: &BatchFacts, at: fettle_model::UnixMillis) -> EvidenceLine {
    let recorded = facts.cancel.as_ref();
    EvidenceLine {
        at: Some(at),
        tier_num: None,
        attempt: None,
        worker: None,
        what: recorded.map_or(
            "the batch's status is CANCELED; no request is recorded".to_owned(),
            |_| "a request to cancel is recorded".to_owned(),
        ),
        source: recorded
            .map_or("batch status", |_| "recorded request")
            .to_owned(),
        raw: recorded.and_then(|cancel| cancel.reason.clone()),
        log_offset: None,
        rule_ids: Vec::new(),
        supports: CaseKind::Canceled,
    }
}

fn retry(tier_num: u32) -> RemedyAction {
    RemedyAction {
        kind: RemedyKind::RetryTier {
            tier_num,
            overrides: ResourceOverrides::default(),
        },
        reason: "only if the batch is wanted after all".to_owned(),
        expected_effect: "unfinished rows are run; finished rows are kept".to_owned(),
        confidence: 0.3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::CancelFacts;
    use crate::fixture::{self, death};
    use fettle_model::AttemptExit;

    fn canceled() -> BatchFacts {
        let mut facts = fixture::failed(AttemptExit::Cancelled, vec![]);
        facts.status = BatchStatus::Canceled;
        facts.tiers[0].status = WorkStatus::Canceled;
        facts.tiers[0].jobs[0].status = WorkStatus::Canceled;
        facts.cancel = Some(CancelFacts {
            at: facts.now,
            reason: Some("wrong bucket.".into()),
        });
        facts
    }

    #[test]
    fn a_cancel_is_no_failure() {
        let facts = canceled();
        let found = cases(&facts);
        assert_eq!(
            (found[0].standing, found[0].category),
            (Standing::Cause, None)
        );
        assert_eq!(
            found[0].reason,
            "The batch was canceled on request (wrong bucket)."
        );
        assert_eq!(cases(&facts), found, "a second run changes nothing");
        let verdict = crate::diagnose(&facts).verdict;
        assert_eq!(
            (verdict.failure_category, verdict.case),
            (None, Some(CaseKind::Canceled))
        );
    }

    #[test]
    fn a_cancel_does_not_hide_what_went_wrong_before() {
        let mut facts = canceled();
        facts.tiers[0].jobs[0].attempts[0] =
            fixture::attempt(1, AttemptExit::Cancelled, vec![death().oom().build()]);
        assert!(
            cases(&facts)[0]
                .reason
                .contains("1 worker had run out of memory")
        );
    }

    #[test]
    fn a_batch_that_nobody_ended_is_not_its_matter_and_a_retried_one_no_longer() {
        assert!(cases(&fixture::failed(AttemptExit::DriverDied, vec![])).is_empty());
        let mut facts = canceled();
        fixture::then_finished(&mut facts);
        assert!(cases(&facts).is_empty());
    }
}
