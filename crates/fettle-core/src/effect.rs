//! What is to be done after a step was committed. Names are imperative; each may be carried out more than once.

use fettle_model::{AttemptId, DocumentErrorClass, JobId, RowNumber};
use serde::{Deserialize, Serialize};

use crate::healing::Remedy;
use crate::timeline::TimelineEntry;

/// One thing to do. It carries the job or attempt that it is for, so that a late repetition can be refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Write the job's manifest, then report `ManifestBuilt` or `ManifestFailed`.
    BuildManifest {
        /// The job.
        job: JobId,
    },
    /// Hand the attempt to the backend, then report `AttemptSubmitted` or `AttemptRefused`.
    StartAttempt {
        /// The attempt.
        attempt: AttemptId,
    },
    /// End the attempt and prove it gone; its end is reported as `AttemptEnded`.
    StopAttempt {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Give up what an ended attempt held on the backend.
    ForgetAttempt {
        /// The attempt.
        attempt: AttemptId,
    },
}

/// What a step decided beyond the new state.
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use = "effects that are not committed are lost"]
pub struct Effects {
    /// To be carried out after the commit.
    pub effects: Vec<Effect>,
    /// To be written to the timeline with the commit.
    pub timeline: Vec<TimelineEntry>,
    /// Remedies that were applied, or whose outcome is known now; to be kept with the commit.
    pub remedies: Vec<Remedy>,
    /// Rows that lose their outcome with the commit.
    pub reopen_rows: Vec<ReopenRows>,
    /// Rows that get the outcome "skipped" with the commit.
    pub skip_rows: Vec<SkipRows>,
}

/// Rows of a job that are not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipRows {
    /// The job.
    pub job: JobId,
    /// Its tier.
    pub tier_num: u32,
    /// The rows; none has an outcome.
    pub rows: Vec<RowNumber>,
}

/// Rows of a job that are given back, to be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReopenRows {
    /// The job.
    pub job: JobId,
    /// Which of its rows.
    pub which: WhichRows,
}

/// Which rows of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichRows {
    /// Failed ones; each counts one more retry.
    Failed(FailedRows),
    /// All, whatever came of them; their retries are forgotten.
    All,
}

/// Which failed rows of a job; by default all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRows {
    /// Only those with an error of these classes; any where it is empty.
    pub classes: Vec<DocumentErrorClass>,
    /// Only those of these sources (objects in tier 0, documents later); any where it is empty.
    pub source_ids: Vec<String>,
    /// Only those that were retried fewer times than this.
    pub retries_max: Option<u32>,
}
