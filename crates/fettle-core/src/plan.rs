//! From collections to tiers: the DAG that a batch runs through.

use std::collections::{BTreeMap, BTreeSet};

use fettle_model::{
    BatchId, BatchStatus, BucketId, CollectionId, ExtractorRef, HealingPolicy, JobId, NamespaceId,
    Resources, RowCounts, UnixMillis, WorkStatus,
};

use crate::batch::{Batch, Job, JobState, Tier, TierSource};
use crate::effect::Effects;
use crate::healing::Budgets;
use crate::step::{Context, begin_tier};
use crate::timeline::TimelineKind;

/// A DAG deeper than this is a mistake; each tier is a whole pass over the data.
pub const TIERS_MAX: usize = 32;

/// What a batch will do.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPlan {
    /// The batch.
    pub id: BatchId,
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// The bucket.
    pub bucket_id: BucketId,
    /// Its tiers, in order.
    pub tiers: Vec<TierPlan>,
    /// What may be done by itself when its work fails.
    pub healing: HealingPolicy,
}

/// What a tier will do.
#[derive(Debug, Clone, PartialEq)]
pub struct TierPlan {
    /// Where its rows come from.
    pub source: TierSource,
    /// Its jobs.
    pub jobs: Vec<JobPlan>,
}

/// What a job will do.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPlan {
    /// Its id.
    pub id: JobId,
    /// What it runs.
    pub extractor: ExtractorRef,
    /// The collections it writes to.
    pub collection_ids: Vec<CollectionId>,
    /// What it may use.
    pub resources: Resources,
}

/// A collection as far as the plan must know it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCollection {
    /// Its id.
    pub id: CollectionId,
    /// Collections it reads; empty when it reads the bucket.
    pub reads: Vec<CollectionId>,
    /// What it runs.
    pub extractor: ExtractorRef,
}

/// Why no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No collection takes rows from the bucket.
    #[error("no enabled collection has this bucket as its source: create one, or enable it")]
    NoCollections,
    /// Collections feed each other in a circle.
    #[error("collections feed each other in a circle: {}", .collections.join(", "))]
    Cycle {
        /// Their ids.
        collections: Vec<String>,
    },
    /// Too many levels.
    #[error("the collections form {tiers} tiers; at most {TIERS_MAX} are allowed")]
    TooDeep {
        /// How many.
        tiers: usize,
    },
}

/// Orders collections into levels: level 0 reads the bucket, a later level only reads levels before it.
///
/// A collection that reads one that is not in `collections` cannot run in this batch and is left out.
pub fn levels(collections: &[PlannedCollection]) -> Result<Vec<Vec<PlannedCollection>>, PlanError> {
    let mut level_of: BTreeMap<&CollectionId, usize> = BTreeMap::new();
    let known: BTreeSet<&CollectionId> = collections.iter().map(|c| &c.id).collect();
    let mut open: Vec<&PlannedCollection> = collections
        .iter()
        .filter(|c| c.reads.iter().all(|r| known.contains(r)))
        .collect();
    while !open.is_empty() {
        let before = open.len();
        open.retain(|collection| {
            let sources: Option<Vec<usize>> = collection
                .reads
                .iter()
                .map(|read| level_of.get(read).copied())
                .collect();
            let Some(sources) = sources else { return true };
            let level = sources.into_iter().max().map_or(0, |deepest| deepest + 1);
            level_of.insert(&collection.id, level);
            false
        });
        if open.len() == before {
            // What reads a collection that was left out is left out too; what is left then is a circle.
            let reachable: BTreeSet<&CollectionId> = open
                .iter()
                .map(|c| &c.id)
                .chain(level_of.keys().copied())
                .collect();
            let dangling = open
                .iter()
                .position(|c| c.reads.iter().any(|r| !reachable.contains(r)));
            match dangling {
                Some(at) => drop(open.remove(at)),
                None => {
                    let collections = open.iter().map(|c| c.id.to_string()).collect();
                    return Err(PlanError::Cycle { collections });
                }
            }
        }
    }
    let depth = level_of.values().max().map_or(0, |deepest| deepest + 1);
    match depth {
        0 => return Err(PlanError::NoCollections),
        tiers if tiers > TIERS_MAX => return Err(PlanError::TooDeep { tiers }),
        _ => {}
    }
    let mut levels = vec![Vec::new(); depth];
    for collection in collections {
        if let Some(level) = level_of.get(&collection.id) {
            levels[*level].push(collection.clone());
        }
    }
    Ok(levels)
}

/// Makes a plan: collections of a level with equal extractors share a job. `new_job` gives ids, `resources` what a job may use.
pub fn plan_tiers(
    collections: &[PlannedCollection],
    mut new_job: impl FnMut() -> JobId,
    resources: impl Fn(u32, &ExtractorRef) -> Resources,
) -> Result<Vec<TierPlan>, PlanError> {
    let levels = levels(collections)?;
    let tiers = levels.into_iter().zip(0_u32..).map(|(level, num)| {
        let reads: BTreeSet<CollectionId> =
            level.iter().flat_map(|c| c.reads.iter().cloned()).collect();
        let source = if reads.is_empty() {
            TierSource::Bucket
        } else {
            TierSource::Collections {
                collection_ids: reads.into_iter().collect(),
            }
        };
        let mut jobs: Vec<JobPlan> = Vec::new();
        for collection in level {
            match jobs
                .iter_mut()
                .find(|job| job.extractor == collection.extractor)
            {
                Some(job) => job.collection_ids.push(collection.id),
                None => jobs.push(JobPlan {
                    id: new_job(),
                    resources: resources(num, &collection.extractor),
                    collection_ids: vec![collection.id],
                    extractor: collection.extractor,
                }),
            }
        }
        TierPlan { source, jobs }
    });
    Ok(tiers.collect())
}

impl BatchPlan {
    /// Makes the batch and begins its first tier.
    pub fn submit(self, now: UnixMillis) -> (Batch, Effects) {
        let tiers = self.tiers.into_iter().zip(0_u32..).map(|(tier, num)| Tier {
            num,
            source: tier.source,
            status: WorkStatus::Pending,
            jobs: tier.jobs.into_iter().map(JobPlan::into_job).collect(),
            started_at: None,
            ended_at: None,
        });
        let mut batch = Batch {
            id: self.id,
            namespace_id: self.namespace_id,
            bucket_id: self.bucket_id,
            status: BatchStatus::Queued,
            tiers: tiers.collect(),
            submitted_at: now,
            started_at: None,
            ended_at: None,
            cancel: None,
            healing: self.healing,
            version: 0,
        };
        let mut context = Context::new(now);
        let tiers = batch.tiers.len();
        context.note(
            TimelineKind::BatchSubmitted,
            format!("submitted with {tiers} tier(s)"),
        );
        begin_tier(&mut batch, 0, &mut context);
        (batch, context.finish())
    }
}

impl JobPlan {
    fn into_job(self) -> Job {
        Job {
            id: self.id,
            extractor: self.extractor,
            collection_ids: self.collection_ids,
            resources: self.resources,
            state: JobState::Pending,
            manifest: None,
            generation: 0,
            dedup: BTreeMap::new(),
            counts: RowCounts::default(),
            attempts: Vec::new(),
            budgets: Budgets::default(),
            remedy: None,
            remedies: 0,
            cancel: None,
            started_at: None,
            ended_at: None,
        }
    }
}
