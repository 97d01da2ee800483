//! The end of an attempt: what is left of it is ended too, and its evidence is captured before the traces vanish.
//!
//! Owns the order: counters first, then the proof that nothing is left, then the record. A record once written is final.

use std::time::Duration;

use fettle_confine::{
    AttemptDir, AttemptGroup, ExitRecord, keep_log, read_json, terminate, write_atomically,
};
use fettle_model::{AttemptEvidence, AttemptExit, AttemptId, ProcessExit, UnixMillis};

use super::folder;
use crate::record::EndRecord;

/// Of a driver's standard error this much is looked at for its last lines.
const LOG_TAIL_BYTES_MAX: u64 = 64 << 10;
/// A panic with its backtrace fits, and a page still shows it.
const LOG_TAIL_LINES_MAX: usize = 40;

/// Why the end was not captured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// Processes outlived SIGKILL; to be tried again.
    #[error("the driver has ended, but processes {pids:?} of the attempt outlive SIGKILL")]
    Leaked { pids: Vec<u32> },
    /// The record could not be written; to be tried again.
    #[error("the end of the attempt cannot be recorded: {0}")]
    Io(#[from] std::io::Error),
}

/// Captures the end of an attempt whose driver is gone.
pub(crate) async fn capture(
    dir: &AttemptDir,
    attempt: &AttemptId,
    node: &str,
    at: UnixMillis,
) -> Result<(), CaptureError> {
    let scope = folder::scope(dir, attempt);
    // The counters are read while the group is surely there.
    let reading = scope.group.as_ref().and_then(AttemptGroup::read);
    let ended = terminate(&scope, Duration::ZERO).await;
    if !ended.proven_gone {
        return Err(CaptureError::Leaked {
            pids: ended.leaked_pids,
        });
    }
    let (dir, node) = (dir.clone(), node.to_owned());
    let work = move || {
        let mut record = record(&dir, at);
        record.evidence.attempt_memory = reading.map(|reading| reading.to_evidence(Vec::new()));
        record.evidence.node.get_or_insert(node);
        if !ended.killed_pids.is_empty() {
            let message = format!(
                "left by the driver and ended: processes {:?}",
                ended.killed_pids
            );
            record.evidence.backend_messages.push(message);
        }
        write_atomically(&dir.ended(), &serde_json::to_vec(&record)?)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)??;
    Ok(())
}

/// What the driver left, completed by what was seen from outside.
fn record(dir: &AttemptDir, at: UnixMillis) -> EndRecord {
    let (last_word, complaint) = match dir.read_exit() {
        Ok(found) => (found, None),
        Err(error) => (
            None,
            Some(format!("the driver's last word cannot be read: {error}")),
        ),
    };
    let ExitRecord {
        exit,
        mut evidence,
        stages,
    } = last_word.unwrap_or_else(|| ExitRecord {
        exit: silent_exit(dir),
        evidence: AttemptEvidence::default(),
        stages: None,
    });
    evidence.backend_messages.extend(complaint);
    evidence.driver_exit = read_json::<ProcessExit>(&dir.driver_exit()).ok().flatten();
    let kept = keep_log(&dir.driver_err(), 0, LOG_TAIL_BYTES_MAX, LOG_TAIL_LINES_MAX);
    evidence.driver_log_tail = kept.tail;
    evidence.driver_log = Some(kept.evidence);
    EndRecord {
        exit,
        evidence,
        stages,
        at,
    }
}

/// A driver that was told to stop and left no word was stopped; any other has died.
fn silent_exit(dir: &AttemptDir) -> AttemptExit {
    if dir.stop().exists() {
        AttemptExit::Cancelled
    } else {
        AttemptExit::DriverDied
    }
}
