//! Copies of an attempt's logs from its node, and the driver's last word among them.
//!
//! Owns the bounds. A log longer than they allow is kept from its end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fettle_confine::{AttemptDir, ExitRecord, keep_log, write_atomically};
use fettle_model::{AttemptEvidence, AttemptId};
use futures_util::StreamExt as _;

use super::ASKED_AT_ONCE;
use super::attempt::{Inner, Submitted, ended, held, submitted};
use crate::blocking;

/// Lines of each log that are copied: more than anybody reads, and little enough to copy now and then.
const LINES_MAX: u32 = 10_000;
/// Two readers at once cause one copy.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Stands before the driver's last word in its log; `fettle job` writes it so.
const LAST_WORD: &str = "fettle-last-word ";
/// Of a driver's log this much is looked at for its last lines.
const TAIL_BYTES_MAX: u64 = 64 << 10;
const TAIL_LINES_MAX: usize = 40;

impl Inner {
    /// Copies the logs of an attempt that may have grown. What cannot be copied stays as it was.
    pub(super) async fn refresh_logs(&self, attempt: &AttemptId) {
        let dir = self.dir(attempt);
        if !matches!(ended(&dir).await, Ok(None)) {
            return;
        }
        {
            let mut kept = held(&self.logs_kept);
            let last = kept.get(attempt);
            if last.is_some_and(|at| at.elapsed() < REFRESH_EVERY) {
                return;
            }
            kept.insert(attempt.clone(), Instant::now());
        }
        if let Ok(Some(submitted)) = submitted(&dir).await {
            self.fetch_logs(attempt, &submitted).await;
        }
    }

    /// The logs of workers on other nodes, which the driver keeps on its own.
    async fn distant_logs(&self, attempt: &AttemptId, node_id: &str) -> Vec<(u32, String)> {
        let start = format!("fettle-{attempt}-distant-");
        let found = self.api.log_files(node_id, &format!("{start}*")).await;
        let files = found.unwrap_or_else(|error| {
            tracing::debug!(%attempt, %error, "logs cannot be listed");
            Vec::new()
        });
        let number = |file: &str| {
            file.strip_prefix(&start)?
                .strip_suffix(".err")?
                .parse()
                .ok()
        };
        let numbered = files
            .into_iter()
            .filter_map(|file| Some((number(&file)?, file)));
        numbered.collect()
    }

    /// Copies all logs from the driver's node; the driver's last word, if it has said it.
    pub(super) async fn fetch_logs(
        &self,
        attempt: &AttemptId,
        submitted: &Submitted,
    ) -> Option<ExitRecord> {
        let node_id = submitted.node_id.as_deref()?;
        let is_alive = self
            .cluster
            .seen()
            .node(node_id)
            .is_some_and(|node| node.is_alive());
        if !is_alive {
            return None;
        }
        let dir = &self.dir(attempt);
        let own = (0..submitted.workers).map(|worker| (worker, worker_log(attempt, worker)));
        let elsewhere = self.distant_logs(attempt, node_id).await;
        let of_workers = own.chain(elsewhere).map(|(worker, file)| async move {
            // A worker that has not been started has no log.
            if let Ok(log) = self.api.log_file(node_id, &file, LINES_MAX).await {
                store(dir, dir.worker_err(worker), log).await;
            }
        });
        let of_workers = futures_util::stream::iter(of_workers).buffer_unordered(ASKED_AT_ONCE);
        let file = format!("job-driver-{attempt}.log");
        let of_driver = self.api.log_file(node_id, &file, LINES_MAX);
        match futures_util::join!(of_workers.collect::<()>(), of_driver).1 {
            Ok(log) => {
                let (log, last_word) = split(&log);
                store(dir, dir.driver_err(), log).await;
                last_word
            }
            Err(error) => {
                tracing::warn!(%attempt, %error, "the driver's log cannot be copied");
                None
            }
        }
    }
}

fn worker_log(attempt: &AttemptId, worker: u32) -> String {
    format!("fettle-{attempt}-worker-{worker}.err")
}

/// Adds what is kept of the driver's log.
pub(super) fn add_tail(dir: &AttemptDir, evidence: &mut AttemptEvidence) {
    let kept = keep_log(&dir.driver_err(), 0, TAIL_BYTES_MAX, TAIL_LINES_MAX);
    if !kept.tail.is_empty() {
        evidence.driver_log_tail = kept.tail;
        evidence.driver_log = Some(kept.evidence);
    }
}

async fn store(dir: &AttemptDir, path: std::path::PathBuf, log: Bytes) {
    let dir = dir.path().to_owned();
    let stored = blocking(move || {
        std::fs::create_dir_all(dir)?;
        write_atomically(&path, &log)
    });
    if let Err(error) = stored.await {
        tracing::warn!(%error, "the copy of a log cannot be written");
    }
}

/// The log without the last word, and the last word.
fn split(log: &Bytes) -> (Bytes, Option<ExitRecord>) {
    let mut rest = Vec::with_capacity(log.len());
    let mut word = None;
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(LAST_WORD.as_bytes()) {
            Some(json) => word = serde_json::from_slice(json).ok().or(word),
            None => rest.extend_from_slice(line),
        }
    }
    (Bytes::from(rest), word)
}

#[cfg(test)]
mod tests {
    use fettle_model::AttemptExit;

    use super::*;

    #[test]
    fn the_last_word_is_found_among_lines_that_are_no_text() {
        let record = ExitRecord {
            exit: AttemptExit::Finished,
            evidence: AttemptEvidence::default(),
            stages: None,
        };
        let json = serde_json::to_string(&record).unwrap();
        let mut log = b"one\n\xff\xfe\n".to_vec();
        log.extend_from_slice(format!("{LAST_WORD}{json}\nafter").as_bytes());
        let (rest, word) = split(&Bytes::from(log));
        assert_eq!(&rest[..], b"one\n\xff\xfe\nafter");
        assert_eq!(word, Some(record));
    }

    #[test]
    fn a_last_word_that_was_cut_is_none() {
        let log = Bytes::from(format!("{LAST_WORD}{{\"exit\":"));
        assert_eq!(split(&log), (Bytes::new(), None));
    }
}
