//! A backend that runs attempts.

use async_trait::async_trait;
use bytes::Bytes;
use fettle_core::admission::Capacity;
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptId, AttemptSpec, BatchId, StageTimings, UnixMillis,
};

/// Why the backend could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The backend refuses for good: the request can never run.
    #[error("the backend refused {attempt}: {message}")]
    Refused {
        /// The attempt.
        attempt: AttemptId,
        /// Its reason.
        message: String,
    },
    /// The backend could not be reached or failed; the same call may work later.
    #[error("the backend failed on {attempt}: {message}")]
    Unavailable {
        /// The attempt.
        attempt: AttemptId,
        /// What it said.
        message: String,
    },
    /// The backend cannot say what runs on it.
    #[error("the backend cannot say what runs on it: {message}")]
    Unlistable {
        /// What it said.
        message: String,
    },
    /// There is no such log.
    #[error("{attempt} has no log `{log}`")]
    NoSuchLog {
        /// The attempt.
        attempt: AttemptId,
        /// The log's name.
        log: String,
    },
}

/// What a start came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// The attempt was begun, now or by an earlier call.
    Begun,
    /// It is there, and nothing here says that it was begun: whoever did that has lost their memory of it, and of what it told them.
    Found,
}

/// What is seen of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// Its driver is alive.
    Running,
    /// The backend has taken it and has no place for it yet.
    Queued {
        /// For people: how that was seen.
        message: String,
    },
    /// It is gone, proven, with what it left.
    Ended {
        /// How, as far as the driver or the backend could say.
        exit: AttemptExit,
        /// What was captured.
        evidence: Box<AttemptEvidence>,
        /// How the stages spent their time, where the driver left word.
        stages: Option<Box<StageTimings>>,
        /// When the end was seen.
        at: UnixMillis,
    },
    /// The backend knows nothing of it.
    Unknown,
    /// The backend cannot be asked now: an outage is not a death.
    Unreachable {
        /// What it said.
        message: String,
    },
}

/// The result of a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopOutcome {
    /// Whether no process of the attempt is left.
    pub proven_gone: bool,
    /// For people: what was done.
    pub message: String,
}

/// A run of an attempt that is alive on the backend, whoever started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The attempt that it works for, as it says itself.
    pub attempt: AttemptId,
    /// The batch, as it says itself.
    pub batch_id: BatchId,
    /// The tier, as it says itself.
    pub tier_num: u32,
    /// The backend's own name for this run: processes here, a submission id elsewhere.
    pub name: String,
    /// Whether `observe` and `stop` of the attempt speak of this run. One of which they do not is a second run of the same attempt.
    pub is_the_attempts: bool,
    /// How long it has been running, in milliseconds, where that is known.
    pub age_ms: Option<u64>,
    /// For people: how it was seen.
    pub evidence: String,
}

/// A log of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogName {
    /// The driver's standard error.
    Driver,
    /// The standard error of worker `n`.
    Worker(u32),
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes, as they were written.
    pub bytes: Bytes,
    /// Where the piece begins in the log.
    pub offset: u64,
    /// How long the log is in all.
    pub total_bytes: u64,
}

/// A backend. Every call is safe to repeat.
#[async_trait]
pub trait Executor: Send + Sync {
    /// `local` or `ray`.
    fn name(&self) -> &'static str;
    /// The command line that runs an attempt, for the submission parameters.
    fn entrypoint(&self, attempt: &AttemptId) -> String;
    /// Names, never values, of the environment that an attempt is started with, for the submission parameters.
    fn env_vars_keys(&self) -> Vec<String> {
        Vec::new()
    }
    /// What it can give in all.
    fn capacity(&self) -> Capacity;
    /// Starts the attempt, or does nothing when it has been started before. `token` is the attempt's secret.
    async fn start(&self, spec: &AttemptSpec, token: &str) -> Result<Started, ExecutorError>;
    /// What is seen of each attempt now.
    async fn observe(&self, attempts: &[AttemptId]) -> Vec<(AttemptId, Observation)>;
    /// Ends the attempt: politely, then by force, then looks for what is left. Returns once it is over.
    async fn stop(&self, attempt: &AttemptId) -> Result<StopOutcome, ExecutorError>;
    /// Every run that is alive on the backend and belongs to this server, whether this server knows of it or not.
    async fn list(&self) -> Result<Vec<Run>, ExecutorError> {
        Err(ExecutorError::Unlistable {
            message: format!("the backend `{}` has no list of runs", self.name()),
        })
    }
    /// Ends a run that `list` showed, as `stop` does an attempt. One that is over is no error.
    async fn end_run(&self, run: &Run) -> Result<StopOutcome, ExecutorError> {
        self.stop(&run.attempt).await
    }
    /// Takes what the backend tells of itself without being asked, in its own form. What cannot be read is passed over: to say so would
    /// only have it told again.
    async fn hear(&self, _events: Bytes) {}
    /// Gives up the resources of an ended attempt; its logs stay.
    async fn forget(&self, attempt: &AttemptId) -> Result<(), ExecutorError>;
    /// The logs that exist.
    async fn logs(&self, attempt: &AttemptId) -> Result<Vec<LogName>, ExecutorError>;
    /// A piece of a log; a negative `offset` counts from the end.
    async fn read_log(
        &self,
        attempt: &AttemptId,
        log: &LogName,
        offset: i64,
        limit_bytes: u64,
    ) -> Result<LogChunk, ExecutorError>;
}
