//! The conclusion of a memory case: its reason and its remedies.
//!
//! Owns what to say and to do about memory. It must not weigh; the judgement, the pattern and the need are given.

use super::Judged;
use super::pattern::Pattern;
use crate::case::{Case, CaseKind, Standing};
use crate::remedy::{HealAction, RemedyAction, RemedyKind};
use crate::scope::AttemptScope;
use crate::sizing::{NextMemory, SizingInput, next_memory};
use crate::words;

/// Writes the reason, the recommendations and the actions.
pub(super) fn conclude(
    case: &mut Case,
    scope: &AttemptScope<'_>,
    judged: &[Judged<'_>],
    pattern: &Pattern<'_>,
    input: &SizingInput<'_>,
) {
    let limit = words::bytes(input.limit_bytes);
    let verb = match case.kind {
        CaseKind::OutOfMemory => "ran out of memory at their limit of",
        _ => "may have run out of memory: no counter says so, but they ended near their limit of",
    };
    let many = words::count(judged.len() as u64, "worker");
    case.reason = format!(
        "{many} {} {verb} {limit}{}.",
        scope.at.of_tier(),
        who(pattern)
    );
    let next = next_memory(input);
    case.recommendations = recommendations(scope, pattern, input, &next);
    if case.standing == Standing::Aside {
        return;
    }
    let tier_num = scope.at.tier.tier_num;
    let mut actions = Vec::new();
    if let Pattern::BigRow { row, is_certain } = pattern {
        actions.push(RemedyAction {
            kind: RemedyKind::HealTier {
                tier_num,
                action: HealAction::QuarantinePoison,
            },
            reason: format!("row {} ({}) takes the memory", row.row, row.source_id),
            expected_effect: "that row is failed with the reason and the rest is processed within the present limit".to_owned(),
            confidence: if *is_certain { 0.8 } else { 0.5 } * case.confidence,
        });
    }
    actions.extend(raise(tier_num, pattern, &next, case.confidence));
    case.actions = actions;
}

/// The retry with more memory, where there is more.
fn raise(
    tier_num: u32,
    pattern: &Pattern<'_>,
    next: &NextMemory,
    confidence: f64,
) -> Option<RemedyAction> {
    let grant = next.grant()?;
    let fit = match pattern {
        Pattern::Loading | Pattern::EveryRow => 0.9,
        Pattern::BigRow { .. } | Pattern::Unclear => 0.75,
        Pattern::Leak { .. } => 0.5,
    };
    let overrides = grant.overrides();
    let fewer = grant.workers.map_or(String::new(), |n| {
        format!(
            ", with {} so that it fits",
            words::count(n.into(), "worker")
        )
    });
    let capped = if grant.is_capped {
        "; that is all the node has, which may not be enough"
    } else {
        ""
    };
    Some(RemedyAction {
        kind: RemedyKind::RetryTier {
            tier_num,
            overrides,
        },
        reason: format!("{}{capped}", grant.basis),
        expected_effect: format!(
            "unfinished rows are tried again with {} for each worker{fewer}; finished rows are kept",
            words::bytes(grant.memory_bytes)
        ),
        confidence: confidence * fit * if grant.is_capped { 0.6 } else { 1.0 },
    })
}

/// Who needs the memory, as the end of a sentence.
fn who(pattern: &Pattern<'_>) -> String {
    match pattern {
        Pattern::Loading => {
            ", while loading the extractor, before the first row: it is a steady need".to_owned()
        }
        Pattern::EveryRow => ", before any row was finished: every row needs more".to_owned(),
        Pattern::Leak { last_row } => {
            format!(", and use had grown with the rows up to row {last_row}: it looks like a leak")
        }
        Pattern::BigRow { row, is_certain } => {
            let surely = if *is_certain {
                "takes"
            } else {
                "probably takes"
            };
            let row = words::row(row.row, &row.source_id, row.size_bytes);
            format!("; {row} {surely} it")
        }
        Pattern::Unclear => String::new(),
    }
}

fn recommendations(
    scope: &AttemptScope<'_>,
    pattern: &Pattern<'_>,
    input: &SizingInput<'_>,
    next: &NextMemory,
) -> Vec<String> {
    let tier = scope.at.tier.tier_num;
    let mut said = Vec::new();
    match pattern {
        Pattern::BigRow { row, .. } => said.push(format!(
            "Row {} ({}) takes the memory: quarantine it, split or shrink its object, or give its tier more memory.",
            row.row, row.source_id
        )),
        Pattern::Leak { .. } => said.push(
            "The extractor holds on to memory from row to row: smaller shards, so that workers start afresh more often, help at once; \
             mend the leak for good."
                .to_owned(),
        ),
        Pattern::Loading | Pattern::EveryRow | Pattern::Unclear => {}
    }
    said.extend(match next {
        NextMemory::Keep => None,
        NextMemory::Job(grant) | NextMemory::RowsLane { grant, .. } => {
            let fewer = grant
                .workers
                .map_or(String::new(), |n| format!(" and num_cpus {n}"));
            Some(format!(
                "Retry tier {tier} with memory_bytes {}{fewer} ({}): {}.",
                grant.memory_bytes,
                words::bytes(grant.memory_bytes),
                grant.basis
            ))
        }
        NextMemory::WillNotHelp { most_bytes, why } => Some(format!(
            "More memory will not help here: one worker has {} and the node could give at most {}, and {why}. {}",
            words::bytes(input.limit_bytes),
            words::bytes(*most_bytes),
            instead(pattern)
        )),
    });
    said
}

/// What helps where more memory does not.
fn instead(pattern: &Pattern<'_>) -> &'static str {
    match pattern {
        Pattern::Loading => "Use a smaller model, or a node with more memory.",
        Pattern::EveryRow => "Use smaller inputs or a smaller model, or a node with more memory.",
        Pattern::Leak { .. } => {
            "Smaller shards, so that workers start afresh more often, or a mended extractor would."
        }
        Pattern::BigRow { .. } => "Isolating that row, or splitting its object, would.",
        Pattern::Unclear => {
            "Isolating the rows that were in work, smaller shards, or a node with more memory would."
        }
    }
}
