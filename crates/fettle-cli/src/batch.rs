//! `fettle batch …`.
//!
//! Owns what is asked of the server and how its answers are printed. Each command prints the server's answer as it is with `--json`.

mod act;
mod heal;
mod look;
mod story;
mod summary;

use std::time::Duration;

use fettle_wire::diagnose::DiagnoseResponse;
use serde_json::Value;

use crate::answer;
use crate::args::{DiagnoseArgs, WatchArgs};
use crate::connection::Connection;
use crate::error::CliError;
use crate::exit::Code;
use crate::output::Printer;
use crate::progress;

pub(crate) use act::{cancel, carry_out_recommended, recommended, retry};
pub(crate) use heal::heal;
pub(crate) use look::{audit, failed, get, list, logs, print_audit};
pub(crate) use story::{
    call as print_call, evidence as print_evidence, print as print_story, verdict as print_verdict,
};
pub(crate) use summary::print as print_summary;

/// Follows a batch until it ends.
pub(crate) async fn watch(
    connection: &Connection,
    args: &WatchArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let interval = Duration::from_millis(args.interval_ms);
    let (batch, answer) = progress::follow(connection, printer, &args.batch, interval).await?;
    if printer.is_json() {
        printer.json(&answer)?;
    } else {
        let (diagnosis, _) = diagnosis(connection, &args.batch).await?;
        print_summary(printer, &batch, &diagnosis, None)?;
    }
    Ok(Code::of_batch(&batch.status))
}

/// Prints the diagnosis as a story.
pub(crate) async fn diagnose(
    connection: &Connection,
    args: &DiagnoseArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    if args.markdown {
        let path = format!("{}/diagnose", connection.batch_path(&args.batch).await?);
        let text = connection.client().get_text(&path, "text/markdown").await?;
        printer.data(text.trim_end())?;
        return Ok(Code::Ok);
    }
    let (diagnosis, answer) = diagnosis(connection, &args.batch).await?;
    if printer.is_json() {
        printer.json(&answer)?;
    } else {
        print_story(printer, connection.url(), &diagnosis)?;
    }
    Ok(Code::Ok)
}

/// The diagnosis of a batch, and the answer as it came.
pub(crate) async fn diagnosis(
    connection: &Connection,
    batch_id: &str,
) -> Result<(DiagnoseResponse, Value), CliError> {
    let path = format!("{}/diagnose", connection.batch_path(batch_id).await?);
    let answer = connection.get(&path, &[]).await?;
    Ok((answer::typed(connection.url(), &answer)?, answer))
}
