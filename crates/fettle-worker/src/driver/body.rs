//! A worker's process as its driver reaches it: beside it, or on another node through that node's host.
//!
//! Owns the difference. What is asked of a worker elsewhere is what its host saw last; what is done to it is done by the host.

use fettle_confine::{AttemptGroup, MemoryReading, ProcessSample, WorkerGroup, sample};
use fettle_model::UnixMillis;
use fettle_model::evidence::MemoryEnforcement;
use tokio::sync::mpsc;

use super::broker::Link;
use super::glimpse::{Glimpse, Reading, Waits, is_stopped};
use super::host_frame::ToHost;
use super::stand;
use super::worker_process::{Order, Recipe, WorkerEvent, WorkerProcess};
use crate::extract::chain;
use crate::frame::ToWorker;

/// Where a worker runs and how it is reached.
pub(super) enum Body {
    /// A child of this driver.
    Here(Here),
    /// A child of a host on another node.
    There(Box<There>),
}

/// A worker beside its driver.
pub(super) struct Here {
    pub(super) process: WorkerProcess,
    pub(super) group: WorkerGroup,
}

impl Here {
    /// Starts worker `number` of the attempt whose group is `attempt`.
    pub(super) fn start(
        recipe: &Recipe,
        attempt: &AttemptGroup,
        number: u32,
        limit_bytes: u64,
        events: mpsc::Sender<WorkerEvent>,
    ) -> Result<Self, String> {
        let group = attempt.worker(number, limit_bytes);
        let group = group.map_err(|error| chain(&error))?;
        let process = WorkerProcess::start(recipe, number, &group, events);
        let process = process.map_err(|error| error.to_string())?;
        Ok(Self { process, group })
    }

    /// Ends all its processes.
    pub(super) async fn kill_all(&self) {
        if let Err(error) = self.group.kill_all().await {
            tracing::warn!(error = %chain(&error), "processes of a worker are left");
        }
    }

    /// Finds out where its processes stand; the answer comes as an event.
    pub(super) fn ask_stand(
        &self,
        number: u32,
        last_step_at: UnixMillis,
        events: mpsc::Sender<WorkerEvent>,
    ) {
        let (pids, pid) = (self.group.pids(), self.process.pid);
        tokio::spawn(async move {
            let stand = stand::describe(pids).await;
            let stood = WorkerEvent::Stood {
                worker: number,
                pid,
                last_step_at,
                stand,
            };
            // Without a loop that listens nobody is left to be told.
            let _ = events.send(stood).await;
        });
    }
}

/// A worker on another node.
pub(super) struct There {
    /// Its number.
    pub(super) number: u32,
    /// Its node, as the backend names it.
    pub(super) node: String,
    /// Its memory limit, in bytes.
    pub(super) limit_bytes: u64,
    /// Its process id there; zero until its host has said that it started it.
    pub(super) pid: u32,
    /// What its host saw last.
    pub(super) seen: Option<Glimpse>,
    /// The way to its host.
    pub(super) link: Link,
}

impl There {
    /// Tells its host something.
    pub(super) fn tell(&self, order: &ToHost) {
        self.link.tell(self.number, order);
    }
}

impl Body {
    /// Its process id on its node.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Here(here) => here.process.pid,
            Self::There(there) => there.pid,
        }
    }

    /// Its node, when that is not the driver's.
    pub(super) fn node(&self) -> Option<&str> {
        match self {
            Self::Here(_) => None,
            Self::There(there) => Some(&there.node),
        }
    }

    /// Writes a frame.
    pub(super) async fn send(&mut self, frame: ToWorker) {
        match self {
            Self::Here(here) => here.process.send(&frame).await,
            Self::There(there) => there.tell(&ToHost::Frame { frame }),
        }
    }

    /// Signals its process.
    pub(super) fn order(&self, order: Order) {
        match self {
            Self::Here(here) => here.process.order(order),
            Self::There(there) => there.tell(&ToHost::Order { order }),
        }
    }

    /// Ends all its processes. A host does so by itself when a worker has ended.
    pub(super) async fn kill_all(&self) {
        match self {
            Self::Here(here) => here.kill_all().await,
            Self::There(there) => there.tell(&ToHost::Clear),
        }
    }

    /// Finds out where its processes stand; the answer comes as an event.
    pub(super) fn ask_stand(
        &self,
        number: u32,
        last_step_at: UnixMillis,
        events: mpsc::Sender<WorkerEvent>,
    ) {
        match self {
            Self::Here(here) => here.ask_stand(number, last_step_at, events),
            Self::There(there) => there.tell(&ToHost::Stand { last_step_at }),
        }
    }

    /// Where its threads stand; a host says so by itself before it kills.
    pub(super) fn threads(&self) -> Option<String> {
        match self {
            Self::Here(here) => Some(stand::describe_threads(here.process.pid)),
            Self::There(_) => None,
        }
    }

    /// Its memory.
    pub(super) fn memory(&self) -> MemoryReading {
        match self {
            Self::Here(here) => here.group.read(),
            Self::There(there) => match &there.seen {
                Some(seen) => seen.memory.clone(),
                None => MemoryReading::unknown(MemoryEnforcement::None, Some(there.limit_bytes)),
            },
        }
    }

    /// What it has used.
    pub(super) fn used(&self) -> Option<Reading> {
        match self {
            Self::Here(here) => Reading::of(&here.group),
            Self::There(there) => there.seen.as_ref()?.used,
        }
    }

    /// What it has waited.
    pub(super) fn waits(&self) -> Waits {
        match self {
            Self::Here(here) => Waits::of(&here.group),
            Self::There(there) => there
                .seen
                .as_ref()
                .map(|seen| seen.waits)
                .unwrap_or_default(),
        }
    }

    /// Its own process.
    pub(super) fn sample(&self) -> Option<ProcessSample> {
        match self {
            Self::Here(here) => sample(here.process.pid),
            Self::There(there) => there.seen.as_ref()?.process.clone(),
        }
    }

    /// CPU time of all that ever ran in it, where the kernel keeps count, in milliseconds.
    pub(super) fn counted_cpu_ms(&self) -> Option<u64> {
        match self {
            Self::Here(here) => here.group.counted_cpu_ms(),
            Self::There(there) => there.seen.as_ref()?.counted_cpu_ms,
        }
    }

    /// CPU time, counted or added up, in milliseconds.
    pub(super) fn cpu_ms(&self) -> Option<u64> {
        match self {
            Self::Here(here) => here.group.cpu_ms(),
            Self::There(there) => there.seen.as_ref()?.cpu_ms,
        }
    }

    /// Whether somebody has stopped one of its processes.
    pub(super) fn is_stopped(&self) -> bool {
        match self {
            Self::Here(here) => is_stopped(&here.group),
            Self::There(there) => there.seen.as_ref().is_some_and(|seen| seen.is_stopped),
        }
    }
}
