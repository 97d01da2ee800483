//! A backend that only pretends: the tests play the drivers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptId, AttemptSpec, StageTimings, UnixMillis,
};
use fettle_ports::{
    Capacity, Executor, ExecutorError, LogChunk, LogName, Observation, Room, Run, Started,
    StopOutcome,
};
use tempfile::TempDir;

/// Nothing runs; an attempt lives until the test ends it or somebody stops it.
pub(crate) struct PretendExecutor {
    attempts: Mutex<BTreeMap<AttemptId, Pretended>>,
    /// Runs that somebody else has started.
    strays: Mutex<Vec<Run>>,
    /// The control room drops its backend last, so the folder outlives the index that flushes into it.
    _folder: Arc<TempDir>,
}

struct Pretended {
    spec: AttemptSpec,
    token: String,
    end: Option<(AttemptExit, AttemptEvidence, StageTimings)>,
}

impl PretendExecutor {
    pub(crate) fn new(folder: Arc<TempDir>) -> Self {
        Self {
            attempts: Mutex::default(),
            strays: Mutex::default(),
            _folder: folder,
        }
    }

    /// The attempts that were started and have not ended.
    pub(crate) fn running(&self) -> Vec<(AttemptSpec, String)> {
        let attempts = self.attempts.lock().unwrap();
        let running = attempts.values().filter(|attempt| attempt.end.is_none());
        running
            .map(|attempt| (attempt.spec.clone(), attempt.token.clone()))
            .collect()
    }

    /// Somebody else starts a run.
    pub(crate) fn start_stray(&self, run: Run) {
        self.strays.lock().unwrap().push(run);
    }

    /// The runs that somebody else has started and nobody has ended.
    pub(crate) fn strays(&self) -> Vec<Run> {
        self.strays.lock().unwrap().clone()
    }

    /// Lets an attempt end.
    pub(crate) fn end(
        &self,
        attempt: &AttemptId,
        exit: AttemptExit,
        evidence: AttemptEvidence,
        stages: StageTimings,
    ) {
        let mut attempts = self.attempts.lock().unwrap();
        attempts
            .get_mut(attempt)
            .unwrap()
            .end
            .get_or_insert((exit, evidence, stages));
    }
}

/// The attempt's own run.
pub(crate) fn run_of(spec: &AttemptSpec) -> Run {
    Run {
        name: spec.attempt_id.to_string(),
        attempt: spec.attempt_id.clone(),
        batch_id: spec.batch_id.clone(),
        tier_num: spec.tier_num,
        is_the_attempts: true,
        age_ms: Some(5_000),
        evidence: "pretended".to_owned(),
    }
}

#[async_trait]
impl Executor for PretendExecutor {
    fn name(&self) -> &'static str {
        "pretend"
    }

    fn entrypoint(&self, attempt: &AttemptId) -> String {
        format!("fettle job {attempt}")
    }

    fn capacity(&self) -> Capacity {
        Capacity::of_machine(Room {
            num_cpus: 4.0,
            num_gpus: 0.0,
            memory_bytes: 8 << 30,
            jobs: u64::MAX,
        })
    }

    async fn start(&self, spec: &AttemptSpec, token: &str) -> Result<Started, ExecutorError> {
        let pretended = Pretended {
            spec: spec.clone(),
            token: token.to_owned(),
            end: None,
        };
        self.attempts
            .lock()
            .unwrap()
            .entry(spec.attempt_id.clone())
            .or_insert(pretended);
        Ok(Started::Begun)
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Vec<(AttemptId, Observation)> {
        let known = self.attempts.lock().unwrap();
        let see = |id: &AttemptId| match known.get(id) {
            None => Observation::Unknown,
            Some(Pretended { end: None, .. }) => Observation::Running,
            Some(Pretended {
                end: Some((exit, evidence, stages)),
                ..
            }) => Observation::Ended {
                exit: exit.clone(),
                evidence: Box::new(evidence.clone()),
                stages: Some(Box::new(*stages)),
                at: UnixMillis(1_700_000_000_000),
            },
        };
        attempts.iter().map(|id| (id.clone(), see(id))).collect()
    }

    async fn stop(&self, attempt: &AttemptId) -> Result<StopOutcome, ExecutorError> {
        if self.attempts.lock().unwrap().contains_key(attempt) {
            self.end(
                attempt,
                AttemptExit::Cancelled,
                AttemptEvidence::default(),
                StageTimings::default(),
            );
        }
        Ok(StopOutcome {
            proven_gone: true,
            message: "nothing ran".into(),
        })
    }

    async fn list(&self) -> Result<Vec<Run>, ExecutorError> {
        let running = self.running();
        let own = running.iter().map(|(spec, _)| run_of(spec));
        Ok(own.chain(self.strays()).collect())
    }

    async fn end_run(&self, run: &Run) -> Result<StopOutcome, ExecutorError> {
        let is_stray = {
            let mut strays = self.strays.lock().unwrap();
            let before = strays.len();
            strays.retain(|stray| stray.name != run.name);
            strays.len() < before
        };
        if is_stray {
            return Ok(StopOutcome {
                proven_gone: true,
                message: "the stray was ended".into(),
            });
        }
        self.stop(&run.attempt).await
    }

    async fn forget(&self, _attempt: &AttemptId) -> Result<(), ExecutorError> {
        Ok(())
    }

    async fn logs(&self, _attempt: &AttemptId) -> Result<Vec<LogName>, ExecutorError> {
        Ok(vec![LogName::Driver, LogName::Worker(0)])
    }

    async fn read_log(
        &self,
        _attempt: &AttemptId,
        log: &LogName,
        offset: i64,
        limit_bytes: u64,
    ) -> Result<LogChunk, ExecutorError> {
        let text = format!("a line of {log:?}\n").repeat(10);
        let from = text.len().saturating_sub(usize::try_from(-offset).unwrap());
        let to = text.len().min(from + usize::try_from(limit_bytes).unwrap());
        Ok(LogChunk {
            bytes: Bytes::copy_from_slice(&text.as_bytes()[from..to]),
            offset: from as u64,
            total_bytes: text.len() as u64,
        })
    }
}
