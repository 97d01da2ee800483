//! What users ask of a batch that is over: its failed documents again, or everything from a tier on.

use fettle_core::{Batch, Event, FailedRows};
use fettle_model::{BatchId, JobId, NamespaceId};

use crate::control::Control;
use crate::error::RequestError;
use crate::orchestrator::tell;

/// What a retry of failed documents takes up, by tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetriedTier {
    /// The tier.
    pub tier_num: u32,
    /// Failed documents that are tried again.
    pub retried: u64,
    /// Failed documents that were retried too often already.
    pub exhausted: u64,
}

impl Control {
    /// Does everything from a tier on anew: at once, or when the batch is submitted.
    pub async fn resubmit(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
        from_tier: u32,
        hold: bool,
    ) -> Result<Batch, RequestError> {
        self.own(namespace, id).await?;
        let event = Event::ResubmitRequested { from_tier, hold };
        let batch = tell(&self.shared, id, event).await?;
        Ok(Batch::clone(&batch))
    }

    /// Tries failed rows of the wanted tiers again, of all where none is named. What never got an outcome in them is taken up, too.
    pub async fn retry_failed_rows(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
        tiers: Option<&[u32]>,
        which: FailedRows,
    ) -> Result<(Batch, Vec<RetriedTier>), RequestError> {
        let (_, state) = self.own(namespace, id).await?;
        let batch = state.ok_or_else(|| RequestError::NotPossible {
            what: "retrying failed documents",
            present: "the batch is DRAFT; submit it first".to_owned(),
        })?;
        let (jobs, told) = self.count_failed_rows(&batch, tiers, &which).await?;
        let event = Event::FailedRowsRetryRequested {
            version: batch.version,
            which,
            jobs,
        };
        let batch = tell(&self.shared, id, event).await?;
        Ok((Batch::clone(&batch), told))
    }

    async fn count_failed_rows(
        &self,
        batch: &Batch,
        tiers: Option<&[u32]>,
        which: &FailedRows,
    ) -> Result<(Vec<(JobId, u64)>, Vec<RetriedTier>), RequestError> {
        let however_often = FailedRows {
            retries_max: None,
            ..which.clone()
        };
        let mut jobs = Vec::new();
        let mut told = Vec::new();
        let wanted = |num| tiers.is_none_or(|tiers| tiers.contains(&num));
        for tier in batch.tiers.iter().filter(|tier| wanted(tier.num)) {
            let mut of_tier = RetriedTier {
                tier_num: tier.num,
                ..RetriedTier::default()
            };
            for job in &tier.jobs {
                let rows = self.store().count_failed_rows(&job.id, which).await?;
                let all = self
                    .store()
                    .count_failed_rows(&job.id, &however_often)
                    .await?;
                of_tier.retried += rows;
                of_tier.exhausted += all.saturating_sub(rows);
                jobs.push((job.id.clone(), rows));
            }
            told.push(of_tier);
        }
        Ok((jobs, told))
    }
}
