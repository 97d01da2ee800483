//! What a tenant's jobs wait for, and whether the loop still turns. Reads only.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};

use fettle_core::{JobState, Wait};
use fettle_model::{BatchId, JobId, NamespaceId, UnixMillis};

use crate::control::Control;

/// When the loop last came round.
#[derive(Debug)]
pub(crate) struct Beat(AtomicI64);

impl Beat {
    pub(crate) fn at(now: UnixMillis) -> Self {
        Self(AtomicI64::new(now.0))
    }

    pub(crate) fn set(&self, now: UnixMillis) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

/// A job that waits for capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedJob {
    /// Its batch.
    pub batch_id: BatchId,
    /// Its tier.
    pub tier_num: u32,
    /// The job.
    pub job_id: JobId,
    /// Its place among the waiting jobs of all tenants, from one.
    pub place: u64,
    /// Since when it waits.
    pub since: Option<UnixMillis>,
    /// What it lacks, in words.
    pub lacks: String,
}

impl Control {
    /// When the loop last came round: it does so with every event, and a few times a second without any.
    #[must_use]
    pub fn last_beat_at(&self) -> UnixMillis {
        UnixMillis(self.shared.beat.0.load(Ordering::Relaxed))
    }

    /// How many attempts may be alive, and how many jobs wait for capacity.
    #[must_use]
    pub fn load(&self) -> (u64, u64) {
        let running = self.shared.fences.all().len() as u64;
        (running, self.queue().len() as u64)
    }

    /// The tenant's jobs that wait for capacity, in the order of admission, and how many jobs of all tenants wait.
    #[must_use]
    pub fn queued(&self, namespace: &NamespaceId) -> (Vec<QueuedJob>, u64) {
        let shared = &self.shared;
        let active = shared.active.read().unwrap_or_else(PoisonError::into_inner);
        let queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = Vec::new();
        for (place, (job_id, lacks)) in (1_u64..).zip(queue.iter()) {
            let of_tenant = active.values().filter(|it| it.namespace_id == *namespace);
            let found = of_tenant
                .filter_map(|batch| batch.job(job_id).map(|(at, job)| (batch, at, job)))
                .next();
            let Some((batch, at, job)) = found else {
                continue;
            };
            let since = match &job.state {
                JobState::Waiting(Wait::Capacity { since }) => Some(*since),
                _ => None,
            };
            own.push(QueuedJob {
                batch_id: batch.id.clone(),
                tier_num: batch.tiers[at].num,
                job_id: job_id.clone(),
                place,
                since,
                lacks: lacks.clone(),
            });
        }
        (own, queue.len() as u64)
    }
}
