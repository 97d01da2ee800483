//! States of batches, tiers, jobs and attempts, with the contract's values.

use serde::{Deserialize, Serialize};

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchStatus {
    /// Objects can still be added.
    Draft,
    /// Submitted; no job has been admitted yet.
    Queued,
    /// At least one job has been admitted.
    Processing,
    /// Every row was processed or skipped.
    Completed,
    /// The batch ran to its end and some rows failed.
    CompletedWithErrors,
    /// A tier failed; later tiers were skipped.
    Failed,
    /// Stopped on request.
    Canceled,
}

impl BatchStatus {
    /// Whether only retry, resubmit or heal lead out of this state.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::CompletedWithErrors | Self::Failed | Self::Canceled
        )
    }

    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "DRAFT",
            Self::Queued => "QUEUED",
            Self::Processing => "PROCESSING",
            Self::Completed => "COMPLETED",
            Self::CompletedWithErrors => "COMPLETED_WITH_ERRORS",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }
}

/// Where a tier or a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkStatus {
    /// Not begun.
    Pending,
    /// Being prepared, waiting for capacity, or running.
    InProgress,
    /// Every row was processed or skipped.
    Completed,
    /// Ran to its end and some rows failed.
    CompletedWithErrors,
    /// Could not run to its end.
    Failed,
    /// Stopped on request.
    Canceled,
    /// Never ran, because an earlier tier ended the batch.
    Skipped,
}

impl WorkStatus {
    /// Whether nothing more happens without a retry.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }

    /// Whether the next tier may build on this one.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithErrors)
    }

    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::CompletedWithErrors => "COMPLETED_WITH_ERRORS",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptStatus {
    /// Decided and committed; the backend has not been asked yet.
    Planned,
    /// The backend has been asked.
    Submitted,
    /// The driver has reported.
    Running,
    /// A stop has been asked for; not proven gone yet.
    Cancelling,
    /// Gone, with its exit and evidence.
    Ended,
    /// Gone without a trace of how.
    Lost,
}

impl AttemptStatus {
    /// Whether a process of this attempt may still exist.
    #[must_use]
    pub fn may_be_alive(self) -> bool {
        !matches!(self, Self::Ended | Self::Lost)
    }
}

/// The backend's word for an attempt (`ray_job_status` in the contract).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BackendStatus {
    /// Accepted, not started.
    Pending,
    /// Started.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Stopped on request.
    Stopped,
}

impl BackendStatus {
    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Stopped => "STOPPED",
        }
    }
}
