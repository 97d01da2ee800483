//! The traits behind which stores, indexes and executors stand, and the records that pass through them.
//!
//! Owns interfaces only: no implementation, no IO.

pub mod blobs;
pub mod env;
pub mod events;
pub mod executor;
pub mod index;
pub mod records;
pub mod store;
pub mod webhook;

pub use blobs::{BlobError, BlobMeta, Blobs};
pub use env::{Clock, Entropy};
pub use events::{
    DeliveryAttempt, DeliveryFilter, DeliveryRecord, DeliveryStatus, DeliveryTarget, EventLog,
    StoredEvent,
};
pub use executor::{
    Capacity, Executor, ExecutorError, LogChunk, LogName, Observation, StopOutcome,
};
pub use index::{
    Document, DocumentPage, DocumentQuery, Index, IndexError, NamedVector, ScoredDocument,
    VectorSpec,
};
pub use records::{
    ApiKeyRecord, BatchRecord, BlobRecord, BucketRecord, CollectionRecord, CollectionSource,
    NamespaceRecord, ObjectRecord, PluginRecord, Resource, ResourceKind, TaskRecord, UserKey,
};
pub use store::{
    BatchCommit, BatchFilter, EffectId, JobCounts, Page, PendingEffect, RowErrorQuery, RowsCommit,
    Store, StoreError, StoreExt, StoredRowError,
};
pub use webhook::{Secret, WebhookChannel, WebhookRecord};
