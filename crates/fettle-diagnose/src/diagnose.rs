//! The diagnosis: all engines' cases, ranked, and the verdict of the strongest.
//!
//! Owns the ranking and the wording of "unknown". It must not look at evidence itself; that is the engines' work.

use fettle_model::{BatchStatus, FailureCategory, RowCounts, StageTimings, UnixMillis, WorkStatus};

use crate::bottleneck::bottleneck;
use crate::case::{Case, Standing};
use crate::compare::compare;
use crate::engine;
use crate::facts::{BatchFacts, JobFacts, TierFacts, UsageFacts};
use crate::finding::{Diagnosis, EvidenceLine, TierFinding, Verdict};
use crate::phases::phases;
use crate::remedy::{RemedyAction, RemedyKind};
use crate::scope::jobs;
use crate::words;

/// Facts in the answer at most; the strongest finding's come first, and beyond a few screens nobody reads.
const EVIDENCE_LINES_MAX: usize = 200;
/// Events in the answer at most: a few for each attempt of a large batch.
const EVENTS_MAX: usize = 500;
/// How sure "unknown" is of itself: a failure is certain, its cause is not.
const UNKNOWN_CONFIDENCE: f64 = 0.2;

/// Says why a batch ended as it did, or what there is to know of it while it runs. Equal facts give equal answers.
#[must_use]
pub fn diagnose(facts: &BatchFacts) -> Diagnosis {
    let mut cases = engine::all_cases(facts);
    rank(&mut cases);
    let evidence: Vec<EvidenceLine> = cases
        .iter()
        .flat_map(|case| case.evidence.iter().cloned())
        .take(EVIDENCE_LINES_MAX)
        .collect();
    let mut events: Vec<_> = cases
        .iter()
        .flat_map(|case| case.events.iter().cloned())
        .collect();
    events.sort_by(|a, b| {
        (a.detected_at, &a.attempt, &a.raw_signal).cmp(&(b.detected_at, &b.attempt, &b.raw_signal))
    });
    events.dedup();
    events.truncate(EVENTS_MAX);
    let verdict = verdict(facts, &cases);
    Diagnosis {
        infrastructure_events: events,
        evidence,
        error_groups: facts.error_groups.clone(),
        recommendations: recommendations(&cases, &verdict),
        recommended_actions: actions(facts, &cases),
        tiers: facts.tiers.iter().map(|one| tier(one, facts.now)).collect(),
        compared: compare(facts),
        verdict,
        cases,
    }
}

/// Causes before concerns before asides; within these the surest, and of equally sure ones the first: the first error is usually the cause.
fn rank(cases: &mut [Case]) {
    cases.sort_by(|a, b| {
        a.standing
            .cmp(&b.standing)
            .then(b.confidence.total_cmp(&a.confidence))
            .then(a.at.cmp(&b.at))
            .then(a.kind.cmp(&b.kind))
            .then_with(|| {
                (a.tier_num, &a.job_id, &a.attempt).cmp(&(b.tier_num, &b.job_id, &b.attempt))
            })
    });
}

fn verdict(facts: &BatchFacts, cases: &[Case]) -> Verdict {
    if let Some(cause) = cases
        .first()
        .filter(|case| case.standing == Standing::Cause)
    {
        return Verdict {
            failure_category: cause.category,
            failure_reason: Some(cause.reason.clone()),
            confidence: Some(cause.confidence),
            case: Some(cause.kind),
            summary: format!("{} {}", opening(facts), cause.reason),
            would_decide: cause.would_decide.clone(),
        };
    }
    let has_failed = facts.status == BatchStatus::Failed
        || facts
            .tiers
            .iter()
            .any(|tier| tier.status == WorkStatus::Failed);
    if has_failed {
        return unknown(facts);
    }
    let concern = cases
        .first()
        .filter(|case| case.standing == Standing::Concern);
    Verdict {
        failure_category: None,
        failure_reason: None,
        confidence: concern.map(|case| case.confidence),
        case: concern.map(|case| case.kind),
        summary: match concern {
            Some(concern) => format!("{} {}", opening(facts), concern.reason),
            None => format!("{} {}", opening(facts), quiet(facts, cases)),
        },
        would_decide: concern.map_or_else(Vec::new, |case| case.would_decide.clone()),
    }
}

/// A failure that no engine can explain.
fn unknown(facts: &BatchFacts) -> Verdict {
    let told = jobs(facts)
        .filter(|scope| scope.job.status == WorkStatus::Failed)
        .find_map(|scope| scope.job.end_reason.as_deref());
    let recorded = told.map_or(String::new(), |told| {
        format!(" Recorded reason: {}.", words::clause(told))
    });
    let reason = format!("The batch failed, and the evidence does not say why.{recorded}");
    Verdict {
        failure_category: Some(FailureCategory::Unknown),
        failure_reason: Some(reason.clone()),
        confidence: Some(UNKNOWN_CONFIDENCE),
        case: None,
        summary: reason,
        would_decide: vec![
            "the exit status and the last log lines of the driver and its workers".to_owned(),
            "the node's kernel log and the backend's events at that time".to_owned(),
        ],
    }
}

/// Where the batch stands, as a first sentence.
fn opening(facts: &BatchFacts) -> String {
    let from = facts.started_at.or(facts.submitted_at);
    let until = facts.ended_at.unwrap_or(facts.now);
    let lasted = from.map_or(String::new(), |from| {
        format!(" after {}", words::duration(until.since(from)))
    });
    match facts.status {
        BatchStatus::Draft => "The batch is a draft; it has not been submitted.".to_owned(),
        BatchStatus::Queued => "The batch is queued.".to_owned(),
        BatchStatus::Processing => {
            let so_far = from.map_or(String::new(), |from| {
                format!(" for {}", words::duration(until.since(from)))
            });
            format!("The batch has been running{so_far}.")
        }
        BatchStatus::Completed => format!("The batch completed{lasted}."),
        BatchStatus::CompletedWithErrors => format!("The batch completed with errors{lasted}."),
        BatchStatus::Failed => format!("The batch failed{lasted}."),
        BatchStatus::Canceled => format!("The batch ended{lasted}."),
    }
}

/// What to say when nothing is wrong.
fn quiet(facts: &BatchFacts, cases: &[Case]) -> String {
    let outlived = match cases.len() {
        0 => "Nothing is amiss.".to_owned(),
        n => format!(
            "{} on the way did not stop it.",
            words::count(n as u64, "incident")
        ),
    };
    let done: u64 = jobs(facts).map(|scope| scope.job.counts.total()).sum();
    let all: Option<u64> = jobs(facts).map(|scope| scope.job.rows_submitted).sum();
    match (facts.status, all) {
        (BatchStatus::Draft, _) => String::new(),
        (_, Some(all)) => format!("{done} of {all} rows have an outcome. {outlived}"),
        (_, None) => format!("{} so far. {outlived}", words::count(done, "finished row")),
    }
}

/// What the causes and concerns advise, then what would decide an open question.
fn recommendations(cases: &[Case], verdict: &Verdict) -> Vec<String> {
    let weighty = cases.iter().filter(|case| case.standing != Standing::Aside);
    let open = verdict
        .would_decide
        .iter()
        .map(|what| format!("To be sure, look at {what}."));
    let mut said: Vec<String> = Vec::new();
    for line in weighty
        .flat_map(|case| case.recommendations.iter().cloned())
        .chain(open)
    {
        if !said.contains(&line) {
            said.push(line);
        }
    }
    said
}

/// What can be done now. A retry needs a batch that is over; a cancel and a look need one that is not.
fn actions(facts: &BatchFacts, cases: &[Case]) -> Vec<RemedyAction> {
    let is_over = facts.status.is_terminal();
    let possible = |action: &&RemedyAction| match action.kind {
        RemedyKind::RetryTier { .. } | RemedyKind::RetryFailedDocuments { .. } => is_over,
        RemedyKind::CancelBatch => !is_over,
        RemedyKind::HealTier { .. } => true,
    };
    let weighty = cases.iter().filter(|case| case.standing != Standing::Aside);
    let mut chosen: Vec<RemedyAction> = Vec::new();
    for action in weighty.flat_map(|case| &case.actions).filter(possible) {
        match chosen
            .iter_mut()
            .find(|other| is_same(&other.kind, &action.kind))
        {
            Some(other) => merge(&mut other.kind, &action.kind),
            None => chosen.push(action.clone()),
        }
    }
    chosen
}

/// Whether two actions would be the same request but for its overrides.
fn is_same(a: &RemedyKind, b: &RemedyKind) -> bool {
    match (a, b) {
        (RemedyKind::RetryTier { tier_num: a, .. }, RemedyKind::RetryTier { tier_num: b, .. }) => {
            a == b
        }
        _ => a == b,
    }
}

/// A retry is of a whole tier, so it must be enough for the job that needs most.
fn merge(into: &mut RemedyKind, from: &RemedyKind) {
    if let (
        RemedyKind::RetryTier {
            overrides: into, ..
        },
        RemedyKind::RetryTier {
            overrides: from, ..
        },
    ) = (into, from)
    {
        into.memory_bytes = into.memory_bytes.max(from.memory_bytes);
        into.num_cpus = match (into.num_cpus, from.num_cpus) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

fn tier(tier: &TierFacts, now: UnixMillis) -> TierFinding {
    let mut stages = StageTimings::default();
    let mut counts = RowCounts::default();
    for job in &tier.jobs {
        stages.add(&job.stages);
        counts.processed += job.counts.processed;
        counts.failed += job.counts.failed;
        counts.skipped += job.counts.skipped;
    }
    let rows_submitted: Option<u64> = tier.jobs.iter().map(|job| job.rows_submitted).sum();
    let is_over = tier.status.is_terminal() && tier.status != WorkStatus::Skipped;
    let balance = |rows: u64| rows == counts.total();
    TierFinding {
        tier_num: tier.tier_num,
        bottleneck: bottleneck(&stages),
        rows_submitted,
        counts,
        is_balanced: rows_submitted.filter(|_| is_over).map(balance),
        memory_peak_bytes: tier.jobs.iter().filter_map(memory_peak).max(),
        memory_limit_bytes: tier.jobs.iter().map(memory_limit).max(),
        phases: phases(tier, now),
        usage: usage(tier),
    }
}

/// What the workers of all attempts used; `None` where nothing was measured.
fn usage(tier: &TierFacts) -> Option<UsageFacts> {
    let attempts = tier.jobs.iter().flat_map(|job| &job.attempts);
    let mut measured = attempts.filter_map(|attempt| attempt.usage);
    let first = measured.next()?;
    Some(measured.fold(first, |mut sum, next| {
        sum.add(&next);
        sum
    }))
}

fn memory_limit(job: &JobFacts) -> u64 {
    let tried = job.params.as_ref().map(|params| &params.resources);
    tried.unwrap_or(&job.resources).memory_bytes
}

fn memory_peak(job: &JobFacts) -> Option<u64> {
    let evidence = job
        .attempts
        .iter()
        .filter_map(|attempt| attempt.evidence.as_ref());
    let peaks = evidence.flat_map(|evidence| {
        let dead = evidence.worker_deaths.iter().map(|death| &death.memory);
        dead.chain(&evidence.memory)
            .filter_map(|memory| memory.peak_bytes)
    });
    let sampled = job.attempts.iter().filter_map(|attempt| attempt.usage);
    peaks
        .chain(sampled.filter_map(|usage| usage.memory_peak_bytes))
        .max()
}

#[cfg(test)]
mod tests;
