//! Gathers what the diagnosis needs: the orchestrator's state, evidence, live reports, row errors.

use std::collections::BTreeMap;

use fettle_core::{Attempt, Batch, Cancel, Job, JobState, Tier, Wait};
use fettle_diagnose::{
    AttemptFacts, BatchFacts, CancelFacts, ErrorGroup, JobFacts, TierFacts, UsageFacts, WaitFacts,
    WaitReason,
};
use fettle_model::history::MemoryProfile;
use fettle_model::report::Heartbeat;
use fettle_model::{
    AttemptEvidence, AttemptId, BatchId, BatchStatus, NamespaceId, StageTimings, UnixMillis,
};
use fettle_ports::StoredErrorGroup;

use crate::control::Control;
use crate::error::RequestError;
use crate::history::{HISTORY_DAYS, history_key};
use crate::last_good::profile;

/// Groups of row errors that a diagnosis is told of, the largest; more kinds than this are read in the list of failed documents.
const ERROR_GROUPS_SHOWN_MAX: u64 = 50;

/// What is known of a batch's attempts beside their state.
struct Known {
    evidence: BTreeMap<AttemptId, (AttemptEvidence, Option<StageTimings>)>,
    live: BTreeMap<AttemptId, Heartbeat>,
}

impl Control {
    /// Everything that the diagnosis of a batch may rest on.
    pub async fn facts(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
    ) -> Result<BatchFacts, RequestError> {
        let (_, state) = self.own(namespace, id).await?;
        let Some(batch) = state else {
            return Ok(draft(id, self.clock().now()));
        };
        self.facts_of(&batch).await
    }

    /// The same for a batch in this state.
    pub(crate) async fn facts_of(&self, batch: &Batch) -> Result<BatchFacts, RequestError> {
        let id = &batch.id;
        let evidence = self.store().evidence(id).await?.into_iter();
        let known = Known {
            evidence: evidence
                .map(|(id, evidence, stages)| (id, (evidence, stages)))
                .collect(),
            live: self.live(id).into_iter().collect(),
        };
        let errors = self
            .store()
            .error_groups(id, ERROR_GROUPS_SHOWN_MAX)
            .await?;
        let mut tiers = Vec::with_capacity(batch.tiers.len());
        for tier in &batch.tiers {
            tiers.push(self.tier(&batch.namespace_id, tier, &known).await?);
        }
        Ok(BatchFacts {
            batch_id: batch.id.clone(),
            status: batch.status,
            now: self.clock().now(),
            submitted_at: Some(batch.submitted_at),
            started_at: batch.started_at,
            ended_at: batch.ended_at,
            cancel: cancel(batch),
            tiers,
            last_good: Vec::new(),
            error_groups: errors.groups.into_iter().map(error_group).collect(),
            error_counts: errors.counts,
            node_memory_bytes: Some(self.executor().capacity().memory_per_worker_max_bytes),
            cold_start_ms: self.cold_start_ms(),
        })
    }

    /// What workers of earlier attempts needed, where a worker of this job has died: nobody else asks for a size.
    async fn memory_history(
        &self,
        namespace: &NamespaceId,
        tier: &Tier,
        job: &Job,
        known: &Known,
    ) -> Result<Option<MemoryProfile>, RequestError> {
        let has_died = |attempt: &Attempt| {
            let evidence = known.evidence.get(&attempt.id);
            evidence.is_some_and(|(evidence, _)| !evidence.worker_deaths.is_empty())
        };
        if !job.attempts.iter().any(has_died) {
            return Ok(None);
        }
        let key = history_key(tier, job);
        let cell = self.history(namespace, &key, HISTORY_DAYS).await?;
        Ok(Some(cell.profile.memory))
    }

    async fn tier(
        &self,
        namespace: &NamespaceId,
        tier: &Tier,
        known: &Known,
    ) -> Result<TierFacts, RequestError> {
        let mut jobs = Vec::with_capacity(tier.jobs.len());
        for job in &tier.jobs {
            // The state counts at the end of an attempt; the store counts always.
            let counts = self.store().job_counts(&job.id).await?.rows;
            let mut facts = job_facts(job, known);
            facts.counts = counts;
            facts.memory_history = self.memory_history(namespace, tier, job, known).await?;
            facts.node_wait = self.node_wait(job);
            if let Some(wait) = &mut facts.waiting
                && wait.detail.is_none()
            {
                wait.detail = self.lack(&job.id).map(|lack| lack.what);
            }
            jobs.push(facts);
        }
        Ok(TierFacts {
            tier_num: tier.num,
            status: tier.status,
            started_at: tier.started_at,
            ended_at: tier.ended_at,
            jobs,
        })
    }
}

fn draft(id: &BatchId, now: UnixMillis) -> BatchFacts {
    BatchFacts {
        batch_id: id.clone(),
        status: BatchStatus::Draft,
        now,
        submitted_at: None,
        started_at: None,
        ended_at: None,
        cancel: None,
        tiers: Vec::new(),
        last_good: Vec::new(),
        error_groups: Vec::new(),
        error_counts: Vec::new(),
        node_memory_bytes: None,
        cold_start_ms: 0,
    }
}

fn cancel(batch: &Batch) -> Option<CancelFacts> {
    let of_job = || batch.jobs().find_map(|(_, job)| job.cancel.as_ref());
    let facts = |cancel: &Cancel| CancelFacts {
        at: cancel.at,
        reason: cancel.reason.clone(),
    };
    batch.cancel.as_ref().or_else(of_job).map(facts)
}

fn job_facts(job: &Job, known: &Known) -> JobFacts {
    let mut stages = StageTimings::default();
    for attempt in &job.attempts {
        if let Some(timings) = timings(&attempt.id, known) {
            stages.add(&timings);
        }
    }
    let last = job
        .last_attempt()
        .and_then(|attempt| known.evidence.get(&attempt.id));
    let beat = job.live_attempt().and_then(|live| known.live.get(&live.id));
    let progress = beat.and_then(Heartbeat::last_activity_at);
    JobFacts {
        job_id: job.id.clone(),
        status: job.status(),
        end_reason: job.reason().map(str::to_owned),
        params: job.last_attempt().map(|attempt| attempt.params.clone()),
        resources: job.resources.clone(),
        profile: profile(job, last.map(|(evidence, _)| evidence)),
        rows_submitted: job.manifest.as_ref().map(|manifest| manifest.rows),
        counts: job.counts,
        attempts: job
            .attempts
            .iter()
            .map(|attempt| attempt_facts(attempt, known))
            .collect(),
        memory_history: None,
        stages,
        last_activity_at: progress.or(stages.writing.ended_at),
        last_heartbeat_at: beat.map(|beat| beat.at),
        waiting: waiting(job),
        node_wait: None,
        started_at: job.started_at,
        ended_at: job.ended_at,
    }
}

/// A live attempt's timings are in its heartbeat, an ended one's in its evidence.
fn timings(attempt: &AttemptId, known: &Known) -> Option<StageTimings> {
    let live = known.live.get(attempt).map(|beat| beat.stages);
    live.or_else(|| known.evidence.get(attempt).and_then(|(_, stages)| *stages))
}

fn attempt_facts(attempt: &Attempt, known: &Known) -> AttemptFacts {
    AttemptFacts {
        attempt_id: attempt.id.clone(),
        number: attempt.number,
        status: attempt.status,
        planned_at: attempt.planned_at,
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        exit: attempt.exit.clone(),
        evidence: known
            .evidence
            .get(&attempt.id)
            .map(|(evidence, _)| evidence.clone()),
        stages: timings(&attempt.id, known),
        usage: usage(attempt, known),
    }
}

/// What an attempt's workers used: as counted at its end or, while it lives, as its last heartbeat says of the workers that live.
fn usage(attempt: &Attempt, known: &Known) -> Option<UsageFacts> {
    let evidence = known
        .evidence
        .get(&attempt.id)
        .map(|(evidence, _)| evidence);
    if let Some(usage) = evidence.and_then(|evidence| evidence.usage) {
        return Some(UsageFacts {
            cpu_ms: usage.cpu_ms,
            worker_ms: usage.worker_ms,
            io_bytes: usage.io_bytes,
            memory_peak_bytes: None,
        });
    }
    let beat = known.live.get(&attempt.id)?;
    let lived_ms = beat.at.since(attempt.started_at?);
    let mut workers = beat.workers.iter().map(|worker| UsageFacts {
        cpu_ms: worker.cpu_ms.unwrap_or(0),
        worker_ms: lived_ms,
        io_bytes: worker.io_bytes.unwrap_or(0),
        memory_peak_bytes: worker.memory_peak_bytes,
    });
    let first = workers.next()?;
    Some(workers.fold(first, |mut sum, worker| {
        sum.add(&worker);
        sum
    }))
}

fn waiting(job: &Job) -> Option<WaitFacts> {
    match &job.state {
        JobState::Waiting(Wait::Capacity { since }) => Some(WaitFacts {
            reason: WaitReason::Capacity,
            since: Some(*since),
            detail: None,
        }),
        JobState::Waiting(Wait::Backoff { until, cause }) => Some(WaitFacts {
            reason: WaitReason::Backoff { until: *until },
            since: None,
            detail: Some(cause.clone()),
        }),
        JobState::Pending | JobState::Preparing | JobState::Active | JobState::Done { .. } => None,
    }
}

fn error_group(stored: StoredErrorGroup) -> ErrorGroup {
    let StoredErrorGroup {
        tier_num,
        job_id,
        fingerprint,
        count,
        example,
        source_ids,
    } = stored;
    ErrorGroup {
        tier_num,
        job_id,
        category: example.category,
        class: example.class,
        stage: example.stage,
        component: example.component.clone(),
        fingerprint,
        count,
        example,
        source_ids,
    }
}
