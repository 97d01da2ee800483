//! Durable state.

use async_trait::async_trait;
use fettle_core::{Batch, Effect, FailedRows, Remedy, ReopenRows, SkipRows, TimelineEntry};
use fettle_model::{
    AttemptEvidence, AttemptId, BatchId, BatchStatus, BucketId, CollectionId, JobId, NamespaceId,
    ObjectId, RowCounts, RowNumber, RowOutcome, StageTimings, UnixMillis,
};
use serde_json::Value;

use crate::events::EventLog;
use crate::history::{HistoryEntry, HistoryQuery, HistoryRow};
use crate::records::{BatchRecord, ObjectRecord, ResourceKind, TaskRecord};
use crate::requests::RequestLog;
use crate::row_errors::{ErrorGroups, FailedRow, RowErrorQuery, StoredRowError};

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such record, or it is another tenant's.
    #[error("{kind} `{id}` does not exist")]
    NotFound {
        /// Kind of record.
        kind: &'static str,
        /// Id or name.
        id: String,
    },
    /// The name or unique key is taken.
    #[error("{kind} `{name}` exists already")]
    AlreadyExists {
        /// Kind of record.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Somebody else changed the batch since it was read; nothing was written.
    #[error("batch {batch} was changed by another writer")]
    VersionConflict {
        /// The batch.
        batch: BatchId,
    },
    /// The disk is full; nothing of this call was written.
    #[error("no space left for the state database")]
    Full,
    /// The database failed before it said whether it committed: drop memory and reload.
    #[error("the state database failed: {message}")]
    Unavailable {
        /// What it said.
        message: String,
    },
    /// What is stored cannot be read.
    #[error("{kind} `{id}` is stored in a form that cannot be read: {message}")]
    Corrupt {
        /// Kind of record.
        kind: &'static str,
        /// Its id.
        id: String,
        /// What does not fit.
        message: String,
    },
}

/// A page request: offset or cursor (a cursor is the sequence number of the last record seen).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Page {
    /// How many at most.
    pub limit: u64,
    /// Records to pass over.
    pub offset: u64,
    /// Only records after this sequence number, in the list's order (newest first for resources and batches, oldest first for objects).
    pub after: Option<i64>,
}

/// Names an effect in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub i64);

/// An effect that was committed and not yet carried out.
#[derive(Debug, Clone)]
pub struct PendingEffect {
    /// Its place in the outbox.
    pub id: EffectId,
    /// The batch that it belongs to.
    pub batch_id: BatchId,
    /// What is to be done.
    pub effect: Effect,
}

/// One step of the orchestrator, to be written in one transaction.
#[derive(Debug, Clone)]
pub struct BatchCommit {
    /// The state after the step; its `version` is one more than what is stored (zero for a new one).
    pub batch: Batch,
    /// What happened, for the timeline.
    pub timeline: Vec<TimelineEntry>,
    /// What is to be done.
    pub effects: Vec<Effect>,
    /// Remedies that were applied, or whose outcome is known now.
    pub remedies: Vec<Remedy>,
    /// Rows that are given back to be done again.
    pub reopen_rows: Vec<ReopenRows>,
    /// Rows that are skipped.
    pub skip_rows: Vec<SkipRows>,
    /// What a first step writes beside the state.
    pub submission: Option<Submission>,
    /// Attempts that it ended, for the history.
    pub history: Vec<HistoryEntry>,
}

/// What becomes of a draft's record when it is submitted.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The record, which names the task.
    pub record: BatchRecord,
    /// The task.
    pub task: TaskRecord,
}

/// Outcomes of rows, to be written in one transaction. A row that has an outcome keeps it.
#[derive(Debug, Clone)]
pub struct RowsCommit {
    /// The batch.
    pub batch_id: BatchId,
    /// The attempt that reports.
    pub attempt_id: AttemptId,
    /// Its job.
    pub job_id: JobId,
    /// Tier of the job.
    pub tier_num: u32,
    /// Row, outcome, documents written.
    pub outcomes: Vec<(RowNumber, RowOutcome, u32)>,
    /// Documents of earlier batches that were written anew.
    pub replaced: u64,
    /// Documents that were removed, because their source has become fewer documents.
    pub deleted: u64,
    /// Errors of the failed rows.
    pub errors: Vec<FailedRow>,
}

/// How often a remedy has worked against a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackRecord {
    /// `Cause::as_str`.
    pub cause: String,
    /// `RemedyTaken::as_str`.
    pub remedy: String,
    /// The next attempt did what the last one could not.
    pub worked: u64,
    /// The next attempt ended by the same cause.
    pub failed: u64,
}

/// Row counts of a job, with documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Rows.
    pub rows: RowCounts,
    /// Documents written by rows with an outcome.
    pub documents: u64,
    /// Those of them that took the place of a document of an earlier batch.
    pub replaced: u64,
    /// Documents that were removed, because their source has become fewer documents.
    pub deleted: u64,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectStats {
    /// Its objects.
    pub objects: u64,
    /// What their blobs have in all, in bytes, as far as it is known.
    pub bytes: u64,
    /// When the newest of them was made.
    pub newest_at: Option<UnixMillis>,
}

/// Which batches to list.
#[derive(Debug, Clone, Default)]
pub struct BatchFilter {
    /// Only this tenant's; `None` is for the control loop alone.
    pub namespace_id: Option<NamespaceId>,
    /// Only this bucket's.
    pub bucket_id: Option<BucketId>,
    /// Only with this status.
    pub status: Option<BatchStatus>,
    /// Only those that feed this collection.
    pub collection_id: Option<CollectionId>,
    /// Only those that were made before this one.
    pub before: Option<BatchId>,
}

/// Durable state. Every write is durable on return.
#[async_trait]
pub trait Store: EventLog + RequestLog + Send + Sync {
    // Resources, untyped; `StoreExt` gives the typed calls.

    /// Adds a record; `AlreadyExists` when its name is taken within the namespace.
    async fn insert_resource(
        &self,
        kind: ResourceKind,
        namespace: &NamespaceId,
        id: &str,
        name: &str,
        body: Value,
    ) -> Result<(), StoreError>;
    /// Replaces a record (and its name).
    async fn update_resource(
        &self,
        kind: ResourceKind,
        namespace: &NamespaceId,
        id: &str,
        name: &str,
        body: Value,
    ) -> Result<(), StoreError>;
    /// A record by id or name; without a namespace in any (namespaces and keys are looked up so).
    async fn find_resource(
        &self,
        kind: ResourceKind,
        namespace: Option<&NamespaceId>,
        id_or_name: &str,
    ) -> Result<Option<Value>, StoreError>;
    /// A page of records, newest first, with sequence numbers, and how many there are in all. `search` matches part of the name, ignoring case.
    async fn list_resources(
        &self,
        kind: ResourceKind,
        namespace: Option<&NamespaceId>,
        search: Option<&str>,
        page: Page,
    ) -> Result<(Vec<(i64, Value)>, u64), StoreError>;
    /// Removes a record.
    async fn delete_resource(
        &self,
        kind: ResourceKind,
        namespace: &NamespaceId,
        id: &str,
    ) -> Result<(), StoreError>;

    // Objects.

    /// Adds objects; all or none. An object whose idempotency key or unique key exists in the bucket, or whose `content_hash`
    /// exists there and which has `skip_duplicates`, is not added: the present record takes its place in the answer, marked `true`.
    async fn insert_objects(
        &self,
        objects: Vec<ObjectRecord>,
    ) -> Result<Vec<(ObjectRecord, bool)>, StoreError>;
    /// Replaces an object.
    async fn update_object(&self, object: &ObjectRecord) -> Result<(), StoreError>;
    /// Objects by id, in the order of `ids`; those that do not exist in the bucket are left out.
    async fn get_objects(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        ids: &[ObjectId],
    ) -> Result<Vec<ObjectRecord>, StoreError>;
    /// The object of the bucket with this unique key.
    async fn object_by_unique_key(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        unique_key: &str,
    ) -> Result<Option<ObjectRecord>, StoreError>;
    /// A page of objects, oldest first, with sequence numbers, and how many there are in all.
    async fn list_objects(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        page: Page,
    ) -> Result<(Vec<(i64, ObjectRecord)>, u64), StoreError>;
    /// Removes an object.
    async fn delete_object(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        id: &ObjectId,
    ) -> Result<(), StoreError>;
    /// What a bucket holds.
    async fn object_stats(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
    ) -> Result<ObjectStats, StoreError>;

    // Batches.

    /// Adds a draft.
    async fn insert_batch(
        &self,
        batch: &BatchRecord,
        objects: &[ObjectId],
    ) -> Result<(), StoreError>;
    /// Replaces the user's part of a batch.
    async fn update_batch(&self, batch: &BatchRecord) -> Result<(), StoreError>;
    /// Adds objects to a draft; those that it has already are passed over. Returns how many it has now. `Conflict`-free: the caller has checked that it is a draft; a submitted one gives `VersionConflict`.
    async fn add_batch_objects(
        &self,
        batch: &BatchId,
        objects: &[ObjectId],
    ) -> Result<u64, StoreError>;
    /// The objects of a batch in their order.
    async fn batch_objects(&self, batch: &BatchId) -> Result<Vec<ObjectId>, StoreError>;
    /// A batch and, once submitted, its state.
    async fn get_batch(
        &self,
        namespace: Option<&NamespaceId>,
        batch: &BatchId,
    ) -> Result<Option<(BatchRecord, Option<Batch>)>, StoreError>;
    /// A batch in flight that brings one of the same objects to one of these collections.
    async fn overlapping_batch(
        &self,
        batch: &BatchId,
        collections: &[CollectionId],
    ) -> Result<Option<BatchId>, StoreError>;
    /// A page of batches, newest first, with sequence numbers, and how many there are in all.
    async fn list_batches(
        &self,
        filter: &BatchFilter,
        page: Page,
    ) -> Result<(Vec<(i64, BatchRecord, Option<Batch>)>, u64), StoreError>;
    /// Removes a batch and all that belongs to it.
    async fn delete_batch(
        &self,
        namespace: &NamespaceId,
        batch: &BatchId,
    ) -> Result<(), StoreError>;

    // The control loop.

    /// Batches that are not in a terminal state and have been submitted.
    async fn active_batches(&self) -> Result<Vec<Batch>, StoreError>;
    /// Writes one step; returns the ids of its effects in their order.
    async fn commit(&self, commit: BatchCommit) -> Result<Vec<EffectId>, StoreError>;
    /// Effects that were committed and not carried out, oldest first.
    async fn pending_effects(&self) -> Result<Vec<PendingEffect>, StoreError>;
    /// Marks an effect as carried out.
    async fn effect_done(&self, effect: EffectId) -> Result<(), StoreError>;
    /// What happened to a batch, oldest first.
    async fn timeline(&self, batch: &BatchId) -> Result<Vec<TimelineEntry>, StoreError>;
    /// Adds to the timeline outside a step.
    async fn append_timeline(
        &self,
        batch: &BatchId,
        entries: Vec<TimelineEntry>,
    ) -> Result<(), StoreError>;

    /// A batch's remedies, oldest first.
    async fn remedies(&self, batch: &BatchId) -> Result<Vec<Remedy>, StoreError>;
    /// How often each remedy of a tenant has worked, by cause; of deleted batches, too.
    async fn track_record(&self, namespace: &NamespaceId) -> Result<Vec<TrackRecord>, StoreError>;

    // Rows, evidence, progress.

    /// Records outcomes; rows that have one keep it. Returns the job's counts after it.
    async fn record_rows(&self, rows: RowsCommit) -> Result<JobCounts, StoreError>;
    /// A job's counts.
    async fn job_counts(&self, job: &JobId) -> Result<JobCounts, StoreError>;
    /// How many failed rows of a job are meant by `which`.
    async fn count_failed_rows(&self, job: &JobId, which: &FailedRows) -> Result<u64, StoreError>;
    /// Rows of a job that have an outcome, ascending.
    async fn finished_rows(&self, job: &JobId) -> Result<Vec<RowNumber>, StoreError>;
    /// Errors of a batch's failed rows, in order of tier, job and row, and how many there are in all.
    async fn row_errors(
        &self,
        batch: &BatchId,
        query: &RowErrorQuery,
    ) -> Result<(Vec<StoredRowError>, u64), StoreError>;
    /// How many sources of a tier failed in as many rows as they have, which is `rows`, and how many in fewer.
    async fn failed_sources(
        &self,
        batch: &BatchId,
        tier_num: u32,
        rows: u64,
    ) -> Result<(u64, u64), StoreError>;
    /// A batch's row errors by what they have in common, the largest groups first, `limit` of them at most.
    async fn error_groups(&self, batch: &BatchId, limit: u64) -> Result<ErrorGroups, StoreError>;
    /// Adds evidence to what is kept of an attempt (`AttemptEvidence::absorb`) and, where given, replaces its stage timings. Returns
    /// all that is kept of it now.
    async fn put_evidence(
        &self,
        batch: &BatchId,
        attempt: &AttemptId,
        evidence: &AttemptEvidence,
        stages: Option<&StageTimings>,
    ) -> Result<AttemptEvidence, StoreError>;
    /// Evidence and stage timings of a batch's attempts.
    async fn evidence(
        &self,
        batch: &BatchId,
    ) -> Result<Vec<(AttemptId, AttemptEvidence, Option<StageTimings>)>, StoreError>;

    /// Evidence of one attempt.
    async fn attempt_evidence(
        &self,
        batch: &BatchId,
        attempt: &AttemptId,
    ) -> Result<Option<AttemptEvidence>, StoreError>;
    /// What attempts measured, oldest first.
    async fn history(
        &self,
        namespace: &NamespaceId,
        query: &HistoryQuery,
    ) -> Result<Vec<HistoryRow>, StoreError>;

    /// Whether the database answers (for health).
    async fn check(&self) -> Result<(), StoreError>;
}
