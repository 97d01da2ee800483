//! What was observed of an attempt and its workers, captured before the traces vanish.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{AttemptProfile, RowNumber, StuckEvidence, UnixMillis};

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

/// A piece of a log, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogPiece {
    /// Where it begins in the log's file, in bytes.
    pub offset: u64,
    /// The text; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// What was kept of a log beside its last lines, so that the first error outlives any flood after it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogEvidence {
    /// Where this process's part begins in the file, in bytes: workers of one number share a file.
    pub begins_at: u64,
    /// How long that part is, in bytes.
    pub total_bytes: u64,
    /// Where the kept last lines (`log_tail`, `driver_log_tail`) begin in the file, in bytes.
    pub tail_offset: u64,
    /// From the first line that looks like an error on.
    pub first_error: Option<LogPiece>,
    /// Around the last line that looks like an error.
    pub last_error: Option<LogPiece>,
    /// Bytes in the middle of a huge log that were not looked at, when no error was found before them.
    #[serde(default)]
    pub unscanned_bytes: u64,
}

/// The machine that an attempt ran on, as far as runs can differ by it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeEvidence {
    /// Release of the kernel.
    pub kernel: String,
    /// Instruction set, such as `x86_64`.
    pub architecture: String,
    /// Cores that the driver could use.
    pub cores: u32,
    /// Memory of the machine, or of the enclosing group where that allows less, in bytes.
    pub memory_bytes: u64,
}

/// What the workers of an attempt used, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageEvidence {
    /// CPU time, in milliseconds.
    pub cpu_ms: u64,
    /// Bytes read and written by any means.
    pub io_bytes: u64,
    /// How long workers lived, summed over them, in milliseconds.
    pub worker_ms: u64,
}

/// Why a driver ended a worker on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KilledByDriver {
    /// Its rows took too long.
    RowTimeout,
    /// It used more memory than it may, where the kernel does not see to that.
    OverLimit,
    /// It was found stuck.
    Stuck,
    /// The attempt ends.
    Stopped,
}

impl KilledByDriver {
    const ALL: [Self; 4] = [
        Self::RowTimeout,
        Self::OverLimit,
        Self::Stuck,
        Self::Stopped,
    ];

    /// For people. Evidence is kept in these words, so they stay as they are.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::RowTimeout => "a row took longer than a row may",
            Self::OverLimit => "its resident memory was above its limit",
            Self::Stuck => "it was stuck",
            Self::Stopped => "the attempt was ended",
        }
    }
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
    /// CPU time since its last finished row, or since its start where it finished none, in milliseconds. It was sampled, so it may be
    /// a tenth of a second off.
    #[serde(default)]
    pub cpu_ms_since_row: Option<u64>,
    /// Bytes that it and its children had read and written by any means.
    #[serde(default)]
    pub io_bytes: Option<u64>,
    /// Of these, since its last finished row.
    #[serde(default)]
    pub io_bytes_since_row: Option<u64>,
    /// When it finished its last row.
    #[serde(default)]
    pub last_finished_at: Option<UnixMillis>,
    /// How many rows it had finished.
    #[serde(default)]
    pub rows_finished: u64,
    /// The last lines of its standard error; what the backend says of the end of its node, where it was lost with that.
    pub log_tail: String,
    /// What else was kept of its log, with byte offsets.
    #[serde(default)]
    pub log: Option<LogEvidence>,
    /// Lines of the kernel's log that name this very process, where the kernel lets them be read.
    #[serde(default)]
    pub kernel_lines: Vec<String>,
    /// Whether the driver ended it on purpose (cancel, row time-out, stuck).
    pub killed_by_driver: Option<String>,
    /// Why and where it stood, where it was ended for being stuck.
    #[serde(default)]
    pub stuck: Option<StuckEvidence>,
    /// Its node, as the backend names it, where that is not the driver's.
    #[serde(default)]
    pub node: Option<String>,
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
    /// What the driver said of its own end.
    #[serde(default)]
    pub driver_message: Option<String>,
    /// The last lines of the driver's standard error.
    #[serde(default)]
    pub driver_log_tail: String,
    /// What else was kept of the driver's log, with byte offsets.
    #[serde(default)]
    pub driver_log: Option<LogEvidence>,
    /// Messages of the backend, oldest first.
    #[serde(default)]
    pub backend_messages: Vec<String>,
    /// Version of the `fettle` binary that drove it.
    pub version: Option<String>,
    /// Version that its workers named.
    #[serde(default)]
    pub worker_version: Option<String>,
    /// The machine.
    #[serde(default)]
    pub node_facts: Option<NodeEvidence>,
    /// Names, never values, of the environment that the driver saw, sorted.
    #[serde(default)]
    pub env_keys: Vec<String>,
    /// What its workers used.
    #[serde(default)]
    pub usage: Option<UsageEvidence>,
    /// What its rows and workers took.
    #[serde(default)]
    pub profile: Option<AttemptProfile>,
    /// Other nodes on which workers of it ran, sorted.
    #[serde(default)]
    pub worker_nodes: Vec<String>,
    /// The GPUs that its workers saw, by node; the driver's own node is the empty name.
    #[serde(default)]
    pub worker_gpus: BTreeMap<String, BTreeSet<String>>,
}

impl AttemptEvidence {
    /// Takes over from what was kept `earlier` all that is not known here, so that no later report undoes one before it.
    pub fn absorb(&mut self, earlier: Self) {
        // Each field by name: a new one must say how it is kept.
        let Self {
            driver_exit,
            node,
            worker_deaths,
            worker_deaths_dropped,
            memory,
            attempt_memory,
            driver_message,
            driver_log_tail,
            driver_log,
            backend_messages,
            version,
            worker_version,
            node_facts,
            env_keys,
            usage,
            profile,
            worker_nodes,
            worker_gpus,
        } = earlier;
        self.absorb_deaths(worker_deaths, worker_deaths_dropped);
        self.driver_exit = self.driver_exit.or(driver_exit);
        keep(&mut self.node, node);
        keep(&mut self.memory, memory);
        keep(&mut self.attempt_memory, attempt_memory);
        keep(&mut self.driver_message, driver_message);
        if self.driver_log_tail.is_empty() {
            self.driver_log_tail = driver_log_tail;
            self.driver_log = driver_log;
        }
        let new = std::mem::replace(&mut self.backend_messages, backend_messages);
        for message in new {
            if !self.backend_messages.contains(&message) {
                self.backend_messages.push(message);
            }
        }
        keep(&mut self.version, version);
        keep(&mut self.worker_version, worker_version);
        keep(&mut self.node_facts, node_facts);
        if self.env_keys.is_empty() {
            self.env_keys = env_keys;
        }
        keep(&mut self.usage, usage);
        keep(&mut self.profile, profile);
        if self.worker_nodes.is_empty() {
            self.worker_nodes = worker_nodes;
        }
        if self.worker_gpus.is_empty() {
            self.worker_gpus = worker_gpus;
        }
    }

    fn absorb_deaths(&mut self, earlier: Vec<WorkerDeath>, dropped: u64) {
        let total_of = |kept: usize, dropped: u64| dropped.saturating_add(kept as u64);
        let told = total_of(self.worker_deaths.len(), self.worker_deaths_dropped);
        let told = told.max(total_of(earlier.len(), dropped));
        let mut deaths = earlier;
        for death in std::mem::take(&mut self.worker_deaths) {
            if !deaths.iter().any(|known| known.is_same(&death)) {
                deaths.push(death);
            }
        }
        deaths.sort_by_key(|death| death.at);
        let total = told.max(deaths.len() as u64);
        // The first ones show what went wrong first, the last ones how it ended.
        if let Some(over) = deaths.len().checked_sub(WORKER_DEATHS_KEPT_MAX) {
            deaths.drain(WORKER_DEATHS_KEPT_MAX / 2..WORKER_DEATHS_KEPT_MAX / 2 + over);
        }
        self.worker_deaths_dropped = total - deaths.len() as u64;
        self.worker_deaths = deaths;
    }
}

impl WorkerDeath {
    /// Whether both tell of the same end.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.worker, self.pid, self.at) == (other.worker, other.pid, other.at)
    }

    /// Why the driver ended it, if it was the driver and the reason is one that is known.
    #[must_use]
    pub fn driver_s_reason(&self) -> Option<KilledByDriver> {
        let words = self.killed_by_driver.as_deref()?;
        KilledByDriver::ALL
            .into_iter()
            .find(|reason| reason.describe() == words)
    }
}

fn keep<T>(known: &mut Option<T>, earlier: Option<T>) {
    if known.is_none() {
        *known = earlier;
    }
}

/// Worker deaths kept per attempt: enough for a pattern, little enough to store.
pub const WORKER_DEATHS_KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn death(worker: u32) -> WorkerDeath {
        WorkerDeath {
            worker,
            pid: worker + 100,
            exit: ProcessExit::default(),
            at: UnixMillis(i64::from(worker)),
            started_at: UnixMillis(0),
            memory: MemoryEvidence {
                enforcement: MemoryEnforcement::None,
                limit_bytes: None,
                peak_bytes: None,
                oom_kills: None,
                limit_hits: None,
                curve: vec![],
            },
            in_flight: vec![],
            last_finished_row: None,
            ready: true,
            cpu_ms: None,
            cpu_ms_since_row: None,
            io_bytes: None,
            io_bytes_since_row: None,
            last_finished_at: None,
            rows_finished: 0,
            log_tail: String::new(),
            log: None,
            kernel_lines: vec![],
            killed_by_driver: None,
            stuck: None,
            node: None,
        }
    }

    #[test]
    fn a_later_report_takes_nothing_away() {
        let earlier = AttemptEvidence {
            node: Some("n".into()),
            worker_deaths: vec![death(1)],
            driver_log_tail: "said".into(),
            backend_messages: vec!["first".into()],
            version: Some("1".into()),
            ..Default::default()
        };
        let mut later = AttemptEvidence {
            worker_deaths: vec![death(1), death(2)],
            backend_messages: vec!["second".into()],
            version: Some("2".into()),
            ..Default::default()
        };
        later.absorb(earlier);
        assert_eq!(later.worker_deaths, [death(1), death(2)]);
        assert_eq!(
            (later.node.as_deref(), later.version.as_deref()),
            (Some("n"), Some("2"))
        );
        assert_eq!(later.driver_log_tail, "said");
        assert_eq!(later.backend_messages, ["first", "second"]);
        let once = later.clone();
        later.absorb(once.clone());
        assert_eq!(later, once, "a second run changes nothing");
    }

    #[test]
    fn too_many_deaths_keep_their_ends_and_their_number() {
        let mut later = AttemptEvidence {
            worker_deaths: (50..114).map(death).collect(),
            worker_deaths_dropped: 50,
            ..Default::default()
        };
        later.absorb(AttemptEvidence {
            worker_deaths: (0..64).map(death).collect(),
            ..Default::default()
        });
        let kept = &later.worker_deaths;
        assert_eq!(kept.len(), WORKER_DEATHS_KEPT_MAX);
        assert_eq!((kept[0].worker, kept[63].worker), (0, 113));
        assert_eq!(later.worker_deaths_dropped, 50);
    }

    #[test]
    fn evidence_of_an_earlier_version_is_read_with_what_it_lacks_left_open() {
        let old = r#"{"driver_exit":null,"node":"n","worker_deaths":[{"worker":0,"pid":7,"exit":{"code":null,"signal":9},"at":5,
            "started_at":1,"memory":{"enforcement":"cgroup_v2","limit_bytes":1,"peak_bytes":1,"oom_kills":1,"limit_hits":0},
            "in_flight":[],"last_finished_row":3,"ready":true,"cpu_ms":12,"log_tail":"t","killed_by_driver":null}],
            "memory":null,"attempt_memory":null,"version":"0.1.0"}"#;
        let evidence: AttemptEvidence = serde_json::from_str(old).unwrap();
        let death = &evidence.worker_deaths[0];
        assert_eq!((death.cpu_ms, death.cpu_ms_since_row), (Some(12), None));
        assert_eq!((death.log.as_ref(), death.rows_finished), (None, 0));
        assert_eq!((evidence.usage, evidence.node_facts.as_ref()), (None, None));
    }
}
