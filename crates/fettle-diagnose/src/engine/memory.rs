//! Memory: workers and drivers that a memory limit ended, who needed the memory, and how much to give next.
//!
//! Owns the OOM verdict. It must not claim a death that the driver intended, nor one for which the kernel's own counter stands at zero
//! and no allocation was refused.

pub(crate) mod advice;
mod conclude;
mod curve;
mod explain;
pub(crate) mod judge;
mod pattern;
#[cfg(test)]
mod tests;

use fettle_model::{FailureCategory, InfraEventType, WorkerDeath};

use self::advice::MemoryNeed;
use self::curve::CurveShape;
use self::judge::{Judgement, OOM_CONFIDENCE_MIN, Proof};
use crate::case::{Case, CaseKind, Standing};
use crate::facts::BatchFacts;
use crate::remedy::{RemedyAction, RemedyKind, ResourceOverrides};
use crate::scope::{AttemptScope, attempts};

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
    let deaths: Vec<&WorkerDeath> = judged.iter().map(|(death, _)| *death).collect();
    let pattern = pattern::find(&deaths, scope.at.job.counts.processed);
    let need = need(scope, &judged);
    conclude::conclude(&mut case, scope, &judged, &pattern, &need);
    if kind == CaseKind::MemorySuspected {
        // Without a counter, the kernel's log of that very process or its own last words may still say it.
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

/// What the deaths measured: the highest peak counts, and one curve that was cut off makes the peak a lower bound.
pub(super) fn need(scope: &AttemptScope<'_>, judged: &[Judged<'_>]) -> MemoryNeed {
    let resources = &scope.at.job.resources;
    let limits = judged
        .iter()
        .filter_map(|(death, _)| death.memory.limit_bytes);
    let limit_bytes = limits.max().unwrap_or(resources.memory_bytes);
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
    MemoryNeed {
        limit_bytes,
        peak_bytes: peaks.max().unwrap_or(limit_bytes),
        was_still_climbing,
        workers: resources.workers(),
        node_memory_bytes: scope.at.facts.node_memory_bytes,
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
