//! What users ask of a batch: submit, cancel, retry.

use std::collections::{BTreeMap, BTreeSet};

use fettle_core::plan::{PlannedCollection, plan_tiers};
use fettle_core::{Batch, BatchPlan, Event, Overrides, PlanError, Scope};
use fettle_model::{
    BatchId, BatchStatus, BucketId, CollectionId, HealingPolicy, JobId, NamespaceId, Resources,
    TaskId,
};
use fettle_ports::{
    BatchRecord, CollectionRecord, CollectionSource, StoreExt, Submission, TaskRecord,
};
use tokio::sync::oneshot;

use crate::control::Control;
use crate::error::RequestError;
use crate::orchestrator::{Message, send, tell};
use crate::{policy, spec};

/// How a batch is submitted.
#[derive(Debug, Clone, Default)]
pub struct SubmitOptions {
    /// Resources by tier.
    pub overrides: BTreeMap<u32, Overrides>,
    /// Whether it may bring objects to collections to which a batch in flight brings them, too.
    pub force: bool,
}

impl SubmitOptions {
    /// Whatever else is in flight.
    #[must_use]
    pub fn forced() -> Self {
        Self {
            overrides: BTreeMap::new(),
            force: true,
        }
    }
}

impl Control {
    /// Plans the tiers, makes the index spaces and the task, and commits.
    pub async fn submit(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
        options: &SubmitOptions,
    ) -> Result<(BatchRecord, Batch), RequestError> {
        let found = self.store().get_batch(Some(namespace), id).await?;
        let (mut record, state) = found.ok_or_else(|| RequestError::no_batch(id))?;
        if let Some(held) = state
            .as_ref()
            .filter(|batch| batch.status == BatchStatus::Draft)
        {
            check_tiers(&options.overrides, held.tiers.len())?;
            let fed: Vec<CollectionId> = held
                .jobs()
                .flat_map(|(_, job)| job.collection_ids.iter().cloned())
                .collect();
            self.must_not_overlap(&record, &fed, options).await?;
            let overrides = options.overrides.clone();
            let event = Event::HeldBatchSubmitted { overrides };
            let batch = tell(&self.shared, id, event).await?;
            return Ok((record, Batch::clone(&batch)));
        }
        if let Some(batch) = state {
            let present = format!("the batch is {}", batch.status.as_str());
            return Err(RequestError::NotPossible {
                what: "submitting the batch",
                present,
            });
        }
        if record.object_count == 0 {
            return Err(RequestError::NotPossible {
                what: "submitting the batch",
                present: "it has no objects; add some first".to_owned(),
            });
        }
        let collections = self
            .collections_of(
                &record.namespace_id,
                &record.bucket_id,
                &record.collection_ids,
            )
            .await?;
        let mut plan = self.plan(&record, &collections, &options.overrides)?;
        plan.healing = policy::of(&self.shared, &record).await?;
        let fed: Vec<CollectionId> = collections.keys().cloned().collect();
        self.must_not_overlap(&record, &fed, options).await?;
        self.ensure_spaces(&plan, &collections).await?;
        let (batch, effects) = plan.submit(self.clock().now());
        let task = self.make_task(&mut record);
        let (reply, answer) = oneshot::channel();
        let message = Message::Submitted {
            batch: Box::new(batch),
            effects,
            submission: Box::new(Submission {
                record: record.clone(),
                task,
            }),
            reply,
        };
        let batch = send(&self.shared, message, answer).await?;
        Ok((record, Batch::clone(&batch)))
    }

    /// No batch in flight brings one of the same objects to one of the same collections.
    async fn must_not_overlap(
        &self,
        record: &BatchRecord,
        collections: &[CollectionId],
        options: &SubmitOptions,
    ) -> Result<(), RequestError> {
        if options.force {
            return Ok(());
        }
        let other = self
            .store()
            .overlapping_batch(&record.batch_id, collections)
            .await?;
        match other {
            None => Ok(()),
            Some(other) => Err(RequestError::NotPossible {
                what: "submitting the batch",
                present: format!(
                    "batch {other} is bringing objects of it to the same collections; wait for its end, or send force=true"
                ),
            }),
        }
    }

    /// What a batch would run if it were submitted now.
    pub async fn preview(&self, record: &BatchRecord) -> Result<BatchPlan, RequestError> {
        let collections = self
            .collections_of(
                &record.namespace_id,
                &record.bucket_id,
                &record.collection_ids,
            )
            .await?;
        self.plan(record, &collections, &BTreeMap::new())
    }

    /// Ends a batch, a tier or a job.
    pub async fn cancel(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
        scope: Scope,
        reason: Option<String>,
    ) -> Result<Batch, RequestError> {
        self.own(namespace, id).await?;
        let event = Event::CancelRequested { scope, reason };
        tell(&self.shared, id, event)
            .await
            .map(|batch| Batch::clone(&batch))
    }

    /// Tries unfinished and failed rows of a tier again, with other resources if asked.
    pub async fn retry_tier(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
        tier_num: u32,
        overrides: Overrides,
    ) -> Result<Batch, RequestError> {
        self.own(namespace, id).await?;
        policy::put_in_force(&self.shared, id).await?;
        let event = Event::RetryRequested {
            tier_num,
            overrides,
        };
        tell(&self.shared, id, event)
            .await
            .map(|batch| Batch::clone(&batch))
    }

    /// The batch is this tenant's.
    pub(crate) async fn own(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
    ) -> Result<(BatchRecord, Option<Batch>), RequestError> {
        let found = self.store().get_batch(Some(namespace), id).await?;
        found.ok_or_else(|| RequestError::no_batch(id))
    }

    /// The task that stands for the batch from now on.
    fn make_task(&self, record: &mut BatchRecord) -> TaskRecord {
        let task = TaskRecord {
            namespace_id: record.namespace_id.clone(),
            task_id: TaskId::from_entropy(self.entropy().bytes15()),
            task_type: "api_buckets_batches_process".to_owned(),
            batch_id: record.batch_id.clone(),
            created_at: self.clock().now(),
        };
        record.task_id = Some(task.task_id.clone());
        record.updated_at = self.clock().now();
        task
    }

    /// A batch of the bucket would feed a collection, one of the chosen ones where there are any.
    pub async fn must_feed(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        chosen: &[CollectionId],
    ) -> Result<(), RequestError> {
        if self
            .collections_of(namespace, bucket, chosen)
            .await?
            .is_empty()
        {
            return Err(PlanError::NoCollections.into());
        }
        Ok(())
    }

    /// The collections that the batch feeds: those that hang off its bucket, or the chosen ones of them.
    async fn collections_of(
        &self,
        namespace: &NamespaceId,
        bucket: &BucketId,
        chosen: &[CollectionId],
    ) -> Result<BTreeMap<CollectionId, CollectionRecord>, RequestError> {
        let mut all: Vec<CollectionRecord> = self.store().list_all(namespace).await?;
        let chosen: BTreeSet<&CollectionId> = chosen.iter().collect();
        all.retain(|c| c.enabled && (chosen.is_empty() || chosen.contains(&c.collection_id)));
        let mut fed: BTreeMap<CollectionId, CollectionRecord> = BTreeMap::new();
        loop {
            let next = all.iter().position(|collection| {
                collection.reads_bucket(bucket) || fed.keys().any(|id| collection.reads(id))
            });
            let Some(next) = next else { break };
            let collection = all.swap_remove(next);
            fed.insert(collection.collection_id.clone(), collection);
        }
        Ok(fed)
    }

    fn plan(
        &self,
        record: &BatchRecord,
        collections: &BTreeMap<CollectionId, CollectionRecord>,
        overrides: &BTreeMap<u32, Overrides>,
    ) -> Result<BatchPlan, RequestError> {
        let planned: Vec<PlannedCollection> = collections
            .values()
            .map(|collection| PlannedCollection {
                id: collection.collection_id.clone(),
                reads: reads(collection, collections),
                extractor: collection.extractor.clone(),
            })
            .collect();
        let standard = &self.config().default_resources;
        let resources = |tier: u32, _: &_| overridden(standard, overrides.get(&tier));
        let new_job = || JobId::from_entropy(self.entropy().bytes15());
        let tiers = plan_tiers(&planned, new_job, resources)?;
        check_tiers(overrides, tiers.len())?;
        Ok(BatchPlan {
            id: record.batch_id.clone(),
            namespace_id: record.namespace_id.clone(),
            bucket_id: record.bucket_id.clone(),
            tiers,
            healing: HealingPolicy::default(),
        })
    }

    async fn ensure_spaces(
        &self,
        plan: &BatchPlan,
        collections: &BTreeMap<CollectionId, CollectionRecord>,
    ) -> Result<(), RequestError> {
        for collection in collections.values() {
            let namespace = &plan.namespace_id;
            let vectors = spec::vectors(&self.shared, namespace, &collection.extractor).await?;
            self.index()
                .ensure(namespace, &collection.collection_id, &vectors)
                .await?;
        }
        Ok(())
    }
}

/// Resources are only given for tiers that there are.
fn check_tiers(overrides: &BTreeMap<u32, Overrides>, count: usize) -> Result<(), RequestError> {
    let is_there = |tier: u32| usize::try_from(tier).is_ok_and(|tier| tier < count);
    match overrides.keys().find(|tier| !is_there(**tier)) {
        None => Ok(()),
        Some(tier) => Err(RequestError::Invalid {
            message: format!(
                "resources are given for tier {tier}; the batch has {count} tier(s), from 0"
            ),
            field: Some("resources".to_owned()),
        }),
    }
}

/// The collections of this batch that a collection reads; what else it reads is not fed now.
fn reads(
    collection: &CollectionRecord,
    fed: &BTreeMap<CollectionId, CollectionRecord>,
) -> Vec<CollectionId> {
    match &collection.source {
        CollectionSource::Bucket { .. } => Vec::new(),
        CollectionSource::Collection { collection_ids } => collection_ids
            .iter()
            .filter(|id| fed.contains_key(*id))
            .cloned()
            .collect(),
    }
}

fn overridden(standard: &Resources, overrides: Option<&Overrides>) -> Resources {
    let mut resources = standard.clone();
    if let Some(overrides) = overrides {
        overrides.apply(&mut resources);
    }
    resources
}
