//! What the diagnosis recommends for a tier that is over.

use fettle_core::{Event, FailedRows, Overrides};
use fettle_diagnose::{Case, RemedyKind, RetryMode, Standing};
use fettle_model::{DocumentErrorClass, WorkStatus};

use super::{Done, HealFinding, HealOutcome, HealStep, Site};
use crate::advice::core_overrides;
use crate::error::RequestError;
use crate::orchestrator::tell;

/// What a diagnosis wants done about the tier.
enum Advised {
    Tier(Overrides),
    Failed(RetryMode),
}

pub(super) async fn heal(site: &Site<'_>) -> Result<Vec<HealFinding>, RequestError> {
    let batch = site.state().await?;
    let ended = batch.tiers.iter().find(|tier| tier.num == site.tier_num);
    let may_be_mended = ended.is_some_and(|tier| {
        matches!(
            tier.status,
            WorkStatus::Failed | WorkStatus::CompletedWithErrors
        )
    });
    // What somebody has cancelled, or what runs, is let be.
    if !batch.status.is_terminal() || !may_be_mended || batch.cancel.is_some() {
        return Ok(Vec::new());
    }
    let diagnosis = fettle_diagnose::diagnose(&site.control.facts_of(&batch).await?);
    let cases = diagnosis.cases.iter();
    let found = cases
        .filter(|case| case.standing != Standing::Aside)
        .find_map(|case| Some((case, advised(case, site.tier_num)?)));
    let Some((case, advised)) = found else {
        return Ok(Vec::new());
    };
    let done = if site.dry_run {
        Done::plain(HealOutcome::WouldDo)
    } else {
        apply(site, &advised).await?
    };
    Ok(vec![told(site, case).then(HealStep::RetryTier, done)])
}

fn told(site: &Site<'_>, case: &Case) -> HealFinding {
    let evidence = case.evidence.iter().map(|line| line.what.clone());
    HealFinding {
        job: case.job_id.clone(),
        attempt: case.attempt.clone(),
        age_ms: Some(site.control.clock().now().since(case.at)),
        confidence: case.confidence,
        evidence: evidence.collect(),
        ..HealFinding::new(case.kind.as_str(), case.reason.clone())
    }
}

fn advised(case: &Case, tier_num: u32) -> Option<Advised> {
    case.actions.iter().find_map(|action| match &action.kind {
        RemedyKind::RetryTier {
            tier_num: num,
            overrides,
        } if *num == tier_num => Some(Advised::Tier(core_overrides(*overrides))),
        RemedyKind::RetryFailedDocuments { tier_nums, mode } if tier_nums.contains(&tier_num) => {
            Some(Advised::Failed(*mode))
        }
        _ => None,
    })
}

async fn apply(site: &Site<'_>, advised: &Advised) -> Result<Done, RequestError> {
    let control = site.control;
    match advised {
        Advised::Tier(overrides) => {
            let event = Event::RetryRequested {
                tier_num: site.tier_num,
                overrides: *overrides,
            };
            let answer = tell(&control.shared, site.batch, event).await;
            Done::of(answer, HealOutcome::Ordered)
        }
        Advised::Failed(mode) => {
            let classes = match mode {
                RetryMode::All => Vec::new(),
                RetryMode::TransientOnly => vec![DocumentErrorClass::Transient],
            };
            let which = FailedRows {
                classes,
                ..FailedRows::default()
            };
            let tiers = [site.tier_num];
            let answer = control
                .retry_failed_rows(site.namespace, site.batch, Some(&tiers), which)
                .await;
            Done::of(answer, HealOutcome::Ordered)
        }
    }
}
