//! What is to be done after a step was committed. Names are imperative; each may be carried out more than once.

use fettle_model::{AttemptId, JobId};
use serde::{Deserialize, Serialize};

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
    /// Jobs whose failed rows lose their outcome with the commit.
    pub reopen_failed_rows: Vec<JobId>,
}
