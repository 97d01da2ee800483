//! What batches wait for the cluster to have: machines that are not there, and places that were asked for. Reads only.

use std::sync::PoisonError;

use fettle_core::{Batch, Job, JobState, Wait};
use fettle_diagnose::{Awaited, NodeWait};
use fettle_model::AttemptId;
use fettle_model::report::HostsAsked;

use crate::control::{Control, Shared};

impl Control {
    /// What jobs of the batch wait for the cluster to have.
    #[must_use]
    pub fn node_waits(&self, batch: &Batch) -> Vec<NodeWait> {
        let jobs = batch.jobs();
        jobs.filter_map(|(_, job)| self.node_wait(job)).collect()
    }

    /// How long a cold start may take, in milliseconds.
    #[must_use]
    pub fn cold_start_ms(&self) -> u64 {
        u64::try_from(self.config().cold_start.as_millis()).unwrap_or(u64::MAX)
    }

    /// What a job waits for the cluster to have.
    pub(crate) fn node_wait(&self, job: &Job) -> Option<NodeWait> {
        match &job.state {
            JobState::Waiting(Wait::Capacity { since }) => {
                let lack = self.lack(&job.id).filter(|lack| lack.is_for_nodes)?;
                Some(NodeWait {
                    what: Awaited::Node,
                    since: *since,
                    detail: lack.what,
                })
            }
            JobState::Active => {
                let attempt = job.live_attempt()?;
                let live = &self.shared.live;
                let live = live.lock().unwrap_or_else(PoisonError::into_inner);
                let live = live.get(&attempt.id)?;
                if let (None, Some(detail)) = (live.heard_at, &live.queued) {
                    return Some(NodeWait {
                        what: Awaited::Driver,
                        since: attempt.planned_at,
                        detail: detail.clone(),
                    });
                }
                let asked = live.beat.hosts_asked.as_ref()?;
                Some(NodeWait {
                    what: Awaited::Hosts,
                    since: asked.since,
                    detail: describe(asked),
                })
            }
            _ => None,
        }
    }
}

fn describe(asked: &HostsAsked) -> String {
    format!(
        "{} place(s) on other nodes, each with {} CPU core(s), {} GPU(s) and {} MiB of memory",
        asked.hosts,
        asked.num_cpus,
        asked.num_gpus,
        asked.memory_bytes >> 20
    )
}

impl Shared {
    /// Keeps whether the backend has no place for an attempt yet.
    pub(crate) fn seen_queued(&self, attempt: &AttemptId, queued: Option<String>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if queued.is_some() {
            live.entry(attempt.clone()).or_default().queued = queued;
        } else if let Some(live) = live.get_mut(attempt) {
            live.queued = None;
        }
    }
}
