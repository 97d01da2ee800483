//! Workers and drivers that will not go on by themselves.

use fettle_core::Event;
use fettle_diagnose::stuck::StuckFinding;
use fettle_model::Cause;

use super::{Done, HealFinding, HealOutcome, HealStep, Site};
use crate::error::RequestError;
use crate::orchestrator::tell;
use crate::stuck::StuckRemedy;

pub(super) async fn heal(site: &Site<'_>) -> Result<Vec<HealFinding>, RequestError> {
    let found = site.control.detect_stuck(site.batch, Some(site.tier_num));
    let mut findings = Vec::with_capacity(found.len());
    for stuck in found {
        let step = step(&stuck);
        let done = mend(site, &stuck, step).await?;
        findings.push(told(stuck).then(step, done));
    }
    Ok(findings)
}

fn told(stuck: StuckFinding) -> HealFinding {
    HealFinding {
        worker: stuck.worker,
        pid: stuck.pid,
        rows: stuck.row.iter().map(|at| at.row).collect(),
        age_ms: Some(stuck.age_ms),
        confidence: stuck.confidence,
        evidence: stuck.evidence,
        ..HealFinding::new(stuck.kind.as_str(), stuck.summary).about(&stuck.attempt)
    }
}

/// What is slow, starved or blocked goes on by itself; the death of a worker is its driver's to report.
fn step(stuck: &StuckFinding) -> HealStep {
    if !stuck.is_called_stuck() {
        HealStep::Nothing
    } else if stuck.is_killable() && stuck.is_stopped {
        HealStep::WakeWorker
    } else if stuck.is_killable() {
        HealStep::EndWorker
    } else if stuck.worker.is_none() {
        HealStep::RestartAttempt
    } else {
        HealStep::Nothing
    }
}

async fn mend(site: &Site<'_>, stuck: &StuckFinding, step: HealStep) -> Result<Done, RequestError> {
    match step {
        HealStep::EndWorker | HealStep::WakeWorker | HealStep::RestartAttempt if site.dry_run => {
            Ok(Done::plain(HealOutcome::WouldDo))
        }
        HealStep::EndWorker | HealStep::WakeWorker => {
            let remedy = site.control.apply_stuck_remedy(stuck).await?;
            Ok(match remedy {
                StuckRemedy::Ordered { command_id } => {
                    Done::because(HealOutcome::Ordered, command_id)
                }
                StuckRemedy::AlreadyOrdered { command_id } => {
                    Done::because(HealOutcome::AlreadyOrdered, command_id)
                }
                StuckRemedy::Declined { why } => Done::because(HealOutcome::Declined, why),
            })
        }
        HealStep::RestartAttempt => {
            let event = Event::RestartRequested {
                attempt: stuck.attempt.clone(),
                cause: Cause::Stuck,
                by: site.by,
                reason: stuck.summary.clone(),
            };
            let answer = tell(&site.control.shared, site.batch, event).await;
            Done::of(answer, HealOutcome::Ordered)
        }
        _ => Ok(Done::because(
            HealOutcome::NothingToDo,
            "it may go on by itself",
        )),
    }
}
