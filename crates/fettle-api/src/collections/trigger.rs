//! Triggering a collection: one batch for each of its source buckets, submitted at once.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use fettle_control::SubmitOptions;
use fettle_model::{BatchId, BucketId, ObjectId};
use fettle_ports::{BatchRecord, BucketRecord, CollectionRecord, CollectionSource};
use fettle_wire::batch::{BATCH_OBJECTS_PER_REQUEST_MAX, DedupStrategy};
use fettle_wire::collection::{TriggerCollectionRequest, TriggerCollectionResponse};
use fettle_wire::filter::SentFilter;

use crate::body::{InPath, OptionalBody};
use crate::choice::check_depth;
use crate::error::ApiError;
use crate::lookup::{bucket, collection};
use crate::objects::scan;
use crate::page::Wanted;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(super) async fn trigger(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    OptionalBody(body): OptionalBody<TriggerCollectionRequest>,
) -> Result<Json<TriggerCollectionResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    check_depth(
        body.source_filters
            .as_ref()
            .map(|SentFilter(filter)| filter),
    )?;
    let mut chosen = Vec::new();
    for bucket in sources(&state, &tenant, &record, &body).await? {
        let objects = objects(&state, &record, &bucket, &body).await?;
        if !objects.is_empty() {
            chosen.push((bucket, objects));
        }
    }
    let found: BTreeSet<&str> = chosen
        .iter()
        .flat_map(|(_, objects)| objects.iter().map(ObjectId::as_str))
        .collect();
    let mut named = body.object_ids.iter().flatten();
    if let Some(missing) = named.find(|id| !found.contains(id.as_str())) {
        let message = format!("`{missing}` is no object of the source buckets that matches");
        return Err(ApiError::invalid(&["object_ids"], message));
    }
    if chosen.is_empty() {
        let present = "no object of its source buckets matches; add objects first";
        return Err(ApiError::conflict("triggering the collection", present));
    }
    let mut answer = TriggerCollectionResponse {
        collection_id: record.collection_id.to_string(),
        ..TriggerCollectionResponse::default()
    };
    for (bucket, objects) in chosen {
        let strategy = body.dedup_strategy.unwrap_or_default();
        let of_bucket = (bucket, objects, strategy);
        submit(&state, &tenant, &record, of_bucket, &mut answer).await?;
    }
    answer.batch_count = answer.batch_ids.len() as u64;
    answer.batch_id = answer.batch_ids.first().cloned();
    answer.task_id = answer.task_ids.first().cloned().unwrap_or_default();
    answer.message = format!(
        "{} object(s) were submitted in {} batch(es)",
        answer.object_count, answer.batch_count
    );
    Ok(Json(answer))
}

/// The source buckets that are wanted.
async fn sources(
    state: &ApiState,
    tenant: &Tenant,
    record: &CollectionRecord,
    body: &TriggerCollectionRequest,
) -> Result<Vec<BucketRecord>, ApiError> {
    let CollectionSource::Bucket { bucket_ids } = &record.source else {
        let present = "it reads collections; trigger the collection at the beginning, whose batch goes through this one too";
        return Err(ApiError::conflict("triggering the collection", present));
    };
    let mut wanted: Option<BTreeSet<BucketId>> = None;
    for name in body.include_buckets.iter().flatten() {
        let found = bucket(state, &tenant.namespace_id, name).await?.bucket_id;
        if !bucket_ids.contains(&found) {
            let message = format!("`{name}` is not a source of this collection");
            return Err(ApiError::invalid(&["include_buckets"], message));
        }
        wanted.get_or_insert_default().insert(found);
    }
    let mut found = Vec::new();
    for id in bucket_ids {
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(id)) {
            found.push(bucket(state, &tenant.namespace_id, id.as_str()).await?);
        }
    }
    Ok(found)
}

async fn objects(
    state: &ApiState,
    collection: &CollectionRecord,
    bucket: &BucketRecord,
    body: &TriggerCollectionRequest,
) -> Result<Vec<ObjectId>, ApiError> {
    let named: Option<BTreeSet<&String>> = body.object_ids.as_ref().map(|ids| ids.iter().collect());
    let filter = body
        .source_filters
        .as_ref()
        .map(|SentFilter(filter)| filter);
    let wanted = Wanted {
        limit: BATCH_OBJECTS_PER_REQUEST_MAX as u64,
        offset: 0,
        cursor: None,
        include_total: false,
        search: None,
    };
    let found = scan(state, bucket, &wanted, |object| {
        let is_named = named
            .as_ref()
            .is_none_or(|named| named.iter().any(|id| **id == *object.object_id.as_str()));
        let filters = [filter, collection.source_filter.as_ref()];
        let mut filters = filters.into_iter().flatten();
        is_named && filters.all(|filter| filter.matches(&object.searchable()))
    })
    .await?;
    if found.next.is_some() {
        let message = format!(
            "more than {BATCH_OBJECTS_PER_REQUEST_MAX} objects of a bucket match; narrow them with `source_filters`"
        );
        return Err(ApiError::invalid(&["source_filters"], message));
    }
    Ok(found
        .records
        .into_iter()
        .map(|object| object.object_id)
        .collect())
}

async fn submit(
    state: &ApiState,
    tenant: &Tenant,
    record: &CollectionRecord,
    (bucket, objects, strategy): (BucketRecord, Vec<ObjectId>, DedupStrategy),
    answer: &mut TriggerCollectionResponse,
) -> Result<(), ApiError> {
    let id = BatchId::from_entropy(state.id_bits());
    let batch = BatchRecord {
        batch_name: Some(format!("trigger of {}", record.collection_name)),
        collection_ids: vec![record.collection_id.clone()],
        dedup_strategy: strategy.as_str().to_owned(),
        created_by: Some(tenant.key.key_id.clone()),
        object_count: objects.len() as u64,
        ..BatchRecord::draft(&bucket, id, state.now())
    };
    let control = state.control();
    control.store().insert_batch(&batch, &objects).await?;
    let submitted = control
        .submit(
            &batch.namespace_id,
            &batch.batch_id,
            &SubmitOptions::forced(),
        )
        .await;
    let (batch, run) = submitted
        .map_err(|error| ApiError::from(error).with("batch_id", batch.batch_id.as_str()))?;
    answer.batch_ids.push(batch.batch_id.to_string());
    answer
        .task_ids
        .extend(batch.task_id.map(|id| id.to_string()));
    answer.source_bucket_ids.push(bucket.bucket_id.to_string());
    answer.object_count += objects.len() as u64;
    answer.total_tiers = answer.total_tiers.max(run.tiers.len() as u64);
    Ok(())
}
