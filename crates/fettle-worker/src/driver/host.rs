//! A host: it holds one place of an attempt on another node than the driver's, and runs a worker there as the driver would.
//!
//! Owns the worker's process, its group and its limits on this node. It must not decide anything: what is to be done comes from the
//! driver, and all that is seen goes to it. It ends with its input, and nothing of it is left then.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fettle_confine::{AttemptDir, AttemptGroup};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;

use super::body::Here;
use super::distant_log::LogReader;
use super::glimpse::Glimpse;
use super::host_frame::{FromHost, ToHost};
use super::prepare::{own_group, prepare};
use super::stand;
use super::worker_process::{EVENTS_MAX, Order, Recipe, WorkerEvent};
use crate::codes;

/// How often the worker is looked at, as a driver looks at its own.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the driver is told of it, unless it is over its limit.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// How often the driver is told what the worker has written to its log.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// Threads for frames; the work is done by the worker.
const RUNTIME_THREADS: usize = 1;

/// What a host is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostArgs {
    /// The attempt's `spec.json` on this node; the host's folder is where it lies.
    pub spec: PathBuf,
    /// The number of its worker.
    pub worker: u32,
    /// The program that has the subcommand `worker`; this very program when none is given.
    pub worker_program: Option<PathBuf>,
}

/// Runs a host until its input ends. It must be called from the main thread, as a driver.
#[must_use]
pub fn host_main(args: &HostArgs) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(run(args));
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(format!("the host's threads cannot be started: {error}")),
    }
}

async fn run(args: &HostArgs) -> u8 {
    let dir = AttemptDir::of_spec(&args.spec);
    let (spec, _client, recipe) = match prepare(args.worker_program.as_deref(), &dir) {
        Ok(prepared) => prepared,
        Err(message) => return fail(message),
    };
    let (to_self, mut events) = mpsc::channel(EVENTS_MAX);
    let mut host = Host {
        number: args.worker,
        limit_bytes: spec.resources.memory_bytes,
        group: own_group(&dir, &spec.attempt_id),
        recipe,
        worker: None,
        to_self,
        told_at: None,
        log: LogReader::new(dir.worker_err(args.worker)),
        log_read_at: Instant::now(),
    };
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let code = loop {
        tokio::select! {
            Some(event) = events.recv() => host.on_worker(event).await,
            line = orders.next_line() => match line {
                Ok(Some(line)) => if let Err(message) = host.on_line(&line).await { break fail(message) },
                Ok(None) | Err(_) => break 0,
            },
            _ = look.tick() => host.look(),
        }
    };
    host.end().await;
    code
}

/// Says why there is no host here.
fn fail(message: String) -> u8 {
    tracing::error!("{message}");
    say(&FromHost::Failed { message });
    codes::DRIVER_FAILED
}

/// Tells the driver. One that is not there any more is told nothing.
fn say(frame: &FromHost) {
    let said = serde_json::to_vec(frame)
        .map_err(std::io::Error::from)
        .and_then(|mut line| {
            line.push(b'\n');
            let mut out = std::io::stdout().lock();
            out.write_all(&line)?;
            out.flush()
        });
    if let Err(error) = said {
        tracing::debug!(%error, "the driver is not told");
    }
}

struct Host {
    number: u32,
    limit_bytes: u64,
    recipe: Recipe,
    group: AttemptGroup,
    worker: Option<Here>,
    to_self: mpsc::Sender<WorkerEvent>,
    told_at: Option<Instant>,
    log: LogReader,
    log_read_at: Instant,
}

impl Host {
    async fn on_line(&mut self, line: &str) -> Result<(), String> {
        let order: ToHost = match serde_json::from_str(line) {
            Ok(order) => order,
            Err(error) => return Err(format!("an order cannot be read: {error}")),
        };
        if order == ToHost::Start {
            return self.start();
        }
        let Some(worker) = &mut self.worker else {
            // It has ended, and the driver is told of that in this moment.
            return Ok(());
        };
        match order {
            ToHost::Start => {}
            ToHost::Frame { frame } => worker.process.send(&frame).await,
            ToHost::Order { order } => {
                if matches!(order, Order::Kill) {
                    let threads = stand::describe_threads(worker.process.pid);
                    say(&FromHost::Killed { threads });
                }
                worker.process.order(order);
            }
            ToHost::Clear => worker.kill_all().await,
            ToHost::Stand { last_step_at } => {
                worker.ask_stand(self.number, last_step_at, self.to_self.clone());
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), String> {
        let worker = Here::start(
            &self.recipe,
            &self.group,
            self.number,
            self.limit_bytes,
            self.to_self.clone(),
        );
        let worker = worker.map_err(|error| format!("the worker cannot be started: {error}"))?;
        say(&FromHost::Started {
            pid: worker.process.pid,
        });
        self.worker = Some(worker);
        Ok(())
    }

    async fn on_worker(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Said { frame, .. } => say(&FromHost::Said { frame }),
            WorkerEvent::Stood {
                pid,
                last_step_at,
                stand,
                ..
            } => say(&FromHost::Stood {
                pid,
                last_step_at,
                stand,
            }),
            WorkerEvent::Ended { exit, remains, .. } => {
                let Some(worker) = self.worker.take() else {
                    return;
                };
                // Before anything else: the counters are gone when the group is used again.
                tell(&worker);
                worker.kill_all().await;
                self.tell_log();
                say(&FromHost::Ended { exit, remains });
            }
            _ => {}
        }
    }

    /// Tells the driver what the worker has written to its log.
    fn tell_log(&mut self) {
        self.log_read_at = Instant::now();
        if let Some(text) = self.log.read() {
            say(&FromHost::Wrote { text });
        }
    }

    fn look(&mut self) {
        if self.log_read_at.elapsed() >= LOG_EVERY {
            self.tell_log();
        }
        let Some(worker) = &self.worker else { return };
        let is_due = self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if is_due || worker.group.read().is_over_limit() {
            self.told_at = Some(Instant::now());
            tell(worker);
        }
    }

    /// Nothing is left on this node.
    async fn end(self) {
        if let Some(worker) = &self.worker {
            worker.kill_all().await;
        }
        self.recipe.clean_up(&self.group, self.number);
    }
}

/// Tells the driver what is seen of the worker.
fn tell(worker: &Here) {
    let glimpse = Box::new(Glimpse::of(&worker.group, worker.process.pid));
    say(&FromHost::Seen { glimpse });
}
