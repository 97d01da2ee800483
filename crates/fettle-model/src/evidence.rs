//! What was observed of an attempt and its workers, captured before the traces vanish.

use serde::{Deserialize, Serialize};

use crate::{RowNumber, UnixMillis};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessExit {
    /// Exit status, when the process exited by itself.
    pub code: Option<i32>,
    /// Signal number, when a signal ended it.
    pub signal: Option<i32>,
}

impl ProcessExit {
    /// Whether the process exited with status zero.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// For people: `exit status 3`, `signal 9 (SIGKILL)`, or `exit unknown`.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.code, self.signal) {
            (_, Some(signal)) => format!("signal {signal} ({})", signal_name(signal)),
            (Some(code), None) => format!("exit status {code}"),
            (None, None) => "exit unknown".to_owned(),
        }
    }
}

/// The name of a Linux signal number (signal(7)); `unknown signal` for others.
#[must_use]
pub fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "unknown signal",
    }
}

/// Who enforced a memory limit, and so who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryEnforcement {
    /// Unified hierarchy: `memory.max`, `memory.events`, `memory.peak`.
    CgroupV2,
    /// Legacy hierarchy: `memory.limit_in_bytes`, `memory.oom_control`, `memory.max_usage_in_bytes`.
    CgroupV1,
    /// `RLIMIT_DATA` and a sampled resident set; there is no kernel counter.
    Rlimit,
    /// No limit could be set.
    None,
}

/// One reading of a worker's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySample {
    /// When.
    pub at: UnixMillis,
    /// Memory in use, in bytes.
    pub bytes: u64,
}

/// What is known of a worker's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEvidence {
    /// Who enforced the limit.
    pub enforcement: MemoryEnforcement,
    /// The limit, in bytes.
    pub limit_bytes: Option<u64>,
    /// The highest use that was counted or, without a counter, sampled, in bytes.
    pub peak_bytes: Option<u64>,
    /// Processes that the kernel killed in this worker's cgroup for lack of memory, since the worker started.
    pub oom_kills: Option<u64>,
    /// Times that the limit was hit (`memory.events max`, `memory.failcnt`).
    pub limit_hits: Option<u64>,
    /// A thinned curve of use, oldest first.
    #[serde(default)]
    pub curve: Vec<MemorySample>,
}

/// A row that a worker was busy with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlightRow {
    /// The row.
    pub row: RowNumber,
    /// Object or document id of its source.
    pub source_id: String,
    /// Size of its blobs as far as known, in bytes.
    pub size_bytes: u64,
    /// When the worker took it up.
    pub since: UnixMillis,
}

/// The end of one worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerDeath {
    /// The worker's number within its attempt.
    pub worker: u32,
    /// Process id, for matching with kernel logs.
    pub pid: u32,
    /// How it ended.
    pub exit: ProcessExit,
    /// When the driver saw it.
    pub at: UnixMillis,
    /// When the worker was started.
    pub started_at: UnixMillis,
    /// Its memory.
    pub memory: MemoryEvidence,
    /// What it was busy with; empty means that no row had been begun.
    pub in_flight: Vec<InFlightRow>,
    /// The last row it finished.
    pub last_finished_row: Option<RowNumber>,
    /// Whether it had loaded its extractor and asked for rows.
    pub ready: bool,
    /// CPU time it had used, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// The last lines of its standard error.
    pub log_tail: String,
    /// Whether the driver ended it on purpose (cancel, row time-out).
    pub killed_by_driver: Option<String>,
}

/// Everything that is kept of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct AttemptEvidence {
    /// How the driver ended, when its parent saw it.
    pub driver_exit: Option<ProcessExit>,
    /// Host name.
    pub node: Option<String>,
    /// Deaths of workers, in order; also those that the attempt outlived. At most `WORKER_DEATHS_KEPT_MAX`.
    #[serde(default)]
    pub worker_deaths: Vec<WorkerDeath>,
    /// Deaths beyond those kept.
    #[serde(default)]
    pub worker_deaths_dropped: u64,
    /// Memory of the worker with the highest peak among those that ended well or still run.
    pub memory: Option<MemoryEvidence>,
    /// Memory of the whole attempt's cgroup as read from outside when the attempt ended.
    pub attempt_memory: Option<MemoryEvidence>,
    /// The last lines of the driver's standard error.
    #[serde(default)]
    pub driver_log_tail: String,
    /// Messages of the backend, oldest first.
    #[serde(default)]
    pub backend_messages: Vec<String>,
    /// Version of the `fettle` binary that drove it.
    pub version: Option<String>,
}

/// Worker deaths kept per attempt: enough for a pattern, little enough to store.
pub const WORKER_DEATHS_KEPT_MAX: usize = 64;
