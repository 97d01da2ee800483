//! The aggregate: a batch, its tiers, their jobs and attempts. Changed only by `step`.

use std::collections::BTreeMap;

use fettle_model::{
    AttemptExit, AttemptId, AttemptStatus, BatchId, BatchStatus, BucketId, CollectionId,
    ExtractorRef, HealingPolicy, JobId, ManifestRef, NamespaceId, Resources, RowCounts,
    SubmissionParams, UnixMillis, WorkStatus,
};
use serde::{Deserialize, Serialize};

use crate::healing::{Budgets, KeptWork, Remedy, Stop};

/// A submitted batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// The bucket whose objects it takes.
    pub bucket_id: BucketId,
    /// Where it stands.
    pub status: BatchStatus,
    /// Its tiers, in order.
    pub tiers: Vec<Tier>,
    /// When it was submitted.
    pub submitted_at: UnixMillis,
    /// When its first job was admitted.
    pub started_at: Option<UnixMillis>,
    /// When it last reached a terminal state; none while it is not in one.
    pub ended_at: Option<UnixMillis>,
    /// The request that cancelled it.
    pub cancel: Option<Cancel>,
    /// What may be done by itself when its work fails.
    #[serde(default)]
    pub healing: HealingPolicy,
    /// Counts the steps that were committed; guards against two writers.
    pub version: u64,
}

/// A request to cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// In the user's words.
    pub reason: Option<String>,
    /// When.
    pub at: UnixMillis,
}

/// Where a tier's rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TierSource {
    /// The batch's objects.
    Bucket,
    /// Documents of earlier tiers' collections.
    Collections {
        /// Those collections.
        collection_ids: Vec<CollectionId>,
    },
}

/// One level of the DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tier {
    /// Its number, from zero.
    pub num: u32,
    /// Where its rows come from.
    pub source: TierSource,
    /// Where it stands.
    pub status: WorkStatus,
    /// Its jobs.
    pub jobs: Vec<Job>,
    /// When it was begun.
    pub started_at: Option<UnixMillis>,
    /// When it last ended.
    pub ended_at: Option<UnixMillis>,
}

/// The work of one extractor in one tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it runs.
    pub extractor: ExtractorRef,
    /// The collections it writes to.
    pub collection_ids: Vec<CollectionId>,
    /// What its next attempt may use; raised memory sticks.
    pub resources: Resources,
    /// Where it stands.
    pub state: JobState,
    /// Its rows, once they are known.
    pub manifest: Option<ManifestRef>,
    /// Counts how often its rows were begun to be prepared.
    #[serde(default)]
    pub generation: u32,
    /// Outcomes of its rows when they were last counted.
    pub counts: RowCounts,
    /// Where documents that exist are not made again: what that spared, by collection.
    #[serde(default)]
    pub dedup: BTreeMap<CollectionId, DedupTally>,
    /// Its attempts, in order; only the last may be alive.
    pub attempts: Vec<Attempt>,
    /// What was spent per cause since the last request of a user.
    pub budgets: Budgets,
    /// The last remedy, until it is known what became of it.
    #[serde(default)]
    pub remedy: Option<Remedy>,
    /// Remedies so far; numbers the next.
    #[serde(default)]
    pub remedies: u32,
    /// The request that cancelled it.
    pub cancel: Option<Cancel>,
    /// When it was begun.
    pub started_at: Option<UnixMillis>,
    /// When it last ended.
    pub ended_at: Option<UnixMillis>,
}

/// Sources that are named of those that a collection had documents of.
pub const DEDUP_SAMPLE_MAX: usize = 20;

/// How many of a collection's sources it had documents of already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupTally {
    /// Sources that were looked at.
    pub total: u64,
    /// Those that are not done again.
    pub skipped: u64,
    /// The first of them.
    pub sample: Vec<String>,
}

impl DedupTally {
    /// Counts one source.
    pub fn count(&mut self, source_id: &str, is_skipped: bool) {
        self.total += 1;
        if is_skipped {
            self.skipped += 1;
            if self.sample.len() < DEDUP_SAMPLE_MAX {
                self.sample.push(source_id.to_owned());
            }
        }
    }

    /// Adds what was counted later.
    pub fn add(&mut self, later: &Self) {
        self.total += later.total;
        self.skipped += later.skipped;
        let room = DEDUP_SAMPLE_MAX.saturating_sub(self.sample.len());
        let more = later.sample.iter().take(room).cloned();
        self.sample.extend(more);
    }
}

/// Where a job stands. One variant has only its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Its tier has not begun.
    Pending,
    /// Its manifest is being written.
    Preparing,
    /// It has rows and waits.
    Waiting(Wait),
    /// Its last attempt has not ended.
    Active,
    /// Over.
    Done {
        /// How.
        status: WorkStatus,
        /// Why, in one sentence, when not well.
        reason: Option<String>,
    },
}

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "wait", rename_all = "snake_case")]
pub enum Wait {
    /// Cores and memory.
    Capacity {
        /// Since when.
        since: UnixMillis,
    },
    /// A back-off after a failed attempt.
    Backoff {
        /// Until when.
        until: UnixMillis,
        /// After which cause.
        cause: String,
    },
}

/// One execution of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id; the submission id on the backend.
    pub id: AttemptId,
    /// Its number, from one.
    pub number: u32,
    /// Where it stands.
    pub status: AttemptStatus,
    /// What it was submitted with.
    pub params: SubmissionParams,
    /// Why it was made: `first`, `retry`, `driver lost`, …
    pub cause: String,
    /// When it was planned.
    pub planned_at: UnixMillis,
    /// When the driver first reported.
    pub started_at: Option<UnixMillis>,
    /// When it was seen to have ended.
    pub ended_at: Option<UnixMillis>,
    /// How it ended.
    pub exit: Option<AttemptExit>,
    /// Why the orchestrator had it stopped, when no user did.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// Whether it was found running: rows that it finished may have been told to a memory that was lost.
    #[serde(default)]
    pub is_adopted: bool,
    /// Rows that had an outcome when it was planned: work that it did not do again.
    #[serde(default)]
    pub rows_before: u64,
    /// Rows that it gave an outcome, counted at its end.
    #[serde(default)]
    pub rows_done: u64,
}

impl Batch {
    /// The job with this id, and its tier's index.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<(usize, &Job)> {
        self.tiers
            .iter()
            .enumerate()
            .find_map(|(at, tier)| Some((at, tier.jobs.iter().find(|job| job.id == *id)?)))
    }

    /// All jobs with their tier numbers.
    pub fn jobs(&self) -> impl Iterator<Item = (u32, &Job)> {
        self.tiers
            .iter()
            .flat_map(|tier| tier.jobs.iter().map(move |job| (tier.num, job)))
    }

    /// Whether nothing of it runs or is due: it is over, or held until it is submitted.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.status.is_terminal() || self.status == BatchStatus::Draft
    }

    /// The tier that runs or would run next; the last one when all are over.
    #[must_use]
    pub fn current_tier(&self) -> u32 {
        let open = self.tiers.iter().find(|tier| !tier.status.is_terminal());
        open.or(self.tiers.last()).map_or(0, |tier| tier.num)
    }
}

impl Job {
    /// Its rows are to be written down, by an effect that the caller asks for.
    pub(crate) fn prepare(&mut self) {
        self.state = JobState::Preparing;
        self.generation = self.generation.saturating_add(1);
    }

    /// The last attempt.
    #[must_use]
    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The number of the next attempt.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        let next = self.attempts.len().saturating_add(1);
        u32::try_from(next).unwrap_or(u32::MAX)
    }

    /// The attempt that may be alive.
    #[must_use]
    pub fn live_attempt(&self) -> Option<&Attempt> {
        self.attempts
            .last()
            .filter(|attempt| attempt.status.may_be_alive())
    }

    /// Whether reports of `attempt` count.
    #[must_use]
    pub fn is_current(&self, attempt: &AttemptId) -> bool {
        self.live_attempt().is_some_and(|live| live.id == *attempt)
    }

    /// The status in the contract's words.
    #[must_use]
    pub fn status(&self) -> WorkStatus {
        match &self.state {
            JobState::Pending => WorkStatus::Pending,
            JobState::Preparing | JobState::Waiting(_) | JobState::Active => WorkStatus::InProgress,
            JobState::Done { status, .. } => *status,
        }
    }

    /// Why it ended as it did.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.state {
            JobState::Done { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }

    /// Rows without an outcome when they were last counted.
    #[must_use]
    pub fn unfinished_rows(&self) -> u64 {
        self.manifest
            .as_ref()
            .map_or(0, |m| m.rows.saturating_sub(self.counts.total()))
    }

    /// What the last attempt did not have to do again.
    #[must_use]
    pub fn kept_work(&self) -> KeptWork {
        let Some((last, earlier)) = self.attempts.split_last() else {
            return KeptWork::default();
        };
        let done: u64 = earlier.iter().map(|attempt| attempt.rows_done).sum();
        let busy_ms: u64 = earlier.iter().map(Attempt::busy_ms).sum();
        let rows = last.rows_before;
        let share = |rows: u64| u128::from(busy_ms) * u128::from(rows) / u128::from(done.max(1));
        KeptWork {
            rows,
            saved_ms: u64::try_from(share(rows.min(done))).unwrap_or(u64::MAX),
        }
    }
}

impl Attempt {
    /// How long it worked, in milliseconds; none while it has not ended.
    fn busy_ms(&self) -> u64 {
        let span = self.started_at.zip(self.ended_at);
        span.map_or(0, |(from, to)| to.since(from))
    }
}
