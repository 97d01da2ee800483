//! What attempts measured: added with the step that ends them, and read for estimates, sizes and limits.

use fettle_core::{Attempt, Batch, Job, Tier, TierSource};
use fettle_model::history::{TierKind, outcome_word};
use fettle_model::{
    AttemptEvidence, AttemptId, AttemptStatus, HistoryCell, HistoryKey, NamespaceId, Sketch,
};
use fettle_ports::{HistoryEntry, HistoryQuery, HistorySpan, StoreError};

use crate::control::{Control, Shared};

/// What is read when nobody says how far back: long enough for jobs that run weekly, short enough to forget old code.
pub const HISTORY_DAYS: u64 = 30;
const DAY_MS: u64 = 86_400_000;

/// What runs of a job are compared by.
#[must_use]
pub fn history_key(tier: &Tier, job: &Job) -> HistoryKey {
    let kind = match tier.source {
        TierSource::Bucket => TierKind::Objects,
        TierSource::Collections { .. } => TierKind::Documents,
    };
    HistoryKey::of(&job.extractor, kind)
}

impl Control {
    /// What attempts with this key measured in the last `days` days, this one included.
    ///
    /// # Errors
    /// The store's.
    pub async fn history(
        &self,
        namespace: &NamespaceId,
        key: &HistoryKey,
        days: u64,
    ) -> Result<HistoryCell, StoreError> {
        let now = self.clock().now();
        let back = i64::try_from(days.saturating_mul(DAY_MS)).unwrap_or(i64::MAX);
        let query = HistoryQuery {
            span: HistorySpan::Day,
            from: fettle_model::UnixMillis(now.0.saturating_sub(back)),
            until: now.plus_ms(1),
            key: Some(key.clone()),
        };
        let mut sum = HistoryCell::default();
        for row in self.store().history(namespace, &query).await? {
            sum.merge(&row.cell);
        }
        Ok(sum)
    }

    /// How long rows of such a job took, from being taken up to their outcome, in microseconds; empty where none has run.
    ///
    /// # Errors
    /// The store's.
    pub async fn row_times(
        &self,
        namespace: &NamespaceId,
        tier: &Tier,
        job: &Job,
    ) -> Result<Sketch, StoreError> {
        let key = history_key(tier, job);
        let cell = self.history(namespace, &key, HISTORY_DAYS).await?;
        Ok(cell.profile.row_us)
    }
}

/// What the attempt that has just ended adds to the history; `None` when the batch does not know it.
pub(crate) async fn entry(
    shared: &Shared,
    batch: &Batch,
    id: &AttemptId,
) -> Result<Option<HistoryEntry>, StoreError> {
    let Some((tier, job, attempt)) = find(batch, id) else {
        return Ok(None);
    };
    let store = &shared.ports.store;
    let evidence = store.attempt_evidence(&batch.id, id).await?;
    Ok(Some(HistoryEntry {
        key: history_key(tier, job),
        attempt_id: id.clone(),
        job_id: job.id.clone(),
        at: attempt.ended_at.unwrap_or_else(|| shared.ports.clock.now()),
        cell: cell(attempt, evidence.unwrap_or_default()),
    }))
}

fn find<'a>(batch: &'a Batch, id: &AttemptId) -> Option<(&'a Tier, &'a Job, &'a Attempt)> {
    let (job_id, _) = id.split()?;
    let (at, job) = batch.job(&job_id)?;
    let attempt = job.attempts.iter().find(|attempt| attempt.id == *id)?;
    Some((&batch.tiers[at], job, attempt))
}

fn cell(attempt: &Attempt, evidence: AttemptEvidence) -> HistoryCell {
    let exit = attempt.exit.as_ref();
    let exit = exit.filter(|_| attempt.status != AttemptStatus::Lost);
    let usage = evidence.usage.unwrap_or_default();
    let mut cell = HistoryCell {
        attempts: 1,
        profile: evidence.profile.unwrap_or_default(),
        worker_ms: usage.worker_ms,
        cpu_ms: usage.cpu_ms,
        ..HistoryCell::default()
    };
    cell.outcomes.insert(outcome_word(exit).to_owned(), 1);
    if let Some(started_at) = attempt.started_at {
        let waited_ms = started_at.since(attempt.planned_at);
        cell.start_us.record(waited_ms.saturating_mul(1_000), 1);
    }
    cell
}
