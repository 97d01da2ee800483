//! The accounting: submitted = processed + failed + skipped, for every tier.

use axum::Json;
use axum::extract::State;
use fettle_core::{Batch, Tier};
use fettle_ports::BatchRecord;
use fettle_wire::batch::BatchAudit;
use fettle_wire::tier::TierAuditInfo;

use super::insight::{Insight, Numbers, of_tier};
use super::{At, batch_at};
use crate::body::InPath;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(super) async fn audit(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
) -> Result<Json<BatchAudit>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let insight = match &run {
        Some(run) => Some(Insight::load(&state, &record, run).await?),
        None => None,
    };
    Ok(Json(of_batch(&record, run.as_ref(), insight.as_ref())))
}

/// A batch's accounting.
pub(super) fn of_batch(
    record: &BatchRecord,
    run: Option<&Batch>,
    insight: Option<&Insight>,
) -> BatchAudit {
    let tiers = run.iter().flat_map(|run| &run.tiers);
    let tiers: Vec<TierAuditInfo> = tiers.map(|tier| of(tier, of_tier(tier, insight))).collect();
    BatchAudit {
        batch_id: record.batch_id.to_string(),
        status: run.map_or("DRAFT", |run| run.status.as_str()).to_owned(),
        all_balanced: !tiers.is_empty() && tiers.iter().all(|tier| tier.balanced),
        has_lost_objects: tiers.iter().any(|tier| tier.lost > 0),
        tiers,
    }
}

/// A tier's accounting. Rows without an outcome are lost only once the tier says that it ran to its end.
pub(super) fn of(tier: &Tier, numbers: Numbers) -> TierAuditInfo {
    let counts = numbers.counts;
    let open = numbers.rows.map(|rows| rows.saturating_sub(counts.total()));
    let lost = if tier.status.is_success() {
        open.unwrap_or(0)
    } else {
        0
    };
    let mut notes = Vec::new();
    match (numbers.rows, open) {
        (None, _) => notes.push("the tier's rows are not known yet".to_owned()),
        (Some(_), Some(open)) if open > 0 && lost == 0 => {
            let why = if tier.status.is_terminal() {
                "a retry takes them up"
            } else {
                "the tier is not over"
            };
            notes.push(format!("{open} row(s) have no outcome yet; {why}"));
        }
        (Some(_), _) if lost > 0 => notes.push(format!(
            "{lost} row(s) have no outcome although the tier ran to its end"
        )),
        _ => {}
    }
    TierAuditInfo {
        tier_num: tier.num,
        submitted: numbers.rows,
        processed: counts.processed,
        failed: counts.failed,
        skipped: counts.skipped,
        lost,
        balanced: open == Some(0),
        durability: "confirmed".to_owned(),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_core::TierSource;
    use fettle_model::{RowCounts, WorkStatus};

    fn check(status: WorkStatus, rows: Option<u64>, processed: u64) -> TierAuditInfo {
        let tier = Tier {
            num: 0,
            source: TierSource::Bucket,
            status,
            jobs: vec![],
            started_at: None,
            ended_at: None,
        };
        let counts = RowCounts {
            processed,
            failed: 1,
            skipped: 0,
        };
        of(
            &tier,
            Numbers {
                rows,
                counts,
                ..Numbers::default()
            },
        )
    }

    #[test]
    fn rows_are_lost_only_when_a_tier_claims_to_be_done() {
        assert!(check(WorkStatus::CompletedWithErrors, Some(3), 2).balanced);
        let lost = check(WorkStatus::CompletedWithErrors, Some(4), 2);
        assert_eq!((lost.lost, lost.balanced), (1, false));
        let running = check(WorkStatus::InProgress, Some(4), 2);
        assert_eq!((running.lost, running.balanced), (0, false));
        assert_eq!(check(WorkStatus::Failed, Some(4), 2).lost, 0);
        assert_eq!(check(WorkStatus::InProgress, None, 0).submitted, None);
    }
}
