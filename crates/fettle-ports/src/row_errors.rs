//! Errors of rows as a store keeps, counts and lists them.
//!
//! Owns the records; the fingerprints are made where errors are reported.

use fettle_model::{AttemptId, CollectionId, DocumentErrorClass, ErrorCount, JobId, RowError};

/// The error of a failed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRow {
    /// The error.
    pub error: RowError,
    /// The collection that lacks the document.
    pub collection_id: CollectionId,
    /// The message without what differs from row to row; errors of one fingerprint are counted together.
    pub fingerprint: String,
}

/// Groups of row errors that are kept for each job at most. Beyond, messages that have nothing in common with those before are counted
/// together as `FINGERPRINT_OF_OTHERS`, lest free text make as many groups as there are rows.
pub const ERROR_GROUPS_PER_JOB_MAX: u64 = 1_000;

/// The fingerprint of what is in no group of its own.
pub const FINGERPRINT_OF_OTHERS: &str = "<others>";

/// Row errors of a batch, by what they have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorGroups {
    /// The largest groups, the largest first.
    pub groups: Vec<StoredErrorGroup>,
    /// How many there are of each kind in all.
    pub counts: Vec<ErrorCount>,
}

/// Row errors of a job with one fingerprint, category, class, stage and component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredErrorGroup {
    /// The tier.
    pub tier_num: u32,
    /// The job.
    pub job_id: JobId,
    /// Their messages without what differs; empty where that was not looked at.
    pub fingerprint: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub example: RowError,
    /// Objects or documents of the first few.
    pub source_ids: Vec<String>,
}

/// Which row errors to list.
#[derive(Debug, Clone, Default)]
pub struct RowErrorQuery {
    /// Only this tier's.
    pub tier_num: Option<u32>,
    /// Only this collection's.
    pub collection_id: Option<CollectionId>,
    /// Only this job's.
    pub job_id: Option<JobId>,
    /// Only this class.
    pub class: Option<DocumentErrorClass>,
    /// Records to pass over.
    pub offset: u64,
    /// How many at most.
    pub limit: u64,
}

/// A row error with where it belongs.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRowError {
    /// The error.
    pub error: RowError,
    /// Its tier.
    pub tier_num: u32,
    /// Its job.
    pub job_id: JobId,
    /// The attempt that reported it.
    pub attempt_id: AttemptId,
    /// The collection that lacks the document.
    pub collection_id: CollectionId,
    /// How often the row was retried before.
    pub retries: u32,
}
