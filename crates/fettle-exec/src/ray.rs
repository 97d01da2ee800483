//! Attempts as jobs on a Ray cluster, over Ray's Jobs REST interface.
//!
//! Owns the port's implementation; each act is in a file below. The driver is the same `fettle job` as on a single machine, with
//! workers beside it, and more of them on other nodes while there is work for them. What is known of an attempt lies in its folder here and in Ray, so a restarted `serve` goes on.

mod api;
mod attempt;
mod autoscaler;
mod cause;
mod census;
mod cluster;
mod events;
mod logs;
mod package;
mod stop;
mod submit;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fettle_confine::AttemptDir;
use fettle_model::{AttemptId, AttemptSpec};
use fettle_ports::Capacity;
use fettle_ports::executor::{
    Executor, ExecutorError, LogChunk, LogName, Observation, Run, Started, StopOutcome,
};
use futures_util::StreamExt as _;

use crate::blocking;
use crate::logs as files;
use api::RayApi;
use attempt::Inner;
use cluster::Cluster;

/// Attempts that are asked for at the same time; Ray's head answers some hundred requests a second.
const ASKED_AT_ONCE: usize = 16;

/// Settings of the Ray backend.
#[derive(Debug, Clone)]
pub struct RayConfig {
    /// Where Fettle keeps its data; attempts get folders in `attempts` below it.
    pub data_dir: PathBuf,
    /// The cluster's dashboard, such as `http://head:8265`.
    pub address: String,
    /// The program that is shipped to the nodes, which must be able to run it.
    pub program: PathBuf,
    /// Where the nodes reach `serve`; a job that reports elsewhere is another server's.
    pub control_url: String,
    /// Jobs of this server that may be on the cluster at the same time: each has a supervisor, and is asked for.
    pub jobs_max: u32,
    /// The most workers that one attempt may have on all nodes; those that its job asks for it has in any case.
    pub workers_max: u32,
    /// How long a lost node, or one in its place, is waited for by jobs that only it could hold.
    pub node_wait: Duration,
    /// Nodes that the cluster's autoscaler brings when they are asked for.
    pub node_types: Vec<RayNodeType>,
}

/// Nodes of one kind that an autoscaler may start.
#[derive(Debug, Clone, PartialEq)]
pub struct RayNodeType {
    /// The autoscaler's name for it: a key of `available_node_types`, or the `groupName` of a worker group of KubeRay.
    pub name: String,
    /// The most of them at a time.
    pub max_workers: u32,
    /// CPU cores of each.
    pub num_cpus: f64,
    /// GPUs of each.
    pub num_gpus: f64,
    /// Memory that Ray may give to jobs on each, in bytes.
    pub memory_bytes: u64,
}

/// Why the Ray backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RayOpenError {
    /// The HTTP client could not be made.
    #[error("the http client could not be started")]
    Client(#[source] reqwest::Error),
    /// The cluster does not answer and was never seen, so nothing is known of it.
    #[error("the Ray cluster cannot be used: {message}")]
    Unreachable {
        /// What was seen.
        message: String,
    },
}

/// Runs attempts as jobs of a Ray cluster.
#[derive(Debug, Clone)]
pub struct RayExecutor {
    inner: Arc<Inner>,
}

impl RayExecutor {
    /// Opens the backend and begins to look at the cluster. A cluster that was seen before may be away for now.
    ///
    /// # Errors
    /// When the cluster does not answer and was never seen.
    pub async fn open(config: RayConfig) -> Result<Self, RayOpenError> {
        let api = RayApi::new(&config.address).map_err(RayOpenError::Client)?;
        let file = config.data_dir.join("ray.json");
        let cluster = Arc::new(Cluster::open(api.clone(), file));
        if let Err(error) = cluster.look().await
            && cluster.seen().session.is_empty()
        {
            return Err(RayOpenError::Unreachable {
                message: error.to_string(),
            });
        }
        tokio::spawn(Cluster::watch(Arc::clone(&cluster)));
        let inner = Arc::new(Inner::new(config, api, cluster));
        let packing = Arc::clone(&inner);
        // The first job need not wait for it; an error shows when it is needed.
        tokio::spawn(async move { packing.package().await.map(drop) });
        Ok(Self { inner })
    }

    fn dir(&self, attempt: &AttemptId) -> AttemptDir {
        self.inner.dir(attempt)
    }
}

#[async_trait]
impl Executor for RayExecutor {
    fn name(&self) -> &'static str {
        "ray"
    }

    fn env_vars_keys(&self) -> Vec<String> {
        submit::env_vars_keys()
    }

    fn entrypoint(&self, attempt: &AttemptId) -> String {
        submit::entrypoint(attempt, None, self.inner.config.workers_max)
    }

    fn capacity(&self) -> Capacity {
        self.inner.capacity()
    }

    async fn start(&self, spec: &AttemptSpec, token: &str) -> Result<Started, ExecutorError> {
        self.inner.submit(spec, token).await
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Vec<(AttemptId, Observation)> {
        let asked = attempts.iter().cloned().map(|attempt| async move {
            let seen = self.inner.observe(&attempt, attempts.len()).await;
            (attempt, seen)
        });
        futures_util::stream::iter(asked)
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await
    }

    async fn stop(&self, attempt: &AttemptId) -> Result<StopOutcome, ExecutorError> {
        self.inner.stop(attempt).await
    }

    async fn list(&self) -> Result<Vec<Run>, ExecutorError> {
        self.inner.runs().await
    }

    async fn end_run(&self, run: &Run) -> Result<StopOutcome, ExecutorError> {
        self.inner.end_run(run).await
    }

    async fn hear(&self, events: Bytes) {
        self.inner.cluster.hear(&events).await;
    }

    async fn forget(&self, attempt: &AttemptId) -> Result<(), ExecutorError> {
        self.inner.forget(attempt).await
    }

    async fn logs(&self, attempt: &AttemptId) -> Result<Vec<LogName>, ExecutorError> {
        self.inner.refresh_logs(attempt).await;
        let dir = self.dir(attempt);
        match blocking(move || files::list(&dir)).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|error| unavailable(attempt, error)),
        }
    }

    async fn read_log(
        &self,
        attempt: &AttemptId,
        log: &LogName,
        offset: i64,
        limit_bytes: u64,
    ) -> Result<LogChunk, ExecutorError> {
        self.inner.refresh_logs(attempt).await;
        files::chunk(&self.dir(attempt), attempt, log, offset, limit_bytes).await
    }
}

pub(crate) fn unavailable(attempt: &AttemptId, message: impl ToString) -> ExecutorError {
    ExecutorError::Unavailable {
        attempt: attempt.clone(),
        message: message.to_string(),
    }
}
