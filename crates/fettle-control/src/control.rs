//! The handle that the API holds, and what the control room's parts share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use fettle_core::{Batch, JobState, Wait};
use fettle_model::report::Heartbeat;
use fettle_model::{AttemptId, BatchId, JobId, KillOrder, UnixMillis, WorkerDeath};
use fettle_ports::{Blobs, Clock, Entropy, Executor, Index, Store, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ControlConfig;
use crate::failures::Failures;
use crate::fence::Fences;
use crate::orchestrator::{MESSAGES_MAX, Message, Orchestrator};
use crate::queue::Beat;
use crate::stuck::{self, PastSteps};
use crate::{heal, reconcile, schedule, token};

/// What the control room stands on.
#[derive(Clone)]
pub struct Ports {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// Documents.
    pub index: Arc<dyn Index>,
    /// Blobs.
    pub blobs: Arc<dyn Blobs>,
    /// Backend.
    pub executor: Arc<dyn Executor>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// The control room. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
}

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) config: ControlConfig,
    pub(crate) messages: mpsc::Sender<Message>,
    /// Batches that are not over, as last committed.
    pub(crate) active: RwLock<BTreeMap<BatchId, Arc<Batch>>>,
    pub(crate) fences: Fences,
    pub(crate) failures: Failures,
    /// Last word of each live attempt.
    pub(crate) live: Mutex<BTreeMap<AttemptId, Live>>,
    /// How long steps of attempts that have ended took.
    pub(crate) past_steps: Mutex<PastSteps>,
    /// What waiting jobs lack, in the order of admission.
    pub(crate) queue: Mutex<Vec<Lack>>,
    pub(crate) beat: Beat,
    /// Wakes the observer before its next round.
    pub(crate) look: Notify,
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) job: JobId,
    /// In words.
    pub(crate) what: String,
    /// Whether it waits for a machine that is not there.
    pub(crate) is_for_nodes: bool,
}

/// The last word of a live attempt.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) beat: Heartbeat,
    /// When the heartbeat came, by this process's clock; `None` before the first.
    pub(crate) heard_at: Option<UnixMillis>,
    pub(crate) deaths: Vec<WorkerDeath>,
    /// Workers that the driver is told to end.
    pub(crate) kills: Vec<KillOrder>,
    /// How it was seen that the backend has no place for it yet.
    pub(crate) queued: Option<String>,
    /// Findings that are in the timeline.
    pub(crate) noted: BTreeSet<String>,
}

impl Control {
    /// Loads what is not over, takes up what was committed and not done, and starts the loop.
    pub async fn start(ports: Ports, config: ControlConfig) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let beat = Beat::at(ports.clock.now());
        let shared = Arc::new(Shared {
            ports,
            config,
            messages: sender,
            active: RwLock::default(),
            fences: Fences::default(),
            failures: Failures::default(),
            live: Mutex::default(),
            past_steps: Mutex::default(),
            queue: Mutex::default(),
            beat,
            look: Notify::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let orchestrator = Orchestrator::load(shared.clone()).await?;
        shared.tasks.spawn(orchestrator.run(receiver));
        shared
            .tasks
            .spawn(reconcile::observe_attempts(shared.clone()));
        shared.tasks.spawn(stuck::watch(shared.clone()));
        shared.tasks.spawn(heal::watch(shared.clone()));
        shared.tasks.spawn(schedule::watch(shared.clone()));
        Ok(Self { shared })
    }

    /// Stops taking work and ends the loop; attempts go on.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Durable state.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.ports.store
    }

    /// Documents.
    #[must_use]
    pub fn index(&self) -> &Arc<dyn Index> {
        &self.shared.ports.index
    }

    /// Blobs.
    #[must_use]
    pub fn blobs(&self) -> &Arc<dyn Blobs> {
        &self.shared.ports.blobs
    }

    /// Backend.
    #[must_use]
    pub fn executor(&self) -> &Arc<dyn Executor> {
        &self.shared.ports.executor
    }

    /// Time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.ports.clock
    }

    /// Randomness.
    #[must_use]
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.shared.ports.entropy
    }

    /// Settings.
    #[must_use]
    pub fn config(&self) -> &ControlConfig {
        &self.shared.config
    }

    /// Whether `token` is the attempt's secret.
    #[must_use]
    pub fn attempt_token_is(&self, attempt: &AttemptId, token: &str) -> bool {
        token::token_is(&self.shared.config.token_secret, attempt, token)
    }

    /// Whether `token` is the backend's secret.
    #[must_use]
    pub fn backend_token_is(&self, token: &str) -> bool {
        token::backend_token_is(&self.shared.config.token_secret, token)
    }

    /// The last heartbeat of each attempt of the batch that may be alive.
    #[must_use]
    pub fn live(&self, batch: &BatchId) -> Vec<(AttemptId, Heartbeat)> {
        let attempts = self.shared.fences.all();
        let live = self
            .shared
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        attempts
            .into_iter()
            .filter(|(_, attempt)| attempt.fence.batch_id == *batch)
            .filter_map(|(id, _)| {
                let heard = live.get(&id).filter(|live| live.heard_at.is_some())?;
                Some((id, heard.beat.clone()))
            })
            .collect()
    }

    /// What a waiting job waits for.
    pub(crate) fn lack(&self, job: &JobId) -> Option<Lack> {
        let queue = self
            .shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        queue.iter().find(|lack| lack.job == *job).cloned()
    }

    /// Jobs that wait for capacity, in the order in which they will be admitted.
    #[must_use]
    pub fn queue(&self) -> Vec<JobId> {
        let queue = self
            .shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        queue.iter().map(|lack| lack.job.clone()).collect()
    }
}

impl Shared {
    /// Waits so long; `false` once `serve` stops.
    pub(crate) async fn pause(&self, how_long: Duration) -> bool {
        tokio::select! {
            () = self.stopping.cancelled() => false,
            () = tokio::time::sleep(how_long) => true,
        }
    }

    /// A batch that is not over, as last committed.
    pub(crate) fn batch(&self, id: &BatchId) -> Option<Arc<Batch>> {
        self.active
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Makes a committed state visible to all parts.
    pub(crate) fn publish(&self, batch: &Arc<Batch>) {
        self.fences.update(batch);
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        if batch.is_at_rest() {
            active.remove(&batch.id);
        } else {
            active.insert(batch.id.clone(), batch.clone());
        }
    }

    /// Jobs that wait for a back-off that is over by `now`.
    pub(crate) fn elapsed_backoffs(&self) -> Vec<(BatchId, JobId)> {
        let now = self.ports.clock.now();
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let jobs = active
            .values()
            .flat_map(|batch| batch.jobs().map(|(_, job)| (batch.id.clone(), job)));
        jobs.filter(|(_, job)| {
            matches!(&job.state, JobState::Waiting(Wait::Backoff { until, .. }) if *until <= now)
        })
        .map(|(batch, job)| (batch, job.id.clone()))
        .collect()
    }
}
