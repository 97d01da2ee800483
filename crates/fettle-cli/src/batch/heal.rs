//! `fettle batch heal`: what was found in a tier and what was done about it.

use fettle_wire::batch::BatchModel;
use fettle_wire::healing::{HealFinding, HealResponse};
use serde_json::json;

use crate::answer;
use crate::args::HealArgs;
use crate::connection::Connection;
use crate::error::CliError;
use crate::exit::Code;
use crate::output::Printer;
use crate::text;

/// Heals a tier.
pub(crate) async fn heal(
    connection: &Connection,
    args: &HealArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let batch = connection.batch_path(&args.batch).await?;
    let tier = match args.tier {
        Some(tier) => tier,
        None => current_tier(connection, &batch).await?,
    };
    let body = json!({"action": args.action, "dry_run": args.dry_run});
    let answer = connection
        .post(&format!("{batch}/tiers/{tier}/heal"), &body)
        .await?;
    if printer.is_json() {
        printer.json(&answer)?;
        return Ok(Code::Ok);
    }
    let healed: HealResponse = answer::typed(connection.url(), &answer)?;
    printer.data(format_args!("tier {tier}: {}", healed.message))?;
    for finding in &healed.findings {
        for line in lines(finding) {
            printer.data(line)?;
        }
    }
    Ok(Code::Ok)
}

async fn current_tier(connection: &Connection, path: &str) -> Result<u32, CliError> {
    let answer = connection.get(path, &[]).await?;
    let batch: BatchModel = answer::typed(connection.url(), &answer)?;
    Ok(batch.current_tier.unwrap_or_default())
}

fn lines(finding: &HealFinding) -> Vec<String> {
    let age = finding.age_seconds.map_or_else(String::new, |seconds| {
        format!(", for {}", text::duration(seconds))
    });
    let detail = finding.detail.as_ref();
    let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
    let mut lines = vec![
        format!("- {}{age}: {}", finding.kind, finding.summary),
        format!("  {}: {}{detail}", finding.action, finding.outcome),
    ];
    let evidence = finding.evidence.iter();
    lines.extend(evidence.map(|fact| format!("  | {fact}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_with_its_age_what_was_done_and_what_it_rests_on() {
        let finding = HealFinding {
            kind: "hung".to_owned(),
            ray_job_id: None,
            attempt_id: None,
            worker: Some(2),
            pid: Some(77),
            rows: vec![5],
            age_seconds: Some(12.0),
            confidence: 0.95,
            summary: "worker 2 stands still".to_owned(),
            evidence: vec!["no CPU time for 12 s".to_owned()],
            action: "end_worker".to_owned(),
            outcome: "ordered".to_owned(),
            detail: Some("kill-w2".to_owned()),
        };
        assert_eq!(
            lines(&finding),
            [
                "- hung, for 12.0 s: worker 2 stands still",
                "  end_worker: ordered (kill-w2)",
                "  | no CPU time for 12 s",
            ]
        );
    }
}
