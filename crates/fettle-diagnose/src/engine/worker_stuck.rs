//! Workers that were ended because they stood still.
//!
//! Owns what such deaths say afterwards. It must not find anything stuck; `crate::stuck` does, while the worker lives.

use fettle_model::{FailureCategory, WorkerDeath};

use crate::case::{Case, CaseKind};
use crate::facts::BatchFacts;
use crate::scope::{AttemptScope, attempts};
use crate::words;

/// Deaths that are told line by line.
const DEATHS_TOLD_MAX: usize = 6;

/// One case for each attempt with such deaths.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    attempts(facts).filter_map(|scope| case(&scope)).collect()
}

fn case(scope: &AttemptScope<'_>) -> Option<Case> {
    let deaths = &scope.evidence()?.worker_deaths;
    let stuck: Vec<&WorkerDeath> = deaths
        .iter()
        .filter(|death| death.stuck.is_some())
        .collect();
    let first = stuck.first()?;
    let share = stuck.len() as f64 / deaths.len().max(1) as f64;
    let mut case = scope.case(
        CaseKind::WorkerStuck,
        scope.deaths_standing(share),
        first.at,
    );
    case.category = Some(FailureCategory::Timeout);
    case.confidence = 0.85;
    case.reason = format!(
        "{} {} stood still and had to be ended.",
        words::count(stuck.len() as u64, "worker"),
        scope.at.of_tier()
    );
    let told = stuck
        .iter()
        .filter_map(|death| Some((death, death.stuck.as_ref()?)));
    let lines = told.take(DEATHS_TOLD_MAX).map(|(death, stuck)| {
        let what = stuck.reason.clone();
        let mut line = scope.death_line(death, CaseKind::WorkerStuck, "pulse of the worker", what);
        line.raw = Some(stuck.stand.clone()).filter(|stand| !stand.is_empty());
        line
    });
    case.evidence = lines.collect();
    case.recommendations = vec![
        "See where the workers stood: it names the call that does not come back. A row that stops its worker twice is failed and the others go on.".to_owned(),
    ];
    Some(case)
}

#[cfg(test)]
mod tests {
    use fettle_model::{AttemptExit, StuckEvidence, WorkStatus};

    use super::*;
    use crate::case::Standing;
    use crate::fixture::{self, death};

    fn stuck_death() -> WorkerDeath {
        let mut stuck = death().killed_by_driver("it was stuck").build();
        stuck.stuck = Some(StuckEvidence {
            order_id: "kill-w0-p4242-r7".into(),
            reason: "worker 0 has used neither CPU nor IO for 12.0 s".into(),
            age_ms: 12_000,
            stand: "in futex_wait_queue".into(),
        });
        stuck
    }

    #[test]
    fn a_worker_that_stood_still_is_told_with_where_it_stood() {
        let found = cases(&fixture::failed(
            AttemptExit::WorkersKeepDying,
            vec![stuck_death()],
        ));
        assert_eq!(found[0].kind, CaseKind::WorkerStuck);
        let line = &found[0].evidence[0];
        assert!(line.what.contains("neither CPU nor IO"), "{line:?}");
        assert_eq!(line.raw.as_deref(), Some("in futex_wait_queue"));
    }

    #[test]
    fn what_the_attempt_outlived_is_aside_and_other_deaths_are_not_its_matter() {
        let mut facts = fixture::failed(AttemptExit::Finished, vec![stuck_death()]);
        facts.tiers[0].jobs[0].status = WorkStatus::Completed;
        assert_eq!(cases(&facts)[0].standing, Standing::Aside);
        let other = death().killed_by_driver("cancelled").build();
        assert_eq!(
            cases(&fixture::failed(AttemptExit::WorkersKeepDying, vec![other])),
            []
        );
    }
}
