//! Healing of a tier: what was asked for, and what was found and done.

use axum::Json;
use axum::extract::State;
use fettle_control::{HealAction, HealFinding, HealOutcome};
use fettle_wire::batch::HealRequest;
use fettle_wire::healing::{HealFinding as Shown, HealResponse};

use super::At;
use super::tiers::{tier, tier_at};
use crate::body::{Body, InPath};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(super) async fn heal(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Body(body): Body<HealRequest>,
) -> Result<Json<HealResponse>, ApiError> {
    let action = action(&body.action)?;
    let (record, _, num) = tier_at(&state, &tenant, &at, "healing the tier").await?;
    let dry_run = body.dry_run.unwrap_or(false);
    let namespace = &tenant.namespace_id;
    let healed = state
        .control()
        .heal(namespace, &record.batch_id, num, action, dry_run)
        .await;
    let (run, findings) = healed?;
    let is_mended = |finding: &&HealFinding| {
        matches!(finding.outcome, HealOutcome::Done | HealOutcome::Ordered)
    };
    let mended = findings.iter().filter(is_mended).count() as u64;
    Ok(Json(HealResponse {
        success: true,
        batch_id: record.batch_id.to_string(),
        tier_num: num,
        action: body.action,
        dry_run,
        status: tier(&run, num)?.status.as_str().to_owned(),
        batch_status: run.status.as_str().to_owned(),
        message: message(&findings, mended, dry_run),
        findings: findings.into_iter().map(show).collect(),
        mended,
    }))
}

fn action(name: &str) -> Result<HealAction, ApiError> {
    let known = HealAction::ALL
        .iter()
        .find(|action| action.as_str() == name);
    known.copied().ok_or_else(|| {
        let all: Vec<&str> = HealAction::ALL.iter().map(|it| it.as_str()).collect();
        let message = format!("`{name}` is not an action; actions are {}", all.join(", "));
        ApiError::invalid(&["action"], message)
    })
}

fn message(findings: &[HealFinding], mended: u64, dry_run: bool) -> String {
    let found = findings.len();
    if found == 0 {
        return "nothing was found that is not as it should be".to_owned();
    }
    if dry_run {
        let would = |finding: &&HealFinding| finding.outcome == HealOutcome::WouldDo;
        let would = findings.iter().filter(would).count();
        return format!("{found} finding(s); something would be done about {would} of them");
    }
    format!("{found} finding(s); {mended} mended or being mended")
}

fn show(finding: HealFinding) -> Shown {
    Shown {
        kind: finding.kind.to_owned(),
        ray_job_id: finding.job.map(|job| job.to_string()),
        attempt_id: finding.attempt.map(|attempt| attempt.to_string()),
        worker: finding.worker,
        pid: finding.pid,
        rows: finding.rows,
        age_seconds: finding.age_ms.map(|ms| ms as f64 / 1000.0),
        confidence: finding.confidence,
        summary: finding.summary,
        evidence: finding.evidence,
        action: finding.step.as_str().to_owned(),
        outcome: finding.outcome.as_str().to_owned(),
        detail: finding.detail,
    }
}
