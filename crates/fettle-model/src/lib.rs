//! Typed ids, units, states and evidence: pure data that every other room speaks.
//!
//! Owns the vocabulary of docs/GLOSSARY.md as Rust types. It must not do IO, read a clock or draw randomness.

pub mod attempt;
pub mod catalogue;
pub mod evidence;
pub mod extractor;
pub mod failure;
pub mod filter;
pub mod healing;
pub mod history;
pub mod id;
pub mod lexical;
pub mod line;
pub mod pulse;
pub mod report;
pub mod resources;
pub mod row;
pub mod sketch;
pub mod stage;
pub mod status;
pub mod time;

pub use attempt::{AttemptExit, AttemptSpec, ManifestRef, RowSizes, TargetCollection};
pub use evidence::{AttemptEvidence, MemoryEvidence, ProcessExit, WorkerDeath};
pub use extractor::{ExtractorRef, ExtractorSource};
pub use failure::{
    DocumentErrorClass, ErrorCategory, ErrorCount, FailureCategory, InfraEvent, InfraEventType,
    RowError,
};
pub use healing::{AppliedBy, Cause, HealingMode, HealingPolicy, RemedyOutcome, RemedyTaken};
pub use history::{AttemptProfile, HistoryCell, HistoryKey, TierKind};
pub use id::{
    ApiKeyId, AttemptId, BatchGroupId, BatchId, BlobId, BucketId, CollectionId, DeliveryId,
    DocumentId, IdError, JobId, NamespaceId, ObjectId, PluginId, TaskId, UploadId, WebhookId,
};
pub use pulse::{KillOrder, Pulse, RowAtWork, StepHistory, StuckEvidence, WaitsFor};
pub use resources::{NO_NODE_HOLDS, NODES_STAYED_AWAY, Resources, SubmissionParams};
pub use row::{RowCounts, RowNumber, RowOutcome, RowRanges};
pub use sketch::Sketch;
pub use stage::{Stage, StageTiming, StageTimings};
pub use status::{AttemptStatus, BackendStatus, BatchStatus, WorkStatus};
pub use time::UnixMillis;
