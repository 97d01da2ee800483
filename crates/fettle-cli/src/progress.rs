//! Following a batch until it ends.
//!
//! Owns what is shown while it runs: bars on a terminal, otherwise a line when something changes.

mod bars;
mod lines;

use std::time::Duration;

use fettle_wire::batch::BatchModel;
use serde_json::Value;

use crate::connection::Connection;
use crate::error::CliError;
use crate::output::Printer;

/// How long a server may be away while a batch is followed: long enough for a restart.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Something that shows how far a batch is.
trait Display {
    fn show(&mut self, batch: &BatchModel);
    fn say(&mut self, line: &str);
    fn close(&mut self);
}

/// Looks at the batch every `interval` until it has ended, and returns its last state.
pub(crate) async fn follow(
    connection: &Connection,
    printer: &Printer,
    batch_id: &str,
    interval: Duration,
) -> Result<(BatchModel, Value), CliError> {
    let mut display: Box<dyn Display> = if printer.may_draw() {
        Box::new(bars::Bars::new())
    } else {
        Box::new(lines::Lines::new(*printer))
    };
    let outcome = poll(connection, display.as_mut(), batch_id, interval).await;
    display.close();
    outcome
}

async fn poll(
    connection: &Connection,
    display: &mut dyn Display,
    batch_id: &str,
    interval: Duration,
) -> Result<(BatchModel, Value), CliError> {
    let mut away = Duration::ZERO;
    loop {
        match connection.batch(batch_id).await {
            Ok((batch, answer)) => {
                away = Duration::ZERO;
                display.show(&batch);
                if is_over(&batch.status) {
                    return Ok((batch, answer));
                }
            }
            Err(CliError::Server(error)) if error.is_away() && away < AWAY_MAX => {
                if away.is_zero() {
                    display.say(
                        "the server does not answer; its jobs go on, waiting for it to come back",
                    );
                }
                away += interval;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(interval).await;
    }
}

/// Whether only a retry leads on from this state.
pub(crate) fn is_over(status: &str) -> bool {
    matches!(
        status,
        "COMPLETED" | "COMPLETED_WITH_ERRORS" | "FAILED" | "CANCELED"
    )
}

/// What a batch that waits is waiting for.
fn waits_for(batch: &BatchModel) -> Option<String> {
    if is_over(&batch.status) {
        return None;
    }
    if let Some(reason) = batch
        .progress
        .as_ref()
        .and_then(|progress| progress.queue_reason.clone())
    {
        return Some(reason);
    }
    let context = batch.queue_context.as_ref()?;
    ["reason", "message", "waiting_for"]
        .iter()
        .find_map(|key| context.get(*key).and_then(Value::as_str))
        .map(str::to_owned)
}

/// Rows of a tier that have an outcome, and rows in all once they are known.
fn rows(tier: &fettle_wire::tier::TierTaskInfo) -> (u64, Option<u64>) {
    let audit = &tier.audit;
    (
        audit.processed + audit.failed + audit.skipped,
        audit.submitted,
    )
}

/// Names of the extractors of a tier.
fn extractors(tier: &fettle_wire::tier::TierTaskInfo) -> String {
    let names: Vec<&str> = tier
        .extractor_jobs
        .iter()
        .map(|job| job.extractor_type.as_str())
        .collect();
    names.join(", ")
}
