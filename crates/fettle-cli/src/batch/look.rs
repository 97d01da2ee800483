//! The commands that only look: `ls`, `get`, `logs`, `audit`, `failed`.

use fettle_wire::batch::{BatchAudit, BatchModel, FailedDocumentsResponse, ListBatchesResponse};
use fettle_wire::diagnose::{BatchLogs, LogText};
use fettle_wire::tier::TierTaskInfo;
use serde_json::{Value, json};

use crate::answer;
use crate::args::{AuditArgs, FailedArgs, GetArgs, ListArgs, LogsArgs};
use crate::connection::{Connection, segment};
use crate::error::CliError;
use crate::exit::Code;
use crate::output::{Printer, Tone};
use crate::text;

/// Lists batches.
pub(crate) async fn list(
    connection: &Connection,
    args: &ListArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let mut body = json!({ "limit": args.limit });
    if let Some(status) = &args.status {
        body["status"] = json!(status);
    }
    let path = match &args.bucket {
        Some(bucket) => format!("/v1/buckets/{}/batches/list", segment(bucket)),
        None => "/v1/batches/list".to_owned(),
    };
    let answer = connection.post_query(&path, &body).await?;
    if printer.is_json() {
        printer.json(&answer)?;
        return Ok(Code::Ok);
    }
    let page: ListBatchesResponse = answer::typed(connection.url(), &answer)?;
    let rows: Vec<Vec<String>> = page
        .results
        .iter()
        .map(|batch| row(printer, batch))
        .collect();
    for line in text::table(
        &["batch", "status", "objects", "tier", "created", "name"],
        &rows,
    ) {
        printer.data(line)?;
    }
    let shown = page.results.len() as u64;
    if shown < page.total_count {
        printer.note(format_args!(
            "{shown} of {}; `--limit` shows more",
            text::plural(page.total_count, "batch")
        ));
    }
    Ok(Code::Ok)
}

fn row(printer: &Printer, batch: &BatchModel) -> Vec<String> {
    let tier = batch
        .current_tier
        .map_or_else(|| "-".to_owned(), |tier| tier.to_string());
    vec![
        batch.batch_id.clone(),
        printer.state(&batch.status),
        text::count(batch.object_count),
        format!("{tier} of {}", batch.total_tiers),
        stamp(&json!(batch.created_at)),
        batch.batch_name.clone().unwrap_or_default(),
    ]
}

/// A timestamp of the wire, without its fraction.
fn stamp(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or("-")
        .chars()
        .take(19)
        .collect::<String>()
        .replace('T', " ")
}

/// Shows a batch.
pub(crate) async fn get(
    connection: &Connection,
    args: &GetArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let (batch, answer) = connection.batch(&args.batch).await?;
    if printer.is_json() {
        printer.json(&answer)?;
        return Ok(Code::Ok);
    }
    let name = batch.batch_name.as_deref().unwrap_or("without a name");
    printer.data(format_args!(
        "{} ({name}): {}",
        batch.batch_id,
        printer.state(&batch.status)
    ))?;
    if let Some(message) = &batch.status_message {
        printer.data(message)?;
    }
    if let Some(reason) = &batch.failure_reason {
        let category = batch.failure_category.as_deref().unwrap_or("unknown");
        printer.data(format_args!(
            "{}: {reason}",
            printer.tone(Tone::Bold, category)
        ))?;
    }
    let rows: Vec<Vec<String>> = batch
        .tier_tasks
        .iter()
        .flat_map(|tier| tier_rows(printer, tier))
        .collect();
    let head = [
        "tier",
        "status",
        "rows",
        "processed",
        "failed",
        "skipped",
        "memory",
        "took",
        "job",
    ];
    for line in text::table(&head, &rows) {
        printer.data(line)?;
    }
    if !matches!(batch.status.as_str(), "COMPLETED" | "DRAFT") {
        printer.note(format_args!(
            "why: fettle batch diagnose {}",
            batch.batch_id
        ));
    }
    Ok(Code::Ok)
}

fn tier_rows(printer: &Printer, tier: &TierTaskInfo) -> Vec<Vec<String>> {
    let audit = &tier.audit;
    let took =
        |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| text::duration(ms / 1000.0));
    let mut rows = vec![vec![
        tier.tier_num.to_string(),
        printer.state(&tier.status),
        audit.submitted.map_or_else(|| "?".to_owned(), text::count),
        text::count(audit.processed),
        text::count(audit.failed),
        text::count(audit.skipped),
        String::new(),
        took(tier.duration_ms),
        String::new(),
    ]];
    rows.extend(tier.extractor_jobs.iter().map(|job| {
        let memory = job
            .submission_params
            .as_ref()
            .map(|params| text::size(params.memory_bytes));
        let mut row = vec![String::new(); 9];
        row[1] = printer.state(&job.status);
        row[6] = memory.unwrap_or_else(|| "-".to_owned());
        row[7] = took(job.duration_ms);
        row[8] = format!("{} {}", job.ray_job_id, job.extractor_type);
        row
    }));
    rows
}

/// Prints the logs.
pub(crate) async fn logs(
    connection: &Connection,
    args: &LogsArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let path = format!("{}/logs", connection.batch_path(&args.batch).await?);
    let tier = args.tier.map(|tier| tier.to_string());
    let query: Vec<(&str, &str)> = tier
        .iter()
        .map(|tier| ("tier_num", tier.as_str()))
        .collect();
    let answer = connection.get(&path, &query).await?;
    if printer.is_json() {
        printer.json(&answer)?;
        return Ok(Code::Ok);
    }
    let logs: BatchLogs = answer::typed(connection.url(), &answer)?;
    if logs.logs.is_empty() {
        printer.note("no log has been written yet");
    }
    for log in logs.logs {
        print_log(printer, &log)?;
    }
    Ok(Code::Ok)
}

fn print_log(printer: &Printer, log: &LogText) -> Result<(), CliError> {
    let cut = match log.is_cut {
        true => format!(", the end of {}", text::size(log.total_bytes)),
        false => String::new(),
    };
    let title = format!(
        "== tier {} {} {}{cut}",
        log.tier_num, log.attempt_id, log.log
    );
    printer.note(printer.tone(Tone::Bold, &title));
    printer.raw(log.text.as_bytes())?;
    if log.text.is_empty() || log.text.ends_with('\n') {
        return Ok(());
    }
    printer.data("")
}

/// Shows the accounting.
pub(crate) async fn audit(
    connection: &Connection,
    args: &AuditArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let path = format!("{}/audit", connection.batch_path(&args.batch).await?);
    let answer = connection.get(&path, &[]).await?;
    if printer.is_json() {
        printer.json(&answer)?;
        return Ok(Code::Ok);
    }
    print_audit(printer, &answer::typed(connection.url(), &answer)?)?;
    Ok(Code::Ok)
}

/// Prints the accounting.
pub(crate) fn print_audit(printer: &Printer, audit: &BatchAudit) -> Result<(), CliError> {
    for tier in &audit.tiers {
        let submitted = tier.submitted.map_or_else(|| "?".to_owned(), text::count);
        let sign = if tier.balanced { "=" } else { "≠" };
        let lost = if tier.lost == 0 {
            String::new()
        } else {
            format!("  {} lost", text::count(tier.lost))
        };
        printer.data(format_args!(
            "tier {}: {submitted} submitted {sign} {} processed + {} failed + {} skipped{lost}",
            tier.tier_num,
            text::count(tier.processed),
            text::count(tier.failed),
            text::count(tier.skipped),
        ))?;
        for note in &tier.notes {
            printer.data(format_args!("  {note}"))?;
        }
    }
    let verdict = match (audit.all_balanced, audit.has_lost_objects) {
        (true, false) => "balanced: nothing is lost",
        (_, true) => "NOT balanced: objects are lost",
        (false, false) => "not balanced yet",
    };
    printer.data(verdict)
}

/// Lists failed documents.
pub(crate) async fn failed(
    connection: &Connection,
    args: &FailedArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let path = format!(
        "{}/failed-documents",
        connection.batch_path(&args.batch).await?
    );
    let (limit, offset) = (args.limit.to_string(), args.offset.to_string());
    let tier = args.tier.map(|tier| tier.to_string());
    let mut query = vec![("limit", limit.as_str()), ("offset", offset.as_str())];
    query.extend(tier.iter().map(|tier| ("tier_num", tier.as_str())));
    let answer = connection.get(&path, &query).await?;
    if printer.is_json() {
        printer.json(&answer)?;
        return Ok(Code::Ok);
    }
    let page: FailedDocumentsResponse = answer::typed(connection.url(), &answer)?;
    for document in &page.failed_documents {
        printer.data(format_args!(
            "tier {}  {}  {} ({}, {}): {}",
            document.tier_num,
            document.document_id,
            document.error_category,
            document.error_type,
            document.stage,
            text::short(&document.error, 200),
        ))?;
    }
    printer.note(format_args!(
        "{} in all",
        text::plural(page.total, "failed document")
    ));
    Ok(Code::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_shown_to_the_second() {
        assert_eq!(
            stamp(&json!("2026-11-24T02:39:07.123Z")),
            "2026-11-24 02:39:07"
        );
        assert_eq!(stamp(&Value::Null), "-");
    }
}
