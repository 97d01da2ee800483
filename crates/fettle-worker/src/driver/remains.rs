//! What a dead worker's process left behind: its log, and what the kernel says of it.
//!
//! Owns the reading of it, on a thread that may block: a log may be huge, and the driver's loop must not wait for a disk.

use std::path::PathBuf;

use fettle_confine::{KeptLog, keep_log, kernel_lines};
use serde::{Deserialize, Serialize};

/// Lines and bytes of a worker's log that are kept with its death: a traceback fits, a flood does not.
const LOG_TAIL_LINES: usize = 40;
const LOG_TAIL_BYTES: u64 = 16 << 10;

/// Where a process leaves its traces.
#[derive(Debug)]
pub(super) struct Traces {
    /// The file of its log.
    pub(super) log: PathBuf,
    /// Where its part of the file begins, in bytes.
    pub(super) log_start: u64,
    /// Its process id.
    pub(super) pid: u32,
    /// The machine's uptime when it was started, in milliseconds; kernel lines of before are another's.
    pub(super) started_uptime_ms: u64,
}

/// What was read of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remains {
    /// What is kept of its log.
    pub(super) log: KeptLog,
    /// Lines of the kernel's log that name it.
    pub(super) kernel_lines: Vec<String>,
}

impl Traces {
    /// Reads them, once the process has ended. Nothing is left when the driver itself is ending.
    pub(super) async fn read(self) -> Remains {
        let read = tokio::task::spawn_blocking(move || Remains {
            log: keep_log(&self.log, self.log_start, LOG_TAIL_BYTES, LOG_TAIL_LINES),
            kernel_lines: kernel_lines(self.pid, self.started_uptime_ms),
        });
        read.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_own_part_of_the_log_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("worker-0.err");
        std::fs::write(&log, "error: of another\nKeyError: 'x'\n").unwrap();
        let traces = Traces {
            log,
            log_start: 18,
            pid: u32::MAX,
            started_uptime_ms: 0,
        };
        let remains = traces.read().await;
        assert_eq!(remains.log.tail, "KeyError: 'x'");
        assert_eq!(remains.log.evidence.first_error.unwrap().offset, 18);
        assert!(remains.kernel_lines.is_empty());
    }
}
