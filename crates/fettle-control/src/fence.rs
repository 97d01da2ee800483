//! Which attempts count, and a gate per attempt, so that no report is taken once its end has been counted.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use fettle_core::Batch;
use fettle_model::{
    AttemptId, AttemptStatus, BatchId, CollectionId, HistoryKey, JobId, NamespaceId,
};

use crate::history::history_key;

/// What reports of an attempt need to know.
pub(crate) struct Fence {
    pub(crate) namespace_id: NamespaceId,
    pub(crate) batch_id: BatchId,
    pub(crate) job_id: JobId,
    pub(crate) tier_num: u32,
    pub(crate) collections: Vec<CollectionId>,
    /// What it is compared by: what such work took before says how long it may take.
    pub(crate) history_key: HistoryKey,
    /// `true` while reports count. Reports hold it for reading; the end of the attempt takes it for writing.
    pub(crate) gate: tokio::sync::RwLock<bool>,
    /// Held while the attempt is being started or stopped on the backend.
    pub(crate) backend: tokio::sync::Mutex<()>,
}

/// An attempt that may be alive.
#[derive(Clone)]
pub(crate) struct LiveAttempt {
    pub(crate) fence: Arc<Fence>,
    pub(crate) status: AttemptStatus,
}

/// All attempts that may be alive.
#[derive(Default)]
pub(crate) struct Fences(RwLock<BTreeMap<AttemptId, LiveAttempt>>);

impl Fences {
    /// Takes over what the batch says of its attempts; called after each commit.
    pub(crate) fn update(&self, batch: &Batch) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let tiers = batch.tiers.iter();
        for (tier, job) in tiers.flat_map(|tier| tier.jobs.iter().map(move |job| (tier, job))) {
            for attempt in &job.attempts {
                if !attempt.status.may_be_alive() {
                    map.remove(&attempt.id);
                    continue;
                }
                let live = map
                    .entry(attempt.id.clone())
                    .or_insert_with(|| LiveAttempt {
                        status: attempt.status,
                        fence: Arc::new(Fence {
                            namespace_id: batch.namespace_id.clone(),
                            batch_id: batch.id.clone(),
                            job_id: job.id.clone(),
                            tier_num: tier.num,
                            collections: job.collection_ids.clone(),
                            history_key: history_key(tier, job),
                            gate: tokio::sync::RwLock::new(true),
                            backend: tokio::sync::Mutex::new(()),
                        }),
                    });
                live.status = attempt.status;
            }
        }
    }

    pub(crate) fn get(&self, attempt: &AttemptId) -> Option<LiveAttempt> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(attempt)
            .cloned()
    }

    pub(crate) fn all(&self) -> Vec<(AttemptId, LiveAttempt)> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.iter()
            .map(|(id, live)| (id.clone(), live.clone()))
            .collect()
    }
}
