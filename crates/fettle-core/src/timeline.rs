//! What happened to a batch, for people and for the diagnosis.

use fettle_model::{AttemptId, JobId, UnixMillis};
use serde::{Deserialize, Serialize};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: UnixMillis,
    /// What kind.
    pub kind: TimelineKind,
    /// In one sentence.
    pub message: String,
    /// The tier it is about.
    pub tier_num: Option<u32>,
    /// The job it is about.
    pub job_id: Option<JobId>,
    /// The attempt it is about.
    pub attempt_id: Option<AttemptId>,
}

/// Kinds of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    /// The batch was submitted.
    BatchSubmitted,
    /// The batch reached a terminal state.
    BatchEnded,
    /// A tier was begun.
    TierStarted,
    /// A tier ended.
    TierEnded,
    /// A manifest was written.
    ManifestBuilt,
    /// A job waits.
    JobWaiting,
    /// A job ended.
    JobEnded,
    /// An attempt was planned.
    AttemptPlanned,
    /// A driver reported for the first time.
    AttemptStarted,
    /// An attempt ended.
    AttemptEnded,
    /// A worker died and the attempt went on.
    WorkerDied,
    /// A worker or a driver was found stuck; the entry says what is done about it.
    FoundStuck,
    /// A remedy was applied, or it is known what became of it.
    Remedy,
    /// A user asked for something.
    Requested,
    /// Something to know that changed nothing.
    Note,
}
