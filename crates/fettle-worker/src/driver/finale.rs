//! The driver's last word: `exit.json`, then the report to `serve`.
//!
//! Owns the order: the file first, because it outlives both processes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use fettle_client::{AttemptClient, Backoff};
use fettle_confine::{
    AttemptDir, MemoryReading, NodeFacts, keep_log, node_facts, write_atomically,
};
use fettle_model::evidence::{NodeEvidence, UsageEvidence, WORKER_DEATHS_KEPT_MAX};
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptProfile, MemoryEvidence, StageTimings, StepHistory,
    UnixMillis, WorkerDeath,
};
use fettle_wire::internal::ExitReport;

use crate::clock;
use crate::codes;

use super::crew::Crewman;
use super::death;
use super::usage::Usage;
use crate::schedule::DeathCause;

/// How long the report is tried; afterwards `serve` reads the file.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// As long, when somebody waits for the driver to end.
const REPORT_TIMEOUT_STOPPED: Duration = Duration::from_secs(2);
const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_LONGEST: Duration = Duration::from_secs(2);
/// Of the driver's log is kept what is kept of a worker's.
const LOG_TAIL_LINES: usize = 40;
const LOG_TAIL_BYTES: u64 = 16 << 10;
/// Stands before the last word on standard output; backends look for it.
const LAST_WORD: &[u8] = b"fettle-last-word ";
/// Messages of the backend that are kept: more hosts are hardly lost in one attempt, and what the first ones say tells most.
const BACKEND_MESSAGES_MAX: usize = 32;
/// Names of the environment that are kept: more than any sane environment has.
const ENV_KEYS_MAX: usize = 1_000;

/// How an attempt ended, before it is written down.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// How; nothing means that it still runs.
    pub(super) exit: Option<AttemptExit>,
    /// Why, in words.
    pub(super) message: Option<String>,
    /// Deaths of workers, bounded.
    pub(super) deaths: Vec<WorkerDeath>,
    /// Deaths that are not kept.
    pub(super) deaths_dropped: u64,
    /// Memory of the worker with the highest peak among those that ended well.
    pub(super) memory: Option<MemoryEvidence>,
    /// How the stages spent their time.
    pub(super) stages: StageTimings,
    /// What workers that have ended used.
    pub(super) usage: UsageEvidence,
    /// What rows and workers took.
    pub(super) profile: AttemptProfile,
    /// The version that workers named.
    pub(super) worker_version: Option<String>,
    /// What the backend says of hosts that were lost, bounded.
    backend_messages: Vec<String>,
    /// Other nodes on which workers ran.
    nodes: BTreeSet<String>,
    /// The GPUs that workers saw, by node; the driver's own has no name.
    gpus: BTreeMap<String, BTreeSet<String>>,
}

impl Ending {
    /// An attempt that never began.
    pub(super) fn without_work(exit: AttemptExit, message: String) -> Self {
        tracing::error!("{message}");
        Self {
            exit: Some(exit),
            message: Some(message),
            ..Self::default()
        }
    }

    /// Keeps a death: the first ones, which show what went wrong first, and the last ones.
    pub(super) fn keep_death(&mut self, death: WorkerDeath, cause: DeathCause) {
        if let (DeathCause::OutOfMemory, Some(peak)) = (cause, death.memory.peak_bytes) {
            self.profile.memory.worker_cut_off(peak);
        }
        if self.deaths.len() == WORKER_DEATHS_KEPT_MAX {
            self.deaths.remove(WORKER_DEATHS_KEPT_MAX / 2);
            self.deaths_dropped += 1;
        }
        self.deaths.push(death);
    }

    /// Keeps that workers ran on this node, too.
    pub(super) fn keep_node(&mut self, node: &str) {
        self.nodes.insert(node.to_owned());
    }

    /// Keeps which GPUs a worker sees.
    pub(super) fn keep_gpus(&mut self, node: Option<&str>, gpus: &str) {
        let known = self.gpus.entry(node.unwrap_or_default().to_owned());
        let seen = gpus.split(',').map(|gpu| gpu.trim().to_owned());
        known.or_default().extend(seen);
    }

    /// Keeps what the backend said.
    pub(super) fn keep_backend_message(&mut self, message: String) {
        if self.backend_messages.len() < BACKEND_MESSAGES_MAX {
            self.backend_messages.push(message);
        }
    }

    /// Keeps the memory of a worker that ended well.
    pub(super) fn keep_memory(&mut self, worker: &Crewman, memory: &MemoryReading) {
        let memory = death::memory_evidence(worker, memory);
        if let (Some(peak), 1..) = (memory.peak_bytes, worker.usage.rows_finished) {
            self.profile.memory.worker_ended(
                peak,
                worker.usage.rows_finished,
                worker.row_bytes_max,
            );
        }
        self.keep_highest(memory);
    }

    /// Keeps the memory with the highest peak.
    fn keep_highest(&mut self, memory: MemoryEvidence) {
        let is_higher = self
            .memory
            .as_ref()
            .is_none_or(|kept| kept.peak_bytes < memory.peak_bytes);
        if is_higher {
            self.memory = Some(memory);
        }
    }

    /// Keeps how long steps took; the sizes of rows are in the profile already.
    pub(super) fn keep_steps(&mut self, steps: StepHistory) {
        self.profile.steps = StepHistory {
            sizes: Vec::new(),
            ..steps
        };
    }

    /// Adds what a worker that has ended did and used.
    pub(super) fn add_worker(&mut self, worker: &Crewman, now: UnixMillis) {
        self.stages.add(&worker.stages);
        self.profile.merge(&worker.profile);
        let lived_ms = now.since(worker.started_at);
        self.add_usage(&worker.usage, worker.body.counted_cpu_ms(), lived_ms);
    }

    fn add_usage(&mut self, usage: &Usage, cpu_ms: Option<u64>, lived_ms: u64) {
        let cpu_ms = cpu_ms.or(usage.cpu_ms()).unwrap_or(0);
        self.usage.cpu_ms = self.usage.cpu_ms.saturating_add(cpu_ms);
        let io_bytes = usage.io_bytes().unwrap_or(0);
        self.usage.io_bytes = self.usage.io_bytes.saturating_add(io_bytes);
        self.usage.worker_ms = self.usage.worker_ms.saturating_add(lived_ms);
    }

    fn into_report(self, dir: &AttemptDir) -> ExitReport {
        let kept = keep_log(&dir.driver_err(), 0, LOG_TAIL_BYTES, LOG_TAIL_LINES);
        let node = node_facts();
        let evidence = AttemptEvidence {
            node: Some(node.hostname.clone()).filter(|name| !name.is_empty()),
            worker_deaths: self.deaths,
            worker_deaths_dropped: self.deaths_dropped,
            memory: self.memory,
            driver_message: self.message,
            driver_log_tail: kept.tail,
            driver_log: Some(kept.evidence),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            worker_version: self.worker_version,
            node_facts: Some(machine(node)),
            env_keys: env_keys(),
            usage: Some(self.usage).filter(|usage| usage.worker_ms > 0),
            profile: Some(self.profile),
            backend_messages: self.backend_messages,
            worker_nodes: self.nodes.into_iter().collect(),
            worker_gpus: self.gpus,
            ..AttemptEvidence::default()
        };
        // An attempt without an end has lost its driver's mind; it is said so rather than called finished.
        let exit = self.exit.unwrap_or(AttemptExit::DriverFailed);
        ExitReport {
            exit,
            evidence,
            stages: self.stages,
            at: clock::now(),
        }
    }
}

/// The machine as evidence.
fn machine(node: NodeFacts) -> NodeEvidence {
    NodeEvidence {
        kernel: node.kernel,
        architecture: std::env::consts::ARCH.to_owned(),
        cores: node.cores,
        memory_bytes: node.memory_total_bytes,
    }
}

/// Names of the environment, sorted; values are nobody's business.
fn env_keys() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.take(ENV_KEYS_MAX).collect();
    names.sort_unstable();
    names
}

/// Repeats the last word on standard output, as the last line there: a backend keeps that where nobody can read the attempt's folder.
pub(super) fn say(dir: &AttemptDir) {
    let said = std::fs::read(dir.exit()).and_then(|word| {
        let mut out = std::io::stdout().lock();
        out.write_all(LAST_WORD)?;
        out.write_all(&word)?;
        out.write_all(b"\n")?;
        out.flush()
    });
    if let Err(error) = said {
        tracing::error!(%error, "the last word cannot be repeated");
    }
}

/// Writes the last word; the exit code.
pub(super) fn write_only(dir: &AttemptDir, ending: Ending) -> u8 {
    write(dir, &ending.into_report(dir))
}

/// Writes the last word, then tells `serve`; the exit code.
pub(super) async fn write_and_tell(dir: &AttemptDir, client: &AttemptClient, ending: Ending) -> u8 {
    let report = ending.into_report(dir);
    let code = write(dir, &report);
    let timeout = if report.exit == AttemptExit::Cancelled {
        REPORT_TIMEOUT_STOPPED
    } else {
        REPORT_TIMEOUT
    };
    if tokio::time::timeout(timeout, tell(client, &report))
        .await
        .is_err()
    {
        tracing::warn!("serve is away; it will find how the attempt ended in exit.json");
    }
    code
}

async fn tell(client: &AttemptClient, report: &ExitReport) {
    let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LONGEST);
    loop {
        match client.exit(report).await {
            Ok(()) => return,
            Err(error) if error.is_retryable() => tokio::time::sleep(backoff.next_wait()).await,
            Err(error) => {
                return tracing::warn!(%error, "serve did not take the driver's last word");
            }
        }
    }
}

fn write(dir: &AttemptDir, report: &ExitReport) -> u8 {
    let written = serde_json::to_vec(report).map_err(std::io::Error::from);
    match written.and_then(|bytes| write_atomically(&dir.exit(), &bytes)) {
        Ok(()) => codes::of_exit(&report.exit),
        Err(error) => {
            tracing::error!(%error, "exit.json cannot be written");
            codes::DRIVER_FAILED
        }
    }
}

#[cfg(test)]
mod tests {
    use fettle_model::evidence::MemoryEnforcement;

    use super::*;

    fn memory(peak_bytes: u64) -> MemoryEvidence {
        MemoryEvidence {
            enforcement: MemoryEnforcement::None,
            limit_bytes: None,
            peak_bytes: Some(peak_bytes),
            oom_kills: None,
            limit_hits: None,
            curve: vec![],
        }
    }

    fn death(worker: u32) -> WorkerDeath {
        WorkerDeath {
            worker,
            pid: 1,
            exit: fettle_model::ProcessExit::default(),
            at: clock::now(),
            started_at: clock::now(),
            memory: memory(1),
            in_flight: vec![],
            last_finished_row: None,
            ready: false,
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
    fn of_many_deaths_the_first_and_the_last_are_kept() {
        let mut ending = Ending::default();
        for worker in 0..100 {
            ending.keep_death(death(worker), DeathCause::OutOfMemory);
        }
        assert_eq!(ending.deaths.len(), WORKER_DEATHS_KEPT_MAX);
        assert_eq!(
            (
                ending.deaths[0].worker,
                ending.deaths[WORKER_DEATHS_KEPT_MAX - 1].worker
            ),
            (0, 99)
        );
        assert_eq!(ending.deaths_dropped, 36);
        assert_eq!(ending.profile.memory.cut_off_bytes.count(), 100);
    }

    #[test]
    fn the_last_word_is_in_the_file_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let dir = AttemptDir::new(folder.path());
        let mut ending = Ending::without_work(AttemptExit::DriverFailed, "no manifest".into());
        ending.keep_highest(memory(5));
        ending.keep_highest(memory(3));
        assert_eq!(write_only(&dir, ending), codes::DRIVER_FAILED);
        let record = dir.read_exit().unwrap().unwrap();
        assert_eq!(record.exit, AttemptExit::DriverFailed);
        assert!(
            record
                .evidence
                .driver_message
                .unwrap()
                .contains("no manifest")
        );
        assert_eq!(record.evidence.memory.unwrap().peak_bytes, Some(5));
        assert!(record.evidence.env_keys.iter().any(|name| name == "PATH"));
        assert!(record.evidence.node_facts.unwrap().cores >= 1);
    }
}
