//! Many batches at once: a whole bucket in chunks, or every draft of it.

use axum::Json;
use axum::extract::State;
use fettle_control::SubmitOptions;
use fettle_model::{BatchGroupId, BatchStatus, ObjectId};
use fettle_ports::{BatchFilter, BatchRecord, BucketRecord, Page};
use fettle_wire::batch::CreateBatchRequest;
use fettle_wire::batch_bulk::{
    BULK_BATCHES_MAX, BULK_CHUNK_SIZE, BulkSubmitBatchesRequest, BulkSubmitBatchesResponse,
    BulkSubmittedBatch, SubmitAllResponse,
};
use fettle_wire::filter::SentFilter;

use super::{create, queue_position};
use crate::body::{InPath, OptionalBody};
use crate::choice::check_depth;
use crate::error::ApiError;
use crate::lookup::{SCAN_PAGE, bucket};
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Streams the bucket's objects into batches and submits each as soon as it is full.
pub(super) async fn submit_bucket(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    OptionalBody(body): OptionalBody<BulkSubmitBatchesRequest>,
) -> Result<Json<BulkSubmitBatchesResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    check(&body)?;
    let names = body.collection_ids.clone().unwrap_or_default();
    let collections = create::collection_ids(&state, &tenant.namespace_id, &names).await?;
    let control = state.control();
    control
        .must_feed(&bucket.namespace_id, &bucket.bucket_id, &collections)
        .await?;
    let mut bulk = Bulk {
        state: &state,
        tenant: &tenant,
        bucket: &bucket,
        group_id: BatchGroupId::from_entropy(state.id_bits()),
        body: &body,
        batches: Vec::new(),
        objects: 0,
    };
    bulk.run().await?;
    Ok(Json(bulk.answer()))
}

fn check(body: &BulkSubmitBatchesRequest) -> Result<(), ApiError> {
    check_depth(body.filters.as_ref().map(|SentFilter(filter)| filter))?;
    if !BULK_CHUNK_SIZE.contains(&body.chunk_size) {
        let (least, most) = (BULK_CHUNK_SIZE.start(), BULK_CHUNK_SIZE.end());
        let message = format!("must be from {least} to {most}");
        return Err(ApiError::invalid(&["chunk_size"], message));
    }
    if body.max_objects == Some(0) {
        return Err(ApiError::invalid(&["max_objects"], "must be at least 1"));
    }
    Ok(())
}

/// A bulk submission in the making.
struct Bulk<'a> {
    state: &'a ApiState,
    tenant: &'a Tenant,
    bucket: &'a BucketRecord,
    group_id: BatchGroupId,
    body: &'a BulkSubmitBatchesRequest,
    batches: Vec<BulkSubmittedBatch>,
    objects: u64,
}

impl Bulk<'_> {
    async fn run(&mut self) -> Result<(), ApiError> {
        let filter = self.body.filters.as_ref().map(|SentFilter(filter)| filter);
        let most = self.body.max_objects.unwrap_or(u64::MAX);
        let chunk_size = usize::try_from(self.body.chunk_size).unwrap_or(usize::MAX);
        let mut page = Page {
            limit: SCAN_PAGE,
            ..Page::default()
        };
        let mut chunk = Vec::new();
        loop {
            let (rows, _) = self
                .state
                .control()
                .store()
                .list_objects(&self.bucket.namespace_id, &self.bucket.bucket_id, page)
                .await?;
            let Some((last, _)) = rows.last() else { break };
            page.after = Some(*last);
            let objects = rows.into_iter().map(|(_, object)| object);
            for object in objects.filter(|it| filter.is_none_or(|f| f.matches(&it.searchable()))) {
                if self.objects + chunk.len() as u64 == most {
                    return self.submit(chunk).await;
                }
                chunk.push(object.object_id);
                if chunk.len() == chunk_size {
                    self.submit(std::mem::take(&mut chunk)).await?;
                }
            }
        }
        self.submit(chunk).await
    }

    async fn submit(&mut self, objects: Vec<ObjectId>) -> Result<(), ApiError> {
        if objects.is_empty() {
            return Ok(());
        }
        if self.batches.len() == BULK_BATCHES_MAX {
            let message = format!(
                "the bucket gives more than {BULK_BATCHES_MAX} batches; those are submitted, send a larger `chunk_size` for the rest"
            );
            return Err(ApiError::invalid(&["chunk_size"], message)
                .with("batch_group_id", self.group_id.as_str()));
        }
        let request = CreateBatchRequest {
            collection_ids: self.body.collection_ids.clone(),
            dedup_strategy: self.body.dedup_strategy,
            ..CreateBatchRequest::default()
        };
        let count = objects.len() as u64;
        let record = BatchRecord {
            batch_group_id: Some(self.group_id.clone()),
            ..create::draft(self.state, self.tenant, self.bucket, request, count).await?
        };
        let store = self.state.control().store();
        store.insert_batch(&record, &objects).await?;
        self.objects += count;
        let submitted = submit_one(self.state, &record).await;
        self.batches.push(submitted);
        Ok(())
    }

    fn answer(self) -> BulkSubmitBatchesResponse {
        let (submitted, failed) = tally(&self.batches);
        BulkSubmitBatchesResponse {
            batch_group_id: self.group_id.to_string(),
            total_objects: self.objects,
            chunk_size: self.body.chunk_size,
            total_batches: submitted + failed,
            submitted,
            failed,
            batches: self.batches,
        }
    }
}

/// How many were submitted, and how many were not.
fn tally(batches: &[BulkSubmittedBatch]) -> (u64, u64) {
    let failed = batches.iter().filter(|it| it.error.is_some()).count();
    ((batches.len() - failed) as u64, failed as u64)
}

/// Submits one of many; what keeps one back does not keep the others.
async fn submit_one(state: &ApiState, record: &BatchRecord) -> BulkSubmittedBatch {
    let submitted = state
        .control()
        .submit(
            &record.namespace_id,
            &record.batch_id,
            &SubmitOptions::default(),
        )
        .await;
    let (status, place, error) = match submitted {
        Ok((_, run)) => (run.status, queue_position(state, &run), None),
        Err(error) => {
            let error = ApiError::from(error).message().to_owned();
            (BatchStatus::Draft, None, Some(error))
        }
    };
    BulkSubmittedBatch {
        batch_id: record.batch_id.to_string(),
        object_count: record.object_count,
        status: status.as_str().to_owned(),
        queue_position: place,
        error,
    }
}

/// Submits every draft of the bucket, held batches too, the oldest first.
pub(super) async fn submit_all(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
) -> Result<Json<SubmitAllResponse>, ApiError> {
    let bucket = bucket(&state, &tenant.namespace_id, &name).await?;
    let mut drafts = drafts(&state, &bucket).await?;
    drafts.reverse();
    let mut batches = Vec::with_capacity(drafts.len());
    for draft in &drafts {
        batches.push(submit_one(&state, draft).await);
    }
    let (submitted, failed) = tally(&batches);
    Ok(Json(SubmitAllResponse {
        success: failed == 0,
        total: submitted + failed,
        submitted,
        failed,
        message: format!("{submitted} draft(s) were submitted, {failed} were not"),
        batches,
    }))
}

/// The bucket's drafts, newest first.
async fn drafts(state: &ApiState, bucket: &BucketRecord) -> Result<Vec<BatchRecord>, ApiError> {
    let filter = BatchFilter {
        namespace_id: Some(bucket.namespace_id.clone()),
        bucket_id: Some(bucket.bucket_id.clone()),
        status: Some(BatchStatus::Draft),
        ..BatchFilter::default()
    };
    let mut page = Page {
        limit: SCAN_PAGE,
        ..Page::default()
    };
    let mut drafts = Vec::new();
    loop {
        let (rows, _) = state.control().store().list_batches(&filter, page).await?;
        let Some((last, ..)) = rows.last() else {
            return Ok(drafts);
        };
        page.after = Some(*last);
        drafts.extend(rows.into_iter().map(|(_, record, _)| record));
    }
}
