//! What the demo claims. A claim that does not hold ends it.

use fettle_wire::batch::{BatchAudit, BatchModel};
use fettle_wire::diagnose::{DiagnoseResponse, RecommendedAction};
use serde_json::Value;

use super::steps::STARVED_TIER;
use crate::error::CliError;
use crate::search::Found;

/// Fails with the claim that does not hold.
pub(super) fn check(holds: bool, claim: impl FnOnce() -> String) -> Result<(), CliError> {
    if holds {
        Ok(())
    } else {
        Err(CliError::Claim { claim: claim() })
    }
}

/// Tier 0 went well and tier 1 failed.
pub(super) fn died_as_meant(batch: &BatchModel) -> Result<(), CliError> {
    let status = |num: u32| {
        batch
            .tier_tasks
            .iter()
            .find(|tier| tier.tier_num == num)
            .map_or("absent", |tier| tier.status.as_str())
    };
    check(status(0).starts_with("COMPLETED"), || {
        format!("tier 0 should complete; it is {}", status(0))
    })?;
    check(
        batch.status == "FAILED" && status(STARVED_TIER) == "FAILED",
        || {
            format!(
                "tier {STARVED_TIER} should die of too little memory; it is {} and the batch is {}",
                status(STARVED_TIER),
                batch.status
            )
        },
    )
}

/// The verdict is infrastructure, with an event `oom`.
pub(super) fn says_out_of_memory(diagnosis: &DiagnoseResponse) -> Result<(), CliError> {
    let category = diagnosis.failure_category.as_deref().unwrap_or("absent");
    check(category == "infrastructure", || {
        format!("the verdict should be infrastructure; it is {category}")
    })?;
    let mut events = diagnosis.infrastructure_events.iter();
    check(events.any(|event| event.event_type == "oom"), || {
        "an infrastructure event should be `oom`".to_owned()
    })?;
    check(!diagnosis.evidence.is_empty(), || {
        "the verdict should come with evidence".to_owned()
    })
}

/// Whether the evidence was read from a counter of the kernel.
pub(super) fn has_kernel_evidence(diagnosis: &DiagnoseResponse) -> bool {
    let counter = |text: &str| text.contains("oom_kill");
    diagnosis
        .evidence
        .iter()
        .any(|fact| counter(&fact.source) || fact.raw.as_deref().is_some_and(counter))
}

/// The first recommended call retries the starved tier with more memory than was given; returns how much.
pub(super) fn recommends_more_memory(
    action: &RecommendedAction,
    given: u64,
) -> Result<u64, CliError> {
    let path = &action.path;
    check(
        path.ends_with(&format!("/tiers/{STARVED_TIER}/retry")),
        || format!("the recommended call should retry tier {STARVED_TIER}; it is {path}"),
    )?;
    let memory = action
        .body
        .get("memory_bytes")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    check(memory > given, || {
        format!("the recommended memory should be more than {given} bytes; it is {memory}")
    })?;
    Ok(memory)
}

/// The batch ran to its end.
pub(super) fn completed(batch: &BatchModel) -> Result<(), CliError> {
    check(batch.status.starts_with("COMPLETED"), || {
        format!("the batch should complete; it is {}", batch.status)
    })?;
    let written = batch
        .tier_tasks
        .iter()
        .find(|tier| tier.tier_num == STARVED_TIER)
        .and_then(|tier| tier.documents_written);
    check(written.unwrap_or_default() > 0, || {
        format!("tier {STARVED_TIER} should have written documents")
    })
}

/// Nothing is lost.
pub(super) fn balances(audit: &BatchAudit) -> Result<(), CliError> {
    check(audit.all_balanced && !audit.has_lost_objects, || {
        "the audit should balance".to_owned()
    })?;
    let sums = audit
        .tiers
        .iter()
        .all(|tier| tier.submitted == Some(tier.processed + tier.failed + tier.skipped));
    check(sums && !audit.tiers.is_empty(), || {
        "submitted = processed + failed + skipped should hold".to_owned()
    })
}

/// The place at which a sentence's own document was found. Copies of a text are as good as the text.
pub(super) fn place_of(found: &[Found], sentence: &str, path: &str) -> Result<usize, CliError> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let place = found
        .iter()
        .position(|found| found.path == path || words(&found.text).contains(sentence));
    place.map(|place| place + 1).ok_or_else(|| CliError::Claim {
        claim: format!(
            "the search for a sentence of {path} should find it among the first {}",
            found.len()
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::demo::tests::diagnosis;

    #[test]
    fn another_verdict_than_out_of_memory_does_not_hold() {
        let good = diagnosis();
        assert!(says_out_of_memory(&good).is_ok());
        assert!(has_kernel_evidence(&good));
        let other = DiagnoseResponse {
            failure_category: Some("unknown".to_owned()),
            ..good.clone()
        };
        assert!(says_out_of_memory(&other).is_err());
        let without_event = DiagnoseResponse {
            infrastructure_events: Vec::new(),
            ..good.clone()
        };
        assert!(says_out_of_memory(&without_event).is_err());
        let without_evidence = DiagnoseResponse {
            evidence: Vec::new(),
            ..good
        };
        assert!(says_out_of_memory(&without_evidence).is_err());
        assert!(!has_kernel_evidence(&without_evidence));
    }

    #[test]
    fn only_more_memory_for_the_starved_tier_holds() {
        let action = |path: &str, memory: u64| -> RecommendedAction {
            serde_json::from_value(json!({
                "method": "POST", "path": path, "body": {"memory_bytes": memory},
                "reason": "", "expected_effect": "", "confidence": 1.0,
            }))
            .unwrap()
        };
        assert!(recommends_more_memory(&action("/v1/x/tiers/1/retry", 200), 100).is_ok());
        assert!(recommends_more_memory(&action("/v1/x/tiers/1/retry", 100), 100).is_err());
        assert!(recommends_more_memory(&action("/v1/x/tiers/0/retry", 200), 100).is_err());
    }

    #[test]
    fn a_sentence_is_found_by_its_path_or_in_a_copy_of_its_text() {
        let found = |path: &str, text: &str| Found {
            document_id: String::new(),
            path: path.to_owned(),
            text: text.to_owned(),
            score: 1.0,
        };
        let results = [found("b", "other"), found("c", "say  the\nwords here")];
        assert_eq!(place_of(&results, "the words", "a").unwrap(), 2);
        assert_eq!(place_of(&results, "nothing", "b").unwrap(), 1);
        assert!(place_of(&results, "nothing", "a").is_err());
    }

    #[test]
    fn an_audit_that_does_not_add_up_does_not_hold() {
        let audit = |processed: u64| -> BatchAudit {
            serde_json::from_value(json!({
                "batch_id": "btch_1", "status": "COMPLETED", "all_balanced": true, "has_lost_objects": false,
                "tiers": [{"tier_num": 0, "submitted": 3, "processed": processed, "failed": 1, "skipped": 0,
                           "lost": 0, "balanced": true, "durability": "confirmed", "notes": []}],
            }))
            .unwrap()
        };
        assert!(balances(&audit(2)).is_ok());
        assert!(balances(&audit(1)).is_err());
    }
}
