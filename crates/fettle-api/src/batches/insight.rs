//! What is known of a run beyond its state: evidence, live reports, counts and the diagnosis.
//!
//! Owns gathering it once for an answer. It must not judge; the diagnosis does.

use std::collections::BTreeMap;

use fettle_core::{Batch, Job, Tier};
use fettle_diagnose::{BatchFacts, Diagnosis, JobFacts, diagnose};
use fettle_model::report::Heartbeat;
use fettle_model::{AttemptId, InfraEvent, JobId, RowCounts, StageTimings, UnixMillis};
use fettle_ports::{BatchRecord, JobCounts};

use crate::error::ApiError;
use crate::state::ApiState;

/// What is known of a run.
pub(super) struct Insight {
    pub(super) facts: BatchFacts,
    pub(super) diagnosis: Diagnosis,
    pub(super) live: BTreeMap<AttemptId, Heartbeat>,
    written: BTreeMap<JobId, JobCounts>,
}

/// Rows, outcomes and documents of a job or tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Rows, once all manifests are written.
    pub(super) rows: Option<u64>,
    pub(super) counts: RowCounts,
    /// Documents, where they were counted.
    pub(super) documents: Option<u64>,
    /// Those that took the place of a document of an earlier batch.
    pub(super) replaced: Option<u64>,
    /// Documents that were removed, because their source has become fewer documents.
    pub(super) deleted: Option<u64>,
}

impl Insight {
    /// Gathers it.
    pub(super) async fn load(
        state: &ApiState,
        record: &BatchRecord,
        run: &Batch,
    ) -> Result<Self, ApiError> {
        let control = state.control();
        let facts = control.facts(&record.namespace_id, &record.batch_id);
        Self::of(state, run, facts.await?).await
    }

    /// Gathers it with what a comparison with earlier runs needs.
    pub(super) async fn load_with_last_good(
        state: &ApiState,
        record: &BatchRecord,
        run: &Batch,
    ) -> Result<Self, ApiError> {
        let control = state.control();
        let facts = control.facts_with_last_good(&record.namespace_id, &record.batch_id);
        Self::of(state, run, facts.await?).await
    }

    async fn of(state: &ApiState, run: &Batch, facts: BatchFacts) -> Result<Self, ApiError> {
        let control = state.control();
        let mut written = BTreeMap::new();
        for (_, job) in run.jobs() {
            written.insert(job.id.clone(), control.store().job_counts(&job.id).await?);
        }
        let live = control.live(&run.id).into_iter().collect();
        Ok(Self {
            diagnosis: diagnose(&facts),
            facts,
            live,
            written,
        })
    }

    /// What is known of a job.
    pub(super) fn job(&self, id: &JobId) -> Option<&JobFacts> {
        self.facts
            .tiers
            .iter()
            .flat_map(|tier| &tier.jobs)
            .find(|job| job.job_id == *id)
    }

    /// How the stages of a tier, or of all tiers, spent their time.
    pub(super) fn stages(&self, tier_num: Option<u32>) -> StageTimings {
        let mut sum = StageTimings::default();
        let tiers = self
            .facts
            .tiers
            .iter()
            .filter(|tier| tier_num.is_none_or(|num| tier.tier_num == num));
        for job in tiers.flat_map(|tier| &tier.jobs) {
            sum.add(&job.stages);
        }
        sum
    }

    /// When a job last did anything.
    pub(super) fn last_activity(&self, job: &JobId) -> Option<UnixMillis> {
        let facts = self.job(job)?;
        let attempts = facts
            .attempts
            .iter()
            .filter_map(|attempt| attempt.ended_at.or(attempt.started_at));
        attempts.chain(facts.last_activity_at).max()
    }

    /// Failed documents by category, of a tier or of all.
    pub(super) fn error_summary(&self, tier_num: Option<u32>) -> Option<BTreeMap<String, u64>> {
        let mut summary = BTreeMap::new();
        let counts = self.facts.error_counts.iter();
        for count in counts.filter(|count| tier_num.is_none_or(|num| count.tier_num == num)) {
            *summary
                .entry(count.category.as_str().to_owned())
                .or_insert(0) += count.count;
        }
        (!summary.is_empty()).then_some(summary)
    }

    /// Events with the tier and job that they befell.
    pub(super) fn events<'a>(
        &'a self,
        run: &'a Batch,
    ) -> impl Iterator<Item = (Option<u32>, &'a InfraEvent)> {
        self.diagnosis.infrastructure_events.iter().map(|event| {
            let job = event.attempt.split().and_then(|(job, _)| run.job(&job));
            (job.map(|(at, _)| run.tiers[at].num), event)
        })
    }
}

/// Rows, outcomes and documents of a job; as last counted where there is no insight.
pub(super) fn of_job(job: &Job, insight: Option<&Insight>) -> Numbers {
    let written = insight.and_then(|known| known.written.get(&job.id));
    Numbers {
        rows: job.manifest.as_ref().map(|manifest| manifest.rows),
        counts: insight
            .and_then(|known| known.job(&job.id))
            .map_or(job.counts, |facts| facts.counts),
        documents: written.map(|counts| counts.documents),
        replaced: written.map(|counts| counts.replaced),
        deleted: written.map(|counts| counts.deleted),
    }
}

/// Rows, outcomes and documents of a tier.
pub(super) fn of_tier(tier: &Tier, insight: Option<&Insight>) -> Numbers {
    let mut sum = Numbers {
        rows: Some(0),
        counts: RowCounts::default(),
        documents: Some(0),
        replaced: Some(0),
        deleted: Some(0),
    };
    let add = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
    for numbers in tier.jobs.iter().map(|job| of_job(job, insight)) {
        sum.rows = add(sum.rows, numbers.rows);
        sum.documents = add(sum.documents, numbers.documents);
        sum.replaced = add(sum.replaced, numbers.replaced);
        sum.deleted = add(sum.deleted, numbers.deleted);
        sum.counts.processed += numbers.counts.processed;
        sum.counts.failed += numbers.counts.failed;
        sum.counts.skipped += numbers.counts.skipped;
    }
    sum
}
