//! What a batch will take, from what like jobs have taken.
//!
//! Owns the estimate and its basis. It must not change the batch.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use fettle_control::HISTORY_DAYS;
use fettle_core::{Batch, TierSource};
use fettle_model::{
    CollectionId, ExtractorRef, HistoryCell, HistoryKey, ObjectId, Sketch, TierKind,
};
use fettle_ports::{BatchRecord, CollectionRecord};
use fettle_wire::performance::{BatchCostEstimate, ContentAmount, Estimate, EstimateBasis};

use super::{At, batch_at};
use crate::body::InPath;
use crate::collections::{roots, vectors_of};
use crate::error::ApiError;
use crate::lookup::collection;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Objects are read this many at a time.
const OBJECTS_PAGE: usize = 500;
/// With fewer attempts an interval says little.
const ATTEMPTS_FOR_INTERVAL: u64 = 5;

pub(super) async fn estimate(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
) -> Result<Json<BatchCostEstimate>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let jobs = jobs(&state, &record, run.as_ref()).await?;
    let objects = state
        .control()
        .store()
        .batch_objects(&record.batch_id)
        .await?;
    let mut sum = Sum::new(record.object_count);
    for job in &jobs {
        let key = HistoryKey::of(&job.extractor, job.tier_kind());
        let cell = state
            .control()
            .history(&tenant.namespace_id, &key, HISTORY_DAYS)
            .await?;
        sum.add(job, &cell);
    }
    let collections: BTreeSet<&CollectionId> =
        jobs.iter().flat_map(|job| &job.collection_ids).collect();
    let mut answer = BatchCostEstimate {
        batch_id: record.batch_id.to_string(),
        dedup_strategy: record.dedup_strategy.clone(),
        collection_ids: collections.iter().map(ToString::to_string).collect(),
        object_count: record.object_count,
        already_extracted_count: 0,
        estimated_credits: 0,
        estimated_repay_credits: 0,
        estimated_usd: None,
        features: Vec::new(),
        extractors: jobs.iter().map(|job| job.extractor.id()).collect(),
        content_summary: content(&state, &record, &objects).await?,
        documents_to_remove: None,
        warnings: sum.warnings,
        estimated_documents: sum.documents,
        estimated_compute_seconds: sum.seconds,
        basis: sum.basis,
    };
    let price = state.control().config().price_per_compute_hour;
    answer.estimated_usd = price
        .zip(answer.estimated_compute_seconds)
        .map(|(price, seconds)| price * seconds.expected / 3600.0);
    if price.is_none() {
        answer.warnings.push(
            "no price is configured (`fettle serve --price-per-compute-hour`), so no money is named"
                .to_owned(),
        );
    }
    for id in collections {
        let target = collection(&state, &tenant.namespace_id, id.as_str()).await?;
        add_target(&state, &target, &jobs, &objects, &mut answer).await?;
    }
    Ok(Json(answer))
}

/// A job that the batch has, or would have.
struct PlannedJob {
    tier_num: u32,
    source: TierSource,
    extractor: ExtractorRef,
    collection_ids: Vec<CollectionId>,
}

impl PlannedJob {
    fn tier_kind(&self) -> TierKind {
        match self.source {
            TierSource::Bucket => TierKind::Objects,
            TierSource::Collections { .. } => TierKind::Documents,
        }
    }
}

async fn jobs(
    state: &ApiState,
    record: &BatchRecord,
    run: Option<&Batch>,
) -> Result<Vec<PlannedJob>, ApiError> {
    if let Some(run) = run {
        let planned = run.tiers.iter().flat_map(|tier| {
            tier.jobs.iter().map(|job| PlannedJob {
                tier_num: tier.num,
                source: tier.source.clone(),
                extractor: job.extractor.clone(),
                collection_ids: job.collection_ids.clone(),
            })
        });
        return Ok(planned.collect());
    }
    let plan = state.control().preview(record).await?;
    let tiers = (0..).zip(plan.tiers);
    let planned = tiers.flat_map(|(tier_num, tier)| {
        tier.jobs.into_iter().map(move |job| PlannedJob {
            tier_num,
            source: tier.source.clone(),
            extractor: job.extractor,
            collection_ids: job.collection_ids,
        })
    });
    Ok(planned.collect())
}

/// Estimates of the jobs, added up tier by tier.
struct Sum {
    objects: u64,
    /// Documents that are expected in each collection.
    by_collection: BTreeMap<CollectionId, f64>,
    documents: Option<Estimate>,
    seconds: Option<Estimate>,
    basis: Vec<EstimateBasis>,
    warnings: Vec<String>,
}

impl Sum {
    fn new(objects: u64) -> Self {
        let nothing = Estimate {
            expected: 0.0,
            low: 0.0,
            high: 0.0,
        };
        Self {
            objects,
            by_collection: BTreeMap::new(),
            documents: Some(nothing),
            seconds: Some(nothing),
            basis: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn add(&mut self, job: &PlannedJob, cell: &HistoryCell) {
        let id = job.extractor.id();
        let rows = self.rows(job);
        self.basis.push(EstimateBasis {
            tier_num: job.tier_num,
            extractor_id: id.clone(),
            expected_rows: rows,
            attempts: cell.attempts,
            rows: cell.rows(),
            days: HISTORY_DAYS,
        });
        let seconds = rows.and_then(|rows| {
            estimate_of(
                &cell.worker_us_per_row,
                cell.worker_ms as f64 * 1e3,
                cell.rows(),
                rows / 1e6,
            )
        });
        let documents = rows.and_then(|rows| {
            let total = cell.documents as f64 * 1e3;
            estimate_of(
                &cell.documents_per_1000_rows,
                total,
                cell.rows(),
                rows / 1e3,
            )
        });
        if let Some(documents) = documents {
            let share = documents.expected / job.collection_ids.len().max(1) as f64;
            for collection in &job.collection_ids {
                self.by_collection.insert(collection.clone(), share);
            }
        }
        self.seconds = self.seconds.zip(seconds).map(|(a, b)| plus(a, b));
        self.documents = self.documents.zip(documents).map(|(a, b)| plus(a, b));
        let attempts = cell.worker_us_per_row.count();
        if rows.is_some() && seconds.is_none() {
            self.warnings.push(format!(
                "{id} has not run with these parameters in the last {HISTORY_DAYS} days, so nothing is estimated for it and what follows it"
            ));
        } else if attempts < ATTEMPTS_FOR_INTERVAL {
            self.warnings.push(format!(
                "the interval of {id} rests on {attempts} attempt(s) only"
            ));
        }
    }

    /// Rows of a job: each of its collections takes every object, or every document of the collections that its tier reads.
    fn rows(&self, job: &PlannedJob) -> Option<f64> {
        let each = match &job.source {
            TierSource::Bucket => self.objects as f64,
            TierSource::Collections { collection_ids } => {
                let known = collection_ids.iter().map(|id| self.by_collection.get(id));
                known.sum::<Option<f64>>()?
            }
        };
        Some(each * job.collection_ids.len() as f64)
    }
}

/// `rows` times what a row took: on average over all rows, and from the tenth to the ninetieth percentile of attempts.
fn estimate_of(by_attempt: &Sketch, total: f64, rows_known: u64, rows: f64) -> Option<Estimate> {
    let expected = total / rows_known.max(1) as f64;
    let at = |share| Some(by_attempt.quantile(share)? as f64);
    Some(Estimate {
        expected: expected * rows,
        low: at(0.1)?.min(expected) * rows,
        high: at(0.9)?.max(expected) * rows,
    })
}

fn plus(a: Estimate, b: Estimate) -> Estimate {
    Estimate {
        expected: a.expected + b.expected,
        low: a.low + b.low,
        high: a.high + b.high,
    }
}

/// Blobs by type.
async fn content(
    state: &ApiState,
    record: &BatchRecord,
    objects: &[ObjectId],
) -> Result<BTreeMap<String, ContentAmount>, ApiError> {
    let store = state.control().store();
    let mut amounts: BTreeMap<String, ContentAmount> = BTreeMap::new();
    for page in objects.chunks(OBJECTS_PAGE) {
        let found = store
            .get_objects(&record.namespace_id, &record.bucket_id, page)
            .await?;
        for blob in found.into_iter().flat_map(|object| object.blobs) {
            let amount = amounts.entry(blob.blob_type).or_default();
            amount.count += 1;
            amount.bytes += blob.size_bytes.unwrap_or(0);
        }
    }
    Ok(amounts)
}

/// Adds a target's vectors, and which of the objects it has documents of.
async fn add_target(
    state: &ApiState,
    target: &CollectionRecord,
    jobs: &[PlannedJob],
    objects: &[ObjectId],
    answer: &mut BatchCostEstimate,
) -> Result<(), ApiError> {
    for vector in vectors_of(state, target).await? {
        if !answer.features.contains(&vector.name) {
            answer.features.push(vector.name);
        }
    }
    let is_first =
        |job: &&PlannedJob| job.tier_num == 0 && job.collection_ids.contains(&target.collection_id);
    if jobs.iter().any(|job| is_first(&job)) {
        let (made, _) = roots(state, target).await?;
        let known = objects.iter().filter(|id| made.contains(id.as_str()));
        let count = known.count() as u64;
        answer.already_extracted_count = answer.already_extracted_count.max(count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(tier_num: u32, source: TierSource, n: u8) -> PlannedJob {
        PlannedJob {
            tier_num,
            source,
            extractor: ExtractorRef {
                name: format!("e{n}"),
                version: "v1".into(),
                parameters: serde_json::Map::new(),
            },
            collection_ids: vec![CollectionId::from_entropy([n; 15])],
        }
    }

    /// Two attempts of 10 rows each that took 1 and 3 seconds and made two documents of each row.
    fn cell() -> HistoryCell {
        HistoryCell {
            attempts: 2,
            rows_processed: 20,
            documents: 40,
            worker_ms: 4_000,
            worker_us_per_row: Sketch::of([100_000, 300_000]),
            documents_per_1000_rows: Sketch::of([2_000, 2_000]),
            ..HistoryCell::default()
        }
    }

    #[test]
    fn a_later_tier_is_estimated_from_the_documents_of_the_one_before() {
        let first = job(0, TierSource::Bucket, 1);
        let source = TierSource::Collections {
            collection_ids: first.collection_ids.clone(),
        };
        let mut sum = Sum::new(100);
        sum.add(&first, &cell());
        let seconds = sum.seconds.unwrap();
        assert!((seconds.expected - 20.0).abs() < 0.1, "{seconds:?}");
        assert!(seconds.low < 11.0 && seconds.high < 21.0, "{seconds:?}");
        sum.add(&job(1, source, 2), &cell());
        let rows: Vec<_> = sum.basis.iter().map(|basis| basis.expected_rows).collect();
        assert_eq!(rows, [Some(100.0), Some(200.0)]);
        assert!((sum.documents.unwrap().expected - 600.0).abs() < 1.0);
        assert_eq!(sum.warnings.len(), 2, "both rest on two attempts");
    }

    #[test]
    fn without_a_history_nothing_is_made_up() {
        let mut sum = Sum::new(100);
        sum.add(&job(0, TierSource::Bucket, 1), &HistoryCell::default());
        assert_eq!((sum.seconds, sum.documents), (None, None));
        assert!(sum.warnings[0].contains("has not run"));
    }
}
