//! What a batch came to: a line a tier with its stage bars, and the documents that failed.

use fettle_wire::batch::BatchModel;
use fettle_wire::diagnose::DiagnoseResponse;
use fettle_wire::tier::TierTaskInfo;

use super::story;
use crate::error::CliError;
use crate::output::{Printer, Tone};
use crate::text;

/// Failed objects shown; `batch failed` pages through all.
const FAILED_SHOWN_MAX: usize = 5;

/// Prints the summary of a batch that has ended. `serve` is the command that starts its server again, where that ends now.
pub(crate) fn print(
    printer: &Printer,
    batch: &BatchModel,
    diagnosis: &DiagnoseResponse,
    serve: Option<&str>,
) -> Result<(), CliError> {
    printer.data(format_args!(
        "batch {}: {}",
        batch.batch_id,
        printer.state(&batch.status)
    ))?;
    for info in &batch.tier_tasks {
        tier(printer, info)?;
        let found = diagnosis
            .per_tier
            .iter()
            .find(|found| found.tier_num == info.tier_num);
        for line in found
            .map(|found| story::stages(&found.stage_history))
            .unwrap_or_default()
        {
            printer.data(format_args!("  {line}"))?;
        }
    }
    failed(printer, batch)?;
    if batch.status == "FAILED" {
        printer.data("")?;
        story::verdict(printer, diagnosis)?;
        for recommendation in &diagnosis.recommendations {
            printer.data(format_args!("  - {recommendation}"))?;
        }
    }
    more(printer, batch, serve);
    Ok(())
}

fn tier(printer: &Printer, tier: &TierTaskInfo) -> Result<(), CliError> {
    let names: Vec<&str> = tier
        .extractor_jobs
        .iter()
        .map(|job| job.extractor_type.as_str())
        .collect();
    let took = tier.duration_ms.map_or(String::new(), |ms| {
        format!(" in {}", text::duration(ms / 1000.0))
    });
    let written = tier.documents_written.map_or(String::new(), |n| {
        format!(", {} written", text::plural(n, "document"))
    });
    let audit = &tier.audit;
    printer.data(format_args!(
        "\n{} {}: {}{took}",
        printer.tone(Tone::Bold, &format!("tier {}", tier.tier_num)),
        names.join(", "),
        printer.state(&tier.status),
    ))?;
    printer.data(format_args!(
        "  {}: {} processed, {} failed, {} skipped{written}",
        text::plural(audit.submitted.unwrap_or_default(), "row"),
        text::count(audit.processed),
        text::count(audit.failed),
        text::count(audit.skipped),
    ))
}

fn failed(printer: &Printer, batch: &BatchModel) -> Result<(), CliError> {
    if batch.failed_object_count == 0 {
        return Ok(());
    }
    printer.data(format_args!(
        "\n{}",
        text::plural(batch.failed_object_count, "failed object")
    ))?;
    for record in batch.failed_objects.iter().take(FAILED_SHOWN_MAX) {
        printer.data(format_args!(
            "  {} ({}): {}",
            record.object_id,
            record.error_type,
            text::short(&record.error, 160)
        ))?;
    }
    Ok(())
}

/// How to see more of a batch that did not go well.
fn more(printer: &Printer, batch: &BatchModel, serve: Option<&str>) {
    let command = match batch.status.as_str() {
        "FAILED" => "diagnose",
        _ if batch.failed_object_count > 0 => "failed",
        _ => return,
    };
    let command = format!("fettle batch {command} {}", batch.batch_id);
    match serve {
        None => printer.note(format_args!("more: {command}")),
        Some(serve) => printer.note(format_args!("more: `{serve}`, and beside it `{command}`")),
    }
}
