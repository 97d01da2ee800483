//! Memory: workers and drivers that a memory limit ended, who needed the memory, and what to know for the next size.
//!
//! Owns the OOM verdict. It must not claim a death that the driver intended, nor one for which the kernel's own counter stands at zero
//! and no allocation was refused.

mod conclude;
mod curve;
mod explain;
pub(crate) mod judge;
mod pattern;
#[cfg(test)]
mod tests;

use fettle_model::evidence::InFlightRow;
use fettle_model::{AttemptExit, FailureCategory, InfraEventType, JobId, WorkerDeath};

use self::curve::CurveShape;
use self::judge::{Judgement, OOM_CONFIDENCE_MIN, Proof};
use self::pattern::Pattern;
use crate::case::{Case, CaseKind, Standing};
use crate::facts::BatchFacts;
use crate::remedy::{RemedyAction, RemedyKind, ResourceOverrides};
use crate::scope::{AttemptScope, attempts};
use crate::sizing::{Demand, Ended, SizingInput, Workload};

/// Deaths that are told line by line; a job that dies the same death forty times is understood after a few.
const DEATHS_TOLD_MAX: usize = 6;

/// Cases of memory, one for an attempt's workers and one for its driver.
pub(crate) fn cases(facts: &BatchFacts) -> Vec<Case> {
    attempts(facts)
        .flat_map(|scope| [of_workers(&scope), of_driver(&scope), of_survivor(&scope)])
        .flatten()
        .collect()
}

/// A death with its judgement.
pub(super) type Judged<'a> = (&'a WorkerDeath, Judgement);

/// The deaths of an attempt that memory explains.
pub(crate) fn judged<'a>(scope: &AttemptScope<'a>) -> Vec<Judged<'a>> {
    let deaths = scope.deaths().into_iter();
    deaths
        .filter_map(|death| Some((death, judge::worker(death)?)))
        .collect()
}

fn of_workers(scope: &AttemptScope<'_>) -> Option<Case> {
    let judged = judged(scope);
    let (first, _) = judged.first()?;
    let share = judged.len() as f64 / scope.deaths().len().max(1) as f64;
    let confidence = judged.iter().map(|(_, j)| j.confidence).fold(0.0, f64::max);
    let kind = kind_of(confidence);
    let mut case = scope.case(kind, scope.deaths_standing(share), first.at);
    case.category = Some(FailureCategory::Infrastructure);
    case.confidence = confidence;
    case.evidence = judged
        .iter()
        .take(DEATHS_TOLD_MAX)
        .flat_map(|judged| explain::lines(scope, kind, judged))
        .collect();
    case.events = judged
        .iter()
        .map(|judged| explain::event(scope, judged))
        .collect();
    if kind == CaseKind::MemorySuspected {
        case.would_decide = explain::would_decide();
    }
    let pattern = pattern_of(scope, &judged);
    let input = input(scope, &judged, &pattern);
    conclude::conclude(&mut case, scope, &judged, &pattern, &input);
    if kind == CaseKind::MemorySuspected {
        // Without a counter, the kernel's log of that very process or its own last words may still say it.
        let deaths: Vec<&WorkerDeath> = judged.iter().map(|(death, _)| *death).collect();
        super::log_text::join_workers(&mut case, scope, &deaths);
    }
    Some(case)
}

fn kind_of(confidence: f64) -> CaseKind {
    if confidence >= OOM_CONFIDENCE_MIN {
        CaseKind::OutOfMemory
    } else {
        CaseKind::MemorySuspected
    }
}

/// What the deaths have in common.
pub(super) fn pattern_of<'a>(scope: &AttemptScope<'_>, judged: &[Judged<'a>]) -> Pattern<'a> {
    let deaths: Vec<&WorkerDeath> = judged.iter().map(|(death, _)| *death).collect();
    pattern::find(&deaths, scope.at.job.counts.processed)
}

/// What the deaths measured: the highest peak counts, and one curve that was cut off makes the peak a lower bound.
pub(super) fn input<'a>(
    scope: &AttemptScope<'a>,
    judged: &[Judged<'_>],
    pattern: &Pattern<'_>,
) -> SizingInput<'a> {
    let limits = judged
        .iter()
        .filter_map(|(death, _)| death.memory.limit_bytes);
    let without_deaths = without_deaths(scope);
    let limit_bytes = limits.max().unwrap_or(without_deaths.limit_bytes);
    let peaks = judged
        .iter()
        .filter_map(|(death, judgement)| match &judgement.proof {
            Proof::AllocationRefused(refused) => judge::peak_with(&death.memory, Some(refused)),
            _ => death.memory.peak_bytes,
        });
    let was_still_climbing = judged.iter().any(|(death, judgement)| {
        let stopped = !matches!(judgement.proof, Proof::AllocationRefused(ref r) if r.requested_bytes.is_some());
        stopped && curve::shape(&death.memory, death.at) != CurveShape::Flat
    });
    let suspects = suspects(judged, pattern);
    SizingInput {
        ended: Ended::OutOfMemory,
        demand: demand(judged, pattern),
        limit_bytes,
        peak_bytes: peaks.max().unwrap_or(limit_bytes),
        was_still_climbing,
        suspect_bytes: suspects.iter().map(|row| row.size_bytes).max().unwrap_or(0),
        suspects: suspects.iter().map(|row| row.row).collect(),
        ..without_deaths
    }
}

/// What is known for the size of a job's next attempt, from its last one; `None` before the first.
#[must_use]
pub fn sizing_input<'a>(facts: &'a BatchFacts, job: &JobId) -> Option<SizingInput<'a>> {
    let of_job = attempts(facts).filter(|scope| scope.at.job.job_id == *job);
    let scope = of_job.last()?;
    let judged = judged(&scope);
    if judged.is_empty() {
        return Some(without_deaths(&scope));
    }
    Some(input(&scope, &judged, &pattern_of(&scope, &judged)))
}

/// What is known of an attempt whose workers memory did not end.
fn without_deaths<'a>(scope: &AttemptScope<'a>) -> SizingInput<'a> {
    let job = scope.at.job;
    let workers = job.resources.workers();
    let left = job
        .rows_submitted
        .map_or(0, |rows| rows.saturating_sub(job.counts.total()));
    let ended_by_memory = |exit: &Option<AttemptExit>| *exit == Some(AttemptExit::OutOfMemory);
    let ooms = job
        .attempts
        .iter()
        .filter(|attempt| ended_by_memory(&attempt.exit));
    let measured = scope
        .evidence()
        .and_then(|evidence| evidence.memory.as_ref());
    SizingInput {
        ended: match scope.attempt.exit {
            Some(AttemptExit::Finished) => Ended::Well,
            _ => Ended::Otherwise,
        },
        demand: Demand::Unclear,
        limit_bytes: job.resources.memory_bytes,
        peak_bytes: measured.and_then(|memory| memory.peak_bytes).unwrap_or(0),
        was_still_climbing: false,
        ooms: u32::try_from(ooms.count()).unwrap_or(u32::MAX),
        suspects: Vec::new(),
        suspect_bytes: 0,
        workload: Workload {
            rows_per_worker: left.div_ceil(u64::from(workers.max(1))),
            row_bytes: None,
        },
        history: job.memory_history.as_ref(),
        workers,
        node_memory_bytes: scope.at.facts.node_memory_bytes,
    }
}

/// Rows that may have needed the memory: those that were alone in their worker, or else all that were in work.
fn suspects<'a>(judged: &[Judged<'a>], pattern: &Pattern<'a>) -> Vec<&'a InFlightRow> {
    let deaths = || judged.iter().map(|(death, _)| death.in_flight.as_slice());
    let mut rows: Vec<&InFlightRow> = deaths().filter(|rows| rows.len() == 1).flatten().collect();
    if let Pattern::BigRow { row, .. } = pattern {
        rows.push(row);
    }
    if rows.is_empty() {
        rows = deaths().flatten().collect();
    }
    rows.sort_by_key(|row| row.row);
    rows.dedup_by_key(|row| row.row);
    rows
}

fn demand(judged: &[Judged<'_>], pattern: &Pattern<'_>) -> Demand {
    match pattern {
        Pattern::Loading | Pattern::EveryRow => Demand::Steady,
        Pattern::BigRow { .. } => Demand::BigRow,
        Pattern::Unclear => Demand::Unclear,
        Pattern::Leak { .. } => {
            let longest = judged.iter().max_by_key(|(death, _)| death.rows_finished);
            longest.map_or(Demand::Unclear, |(death, _)| Demand::Leak {
                base_bytes: curve::settled_bytes(&death.memory),
                rows_finished: death.rows_finished,
            })
        }
    }
}

/// The driver's own end, or the end of the whole attempt, by a kill that the attempt's cgroup counted.
fn of_driver(scope: &AttemptScope<'_>) -> Option<Case> {
    if !super::driver::died(scope) {
        return None;
    }
    let judgement = judge::driver(scope.attempt)?;
    let Proof::KernelCounter { kills } = judgement.proof else {
        return None;
    };
    let memory = scope.evidence()?.attempt_memory.as_ref()?;
    let mut case = scope.case(
        CaseKind::OutOfMemory,
        scope.end_standing(),
        scope.ended_at(),
    );
    case.category = Some(FailureCategory::Infrastructure);
    case.confidence = judgement.confidence;
    case.reason = format!(
        "Attempt {} {} ended without a word, and the kernel had killed {} in its memory group that no worker's death explains.",
        scope.attempt.number,
        scope.at.of_tier(),
        format_args!("{kills} process(es)"),
    );
    let raw = explain::counter(memory);
    let mut line = scope.line(
        CaseKind::OutOfMemory,
        explain::counter_source(memory.enforcement),
        format!("the kernel's counter of the attempt's memory group stands {kills} above what its workers' deaths explain"),
    );
    line.raw = Some(raw.clone());
    case.evidence = vec![line];
    case.events = vec![scope.event(InfraEventType::Oom, scope.ended_at(), raw)];
    case.would_decide =
        vec!["the kernel's log of the node, which names the process that was killed".to_owned()];
    case.recommendations = vec![
        "Leave the driver more room: fewer workers (num_cpus), or a node with more memory; then retry the tier.".to_owned(),
    ];
    if case.standing != Standing::Aside {
        case.actions = vec![retry_with_room(scope)];
    }
    Some(case)
}

/// The same again with one worker less, where there is one to spare.
fn retry_with_room(scope: &AttemptScope<'_>) -> RemedyAction {
    let workers = scope.at.job.resources.workers();
    RemedyAction {
        kind: RemedyKind::RetryTier {
            tier_num: scope.at.tier.tier_num,
            overrides: ResourceOverrides {
                num_cpus: (workers > 1).then(|| f64::from(workers - 1)),
                ..ResourceOverrides::default()
            },
        },
        reason: "the group of the attempt ran out of memory, not one worker at its own limit"
            .to_owned(),
        expected_effect: "unfinished rows are tried again with more room beside the workers"
            .to_owned(),
        confidence: 0.5,
    }
}

/// A child of a worker that was killed while the worker lived on.
fn of_survivor(scope: &AttemptScope<'_>) -> Option<Case> {
    let memory = scope.evidence()?.memory.as_ref()?;
    let kills = memory.oom_kills.filter(|kills| *kills > 0)?;
    let mut case = scope.case(CaseKind::OutOfMemory, Standing::Aside, scope.ended_at());
    case.category = Some(FailureCategory::Infrastructure);
    case.confidence = 0.95;
    case.reason = format!(
        "The kernel killed {kills} process(es) of a worker {} for lack of memory, and the worker went on.",
        scope.at.of_tier()
    );
    let raw = explain::counter(memory);
    let mut line = scope.line(
        CaseKind::OutOfMemory,
        explain::counter_source(memory.enforcement),
        format!("the kernel counted {kills} out-of-memory kill(s) in the group of a worker that lived on"),
    );
    line.raw = Some(raw.clone());
    case.evidence = vec![line];
    case.events = vec![scope.event(InfraEventType::Oom, scope.ended_at(), raw)];
    Some(case)
}
