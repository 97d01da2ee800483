//! The writing stage: documents and outcomes to `serve`, in reports of bounded size, for as long as it takes.
//!
//! Owns the law that a row is finished when `serve` has said so, and what to do with reports that `serve` does not want.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fettle_client::{AttemptError, Backoff, RowsBody};
use fettle_manifest::ManifestRow;
use fettle_model::{DocumentErrorClass, ErrorCategory, RowOutcome, Stage};
use fettle_wire::internal::{ROWS_BODY_BYTES_MAX, ROWS_PER_REPORT_MAX, RowReport};
use tokio::sync::mpsc;

use super::context::{Context, Extracted};
use crate::clock;
use crate::codes;
use crate::compose::{Composed, Facts};
use crate::extract::{ExtractError, Part, chain};
use crate::frame::{FatalCause, FinishedRow, FromWorker};

/// A report is sent when it has this many bytes, although more would be taken: outcomes shall come steadily.
const REPORT_BYTES: usize = 4 << 20;
/// The first wait while `serve` is away, and the longest: it must be found soon after it has come back, by many workers.
const AWAY_FIRST: Duration = Duration::from_millis(200);
const AWAY_LONGEST: Duration = Duration::from_secs(10);
/// Tries of a report on which `serve` itself fails before it is taken apart: a restart of `serve` is over by then.
const FAILURES_MAX: u32 = 10;

/// A row that waits for its report.
struct Pending {
    row: ManifestRow,
    is_success: bool,
    encoded: Vec<u8>,
    bytes: u64,
}

/// How the writing ends early.
enum Stop {
    Superseded(String),
    Refused(String),
}

/// Writes until no extracted rows come any more; the worker's exit code.
pub(super) async fn run(context: Arc<Context>, mut extracted: mpsc::Receiver<Extracted>) -> u8 {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(pending) => pending,
            None => match extracted.recv().await {
                Some(extracted) => prepare(&context, extracted).await,
                None => return codes::FINISHED,
            },
        };
        let mut size = RowsBody::default().size_with(first.encoded.len());
        let mut report = vec![first];
        while report.len() < ROWS_PER_REPORT_MAX && size < REPORT_BYTES {
            let Ok(more) = extracted.try_recv() else {
                break;
            };
            let more = prepare(&context, more).await;
            size += more.encoded.len() + 1;
            if size > ROWS_BODY_BYTES_MAX {
                next = Some(more);
                break;
            }
            report.push(more);
        }
        match send(&context, report).await {
            Ok(()) => {}
            Err(Stop::Superseded(message)) => {
                tracing::warn!(%message, "the attempt no longer counts");
                context.output.send(&FromWorker::Superseded { message });
                return codes::SUPERSEDED;
            }
            Err(Stop::Refused(message)) => {
                return context.output.fatal(FatalCause::Environment, &message);
            }
        }
    }
}

/// Makes a row's report; a row whose documents cannot be made or stored fails.
async fn prepare(context: &Context, extracted: Extracted) -> Pending {
    let Extracted {
        row,
        facts,
        result,
        held,
    } = extracted;
    let composed = match result {
        Ok(Some(parts)) => {
            let composed = compose(context, &row, &facts, parts).await;
            composed.map(|composed| (RowOutcome::Processed, composed))
        }
        Ok(None) => Ok((RowOutcome::Skipped, Composed::default())),
        Err(error) => Err(error),
    };
    drop(held);
    let encoded = composed.and_then(|(outcome, composed)| encode(&row, outcome, composed, None));
    match encoded {
        Ok(encoded) => Pending {
            bytes: facts.size_bytes,
            row,
            is_success: true,
            encoded,
        },
        Err(error) => failed(row, error),
    }
}

async fn compose(
    context: &Context,
    row: &ManifestRow,
    facts: &Facts,
    parts: Vec<Part>,
) -> Result<Composed, ExtractError> {
    let composed = context.composer.compose(row, facts, parts, clock::now())?;
    for artifact in &composed.artifacts {
        let Some(store) = &context.artifacts else {
            return Err(unwritten(
                ErrorCategory::Dependency,
                "artifacts cannot be stored: the blob store cannot be opened".to_owned(),
            ));
        };
        let stored = store.put(&artifact.key, &artifact.bytes).await;
        stored.map_err(|error| unwritten(ErrorCategory::Resource, chain(&error)))?;
    }
    Ok(composed)
}

fn encode(
    row: &ManifestRow,
    outcome: RowOutcome,
    composed: Composed,
    error: Option<ExtractError>,
) -> Result<Vec<u8>, ExtractError> {
    let report = RowReport {
        row: row.row,
        source_id: Some(row.source_id.clone()),
        collection_id: row.collection_id.clone(),
        outcome,
        documents: composed.documents,
        error: error
            .map(|error| error.into_row_error(row.row, row.source_id.clone(), clock::now())),
    };
    let unwritable = |error: AttemptError| {
        ExtractError::permanent(ErrorCategory::Runtime, "report", chain(&error))
    };
    let encoded = RowsBody::encode(&report).map_err(unwritable)?;
    if RowsBody::default().size_with(encoded.len()) <= ROWS_BODY_BYTES_MAX {
        return Ok(encoded);
    }
    let message = format!(
        "the row's {} documents take {} bytes, and a row may take {ROWS_BODY_BYTES_MAX}; split the source, or make fewer or smaller chunks",
        report.documents.len(),
        encoded.len()
    );
    Err(ExtractError {
        stage: Stage::Writing,
        ..ExtractError::permanent(ErrorCategory::Resource, "report", message)
    })
}

/// The report of a failed row. Its message is shortened when even that does not fit.
fn failed(row: ManifestRow, error: ExtractError) -> Pending {
    let short = ExtractError {
        message: error.message.chars().take(1000).collect(),
        traceback: None,
        ..error.clone()
    };
    let encoded = encode(&row, RowOutcome::Failed, Composed::default(), Some(error));
    let encoded =
        encoded.or_else(|_| encode(&row, RowOutcome::Failed, Composed::default(), Some(short)));
    Pending {
        row,
        is_success: false,
        encoded: encoded.unwrap_or_default(),
        bytes: 0,
    }
}

fn unwritten(category: ErrorCategory, message: String) -> ExtractError {
    ExtractError {
        category,
        class: DocumentErrorClass::Transient,
        stage: Stage::Writing,
        message,
        component: "blob_store".to_owned(),
        traceback: None,
    }
}

/// Sends a report until `serve` has it; one that it refuses is taken apart to find the row to blame.
async fn send(context: &Context, report: Vec<Pending>) -> Result<(), Stop> {
    let mut waiting = vec![report];
    while let Some(mut report) = waiting.pop() {
        let began = Instant::now();
        match post(context, &report).await {
            Ok(()) => acknowledge(context, &report, began.elapsed()),
            Err(AttemptError::Superseded { message }) => return Err(Stop::Superseded(message)),
            Err(_) if report.len() > 1 => {
                let second = report.split_off(report.len() / 2);
                waiting.extend([second, report]);
            }
            Err(error) => {
                let Some(row) = report.pop().filter(|row| row.is_success) else {
                    return Err(Stop::Refused(format!(
                        "serve takes no reports: {}",
                        chain(&error)
                    )));
                };
                let refused = ExtractError::permanent(
                    ErrorCategory::Validation,
                    "report",
                    format!("serve refused the row's documents: {error}"),
                );
                waiting.push(vec![failed(
                    row.row,
                    ExtractError {
                        stage: Stage::Writing,
                        ..refused
                    },
                )]);
            }
        }
    }
    Ok(())
}

/// One report, tried again while `serve` is away, without limit: the driver or the kernel ends this when it must end.
async fn post(context: &Context, report: &[Pending]) -> Result<(), AttemptError> {
    let mut body = RowsBody::default();
    for row in report {
        body.push(row.encoded.clone());
    }
    let body = body.into_bytes();
    let mut backoff = Backoff::new(AWAY_FIRST, AWAY_LONGEST);
    let mut failures = 0;
    loop {
        let busy = context.meters.of(Stage::Writing).enter();
        let sent = context.client.rows_encoded(body.clone()).await;
        drop(busy);
        let error = match sent {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        failures += u32::from(matches!(error, AttemptError::Failed(_)));
        if !error.is_retryable() || failures >= FAILURES_MAX {
            return Err(error);
        }
        if backoff.tries().is_multiple_of(10) {
            tracing::warn!(error = %chain(&error), rows = report.len(), "the report waits");
        }
        let asked = match &error {
            AttemptError::Away { retry_after, .. } => *retry_after,
            _ => None,
        };
        let wait = backoff.next_wait();
        tokio::time::sleep(asked.map_or(wait, |asked| asked.clamp(wait, AWAY_LONGEST))).await;
    }
}

fn acknowledge(context: &Context, report: &[Pending], took: Duration) {
    let meter = context.meters.of(Stage::Writing);
    meter.count(
        report.len() as u64,
        report.iter().map(|row| row.bytes).sum(),
        took,
    );
    let rows = report
        .iter()
        .map(|pending| FinishedRow {
            row: pending.row.row,
            is_success: pending.is_success,
        })
        .collect();
    context.output.send(&FromWorker::Finished { rows });
}
