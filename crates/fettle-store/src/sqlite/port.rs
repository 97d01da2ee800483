//! `fettle_ports::Store` for SQLite: each call encodes what it is given, then hands it to the writer or a reader.

use async_trait::async_trait;
use fettle_core::{Batch, FailedRows, Remedy, TimelineEntry};
use fettle_model::{
    AttemptEvidence, AttemptId, BatchId, BucketId, CollectionId, JobId, NamespaceId, ObjectId,
    RowNumber, StageTimings,
};
use fettle_ports::{
    BatchCommit, BatchFilter, BatchRecord, EffectId, ErrorGroups, HistoryQuery, HistoryRow,
    JobCounts, ObjectRecord, ObjectStats, Page, PendingEffect, ResourceKind, RowErrorQuery,
    RowsCommit, Store, StoreError, StoredRowError, TrackRecord,
};
use serde_json::Value;

use super::batches::RecordRow;
use super::evidence::EvidenceRow;
use super::objects::ObjectRow;
use super::resources::ResourceRow;
use super::rows::ReportRow;
use super::steps::StepRow;
use super::{
    SqliteStore, batches, error_groups, evidence, history, listing, objects, remedies, reopen,
    resources, rows, steps,
};

#[async_trait]
impl Store for SqliteStore {
    async fn insert_resource(
        &self,
        kind: ResourceKind,
        namespace: &NamespaceId,
        id: &str,
        name: &str,
        body: Value,
    ) -> Result<(), StoreError> {
        let row = ResourceRow::new(kind, namespace, id, name, &body)?;
        self.write(move |db| resources::insert(db, &row)).await
    }

    async fn update_resource(
        &self,
        kind: ResourceKind,
        namespace: &NamespaceId,
        id: &str,
        name: &str,
        body: Value,
    ) -> Result<(), StoreError> {
        let row = ResourceRow::new(kind, namespace, id, name, &body)?;
        self.write(move |db| resources::update(db, &row)).await
    }

    async fn find_resource(
        &self,
        kind: ResourceKind,
        namespace: Option<&NamespaceId>,
        id_or_name: &str,
    ) -> Result<Option<Value>, StoreError> {
        let (namespace, wanted) = (namespace.cloned(), id_or_name.to_owned());
        self.read(move |db| resources::find(db, kind, namespace.as_ref(), &wanted))
            .await
    }

    async fn list_resources(
        &self,
        kind: ResourceKind,
        namespace: Option<&NamespaceId>,
        search: Option<&str>,
        page: Page,
    ) -> Result<(Vec<(i64, Value)>, u64), StoreError> {
        let (namespace, search) = (namespace.cloned(), search.map(str::to_owned));
        self.read(move |db| resources::list(db, kind, namespace.as_ref(), search.as_deref(), page))
            .await
    }

    async fn delete_resource(
        &self,
        kind: ResourceKind,
        namespace: &NamespaceId,
        id: &str,
    ) -> Result<(), StoreError> {
        let (namespace, id) = (namespace.clone(), id.to_owned());
        self.write(move |db| resources::delete(db, kind, &namespace, &id))
            .await
    }

    async fn insert_objects(
        &self,
        objects: Vec<ObjectRecord>,
    ) -> Result<Vec<(ObjectRecord, bool)>, StoreError> {
        let rows = objects
            .into_iter()
            .map(ObjectRow::new)
            .collect::<Result<Vec<_>, _>>()?;
        self.write(move |db| objects::insert(db, &rows)).await
    }

    async fn update_object(&self, object: &ObjectRecord) -> Result<(), StoreError> {
        let row = ObjectRow::new(object.clone())?;
        self.write(move |db| objects::update(db, &row)).await
    }

    async fn get_objects(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        ids: &[ObjectId],
    ) -> Result<Vec<ObjectRecord>, StoreError> {
        let (namespace, bucket, ids) = (namespace.clone(), bucket.clone(), ids.to_vec());
        self.read(move |db| objects::get(db, &namespace, &bucket, &ids))
            .await
    }

    async fn object_by_unique_key(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        unique_key: &str,
    ) -> Result<Option<ObjectRecord>, StoreError> {
        let (namespace, bucket) = (namespace.clone(), bucket.clone());
        let key = unique_key.to_owned();
        self.read(move |db| objects::by_unique_key(db, &namespace, &bucket, &key))
            .await
    }

    async fn list_objects(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        page: Page,
    ) -> Result<(Vec<(i64, ObjectRecord)>, u64), StoreError> {
        let (namespace, bucket) = (namespace.clone(), bucket.clone());
        self.read(move |db| objects::list(db, &namespace, &bucket, page))
            .await
    }

    async fn delete_object(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        id: &ObjectId,
    ) -> Result<(), StoreError> {
        let (namespace, bucket, id) = (namespace.clone(), bucket.clone(), id.clone());
        self.write(move |db| objects::delete(db, &namespace, &bucket, &id))
            .await
    }

    async fn object_stats(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
    ) -> Result<ObjectStats, StoreError> {
        let (namespace, bucket) = (namespace.clone(), bucket.clone());
        self.read(move |db| objects::stats(db, &namespace, &bucket))
            .await
    }

    async fn insert_batch(
        &self,
        batch: &BatchRecord,
        objects: &[ObjectId],
    ) -> Result<(), StoreError> {
        let (row, objects) = (RecordRow::new(batch)?, objects.to_vec());
        self.write(move |db| batches::insert(db, &row, &objects))
            .await
    }

    async fn update_batch(&self, batch: &BatchRecord) -> Result<(), StoreError> {
        let row = RecordRow::new(batch)?;
        self.write(move |db| batches::update(db, &row)).await
    }

    async fn add_batch_objects(
        &self,
        batch: &BatchId,
        objects: &[ObjectId],
    ) -> Result<u64, StoreError> {
        let (batch, objects) = (batch.clone(), objects.to_vec());
        self.write(move |db| batches::add_objects(db, &batch, &objects))
            .await
    }

    async fn batch_objects(&self, batch: &BatchId) -> Result<Vec<ObjectId>, StoreError> {
        let batch = batch.clone();
        self.read(move |db| batches::objects(db, &batch)).await
    }

    async fn get_batch(
        &self,
        namespace: Option<&NamespaceId>,
        batch: &BatchId,
    ) -> Result<Option<(BatchRecord, Option<Batch>)>, StoreError> {
        let (namespace, batch) = (namespace.cloned(), batch.clone());
        self.read(move |db| listing::get(db, namespace.as_ref(), &batch))
            .await
    }

    async fn overlapping_batch(
        &self,
        batch: &BatchId,
        collections: &[CollectionId],
    ) -> Result<Option<BatchId>, StoreError> {
        let (batch, collections) = (batch.clone(), collections.to_vec());
        self.read(move |db| listing::overlapping(db, &batch, &collections))
            .await
    }

    async fn list_batches(
        &self,
        filter: &BatchFilter,
        page: Page,
    ) -> Result<(Vec<(i64, BatchRecord, Option<Batch>)>, u64), StoreError> {
        let filter = filter.clone();
        self.read(move |db| listing::list(db, &filter, page)).await
    }

    async fn delete_batch(
        &self,
        namespace: &NamespaceId,
        batch: &BatchId,
    ) -> Result<(), StoreError> {
        let (namespace, batch) = (namespace.clone(), batch.clone());
        self.write(move |db| batches::delete(db, &namespace, &batch))
            .await
    }

    async fn active_batches(&self) -> Result<Vec<Batch>, StoreError> {
        self.read(listing::active).await
    }

    async fn commit(&self, commit: BatchCommit) -> Result<Vec<EffectId>, StoreError> {
        let step = StepRow::new(&commit)?;
        self.write(move |db| steps::commit(db, &step)).await
    }

    async fn pending_effects(&self) -> Result<Vec<PendingEffect>, StoreError> {
        self.read(steps::pending_effects).await
    }

    async fn effect_done(&self, effect: EffectId) -> Result<(), StoreError> {
        self.write(move |db| steps::effect_done(db, effect)).await
    }

    async fn timeline(&self, batch: &BatchId) -> Result<Vec<TimelineEntry>, StoreError> {
        let batch = batch.clone();
        self.read(move |db| steps::timeline(db, &batch)).await
    }

    async fn append_timeline(
        &self,
        batch: &BatchId,
        entries: Vec<TimelineEntry>,
    ) -> Result<(), StoreError> {
        let bodies = steps::encode_timeline(batch, &entries)?;
        let batch = batch.clone();
        self.write(move |db| steps::append_timeline_of(db, &batch, &bodies))
            .await
    }

    async fn remedies(&self, batch: &BatchId) -> Result<Vec<Remedy>, StoreError> {
        let batch = batch.clone();
        self.read(move |db| remedies::of_batch(db, &batch)).await
    }

    async fn track_record(&self, namespace: &NamespaceId) -> Result<Vec<TrackRecord>, StoreError> {
        let namespace = namespace.clone();
        self.read(move |db| remedies::track_record(db, &namespace))
            .await
    }

    async fn record_rows(&self, report: RowsCommit) -> Result<JobCounts, StoreError> {
        let row = ReportRow::new(report)?;
        self.write(move |db| rows::record(db, &row)).await
    }

    async fn job_counts(&self, job: &JobId) -> Result<JobCounts, StoreError> {
        let job = job.clone();
        self.read(move |db| rows::counts(db, &job)).await
    }

    async fn count_failed_rows(&self, job: &JobId, which: &FailedRows) -> Result<u64, StoreError> {
        let (job, which) = (job.clone(), which.clone());
        self.read(move |db| reopen::count(db, &job, &which)).await
    }

    async fn finished_rows(&self, job: &JobId) -> Result<Vec<RowNumber>, StoreError> {
        let job = job.clone();
        self.read(move |db| rows::finished(db, &job)).await
    }

    async fn row_errors(
        &self,
        batch: &BatchId,
        query: &RowErrorQuery,
    ) -> Result<(Vec<StoredRowError>, u64), StoreError> {
        let (batch, query) = (batch.clone(), query.clone());
        self.read(move |db| rows::errors(db, &batch, &query)).await
    }

    async fn failed_sources(
        &self,
        batch: &BatchId,
        tier_num: u32,
        rows: u64,
    ) -> Result<(u64, u64), StoreError> {
        let batch = batch.clone();
        self.read(move |db| rows::failed_sources(db, &batch, tier_num, rows))
            .await
    }

    async fn error_groups(&self, batch: &BatchId, limit: u64) -> Result<ErrorGroups, StoreError> {
        let batch = batch.clone();
        self.read(move |db| error_groups::of_batch(db, &batch, limit))
            .await
    }

    async fn put_evidence(
        &self,
        batch: &BatchId,
        attempt: &AttemptId,
        evidence: &AttemptEvidence,
        stages: Option<&StageTimings>,
    ) -> Result<AttemptEvidence, StoreError> {
        let row = EvidenceRow::new(attempt, evidence, stages)?;
        let batch = batch.clone();
        self.write(move |db| evidence::put(db, &batch, &row)).await
    }

    async fn evidence(
        &self,
        batch: &BatchId,
    ) -> Result<Vec<(AttemptId, AttemptEvidence, Option<StageTimings>)>, StoreError> {
        let batch = batch.clone();
        self.read(move |db| evidence::of_batch(db, &batch)).await
    }

    async fn attempt_evidence(
        &self,
        batch: &BatchId,
        attempt: &AttemptId,
    ) -> Result<Option<AttemptEvidence>, StoreError> {
        let (batch, attempt) = (batch.clone(), attempt.clone());
        self.read(move |db| evidence::of_attempt(db, &batch, &attempt))
            .await
    }

    async fn history(
        &self,
        namespace: &NamespaceId,
        query: &HistoryQuery,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let (namespace, query) = (namespace.clone(), query.clone());
        self.read(move |db| history::cells(db, &namespace, &query))
            .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let probe = |db: &rusqlite::Connection| {
            let probed = db.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()));
            Ok(probed?)
        };
        self.read(probe).await?;
        // An empty transaction: it shows that the writer lives and can take the lock, and costs no sync.
        self.write(probe).await
    }
}
