//! The end of an attempt on request.
//!
//! Owns the proof: Ray says STOPPED only when the driver's processes are gone, a driver whose exit status is known was waited for, and
//! a job that has ended without a node never had a driver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fettle_model::AttemptId;
use fettle_ports::executor::{ExecutorError, StopOutcome};
use serde_json::json;

use super::api::{Job, JobStatus, SUPERVISOR_NAMESPACE, SUPERVISOR_PREFIX, Submission};
use super::attempt::{Inner, keep};
use super::unavailable;
use crate::record::{StopRecord, now};

/// Ray's own grace for drivers is twelve seconds; it needs a few more to tell.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// A job that is about to be started shows within this that it was.
const PENDING_TIMEOUT: Duration = Duration::from_secs(3);
/// A small job on the head takes four seconds, and more on one that is busy; its victim is told to have failed a second later.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Inner {
    /// Stops the job and waits until it is over.
    pub(super) async fn stop(
        self: &Arc<Self>,
        attempt: &AttemptId,
    ) -> Result<StopOutcome, ExecutorError> {
        let dir = self.dir(attempt);
        let ordered = keep(&dir, dir.stop(), &StopRecord { at: now() }).await;
        ordered.map_err(|error| unavailable(attempt, error))?;
        if self.known(attempt).await?.is_none() || dir.ended().exists() {
            return Ok(gone("no driver of the attempt was left"));
        }
        self.end_job(attempt, attempt.as_str()).await
    }

    /// Stops a job that works for an attempt, whatever its id, and waits until it is over.
    pub(super) async fn end_job(
        self: &Arc<Self>,
        attempt: &AttemptId,
        id: &str,
    ) -> Result<StopOutcome, ExecutorError> {
        match self.api.stop(id).await {
            Err(error) if error.is_not_found() => return Ok(gone("Ray knows nothing of the job")),
            Err(error) => return Err(unavailable(attempt, error)),
            Ok(()) => {}
        }
        let outcome = self.wait_for_end(attempt, id, PENDING_TIMEOUT).await?;
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
        self.withdraw(attempt, id).await
    }

    /// Waits for a proof, or for `pending` as long as the job waits for room; nothing when it still does.
    async fn wait_for_end(
        &self,
        attempt: &AttemptId,
        id: &str,
        pending: Duration,
    ) -> Result<Option<StopOutcome>, ExecutorError> {
        let since = Instant::now();
        loop {
            let job = match self.api.job(id).await {
                Ok(job) => job,
                Err(error) if error.is_not_found() => {
                    return Ok(Some(gone("Ray knows nothing of the job")));
                }
                Err(error) => return Err(unavailable(attempt, error)),
            };
            if let Some(outcome) = self.outcome(&job, since.elapsed()) {
                return Ok(Some(outcome));
            }
            if job.status == JobStatus::Pending && since.elapsed() >= pending {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes a job that waits for room back. To a stop of such a job Ray says yes and does nothing, and it has no call that would: a
    /// small job on the head ends the supervisor that is to be started, and then Ray says that the job has failed.
    async fn withdraw(
        self: &Arc<Self>,
        attempt: &AttemptId,
        id: &str,
    ) -> Result<StopOutcome, ExecutorError> {
        // An id is never used twice: Ray would mix the logs.
        let own = format!("end-{id}-{}", now().0 % 100_000_000);
        let submitted = self.api.submit(&withdrawal(&own, id)).await;
        submitted.map_err(|error| unavailable(attempt, error))?;
        let outcome = self.wait_for_end(attempt, id, WITHDRAW_TIMEOUT).await;
        // One that still runs has no more to do, and its record is nobody's evidence.
        let _ = self.api.stop(&own).await;
        self.remove_later(own);
        outcome?.ok_or_else(|| {
            unavailable(
                attempt,
                "Ray still lets the job wait and could not be made to drop it",
            )
        })
    }

    /// What a look at a job that was told to stop shows; nothing while it may still change.
    fn outcome(&self, job: &Job, waited: Duration) -> Option<StopOutcome> {
        let status = job.status.as_str();
        match job.status {
            JobStatus::Stopped => Some(gone("Ray has stopped the driver and all that it started")),
            JobStatus::Pending => None,
            _ if job.driver_exit_code.is_some() => Some(gone("the driver has ended")),
            JobStatus::Failed if job.driver_node_id.is_none() => Some(gone(
                "Ray has dropped the job before it was started; no driver of it ever ran",
            )),
            _ if self.node_is_dead(job) => Some(gone("the driver's node is dead")),
            _ if waited >= STOP_TIMEOUT || job.status.is_terminal() => Some(StopOutcome {
                proven_gone: false,
                message: format!(
                    "Ray shows the job as {status} and not how its driver ended; its reports are refused"
                ),
            }),
            _ => None,
        }
    }

    fn node_is_dead(&self, job: &Job) -> bool {
        let seen = self.cluster.seen();
        let node = job.driver_node_id.as_deref().and_then(|id| seen.node(id));
        node.is_some_and(|node| !node.is_alive())
    }
}

/// A job that asks for nothing, so that the head always has room for it, and ends the supervisor of another.
fn withdrawal(own: &str, id: &str) -> Submission {
    let program = format!(
        "import ray; ray.init(namespace=\"{SUPERVISOR_NAMESPACE}\", log_to_driver=False); ray.kill(ray.get_actor(\"{SUPERVISOR_PREFIX}{id}\"))"
    );
    Submission {
        submission_id: own.to_owned(),
        entrypoint: format!("exec python -c '{program}'"),
        metadata: [("fettle_ends", id.to_owned())].into(),
        entrypoint_num_cpus: 0.0,
        entrypoint_num_gpus: 0.0,
        entrypoint_memory: 0,
        runtime_env: json!({}),
    }
}

fn gone(message: &str) -> StopOutcome {
    StopOutcome {
        proven_gone: true,
        message: message.to_owned(),
    }
}
