//! Attempts that are believed to run, against what the backend shows of them.

use fettle_model::{AttemptId, AttemptStatus};
use fettle_ports::Observation;

use super::{Done, HealFinding, HealOutcome, HealStep, Site};
use crate::error::RequestError;
use crate::fence::LiveAttempt;
use crate::{reconcile, summary};

pub(super) async fn heal(site: &Site<'_>) -> Result<Vec<HealFinding>, RequestError> {
    let shared = &site.control.shared;
    let believed: Vec<(AttemptId, LiveAttempt)> = shared
        .fences
        .all()
        .into_iter()
        .filter(|(_, live)| {
            live.fence.batch_id == *site.batch && live.fence.tier_num == site.tier_num
        })
        .collect();
    let ids: Vec<AttemptId> = believed.iter().map(|(id, _)| id.clone()).collect();
    let mut findings = Vec::new();
    for (id, seen) in shared.ports.executor.observe(&ids).await {
        let Some((_, live)) = believed.iter().find(|(known, _)| *known == id) else {
            continue;
        };
        let Some(finding) = told(&id, live, &seen) else {
            continue;
        };
        if matches!(seen, Observation::Unreachable { .. }) {
            findings.push(finding);
            continue;
        }
        let done = if site.dry_run {
            Done::plain(HealOutcome::WouldDo)
        } else {
            reconcile::take(shared, &id, live, seen).await;
            believed_now(site, &id)
        };
        findings.push(finding.then(HealStep::Believe, done));
    }
    Ok(findings)
}

/// What differs from what is believed; nothing where it does not.
fn told(id: &AttemptId, live: &LiveAttempt, seen: &Observation) -> Option<HealFinding> {
    let finding = |kind, summary| Some(HealFinding::new(kind, summary).about(id));
    match seen {
        Observation::Running | Observation::Queued { .. } => None,
        // Planned and not started yet.
        Observation::Unknown if live.status == AttemptStatus::Planned => None,
        Observation::Unknown => finding(
            "lost",
            "it is believed to run, and the backend knows nothing of it".to_owned(),
        ),
        Observation::Ended { exit, evidence, .. } => finding(
            "ended",
            format!(
                "it is believed to run, and has ended: {}",
                summary::of(exit, evidence)
            ),
        ),
        Observation::Unreachable { message } => finding(
            "unreachable",
            format!("the backend cannot say whether it runs: {message}"),
        ),
    }
}

fn believed_now(site: &Site<'_>, id: &AttemptId) -> Done {
    if site.control.shared.fences.get(id).is_none() {
        Done::plain(HealOutcome::Done)
    } else {
        Done::because(
            HealOutcome::Ordered,
            "it is just being started or stopped; it is looked at again within a second",
        )
    }
}
