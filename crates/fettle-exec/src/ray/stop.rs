//! The end of an attempt on request.
//!
//! Owns the proof: Ray says STOPPED only when the driver's processes are gone, and a driver whose exit status is known was waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fettle_model::AttemptId;
use fettle_ports::executor::{ExecutorError, StopOutcome};

use super::api::{Job, JobStatus};
use super::attempt::{Inner, keep, submitted};
use super::unavailable;
use crate::record::{StopRecord, now};

/// Ray's own grace for drivers is twelve seconds; it needs a few more to tell.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// A job that is about to be started shows within this that it was.
const PENDING_TIMEOUT: Duration = Duration::from_secs(5);
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
        let known = submitted(&dir).await;
        let known = known.map_err(|error| unavailable(attempt, error))?;
        if known.is_none() || dir.ended().exists() {
            return Ok(gone("no driver of the attempt was left"));
        }
        match self.api.stop(attempt.as_str()).await {
            Err(error) if error.is_not_found() => return Ok(gone("Ray knows nothing of the job")),
            Err(error) => return Err(unavailable(attempt, error)),
            Ok(()) => {}
        }
        self.wait_for_end(attempt).await
    }

    async fn wait_for_end(&self, attempt: &AttemptId) -> Result<StopOutcome, ExecutorError> {
        let since = Instant::now();
        loop {
            let job = match self.api.job(attempt.as_str()).await {
                Ok(job) => job,
                Err(error) if error.is_not_found() => {
                    return Ok(gone("Ray knows nothing of the job"));
                }
                Err(error) => return Err(unavailable(attempt, error)),
            };
            if let Some(outcome) = self.outcome(&job, since.elapsed()) {
                return Ok(outcome);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What a look at a job that was told to stop shows; nothing while it may still change.
    fn outcome(&self, job: &Job, waited: Duration) -> Option<StopOutcome> {
        let status = job.status.as_str();
        match job.status {
            JobStatus::Stopped => Some(gone("Ray has stopped the driver and all that it started")),
            _ if job.driver_exit_code.is_some() => Some(gone("the driver has ended")),
            JobStatus::Pending if waited >= PENDING_TIMEOUT => Some(gone(
                "Ray still lets the job wait; no driver of it was started, and one that is started later is refused",
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

fn gone(message: &str) -> StopOutcome {
    StopOutcome {
        proven_gone: true,
        message: message.to_owned(),
    }
}
