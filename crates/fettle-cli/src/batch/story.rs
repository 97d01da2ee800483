//! A diagnosis as a story: verdict, evidence, timeline, tiers, and what to do with the exact call.

use fettle_wire::diagnose::{DiagnoseResponse, EvidenceLine, RecommendedAction, TierDiagnosis};
use fettle_wire::progress::BatchStageTiming;
use fettle_wire::time::Timestamp;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Printer, Tone};
use crate::text;

/// Timeline entries shown; the newest say how it ended, and `--json` has more.
const TIMELINE_SHOWN_MAX: usize = 30;
/// Width to which long raw signals and messages are cut; `--json` has all.
const LINE_WIDTH: usize = 160;
/// Cells of a stage's bar.
const BAR_WIDTH: usize = 20;

/// Prints the diagnosis. `url` is where the recommended call goes.
pub(crate) fn print(
    printer: &Printer,
    url: &str,
    diagnosis: &DiagnoseResponse,
) -> Result<(), CliError> {
    verdict(printer, diagnosis)?;
    evidence(printer, diagnosis)?;
    timeline(printer, diagnosis)?;
    tiers(printer, diagnosis)?;
    failed_documents(printer, diagnosis)?;
    actions(printer, url, diagnosis)
}

/// The conclusion in a few lines.
pub(crate) fn verdict(printer: &Printer, diagnosis: &DiagnoseResponse) -> Result<(), CliError> {
    printer.data(format_args!(
        "batch {}: {}",
        diagnosis.batch_id,
        printer.state(&diagnosis.status)
    ))?;
    let Some(category) = &diagnosis.failure_category else {
        return printer.data(
            diagnosis
                .failure_reason
                .as_ref()
                .unwrap_or(&diagnosis.summary),
        );
    };
    // The event that goes with the verdict is the last one: what came before was outlived.
    let event = diagnosis
        .infrastructure_events
        .last()
        .filter(|_| category == "infrastructure");
    let event = event.map_or(String::new(), |event| format!(" / {}", event.event_type));
    printer.data(format_args!(
        "verdict: {}{}",
        printer.tone(Tone::Bold, &format!("{category}{event}")),
        diagnosis
            .confidence
            .map_or(String::new(), |confidence| format!(
                " (confidence {:.0} %)",
                confidence * 100.0
            ))
    ))?;
    printer.data(format_args!(
        "  {}",
        diagnosis
            .failure_reason
            .as_ref()
            .unwrap_or(&diagnosis.summary)
    ))?;
    for open in &diagnosis.would_decide {
        printer.data(format_args!("  would decide it: {open}"))?;
    }
    Ok(())
}

/// What the verdict rests on, line by line.
pub(crate) fn evidence(printer: &Printer, diagnosis: &DiagnoseResponse) -> Result<(), CliError> {
    if diagnosis.evidence.is_empty() {
        return Ok(());
    }
    heading(printer, "evidence")?;
    for fact in &diagnosis.evidence {
        printer.data(format_args!("  - {}", fact.what))?;
        printer.data(format_args!(
            "    {}",
            printer.tone(Tone::Dim, &origin(fact))
        ))?;
    }
    Ok(())
}

/// Where a fact was read, and of whom.
fn origin(fact: &EvidenceLine) -> String {
    let mut origin = format!("read from {}", fact.source);
    if let Some(raw) = &fact.raw {
        origin.push_str(&format!(": {}", text::short(raw, LINE_WIDTH)));
    }
    match (&fact.attempt_id, fact.worker) {
        (Some(attempt), Some(worker)) => {
            origin.push_str(&format!(" (worker {worker} of {attempt})"))
        }
        (Some(attempt), None) => origin.push_str(&format!(" ({attempt})")),
        _ => {}
    }
    origin
}

fn heading(printer: &Printer, title: &str) -> Result<(), CliError> {
    printer.data(format_args!("\n{}", printer.tone(Tone::Bold, title)))
}

fn timeline(printer: &Printer, diagnosis: &DiagnoseResponse) -> Result<(), CliError> {
    let entries = &diagnosis.timeline;
    if entries.is_empty() {
        return Ok(());
    }
    heading(printer, "timeline")?;
    let left_out = entries.len().saturating_sub(TIMELINE_SHOWN_MAX);
    if left_out > 0 {
        printer.data(format_args!(
            "  … {} more before",
            text::count(left_out as u64)
        ))?;
    }
    for entry in &entries[left_out..] {
        let tier = entry
            .tier_num
            .map_or(String::new(), |tier| format!("tier {tier}: "));
        let message = text::short(&entry.message, LINE_WIDTH);
        printer.data(format_args!("  {}  {tier}{message}", clock(entry.at)))?;
    }
    Ok(())
}

/// The time of day of a timestamp, to the millisecond.
fn clock(at: Timestamp) -> String {
    let text = json!(at);
    let digits: String = text
        .as_str()
        .unwrap_or_default()
        .chars()
        .skip(11)
        .take(12)
        .collect();
    digits.trim_end_matches('Z').to_owned()
}

fn tiers(printer: &Printer, diagnosis: &DiagnoseResponse) -> Result<(), CliError> {
    if !diagnosis.per_tier.is_empty() {
        heading(printer, "tiers")?;
    }
    for tier in &diagnosis.per_tier {
        let took = tier
            .duration_seconds
            .map_or(String::new(), |s| format!(" in {}", text::duration(s)));
        printer.data(format_args!(
            "  tier {}: {}{took}",
            tier.tier_num,
            printer.state(&tier.status)
        ))?;
        for reason in tier.jobs.iter().filter_map(|job| job.waits_for.as_ref()) {
            printer.data(format_args!("    waits for: {reason}"))?;
        }
        if let Some(memory) = memory(tier) {
            printer.data(format_args!("    {memory}"))?;
        }
        for line in stages(&tier.stage_history) {
            printer.data(format_args!("    {line}"))?;
        }
        if let Some(bottleneck) = &tier.bottleneck {
            let share = bottleneck.share * 100.0;
            printer.data(format_args!(
                "    bottleneck: {} ({share:.0} %): {}",
                bottleneck.stage, bottleneck.meaning
            ))?;
        }
    }
    Ok(())
}

/// Memory asked for against memory used, of a worker.
fn memory(tier: &TierDiagnosis) -> Option<String> {
    let resources = &tier.resources;
    let requested = resources.requested.map(|requested| requested.memory_bytes);
    let asked = resources.used.memory_limit_bytes.or(requested)?;
    Some(match tier.resources.used.memory_peak_bytes {
        Some(used) => {
            let share = used as f64 / asked.max(1) as f64;
            format!(
                "memory       {}  {:>3.0} %  peak of a worker {}, limit {}",
                text::bar(share, BAR_WIDTH),
                share * 100.0,
                text::size(used),
                text::size(asked),
            )
        }
        None => format!(
            "memory       limit of a worker {}, use not seen",
            text::size(asked)
        ),
    })
}

/// A bar for each stage, in shares of all busy time.
pub(crate) fn stages(history: &[BatchStageTiming]) -> Vec<String> {
    let total: f64 = history.iter().map(|stage| stage.duration_seconds).sum();
    if total <= 0.0 {
        return Vec::new();
    }
    let line = |stage: &BatchStageTiming| {
        let share = stage.duration_seconds / total;
        format!(
            "{:12} {}  {:>3.0} %  {}",
            stage.name,
            text::bar(share, BAR_WIDTH),
            share * 100.0,
            text::duration(stage.duration_seconds)
        )
    };
    history.iter().map(line).collect()
}

fn failed_documents(printer: &Printer, diagnosis: &DiagnoseResponse) -> Result<(), CliError> {
    if diagnosis.failed_document_count == 0 {
        return Ok(());
    }
    heading(
        printer,
        &text::plural(diagnosis.failed_document_count, "failed document"),
    )?;
    for group in &diagnosis.error_groups {
        printer.data(format_args!(
            "  {} × {} ({}), tier {}, {}: {}",
            text::count(group.count),
            group.category,
            group.error_type,
            group.tier_num,
            group.stage,
            text::short(&group.example, LINE_WIDTH),
        ))?;
    }
    Ok(())
}

fn actions(printer: &Printer, url: &str, diagnosis: &DiagnoseResponse) -> Result<(), CliError> {
    if !diagnosis.recommendations.is_empty() {
        heading(printer, "what to do")?;
    }
    for line in &diagnosis.recommendations {
        printer.data(format_args!("  - {line}"))?;
    }
    for (index, action) in diagnosis.recommended_actions.iter().enumerate() {
        heading(printer, &format!("recommended call {}", index + 1))?;
        call(printer, url, action)?;
    }
    if !diagnosis.recommended_actions.is_empty() {
        let batch = &diagnosis.batch_id;
        printer.data(format_args!(
            "\nto make the first one as it stands: fettle batch retry {batch} --recommended"
        ))?;
    }
    Ok(())
}

/// A recommended call, so that it can be copied.
pub(crate) fn call(
    printer: &Printer,
    url: &str,
    action: &RecommendedAction,
) -> Result<(), CliError> {
    printer.data(format_args!("  {} {url}{}", action.method, action.path))?;
    if !action.body.is_empty() {
        printer.data(format_args!("  {}", Value::Object(action.body.clone())))?;
    }
    printer.data(format_args!("  why: {}", action.reason))?;
    printer.data(format_args!("  then: {}", action.expected_effect))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(resources: Value) -> TierDiagnosis {
        serde_json::from_value(json!({
            "tier_num": 1, "status": "FAILED", "stage_history": [], "jobs": [], "resources": {"used": resources},
        }))
        .unwrap()
    }

    #[test]
    fn memory_shows_what_was_asked_against_what_was_used() {
        let line = memory(&tier(
            json!({"memory_limit_bytes": 104_857_600, "memory_peak_bytes": 52_428_800}),
        ));
        let line = line.unwrap();
        assert!(
            line.contains(" 50 %") && line.contains("50.0 MiB, limit 100.0 MiB"),
            "{line}"
        );
        let unseen = memory(&tier(json!({"memory_limit_bytes": 1024}))).unwrap();
        assert!(unseen.contains("use not seen"), "{unseen}");
        assert_eq!(memory(&tier(json!({}))), None);
    }

    #[test]
    fn stages_are_shares_of_all_busy_time() {
        let stage = |name: &str, seconds: f64| -> BatchStageTiming {
            serde_json::from_value(json!({
                "name": name, "index": 0, "total": 3, "started_at": 0.0, "ended_at": 9.0, "duration_seconds": seconds,
            }))
            .unwrap()
        };
        let lines = stages(&[stage("loading", 1.0), stage("processing", 3.0)]);
        assert!(
            lines[0].contains(" 25 %") && lines[1].contains(" 75 %"),
            "{lines:?}"
        );
        assert!(stages(&[]).is_empty());
    }

    #[test]
    fn a_fact_says_where_and_of_whom_it_was_read() {
        let fact: EvidenceLine = serde_json::from_value(json!({
            "attempt_id": "job_1-a1", "worker": 0, "what": "killed", "source": "memory.oom_control",
            "raw": "oom_kill 1", "supports": "out_of_memory",
        }))
        .unwrap();
        assert_eq!(
            origin(&fact),
            "read from memory.oom_control: oom_kill 1 (worker 0 of job_1-a1)"
        );
    }
}
