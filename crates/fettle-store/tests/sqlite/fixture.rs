//! Records to store, and a store to put them in.

use std::path::PathBuf;

use fettle_core::plan::{BatchPlan, JobPlan, TierPlan};
use fettle_core::{Batch, FailedRows, ReopenRows, TierSource, WhichRows};
use fettle_model::{
    AttemptId, BatchId, BucketId, CollectionId, DocumentErrorClass, ErrorCategory, ExtractorRef,
    HealingPolicy, JobId, NamespaceId, ObjectId, Resources, RowError, RowNumber, RowOutcome, Stage,
    UnixMillis,
};
use fettle_ports::{BatchCommit, BatchRecord, FailedRow, Page, RowsCommit, Store};
use fettle_store::SqliteStore;
use serde_json::Map;

/// A store in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: SqliteStore,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("fettle.db")).unwrap();
        Self { dir, store }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("fettle.db")
    }

    pub(crate) fn reopen(self) -> Self {
        let Self { dir, store } = self;
        drop(store);
        let store = SqliteStore::open(&dir.path().join("fettle.db")).unwrap();
        Self { dir, store }
    }

    /// A number that only the file itself can tell.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let db = rusqlite::Connection::open(self.path()).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Changes the file behind the store's back.
    pub(crate) fn tamper(&self, sql: &str) {
        rusqlite::Connection::open(self.path())
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    }

    /// A submitted batch `n` of tenant `n`'s bucket, with one job a tier, feeding one collection a tier.
    pub(crate) async fn submitted(&self, n: u8, tiers: u8) -> Batch {
        submit(&self.store, n, tiers).await
    }
}

pub(crate) async fn submit(store: &SqliteStore, n: u8, tiers: u8) -> Batch {
    store.insert_batch(&record(n), &[object(n)]).await.unwrap();
    let batch = state(n, tiers);
    store.commit(step(&batch)).await.unwrap();
    batch
}

macro_rules! ids {
    ($($name:ident -> $id:ident),*) => {
        $(pub(crate) fn $name(n: u8) -> $id {
            $id::from_entropy([n; 15])
        })*
    };
}
ids!(
    namespace -> NamespaceId, bucket -> BucketId, object -> ObjectId, batch -> BatchId,
    collection -> CollectionId
);

/// The job of batch `n` in a tier.
pub(crate) fn job(n: u8, tier_num: u8) -> JobId {
    let mut bytes = [n; 15];
    bytes[14] = tier_num;
    JobId::from_entropy(bytes)
}

pub(crate) fn all() -> Page {
    Page {
        limit: u64::MAX,
        ..Page::default()
    }
}

pub(crate) fn record(n: u8) -> BatchRecord {
    BatchRecord {
        namespace_id: namespace(n),
        bucket_id: bucket(n),
        batch_id: batch(n),
        batch_name: Some(format!("batch {n}")),
        collection_ids: Vec::new(),
        metadata: Map::new(),
        dedup_strategy: "skip".to_owned(),
        created_by: None,
        task_id: None,
        webhook_url: None,
        resource_overrides: Map::new(),
        healing: None,
        object_count: 1,
        batch_group_id: None,
        documents_deleted: 0,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(1),
    }
}

pub(crate) fn state(n: u8, tiers: u8) -> Batch {
    let tiers = (0..tiers).map(|tier_num| TierPlan {
        source: TierSource::Bucket,
        jobs: vec![JobPlan {
            id: job(n, tier_num),
            extractor: ExtractorRef {
                name: "passthrough".to_owned(),
                version: "v1".to_owned(),
                parameters: Map::new(),
            },
            collection_ids: vec![collection(100 + tier_num)],
            resources: Resources {
                num_cpus: 1.0,
                num_gpus: 0.0,
                memory_bytes: 1 << 28,
                requires_gpu: false,
                priority: 0,
            },
        }],
    });
    let plan = BatchPlan {
        id: batch(n),
        namespace_id: namespace(n),
        bucket_id: bucket(n),
        tiers: tiers.collect(),
        healing: HealingPolicy::default(),
    };
    plan.submit(UnixMillis(5)).0
}

/// All failed rows of a job.
pub(crate) fn failed_rows(n: u8, tier_num: u8) -> ReopenRows {
    ReopenRows {
        job: job(n, tier_num),
        which: WhichRows::Failed(FailedRows::default()),
    }
}

pub(crate) fn step(batch: &Batch) -> BatchCommit {
    BatchCommit {
        batch: batch.clone(),
        timeline: Vec::new(),
        effects: Vec::new(),
        remedies: Vec::new(),
        reopen_rows: Vec::new(),
        skip_rows: Vec::new(),
        submission: None,
        history: Vec::new(),
    }
}

/// A report of batch `n`'s job in a tier; a failed row gets an error for each collection of the tier.
pub(crate) fn report(
    n: u8,
    tier_num: u8,
    attempt: u32,
    outcomes: &[(RowNumber, RowOutcome, u32)],
) -> RowsCommit {
    let failed = outcomes
        .iter()
        .filter(|(_, outcome, _)| *outcome == RowOutcome::Failed);
    RowsCommit {
        batch_id: batch(n),
        attempt_id: AttemptId::of(&job(n, tier_num), attempt),
        job_id: job(n, tier_num),
        tier_num: u32::from(tier_num),
        outcomes: outcomes.to_vec(),
        replaced: 0,
        deleted: 0,
        errors: failed
            .map(|(row, ..)| FailedRow {
                error: error(*row),
                collection_id: collection(100 + tier_num),
                fingerprint: "row <n> failed".to_owned(),
            })
            .collect(),
    }
}

pub(crate) fn error(row: RowNumber) -> RowError {
    RowError {
        row,
        source_id: format!("obj_{row}"),
        category: ErrorCategory::Runtime,
        class: if row.is_multiple_of(2) {
            DocumentErrorClass::Permanent
        } else {
            DocumentErrorClass::Transient
        },
        stage: Stage::Processing,
        message: format!("row {row} failed"),
        component: "passthrough_v1".to_owned(),
        traceback: None,
        at: UnixMillis(7),
    }
}
