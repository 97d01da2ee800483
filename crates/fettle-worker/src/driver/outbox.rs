//! Reports of rows that are given up, on their way to `serve`.
//!
//! Owns the trying again. A row counts as ended only when `serve` knows, so the attempt waits for this.

use std::sync::Arc;
use std::time::Duration;

use fettle_client::{AttemptClient, AttemptError, Backoff};
use fettle_model::RowNumber;
use fettle_wire::internal::{RowReport, RowsReport};
use tokio::sync::mpsc;

/// Waits while `serve` is away.
const AWAY_FIRST: Duration = Duration::from_millis(200);
const AWAY_LONGEST: Duration = Duration::from_secs(10);

/// What became of a report.
#[derive(Debug)]
pub(super) enum Posted {
    /// `serve` has it.
    Row(RowNumber),
    /// `serve` does not want it, nor anything else of this attempt.
    Superseded,
    /// `serve` refuses it for good.
    Refused(String),
}

/// Sends reports one by one, each until it is taken.
pub(super) async fn run(
    client: Arc<AttemptClient>,
    mut reports: mpsc::UnboundedReceiver<RowReport>,
    posted: mpsc::UnboundedSender<Posted>,
) {
    while let Some(report) = reports.recv().await {
        let row = report.row;
        let outcome = post(&client, &RowsReport { rows: vec![report] }).await;
        let outcome = match outcome {
            Ok(()) => Posted::Row(row),
            Err(AttemptError::Superseded { .. }) => Posted::Superseded,
            Err(error) => Posted::Refused(error.to_string()),
        };
        if posted.send(outcome).is_err() {
            return;
        }
    }
}

async fn post(client: &AttemptClient, report: &RowsReport) -> Result<(), AttemptError> {
    let mut backoff = Backoff::new(AWAY_FIRST, AWAY_LONGEST);
    loop {
        match client.rows(report).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "the report of a row that is given up waits");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(error),
        }
    }
}
