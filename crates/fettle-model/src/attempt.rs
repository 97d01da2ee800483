//! What an attempt is told to do, and how it can end.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    AttemptId, BatchId, CollectionId, ExtractorRef, ExtractorSource, JobId, NamespaceId, Resources,
    RowRanges,
};

/// Where a manifest lies and how long it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRef {
    /// Key in the blob store, such as `manifests/btch_…/t0/job_….parquet`.
    pub key: String,
    /// Rows in it.
    pub rows: u64,
    /// How large they are; none where no row's size is known.
    #[serde(default)]
    pub sizes: Option<RowSizes>,
    /// Sources that are no rows, because they do not match the filter of their collection.
    #[serde(default)]
    pub left_out: u64,
}

/// How large the rows of a manifest are, in bytes, as far as sizes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSizes {
    /// Rows whose size is known.
    pub known_rows: u64,
    /// All together.
    pub total_bytes: u64,
    /// Half of the rows are no larger.
    pub p50_bytes: u64,
    /// 95 of 100 rows are no larger.
    pub p95_bytes: u64,
    /// The largest.
    pub max_bytes: u64,
}

impl RowSizes {
    /// Of these rows; zero stands for a size that is not known.
    #[must_use]
    pub fn of(mut sizes: Vec<u64>) -> Option<Self> {
        sizes.retain(|size| *size > 0);
        sizes.sort_unstable();
        let max_bytes = *sizes.last()?;
        // The nearest rank: the smallest size that is not exceeded by that many rows.
        let rank = |percent: usize| sizes[(sizes.len() * percent).div_ceil(100) - 1];
        Some(Self {
            known_rows: sizes.len() as u64,
            total_bytes: sizes.iter().fold(0, |sum, size| sum.saturating_add(*size)),
            p50_bytes: rank(50),
            p95_bytes: rank(95),
            max_bytes,
        })
    }
}

/// A collection that a job writes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetCollection {
    /// The collection.
    pub collection_id: CollectionId,
    /// Its name, for logs.
    pub collection_name: String,
    /// Input key of the extractor → field of the source row.
    pub input_mappings: Map<String, Value>,
    /// Source field → document field, copied as they are.
    pub field_passthrough: Vec<FieldCopy>,
    /// Whether all source fields are copied.
    pub include_all_source_fields: bool,
}

/// A source field that is copied to the document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldCopy {
    /// Dotted path in the source row.
    pub source_path: String,
    /// Name in the document.
    pub target_path: String,
    /// Value where the source has none.
    #[serde(default)]
    pub default: Option<Value>,
    /// Whether a row without it fails.
    #[serde(default)]
    pub required: bool,
}

/// What the workers may read for users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccessPolicy {
    /// Folders below which `file://` blobs may lie.
    pub file_roots: Vec<String>,
    /// `host` or `host:port` that http(s) blobs may be fetched from although their address is not public.
    pub private_hosts: Vec<String>,
}

/// Everything that the driver of an attempt needs. It holds no secret: the token travels apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptSpec {
    /// This attempt.
    pub attempt_id: AttemptId,
    /// Its job.
    pub job_id: JobId,
    /// Its batch.
    pub batch_id: BatchId,
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// The tier.
    pub tier_num: u32,
    /// Where `serve` answers, such as `http://127.0.0.1:8080`.
    pub control_url: String,
    /// A file that holds the present `control_url`, for a `serve` that came back elsewhere.
    pub control_url_file: Option<String>,
    /// Base of the blob store's addresses: `file:///…` or `s3://bucket/prefix`.
    pub blob_base: String,
    /// The job's input rows.
    pub manifest: ManifestRef,
    /// Rows that have no outcome yet: the work of this attempt.
    pub pending: RowRanges,
    /// What to run.
    pub extractor: ExtractorRef,
    /// Where its code is.
    pub extractor_source: ExtractorSource,
    /// Where documents go.
    pub targets: Vec<TargetCollection>,
    /// What it may use.
    pub resources: Resources,
    /// Folder of the sentence-embedding model, where there is one.
    pub model_dir: Option<String>,
    /// What blobs may be read.
    pub access: AccessPolicy,
    /// A row that takes longer than this is failed and its worker ended, in milliseconds; none means no limit.
    pub row_timeout_ms: Option<u64>,
}

/// How an attempt ended, as far as the orchestrator must tell ends apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AttemptExit {
    /// Every pending row was given an outcome.
    Finished,
    /// Stopped on request.
    Cancelled,
    /// Workers died of their memory limit and no progress was possible.
    OutOfMemory,
    /// Workers died of something else and no progress was possible.
    WorkersKeepDying,
    /// The extractor could not be started: bad parameters, a missing model, a plugin that does not load.
    ExtractorFailed,
    /// Something the driver needs is gone: the manifest, the disk.
    DriverFailed,
    /// The driver died without a word.
    DriverDied,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_up_by_nearest_rank() {
        let sizes = RowSizes::of((0..=100).rev().collect()).unwrap();
        assert_eq!((sizes.known_rows, sizes.total_bytes), (100, 5050));
        assert_eq!(
            (sizes.p50_bytes, sizes.p95_bytes, sizes.max_bytes),
            (50, 95, 100)
        );
        assert_eq!(RowSizes::of(vec![7]).unwrap().p50_bytes, 7);
        assert_eq!(RowSizes::of(vec![0, 0]), None);
    }

    #[test]
    fn a_manifest_of_an_earlier_version_has_no_sizes() {
        let old: ManifestRef = serde_json::from_str(r#"{"key":"k","rows":3}"#).unwrap();
        assert_eq!((old.rows, old.sizes), (3, None));
    }
}
