//! What a tenant's jobs wait for, and whether the loop still turns. Reads only.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fettle_core::{Batch, Job, JobState, Tier, Wait};
use fettle_model::{BatchId, JobId, NamespaceId, UnixMillis};
use fettle_ports::StoreError;

use crate::control::Control;
use crate::history::{HISTORY_DAYS, history_key};

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

    /// How long the batch will wait for capacity: the jobs that run, and those before it, take as long as their like has
    /// taken. `None` where it does not wait, or nothing is known of one of them.
    ///
    /// # Errors
    /// The store's.
    pub async fn expected_wait(&self, batch: &Batch) -> Result<Option<Duration>, StoreError> {
        let queue = self.queue();
        let Some(place) = queue.iter().position(|id| batch.job(id).is_some()) else {
            return Ok(None);
        };
        let jobs: BTreeMap<JobId, Arc<Batch>> = {
            let active = &self.shared.active;
            let active = active.read().unwrap_or_else(PoisonError::into_inner);
            let of_batch = |batch: &Arc<Batch>| {
                let jobs = batch.jobs().map(|(_, job)| job.id.clone());
                jobs.map(|id| (id, batch.clone())).collect::<Vec<_>>()
            };
            active.values().flat_map(of_batch).collect()
        };
        let mut free_in = BinaryHeap::new();
        for (id, batch) in &jobs {
            let Some((at, job)) = batch.job(id) else {
                continue;
            };
            if matches!(job.state, JobState::Active) {
                let Some(left) = self.expected_time(batch, &batch.tiers[at], job).await? else {
                    return Ok(None);
                };
                free_in.push(Reverse(left));
            }
        }
        for id in &queue[..place] {
            let found = jobs.get(id).and_then(|batch| Some((batch, batch.job(id)?)));
            let Some((batch, (at, job))) = found else {
                continue;
            };
            let takes = self.expected_time(batch, &batch.tiers[at], job).await?;
            let (Some(takes), Some(Reverse(free))) = (takes, free_in.pop()) else {
                return Ok(None);
            };
            free_in.push(Reverse(free + takes));
        }
        Ok(free_in.pop().map(|Reverse(free)| free))
    }

    /// How long the rows of a job that have no outcome will take all its workers.
    async fn expected_time(
        &self,
        batch: &Batch,
        tier: &Tier,
        job: &Job,
    ) -> Result<Option<Duration>, StoreError> {
        let Some(manifest) = &job.manifest else {
            return Ok(None);
        };
        let key = history_key(tier, job);
        let cell = self
            .history(&batch.namespace_id, &key, HISTORY_DAYS)
            .await?;
        let Some(row_us) = cell.worker_us_per_row.quantile(0.5) else {
            return Ok(None);
        };
        let done = self.store().job_counts(&job.id).await?.rows.total();
        let left = manifest.rows.saturating_sub(done);
        let all_us = left.saturating_mul(row_us) / u64::from(job.resources.workers().max(1));
        Ok(Some(Duration::from_micros(all_us)))
    }

    /// The tenant's jobs that wait for capacity, in the order of admission, and how many jobs of all tenants wait.
    #[must_use]
    pub fn queued(&self, namespace: &NamespaceId) -> (Vec<QueuedJob>, u64) {
        let shared = &self.shared;
        let active = shared.active.read().unwrap_or_else(PoisonError::into_inner);
        let queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = Vec::new();
        for (place, lack) in (1_u64..).zip(queue.iter()) {
            let job_id = &lack.job;
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
                lacks: lack.what.clone(),
            });
        }
        (own, queue.len() as u64)
    }
}
