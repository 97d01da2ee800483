//! The traits behind which stores, indexes and executors stand, and the records that pass through them.
//!
//! Owns interfaces only: no implementation, no IO.

pub mod blobs;
pub mod env;
pub mod events;
pub mod executor;
pub mod history;
pub mod index;
pub mod records;
pub mod requests;
pub mod row_errors;
pub mod store;
mod store_ext;
pub mod upload;
pub mod webhook;

pub use blobs::{BlobError, BlobMeta, Blobs, Pieces};
pub use env::{Clock, Entropy};
pub use events::{
    DeliveryAttempt, DeliveryFilter, DeliveryRecord, DeliveryStatus, DeliveryTarget, EventLog,
    StoredEvent,
};
pub use executor::{
    Executor, ExecutorError, LogChunk, LogName, Observation, Run, Started, StopOutcome,
};
pub use fettle_core::admission::{Capacity, Node, Placement, Presence, Room, placement};
pub use history::{HistoryEntry, HistoryQuery, HistoryRow, HistorySpan};
pub use index::{
    Document, DocumentPage, DocumentQuery, Index, IndexError, NamedVector, ScoredDocument,
    VectorSpec,
};
pub use records::{
    ApiKeyRecord, BatchRecord, BlobRecord, BucketRecord, CollectionRecord, CollectionSource,
    NamespaceRecord, ObjectRecord, PluginRecord, Resource, ResourceKind, ScheduleRecord,
    ScheduleTrigger, TaskRecord, UserKey,
};
pub use requests::{KnownRequest, RequestKey, RequestLog, StoredAnswer};
pub use row_errors::{
    ERROR_GROUPS_PER_JOB_MAX, ErrorGroups, FINGERPRINT_OF_OTHERS, FailedRow, RowErrorQuery,
    StoredErrorGroup, StoredRowError,
};
pub use store::{
    BatchCommit, BatchFilter, EffectId, JobCounts, ObjectStats, Page, PendingEffect, RowsCommit,
    Store, StoreError, Submission, TrackRecord,
};
pub use store_ext::StoreExt;
pub use upload::{StoredFile, UploadRecord, UploadStatus};
pub use webhook::{Secret, WebhookChannel, WebhookRecord};
