//! What can happen to a batch. Names are in the past tense.

use std::collections::BTreeMap;

use fettle_model::{
    AppliedBy, AttemptExit, AttemptId, Cause, CollectionId, HealingPolicy, JobId, ManifestRef,
    Resources, RowCounts, RowNumber, UnixMillis,
};
use serde::{Deserialize, Serialize};

use crate::batch::DedupTally;
use crate::effect::FailedRows;
use crate::healing::Advice;

/// One thing that happened. `BatchPlan::submit` makes the batch; everything after it is an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The job's manifest was written.
    ManifestBuilt {
        /// The job.
        job: JobId,
        /// What was written.
        rows: PreparedRows,
    },
    /// The job's manifest could not be written.
    ManifestFailed {
        /// The job.
        job: JobId,
        /// Why.
        message: String,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// Admission gave the job its cores and memory.
    JobAdmitted {
        /// The job.
        job: JobId,
        /// What the attempt will be submitted with.
        submission: Submission,
    },
    /// The job asks for more than the backend could ever give.
    JobRefused {
        /// The job.
        job: JobId,
        /// What is too much, and what there is.
        message: String,
    },
    /// The backend took the attempt.
    AttemptSubmitted {
        /// The attempt.
        attempt: AttemptId,
        /// Whether it was there already, begun by a server whose memory of it was lost.
        is_found: bool,
    },
    /// The backend did not take the attempt.
    AttemptRefused {
        /// The attempt.
        attempt: AttemptId,
        /// Its reason.
        message: String,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// An attempt of the job runs that the batch does not know: its next one, begun by a server whose memory of it was lost.
    AttemptAdopted {
        /// The attempt.
        attempt: AttemptId,
        /// What it was submitted with, as far as the control room knows it.
        submission: Submission,
    },
    /// The driver reported for the first time.
    AttemptReported {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The attempt is gone; no process of it is left.
    AttemptEnded {
        /// The attempt.
        attempt: AttemptId,
        /// How it ended.
        exit: AttemptExit,
        /// Outcomes of the job's rows, counted after the end.
        counts: RowCounts,
        /// One sentence about it, for the timeline.
        summary: String,
        /// What the diagnosis advises.
        advice: Advice,
    },
    /// The backend knows nothing of the attempt.
    AttemptLost {
        /// The attempt.
        attempt: AttemptId,
        /// Outcomes of the job's rows.
        counts: RowCounts,
    },
    /// What may be done by itself has changed.
    PolicySet {
        /// It.
        policy: HealingPolicy,
    },
    /// A live attempt is to end, and its unfinished rows are to be tried again.
    RestartRequested {
        /// The attempt; a superseded one is refused.
        attempt: AttemptId,
        /// What is wrong with it.
        cause: Cause,
        /// Who wants it; a user is not bound by the policy's mode.
        by: AppliedBy,
        /// In one sentence.
        reason: String,
    },
    /// Rows of a job were counted while it runs, and more of them may have failed than the policy allows.
    RowsCounted {
        /// The job.
        job: JobId,
        /// Outcomes of its rows.
        counts: RowCounts,
    },
    /// Rows of a job that is over were failed by quarantine.
    RowsQuarantined {
        /// The job.
        job: JobId,
        /// Outcomes of its rows since then.
        counts: RowCounts,
    },
    /// A back-off is over.
    BackoffElapsed {
        /// The job.
        job: JobId,
    },
    /// A user wants it to end.
    CancelRequested {
        /// How much of it.
        scope: Scope,
        /// In the user's words.
        reason: Option<String>,
    },
    /// A user wants unfinished and failed rows of a tier tried again.
    RetryRequested {
        /// The tier.
        tier_num: u32,
        /// With other resources; they stick.
        overrides: Overrides,
    },
    /// A user wants failed rows of several tiers tried again, and the rows of those tiers that never got an outcome.
    FailedRowsRetryRequested {
        /// The batch's version when the rows were counted; where it moved since, the counts are not true any more.
        version: u64,
        /// Which failed rows.
        which: FailedRows,
        /// The jobs of the wanted tiers, with how many of their rows `which` means.
        jobs: Vec<(JobId, u64)>,
    },
    /// A user wants everything from a tier on done anew.
    ResubmitRequested {
        /// The first tier of it.
        from_tier: u32,
        /// Whether the batch waits until it is submitted.
        hold: bool,
    },
    /// A user submitted a batch that was held.
    HeldBatchSubmitted {
        /// Other resources, by tier; they stick.
        overrides: BTreeMap<u32, Overrides>,
    },
}

/// The rows of a job as they were written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreparedRows {
    /// The preparation that they belong to; a newer one makes them stale.
    pub generation: u32,
    /// All rows.
    pub manifest: ManifestRef,
    /// Outcomes that exist already.
    pub counts: RowCounts,
    /// New rows that are not to be done.
    pub skipped: SkippedRows,
}

/// New rows of a manifest whose collection has their documents already, and is not to make them again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRows {
    /// The rows.
    pub rows: Vec<RowNumber>,
    /// What was looked at, by collection; empty where nobody asked to look.
    pub tally: BTreeMap<CollectionId, DedupTally>,
}

/// What the control room knows of a submission and the core keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Submission {
    /// The command line that runs the attempt.
    pub entrypoint: String,
    /// `local` or `ray`.
    pub deployment_mode: String,
    /// Names of environment variables.
    pub env_vars_keys: Vec<String>,
    /// Plugin archives.
    pub plugin_archives: Vec<String>,
    /// Plugin requirements.
    pub plugin_dependencies: Vec<String>,
}

/// How much of a batch a request is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum Scope {
    /// All of it.
    Batch,
    /// One tier.
    Tier {
        /// Its number.
        tier_num: u32,
    },
    /// One job.
    Job {
        /// The job.
        job: JobId,
    },
}

/// Changes to a job's resources; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Overrides {
    /// CPU cores.
    pub num_cpus: Option<f64>,
    /// GPUs.
    pub num_gpus: Option<f64>,
    /// Memory limit of each worker, in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether it needs a GPU.
    pub requires_gpu: Option<bool>,
    /// Priority.
    pub priority: Option<i32>,
}

impl Overrides {
    /// Changes `resources`; what needs a GPU gets at least one.
    pub fn apply(&self, resources: &mut Resources) {
        let Self {
            num_cpus,
            num_gpus,
            memory_bytes,
            requires_gpu,
            priority,
        } = *self;
        resources.num_cpus = num_cpus.unwrap_or(resources.num_cpus);
        resources.num_gpus = num_gpus.unwrap_or(resources.num_gpus);
        resources.memory_bytes = memory_bytes.unwrap_or(resources.memory_bytes);
        resources.requires_gpu = requires_gpu.unwrap_or(resources.requires_gpu);
        resources.priority = priority.unwrap_or(resources.priority);
        if resources.requires_gpu && resources.num_gpus == 0.0 {
            resources.num_gpus = 1.0;
        }
    }
}

/// The latest of `at` and what the batch has seen, so that a clock that steps back cannot reorder a history.
#[must_use]
pub(crate) fn not_before(at: UnixMillis, earlier: Option<UnixMillis>) -> UnixMillis {
    earlier.map_or(at, |earlier| at.max(earlier))
}
