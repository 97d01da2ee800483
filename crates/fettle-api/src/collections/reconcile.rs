//! What a collection offers to searches, and its source objects held against its documents.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use fettle_model::{BucketId, CollectionId};
use fettle_ports::{
    BatchFilter, CollectionRecord, CollectionSource, DocumentQuery, IndexError, Page, RowErrorQuery,
};
use fettle_wire::document_change::{
    CollectionFeature, CollectionFeaturesResponse, Discrepancy, FeatureVector,
    ReconciliationReason, ReconciliationResponse,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{feature_uri, vectors_of};
use crate::body::{InPath, Params};
use crate::error::ApiError;
use crate::lookup::{SCAN_PAGE, all, collection};
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Discrepancies that are listed when nobody says otherwise, and at most, as in the contract.
const LIMIT: (u64, u64) = (100, 1000);
/// Batches that are looked at for reasons, newest first; older ones seldom tell more.
const BATCHES_MAX: u64 = 100;
/// Errors of one batch that are looked at for reasons.
const ERRORS_MAX: u64 = 10_000;

pub(super) async fn features(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
) -> Result<Json<CollectionFeaturesResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let (extractor, version) = (&record.extractor.name, &record.extractor.version);
    let vectors = vectors_of(&state, &record).await?;
    let features = vectors
        .into_iter()
        .enumerate()
        .map(|(at, vector)| CollectionFeature {
            feature_address: format!("{extractor}@{version}/{}", vector.name),
            feature_uri: feature_uri(extractor, version, &vector.name),
            feature_extractor_name: extractor.clone(),
            version: version.clone(),
            primary: at == 0,
            vector_index: FeatureVector {
                description: format!("The vector `{}` that {extractor} makes.", vector.name),
                name: vector.name,
                vector_type: "dense".to_owned(),
                dimensions: vector.dimensions,
                distance: "cosine".to_owned(),
                datatype: "float32".to_owned(),
            },
        });
    Ok(Json(CollectionFeaturesResponse {
        features: features.collect(),
    }))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct ReconcileQuery {
    /// How many discrepancies at most.
    limit: Option<u64>,
}

pub(super) async fn reconcile(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<ReconcileQuery>,
) -> Result<Json<ReconciliationResponse>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT.0);
    if !(1..=LIMIT.1).contains(&limit) {
        let message = format!("must be from 1 to {}", LIMIT.1);
        return Err(ApiError::invalid_query("limit", message));
    }
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let (produced, documents) = roots(&state, &record).await?;
    let known = reasons(&state, &record).await?;
    let mut answer = ReconciliationResponse {
        collection_id: record.collection_id.to_string(),
        source_object_count: 0,
        produced_object_count: 0,
        document_count: documents,
        delta: 0,
        discrepancies: Vec::new(),
        discrepancies_truncated: false,
        limit,
    };
    for bucket in buckets(&state, &record).await? {
        compare(&state, &record, &bucket, (&produced, &known), &mut answer).await?;
    }
    answer.discrepancies_truncated = answer.delta > answer.discrepancies.len() as u64;
    Ok(Json(answer))
}

/// The objects that the collection's documents come from, and how many documents there are.
pub(crate) async fn roots(
    state: &ApiState,
    record: &CollectionRecord,
) -> Result<(BTreeSet<String>, u64), ApiError> {
    let (mut roots, mut documents) = (BTreeSet::new(), 0);
    let mut query = DocumentQuery {
        limit: usize::try_from(SCAN_PAGE).unwrap_or(usize::MAX),
        ..DocumentQuery::default()
    };
    loop {
        let index = state.control().index();
        let page = index
            .list(&record.namespace_id, &record.collection_id, &query)
            .await;
        let page = match page {
            Err(IndexError::NoCollection { .. }) => return Ok((roots, 0)),
            other => other?,
        };
        documents += page.documents.len() as u64;
        for document in &page.documents {
            let internal = document.payload.get("_internal");
            let root = internal.and_then(|it| it.pointer("/lineage/root_object_id"));
            roots.extend(root.and_then(|root| root.as_str()).map(str::to_owned));
        }
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok((roots, documents));
        }
    }
}

/// The buckets at the beginning of the collection's sources.
async fn buckets(
    state: &ApiState,
    record: &CollectionRecord,
) -> Result<BTreeSet<BucketId>, ApiError> {
    let collections: Vec<CollectionRecord> = all(state, &record.namespace_id).await?;
    let by_id: BTreeMap<&CollectionId, &CollectionRecord> = collections
        .iter()
        .map(|it| (&it.collection_id, it))
        .collect();
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut open = vec![&record.collection_id];
    while let Some(id) = open.pop() {
        let Some(record) = by_id.get(id).filter(|_| seen.insert(id)) else {
            continue;
        };
        match &record.source {
            CollectionSource::Bucket { bucket_ids } => found.extend(bucket_ids.iter().cloned()),
            CollectionSource::Collection { collection_ids } => open.extend(collection_ids),
        }
    }
    Ok(found)
}

/// What the newest batch that has an object says of it.
struct Known {
    reason: ReconciliationReason,
    error: Option<String>,
    status: String,
}

async fn reasons(
    state: &ApiState,
    record: &CollectionRecord,
) -> Result<BTreeMap<String, Known>, ApiError> {
    let store = state.control().store();
    let filter = BatchFilter {
        namespace_id: Some(record.namespace_id.clone()),
        collection_id: Some(record.collection_id.clone()),
        ..BatchFilter::default()
    };
    let page = Page {
        limit: BATCHES_MAX,
        ..Page::default()
    };
    let mut known = BTreeMap::new();
    for (_, batch, run) in store.list_batches(&filter, page).await?.0 {
        let Some(run) = run else { continue };
        let query = RowErrorQuery {
            limit: ERRORS_MAX,
            ..RowErrorQuery::default()
        };
        let errors = store
            .row_errors(&batch.batch_id, &query)
            .await?
            .0
            .into_iter();
        let errors: BTreeMap<String, String> = errors
            .map(|stored| (stored.error.source_id, stored.error.message))
            .collect();
        let rest = match run.status {
            status if !status.is_terminal() => ReconciliationReason::Processing,
            fettle_model::BatchStatus::Completed
            | fettle_model::BatchStatus::CompletedWithErrors => ReconciliationReason::Skipped,
            _ => ReconciliationReason::Unknown,
        };
        for object in store.batch_objects(&batch.batch_id).await? {
            let error = errors.get(object.as_str()).cloned();
            let reason = match error {
                Some(_) => ReconciliationReason::Failed,
                None => rest,
            };
            let status = run.status.as_str().to_owned();
            known.entry(object.to_string()).or_insert(Known {
                reason,
                error,
                status,
            });
        }
    }
    Ok(known)
}

async fn compare(
    state: &ApiState,
    record: &CollectionRecord,
    bucket: &BucketId,
    (produced, known): (&BTreeSet<String>, &BTreeMap<String, Known>),
    answer: &mut ReconciliationResponse,
) -> Result<(), ApiError> {
    let now = state.now();
    let mut page = Page {
        limit: SCAN_PAGE,
        ..Page::default()
    };
    loop {
        let store = state.control().store();
        let (rows, _) = store
            .list_objects(&record.namespace_id, bucket, page)
            .await?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        page.after = Some(*last);
        for (_, object) in rows {
            answer.source_object_count += 1;
            if produced.contains(object.object_id.as_str()) {
                answer.produced_object_count += 1;
                continue;
            }
            answer.delta += 1;
            if answer.discrepancies.len() as u64 >= answer.limit {
                continue;
            }
            let told = known.get(object.object_id.as_str());
            answer.discrepancies.push(Discrepancy {
                object_id: object.object_id.to_string(),
                bucket_id: bucket.to_string(),
                reason: told.map_or(ReconciliationReason::NoDocument, |told| told.reason),
                error: told.and_then(|told| told.error.clone()),
                status: told.map(|told| told.status.clone()),
                age_seconds: (now.0 - object.created_at.0) as f64 / 1000.0,
            });
        }
    }
}
