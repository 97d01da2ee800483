//! One worker's process: how it is started, how its frames reach the driver, how it is told to end.
//!
//! Owns the child. Its frames come before its death, always, so that a death is judged by all that was said.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use fettle_confine::{ATTEMPT_MARKER_ENV, AttemptDir, AttemptGroup, WorkerGroup, uptime_ms};
use fettle_model::{AttemptSpec, ProcessExit, UnixMillis};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use super::devices::{self, VISIBLE_DEVICES};
use super::glimpse::Glimpse;
use super::remains::{Remains, Traces};
use crate::extract::chain;
use crate::frame::{FromWorker, ToWorker};

/// What a process has said last is in the pipe when it has ended; something that still holds the pipe open is not waited for longer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Frames and deaths that wait for the driver's loop; beyond this the workers wait.
pub(super) const EVENTS_MAX: usize = 1024;

/// What happens to a worker's process.
#[derive(Debug)]
pub(super) enum WorkerEvent {
    /// It said something.
    Said {
        /// Which worker.
        worker: u32,
        /// What.
        frame: FromWorker,
    },
    /// It is stuck and is to be ended, and it is known now where it stands.
    Stood {
        /// Which worker.
        worker: u32,
        /// Its process.
        pid: u32,
        /// Its last step when that was asked.
        last_step_at: UnixMillis,
        /// Where its processes stand.
        stand: String,
    },
    /// It has ended, and all that it said has been told.
    Ended {
        /// Which worker.
        worker: u32,
        /// How.
        exit: ProcessExit,
        /// What it left.
        remains: Box<Remains>,
    },
    /// Its host elsewhere has started it.
    Started {
        /// Which worker.
        worker: u32,
        /// Its process there.
        pid: u32,
    },
    /// Its host elsewhere has looked at it.
    Seen {
        /// Which worker.
        worker: u32,
        /// What was seen.
        glimpse: Box<Glimpse>,
    },
    /// Its host elsewhere is about to kill it.
    Killed {
        /// Which worker.
        worker: u32,
        /// Where its threads stand.
        threads: String,
    },
    /// It has written to its log, elsewhere.
    Wrote {
        /// Which worker.
        worker: u32,
        /// What.
        text: String,
    },
    /// There is a host for it on another node.
    Placed {
        /// Which worker.
        worker: u32,
        /// The node, as the backend names it.
        node: String,
    },
    /// Its host is gone, or there will be none.
    Lost {
        /// Which worker.
        worker: u32,
        /// What the backend says of it.
        message: String,
    },
    /// Hosts cannot be reached or had any more.
    BrokerEnded {
        /// How, for people.
        message: String,
    },
}

/// What is done to a worker's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// SIGTERM to its process group.
    Terminate,
    /// SIGKILL to its process group.
    Kill,
    /// SIGCONT to its process group.
    Continue,
}

/// How workers are started.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// The program.
    pub(super) program: PathBuf,
    /// The attempt's folder.
    pub(super) dir: AttemptDir,
    /// The attempt, as processes are marked with it.
    pub(super) attempt_id: String,
    /// Threads that numeric libraries may start in each worker.
    pub(super) threads: u32,
    /// Workers here that share what GPUs are visible.
    pub(super) gpu_sharers: u32,
}

impl Recipe {
    /// The recipe for the workers of `spec`.
    pub(super) fn new(program: PathBuf, dir: AttemptDir, spec: &AttemptSpec) -> Self {
        let share = spec.resources.num_cpus / f64::from(spec.resources.workers());
        // At least one; a share is never above one, as there are at least as many workers as cores.
        let threads = share.floor().max(1.0) as u32;
        Self {
            program,
            dir,
            attempt_id: spec.attempt_id.to_string(),
            threads,
            gpu_sharers: 1,
        }
    }

    /// Removes what a worker that has ended leaves on its node: its group, and temporary files, which are of no use to anybody now. What
    /// cannot be removed goes with the attempt's folder.
    pub(super) fn clean_up(&self, group: &AttemptGroup, number: u32) {
        if let Err(error) = group.open_worker(number, None).remove() {
            tracing::debug!(error = %chain(&error), "a worker's group stays");
        }
        let scratch = self.dir.path().join(format!("scratch-{number}"));
        if let Err(error) = std::fs::remove_dir_all(scratch) {
            tracing::debug!(%error, "temporary files stay");
        }
    }
}

/// A worker's process that runs, from the driver's side.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    /// Its process id.
    pub(super) pid: u32,
    input: ChildStdin,
    orders: mpsc::Sender<Order>,
}

impl WorkerProcess {
    /// Starts worker `number` in `group`. To be called from a thread that lives as long as the driver.
    pub(super) fn start(
        recipe: &Recipe,
        number: u32,
        group: &WorkerGroup,
        events: mpsc::Sender<WorkerEvent>,
    ) -> io::Result<Self> {
        let log = log_file(recipe, number)?;
        let log_start = log.metadata()?.len();
        let mut command = Command::new(&recipe.program);
        command
            .args(args(recipe, number, group))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        command.env(ATTEMPT_MARKER_ENV, &recipe.attempt_id);
        for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(name, recipe.threads.to_string());
        }
        for name in VISIBLE_DEVICES {
            let visible = std::env::var(name).unwrap_or_default();
            if let Some(part) = devices::part(&visible, number, recipe.gpu_sharers) {
                command.env(name, part);
            }
        }
        let mut child = command.spawn()?;
        let missing = || io::Error::other("the worker has no pipes");
        let pid = child.id().ok_or_else(missing)?;
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        group.watch(pid);
        let (orders, received) = mpsc::channel(4);
        let traces = Traces {
            log: recipe.dir.worker_err(number),
            log_start,
            pid,
            started_uptime_ms: uptime_ms(),
        };
        tokio::spawn(watch(number, child, output, received, events, traces));
        Ok(Self { pid, input, orders })
    }

    /// Writes a frame; a worker that cannot be written to is about to be reported as ended.
    pub(super) async fn send(&mut self, frame: &ToWorker) {
        let mut line = match serde_json::to_vec(frame) {
            Ok(line) => line,
            Err(error) => return tracing::error!(%error, "a frame cannot be written as JSON"),
        };
        line.push(b'\n');
        let written = self.input.write_all(&line).await;
        if let Err(error) = written.and(self.input.flush().await) {
            tracing::debug!(%error, pid = self.pid, "the worker takes no frames");
        }
    }

    /// Signals the process. More orders than fit are the same as one.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.try_send(order);
    }
}

fn args(recipe: &Recipe, number: u32, group: &WorkerGroup) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![
        "worker".into(),
        "--attempt-dir".into(),
        recipe.dir.path().into(),
    ];
    args.extend(["--worker".into(), number.to_string().into()]);
    args.extend(group.seat().to_args());
    args
}

/// A file, never a pipe: what a dying worker writes must not depend on anybody reading it.
fn log_file(recipe: &Recipe, number: u32) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(recipe.dir.worker_err(number))
}

/// Passes on what the worker says until it has ended. It alone signals the child, so no other process can be hit.
async fn watch(
    worker: u32,
    mut child: Child,
    output: ChildStdout,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<WorkerEvent>,
    traces: Traces,
) {
    let mut lines = BufReader::new(output).lines();
    let status = loop {
        tokio::select! {
            // Frames first: a death is told last.
            biased;
            line = lines.next_line() => match line {
                Ok(Some(line)) => pass_on(worker, &line, &events).await,
                Ok(None) | Err(_) => break wait(&mut child, &mut orders).await,
            },
            Some(order) = orders.recv() => signal(&child, order),
            status = child.wait() => break status.ok(),
        }
    };
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, drain(worker, &mut lines, &events)).await;
    if drained.is_err() {
        tracing::warn!(worker, "something holds the output of an ended worker open");
    }
    let exit = status.map(exit_of).unwrap_or_default();
    let remains = Box::new(traces.read().await);
    let ended = WorkerEvent::Ended {
        worker,
        exit,
        remains,
    };
    // Without a driver's loop nobody is left to be told.
    let _ = events.send(ended).await;
}

/// Waits for the end of a process that has closed its output already.
async fn wait(child: &mut Child, orders: &mut mpsc::Receiver<Order>) -> Option<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status.ok(),
            Some(order) = orders.recv() => signal(child, order),
        }
    }
}

async fn drain(
    worker: u32,
    lines: &mut Lines<BufReader<ChildStdout>>,
    events: &mpsc::Sender<WorkerEvent>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        pass_on(worker, &line, events).await;
    }
}

async fn pass_on(worker: u32, line: &str, events: &mpsc::Sender<WorkerEvent>) {
    match serde_json::from_str(line) {
        Ok(frame) => {
            let _ = events.send(WorkerEvent::Said { worker, frame }).await;
        }
        // Some library has printed to standard output, or a frame was cut by a death.
        Err(error) => tracing::warn!(worker, %error, "the worker said something that is no frame"),
    }
}

/// The id is that of a child that has not been waited for, so it cannot be another process by now.
fn signal(child: &Child, order: Order) {
    let signal = match order {
        Order::Terminate => Signal::TERM,
        Order::Kill => Signal::KILL,
        Order::Continue => Signal::CONT,
    };
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A worker that has no group of its own yet has done nothing yet; its own signal follows from the death of its driver.
        let _ =
            kill_process_group(pid, signal).or_else(|_| rustix::process::kill_process(pid, signal));
    }
}

fn exit_of(status: ExitStatus) -> ProcessExit {
    ProcessExit {
        code: status.code(),
        signal: status.signal(),
    }
}
