//! What runs for this server on the cluster, whether this server knows of it or not.
//!
//! Owns the question whose a job is: one that names an attempt and reports to this server's address is ours. The supervisors that
//! live are asked for, so that the cost does not grow with the jobs that Ray remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fettle_model::{AttemptId, BatchId};
use fettle_ports::executor::{ExecutorError, Run, StopOutcome};

use super::api::{Job, RayError, Supervisor};
use super::attempt::{Inner, Submitted, ended, held, keep, submitted};
use super::{submit, unavailable};
use crate::record::now;

/// What a job says of itself; it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    attempt: AttemptId,
    batch_id: BatchId,
    tier_num: u32,
}

/// Jobs by submission id, as far as they were asked for; nothing for those of others.
pub(super) type Known = BTreeMap<String, Option<Named>>;

impl Inner {
    /// The runs that are alive.
    pub(super) async fn runs(&self) -> Result<Vec<Run>, ExecutorError> {
        let unlistable = |error: RayError| ExecutorError::Unlistable {
            message: error.to_string(),
        };
        let supervisors = self.api.supervisors().await.map_err(unlistable)?;
        let alive: BTreeSet<&str> = supervisors.iter().filter_map(Supervisor::job).collect();
        held(&self.known).retain(|id, _| alive.contains(id.as_str()));
        let mut runs = Vec::new();
        for id in alive {
            if let Some(run) = self.run(id).await.map_err(unlistable)? {
                runs.push(run);
            }
        }
        Ok(runs)
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, RayError> {
        let known = held(&self.known).get(id).cloned();
        if let Some(None) = known {
            return Ok(None);
        }
        if let Some(Some(named)) = &known
            && self.counts(id, &named.attempt).await
        {
            return Ok(Some(run(id, named, None, "is an attempt of this server's")));
        }
        let job = match self.api.job(id).await {
            Ok(job) => job,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let named = self.named(&job);
        held(&self.known).insert(id.to_owned(), named.clone());
        // Its supervisor outlives it by a moment.
        let named = named.filter(|_| !job.status.is_terminal());
        Ok(named.map(|named| run(id, &named, job.start_time, job.status.as_str())))
    }

    /// Whether the job is an attempt that was submitted by this server and has not ended.
    async fn counts(&self, id: &str, attempt: &AttemptId) -> bool {
        let dir = self.dir(attempt);
        id == attempt.as_str()
            && matches!(submitted(&dir).await, Ok(Some(_)))
            && matches!(ended(&dir).await, Ok(None))
    }

    /// What the job says of itself, where it is this server's.
    fn named(&self, job: &Job) -> Option<Named> {
        let mut words = job.entrypoint.split_whitespace();
        words.find(|word| *word == submit::CONTROL_URL_OPTION)?;
        let value = |key: &str| job.metadata.get(key);
        (words.next() == Some(self.config.control_url.as_str())).then_some(())?;
        Some(Named {
            attempt: value(submit::ATTEMPT_KEY)?.parse().ok()?,
            batch_id: value(submit::BATCH_KEY)?.parse().ok()?,
            tier_num: value(submit::TIER_KEY)?.parse().ok()?,
        })
    }

    /// Ends a run, and removes what Ray remembers of it: nobody else will.
    pub(super) async fn end_run(self: &Arc<Self>, run: &Run) -> Result<StopOutcome, ExecutorError> {
        let outcome = self.end_job(&run.attempt, &run.name).await?;
        self.remove_later(run.name.clone());
        Ok(outcome)
    }

    /// What is written down of an attempt of this server's, or else what the cluster knows of it.
    pub(super) async fn known(
        &self,
        attempt: &AttemptId,
    ) -> Result<Option<Submitted>, ExecutorError> {
        let read = submitted(&self.dir(attempt)).await;
        match read.map_err(|error| unavailable(attempt, error))? {
            Some(submitted) => Ok(Some(submitted)),
            None => self.recover(attempt).await,
        }
    }

    /// Whether the job is the attempt, and reports to this server.
    pub(super) fn is_ours(&self, job: &Job, attempt: &AttemptId) -> bool {
        self.named(job)
            .is_some_and(|named| named.attempt == *attempt)
    }

    /// An attempt of this server's that nothing is written down of here, but that the cluster knows: it is written down again.
    async fn recover(&self, attempt: &AttemptId) -> Result<Option<Submitted>, ExecutorError> {
        let failed = |error: RayError| unavailable(attempt, error);
        let job = match self.api.job(attempt.as_str()).await {
            Ok(job) => job,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if !self.is_ours(&job, attempt) {
            return Ok(None);
        }
        let supervisors = self.api.supervisors().await.map_err(failed)?;
        let own = supervisors
            .iter()
            .find(|it| it.job() == Some(attempt.as_str()));
        let submitted = Submitted {
            session: self.cluster.seen().session,
            at: now(),
            workers: own.map_or(1, Supervisor::cores),
            node_id: job.driver_node_id,
            is_found: true,
        };
        let dir = self.dir(attempt);
        let kept = keep(&dir, Submitted::path(&dir), &submitted).await;
        kept.map_err(|error| unavailable(attempt, error))?;
        Ok(Some(submitted))
    }
}

fn run(id: &str, named: &Named, start_time: Option<i64>, state: &str) -> Run {
    let age_ms = start_time.and_then(|at| u64::try_from(now().0 - at).ok());
    Run {
        attempt: named.attempt.clone(),
        batch_id: named.batch_id.clone(),
        tier_num: named.tier_num,
        name: id.to_owned(),
        is_the_attempts: id == named.attempt.as_str(),
        age_ms,
        evidence: format!("ray: job {id} has a supervisor that lives; it is {state}"),
    }
}
