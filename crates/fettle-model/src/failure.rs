//! Categories of failure, with the contract's values.

use serde::{Deserialize, Serialize};

use crate::{AttemptId, RowNumber, Stage, UnixMillis};

/// Why a batch failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCategory {
    /// The machine, the cluster or the kernel, not the data or the code.
    Infrastructure,
    /// A limit on time was passed.
    Timeout,
    /// What ran is gone without a record.
    Orphaned,
    /// The extractor, its data or a service it uses.
    Pipeline,
    /// Refused: the request could never have run.
    Validation,
    /// The evidence does not decide.
    Unknown,
}

impl FailureCategory {
    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Infrastructure => "infrastructure",
            Self::Timeout => "timeout",
            Self::Orphaned => "orphaned",
            Self::Pipeline => "pipeline",
            Self::Validation => "validation",
            Self::Unknown => "unknown",
        }
    }
}

/// What befell the infrastructure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InfraEventType {
    /// A memory limit ended a process.
    Oom,
    /// The node was taken away with notice.
    Preemption,
    /// The node failed.
    NodeFailure,
    /// The backend itself failed.
    RayBug,
    /// The backend or node was replaced on purpose.
    RollingUpdate,
    /// A process ended from outside and nothing says why.
    Unknown,
}

impl InfraEventType {
    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::Preemption => "preemption",
            Self::NodeFailure => "node_failure",
            Self::RayBug => "ray_bug",
            Self::RollingUpdate => "rolling_update",
            Self::Unknown => "unknown",
        }
    }
}

/// An infrastructure event with its raw signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfraEvent {
    /// What happened.
    pub event_type: InfraEventType,
    /// When it was detected.
    pub detected_at: UnixMillis,
    /// What was read, as it was read.
    pub raw_signal: String,
    /// Host name of the node.
    pub node_id: Option<String>,
    /// The attempt it befell.
    pub attempt: AttemptId,
}

/// Whether trying a failed document again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentErrorClass {
    /// Trying again may help.
    Transient,
    /// Trying again gives the same.
    Permanent,
    /// More of a resource would help.
    Resource,
}

impl DocumentErrorClass {
    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Resource => "resource",
        }
    }
}

/// What kind of thing went wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCategory {
    /// A program, file or service that is needed is missing.
    Dependency,
    /// Access was refused.
    Authentication,
    /// The input does not have the form that is needed.
    Validation,
    /// The extractor failed.
    Runtime,
    /// A connection failed.
    Network,
    /// Memory, disk or a quota ran out.
    Resource,
}

impl ErrorCategory {
    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dependency => "dependency",
            Self::Authentication => "authentication",
            Self::Validation => "validation",
            Self::Runtime => "runtime",
            Self::Network => "network",
            Self::Resource => "resource",
        }
    }
}

/// How many row errors of one kind a tier has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCount {
    /// The tier.
    pub tier_num: u32,
    /// Kind of error.
    pub category: ErrorCategory,
    /// Whether trying again can help.
    pub class: DocumentErrorClass,
    /// How many.
    pub count: u64,
}

/// Why one row failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowError {
    /// The row in its job's manifest.
    pub row: RowNumber,
    /// Object or document id of the source.
    pub source_id: String,
    /// Kind of error.
    pub category: ErrorCategory,
    /// Whether trying again can help.
    pub class: DocumentErrorClass,
    /// Where in the worker it happened.
    pub stage: Stage,
    /// For people: what happened, with the values that matter.
    pub message: String,
    /// The part of the extractor that failed, such as `image_extractor_v1` or a plugin's name.
    pub component: String,
    /// A traceback, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// When.
    pub at: UnixMillis,
}
