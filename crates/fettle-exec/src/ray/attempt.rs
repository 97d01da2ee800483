//! What is seen of an attempt: its job in Ray, its node, and what is known here.
//!
//! Owns when an end is believed: when Ray says so, when the driver's node is gone, when the cluster is another one. A head that
//! does not answer is an outage and ends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fettle_confine::{AttemptDir, read_json, write_atomically};
use fettle_model::{AttemptId, UnixMillis};
use fettle_ports::Capacity;
use fettle_ports::executor::{ExecutorError, Observation};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::api::{Job, JobStatus, Node, RayApi, RayError};
use super::cause;
use super::census::Known;
use super::cluster::{Cluster, Seen};
use super::package::{self, Package};
use super::verdict::{self, Traces};
use super::{RayConfig, unavailable};
use crate::blocking;
use crate::record::{EndRecord, now};

/// Ray's own agent looks once a second; asking more often than this shows nothing new.
const ASK_EVERY: Duration = Duration::from_millis(400);
/// With many attempts each is asked for less often: a head answers some hundred requests a second, and has other things to do.
const ASKS_PER_SECOND_MAX: u32 = 50;
/// The autoscaler's report grows with the cluster, and changes every five seconds.
const AUTOSCALER_EVERY: Duration = Duration::from_secs(4);
/// Logs of a running attempt are fetched as often as this, so that a lost node does not take all of them with it.
const KEEP_LOGS_EVERY: Duration = Duration::from_secs(10);
/// An end is captured within this, as a rule; what takes longer is told in a later round, so that a sick node does not hold up others.
const CAPTURE_WAIT: Duration = Duration::from_secs(1);

/// Ray finds a lost node within a quarter of a minute by default.
const NODE_SETTLES_WITHIN: Duration = Duration::from_secs(20);
const NODE_LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longer than it takes Ray to see an end by itself, on a busy head too.
const REMOVE_LOOK_EVERY: Duration = Duration::from_secs(3);
/// A job whose node was lost has ended for Ray within a quarter of a minute by default.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(120);

/// What is written down of an attempt when it is submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Submitted {
    /// The cluster's incarnation that it was submitted to.
    pub(super) session: String,
    pub(super) at: UnixMillis,
    pub(super) workers: u32,
    /// The node that its driver was started on, once Ray says so.
    pub(super) node_id: Option<String>,
    /// Whether it was found on the cluster, and nothing here said that it had been submitted.
    #[serde(default)]
    pub(super) is_found: bool,
}

impl Submitted {
    pub(super) fn path(dir: &AttemptDir) -> PathBuf {
        dir.path().join("ray.json")
    }
}

/// What all calls share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: RayConfig,
    pub(super) api: RayApi,
    pub(super) cluster: Arc<Cluster>,
    package: OnceCell<Package>,
    pub(super) uploading: tokio::sync::Mutex<()>,
    /// When each attempt was last asked for, and what was seen.
    asked: Mutex<BTreeMap<AttemptId, (Instant, Observation)>>,
    /// When the autoscaler was last asked for, and what it said.
    autoscaler: Mutex<Option<(Instant, Option<String>)>>,
    /// Attempts whose end is being captured.
    capturing: Mutex<BTreeSet<AttemptId>>,
    /// What the jobs on the cluster say of themselves.
    pub(super) known: Mutex<Known>,
    /// When the logs of each running attempt were last fetched.
    pub(super) logs_kept: Mutex<BTreeMap<AttemptId, Instant>>,
}

impl Inner {
    pub(super) fn new(config: RayConfig, api: RayApi, cluster: Arc<Cluster>) -> Self {
        Self {
            config,
            api,
            cluster,
            package: OnceCell::new(),
            uploading: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
            autoscaler: Mutex::default(),
            capturing: Mutex::default(),
            known: Mutex::default(),
            logs_kept: Mutex::default(),
        }
    }

    pub(super) fn dir(&self, attempt: &AttemptId) -> AttemptDir {
        AttemptDir::new(self.config.data_dir.join("attempts").join(attempt.as_str()))
    }

    /// The package for the nodes, packed once.
    pub(super) async fn package(&self) -> io::Result<&Package> {
        let pack = || {
            let program = self.config.program.clone();
            blocking(move || package::pack(&program))
        };
        self.package.get_or_try_init(pack).await
    }

    /// What the cluster can give, and how many jobs it may be given.
    pub(super) fn capacity(&self) -> Capacity {
        let config = &self.config;
        let seen = self.cluster.seen();
        seen.capacity(now(), config.node_wait, config.jobs_max, &config.node_types)
    }

    /// What is seen of an attempt, one of `among` that are asked for.
    pub(super) async fn observe(
        self: &Arc<Self>,
        attempt: &AttemptId,
        among: usize,
    ) -> Observation {
        let known = held(&self.asked).get(attempt).cloned();
        if let Some((at, seen)) = known
            && at.elapsed() < ask_every(among)
        {
            return seen;
        }
        let seen = self
            .look(attempt)
            .await
            .unwrap_or_else(|error| Observation::Unreachable {
                message: format!("the folder of the attempt cannot be used: {error}"),
            });
        // What is unknown may be submitted in the next moment, and would be called lost if that were not seen.
        if seen != Observation::Unknown {
            held(&self.asked).insert(attempt.clone(), (Instant::now(), seen.clone()));
        }
        seen
    }

    async fn look(self: &Arc<Self>, attempt: &AttemptId) -> io::Result<Observation> {
        let dir = self.dir(attempt);
        if let Some(end) = ended(&dir).await? {
            return Ok(end.into());
        }
        let submitted = match self.known(attempt).await {
            Ok(Some(submitted)) => submitted,
            Ok(None) => return Ok(Observation::Unknown),
            Err(error) => {
                return Ok(Observation::Unreachable {
                    message: error.to_string(),
                });
            }
        };
        match self.api.job(attempt.as_str()).await {
            Ok(job) => self.judge(attempt, &dir, submitted, job).await,
            Err(error) if error.is_not_found() => self.unknown_to_ray(&dir, &submitted).await,
            Err(error) => Ok(Observation::Unreachable {
                message: error.to_string(),
            }),
        }
    }

    async fn judge(
        self: &Arc<Self>,
        attempt: &AttemptId,
        dir: &AttemptDir,
        mut submitted: Submitted,
        job: Job,
    ) -> io::Result<Observation> {
        if job.driver_node_id.is_some() && job.driver_node_id != submitted.node_id {
            submitted.node_id.clone_from(&job.driver_node_id);
            keep(dir, Submitted::path(dir), &submitted).await?;
        }
        if job.status.is_terminal() {
            return self.capture(attempt, submitted, job).await;
        }
        let seen = self.cluster.seen();
        let node = submitted.node_id.as_deref().and_then(|id| seen.node(id));
        if let Some(node) = node.filter(|node| !node.is_alive()) {
            let status = job.status.as_str();
            let message = format!("ray: the job is {status} on a node that is dead");
            let record = verdict::vanished(message, Some(node), dir.stop().exists(), now());
            return end(dir, record).await;
        }
        if job.status == JobStatus::Pending {
            let mut message =
                "a node: Ray has taken the job, says PENDING and names none".to_owned();
            if let Some(said) = self.autoscaler().await {
                message.push_str(&format!("; {said}"));
            }
            return Ok(Observation::Queued { message });
        }
        self.keep_logs_now_and_then(attempt);
        Ok(Observation::Running)
    }

    /// What the autoscaler was heard to say a moment ago, whoever asked.
    async fn autoscaler(&self) -> Option<String> {
        let heard = held(&self.autoscaler).clone();
        if let Some((at, said)) = heard
            && at.elapsed() < AUTOSCALER_EVERY
        {
            return said;
        }
        // Without an answer it says nothing.
        let said = self.api.autoscaler().await.ok().flatten();
        *held(&self.autoscaler) = Some((Instant::now(), said.clone()));
        said
    }

    /// An id that was submitted and is not there: in a new cluster it never was.
    async fn unknown_to_ray(
        &self,
        dir: &AttemptDir,
        submitted: &Submitted,
    ) -> io::Result<Observation> {
        if let Err(error) = self.cluster.look().await {
            return Ok(Observation::Unreachable {
                message: error.to_string(),
            });
        }
        let Seen { session, nodes, .. } = self.cluster.seen();
        if session == submitted.session {
            return Ok(Observation::Unknown);
        }
        let message = format!(
            "ray: the cluster was replaced: the job was submitted to {} and is unknown to {session}",
            submitted.session
        );
        let node = nodes
            .iter()
            .find(|node| Some(&node.node_id) == submitted.node_id.as_ref());
        end(
            dir,
            verdict::vanished(message, node, dir.stop().exists(), now()),
        )
        .await
    }

    /// Captures the end in the background and waits a moment for it.
    async fn capture(
        self: &Arc<Self>,
        attempt: &AttemptId,
        submitted: Submitted,
        job: Job,
    ) -> io::Result<Observation> {
        if held(&self.capturing).insert(attempt.clone()) {
            let (inner, attempt) = (Arc::clone(self), attempt.clone());
            let task = tokio::spawn(async move {
                if let Err(error) = inner.capture_end(&attempt, &submitted, &job).await {
                    tracing::warn!(%attempt, %error, "the end of an attempt could not be captured");
                }
                held(&inner.capturing).remove(&attempt);
            });
            // Past the wait the task goes on by itself.
            let _ = tokio::time::timeout(CAPTURE_WAIT, task).await;
        }
        let end = ended(&self.dir(attempt)).await?;
        Ok(end.map_or(Observation::Running, Observation::from))
    }

    async fn capture_end(
        &self,
        attempt: &AttemptId,
        submitted: &Submitted,
        job: &Job,
    ) -> io::Result<()> {
        let dir = self.dir(attempt);
        self.settle(submitted, job).await;
        let seen = self.cluster.seen();
        let node = submitted.node_id.as_deref().and_then(|id| seen.node(id));
        let last_word = self.fetch_logs(attempt, submitted).await;
        let cause = self.cause(attempt, job).await;
        let traces = Traces {
            job,
            node,
            cause,
            last_word,
            stop_ordered: dir.stop().exists(),
        };
        let mut record = verdict::end(traces, now());
        super::logs::add_tail(&dir, &mut record.evidence);
        keep(&dir, dir.ended(), &record).await
    }

    /// What else Ray knows of an end of which the job says little. One call; without an answer it stays as it is.
    async fn cause(&self, attempt: &AttemptId, job: &Job) -> Option<String> {
        if !cause::is_open(job) {
            return None;
        }
        let death = self.api.supervisor_death(attempt.as_str()).await;
        death.ok().flatten().and_then(|death| death.line())
    }

    /// Looks at the nodes: the end of the driver's is evidence, and may be newer than the last look. Older releases of Ray give a job up
    /// before they know that its node is lost; a run that began meanwhile could be sent there too.
    async fn settle(&self, submitted: &Submitted, job: &Job) {
        let since = Instant::now();
        loop {
            // An outage takes nothing from what Ray has said.
            let _ = self.cluster.look().await;
            let seen = self.cluster.seen();
            let node = submitted.node_id.as_deref().and_then(|id| seen.node(id));
            let is_open = job.lost_sight_of_driver() && node.is_some_and(Node::is_alive);
            if !is_open || since.elapsed() > NODE_SETTLES_WITHIN {
                return;
            }
            tokio::time::sleep(NODE_LOOK_EVERY).await;
        }
    }

    /// Removes the job from Ray once its evidence is here: Ray's list never shrinks by itself.
    pub(super) async fn forget(&self, attempt: &AttemptId) -> Result<(), ExecutorError> {
        let dir = self.dir(attempt);
        let read = submitted(&dir).await;
        let Some(submitted) = read.map_err(|error| unavailable(attempt, error))? else {
            return Ok(());
        };
        held(&self.asked).remove(attempt);
        held(&self.logs_kept).remove(attempt);
        if self.cluster.seen().session != submitted.session {
            return Ok(());
        }
        let removed = self.remove(attempt.as_str()).await;
        removed.map_err(|error| unavailable(attempt, error))
    }

    /// Removes what Ray remembers of a job that has ended, or ends soon. Ray itself looks at its jobs once a second: when it finds the
    /// record of one gone whose end it had not seen, it writes a new one, of a job that failed. So its look is waited for, and the
    /// removal is looked at.
    pub(super) async fn remove(&self, id: &str) -> Result<(), RayError> {
        let since = Instant::now();
        while since.elapsed() < REMOVE_TIMEOUT {
            match self.api.job(id).await {
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
                Ok(job) => {
                    tokio::time::sleep(REMOVE_LOOK_EVERY).await;
                    if job.status.is_terminal() {
                        self.api.delete(id).await?;
                        tokio::time::sleep(REMOVE_LOOK_EVERY).await;
                    }
                }
            }
        }
        // Its node is gone, or it waits for ever: Ray deletes only what it knows to have ended.
        Ok(())
    }

    /// The same beside what goes on.
    pub(super) fn remove_later(self: &Arc<Self>, id: String) {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = inner.remove(&id).await {
                tracing::warn!(id, %error, "the record of a job cannot be removed from Ray");
            }
        });
    }

    fn keep_logs_now_and_then(self: &Arc<Self>, attempt: &AttemptId) {
        let last = held(&self.logs_kept).get(attempt).copied();
        if last.is_some_and(|at| at.elapsed() < KEEP_LOGS_EVERY) {
            return;
        }
        let (inner, attempt) = (Arc::clone(self), attempt.clone());
        tokio::spawn(async move { inner.refresh_logs(&attempt).await });
    }
}

/// How often each of so many attempts is asked for.
fn ask_every(attempts: usize) -> Duration {
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    ASK_EVERY.max(Duration::from_secs(1).saturating_mul(attempts) / ASKS_PER_SECOND_MAX)
}

/// The end, where it has been captured.
pub(super) async fn ended(dir: &AttemptDir) -> io::Result<Option<EndRecord>> {
    let path = dir.ended();
    blocking(move || read_json(&path)).await
}

/// The submission, where there was one.
pub(super) async fn submitted(dir: &AttemptDir) -> io::Result<Option<Submitted>> {
    let path = Submitted::path(dir);
    blocking(move || read_json(&path)).await
}

/// Writes an end down, and tells it.
async fn end(dir: &AttemptDir, mut record: EndRecord) -> io::Result<Observation> {
    super::logs::add_tail(dir, &mut record.evidence);
    keep(dir, dir.ended(), &record).await?;
    Ok(record.into())
}

pub(super) async fn keep<T: Serialize>(
    dir: &AttemptDir,
    path: PathBuf,
    record: &T,
) -> io::Result<()> {
    let (dir, text) = (dir.path().to_owned(), serde_json::to_vec(record)?);
    blocking(move || {
        std::fs::create_dir_all(dir)?;
        write_atomically(&path, &text)
    })
    .await
}

/// A panic while holding one of these locks leaves a map that is still a map.
pub(super) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
