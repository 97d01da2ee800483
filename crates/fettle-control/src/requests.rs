//! What users ask of a batch: submit, cancel, retry.

use std::collections::{BTreeMap, BTreeSet};

use fettle_core::plan::{PlannedCollection, plan_tiers};
use fettle_core::{Batch, BatchPlan, Event, Overrides, Scope};
use fettle_model::{BatchId, CollectionId, JobId, NamespaceId, Resources, TaskId};
use fettle_ports::{BatchRecord, CollectionRecord, CollectionSource, Page, StoreExt, TaskRecord};
use tokio::sync::oneshot;

use crate::control::Control;
use crate::error::RequestError;
use crate::orchestrator::{Message, send, tell};
use crate::spec;

/// Collections are read this many at a time.
const COLLECTIONS_PAGE: u64 = 500;

impl Control {
    /// Plans the tiers, makes the index spaces and the task, and commits.
    pub async fn submit(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
        overrides: &BTreeMap<u32, Overrides>,
    ) -> Result<(BatchRecord, Batch), RequestError> {
        let found = self.store().get_batch(Some(namespace), id).await?;
        let (mut record, state) = found.ok_or_else(|| RequestError::no_batch(id))?;
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
        let collections = self.collections_of(&record).await?;
        let plan = self.plan(&record, &collections, overrides)?;
        self.ensure_spaces(&plan, &collections).await?;
        let (batch, effects) = plan.submit(self.clock().now());
        self.make_task(&mut record).await?;
        let (reply, answer) = oneshot::channel();
        let message = Message::Submitted {
            batch: Box::new(batch),
            effects,
            reply,
        };
        let batch = send(&self.shared, message, answer).await?;
        Ok((record, Batch::clone(&batch)))
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

    async fn make_task(&self, record: &mut BatchRecord) -> Result<(), RequestError> {
        let task = TaskRecord {
            namespace_id: record.namespace_id.clone(),
            task_id: TaskId::from_entropy(self.entropy().bytes15()),
            task_type: "api_buckets_batches_process".to_owned(),
            batch_id: record.batch_id.clone(),
            created_at: self.clock().now(),
        };
        self.store().insert(&task).await?;
        record.task_id = Some(task.task_id);
        record.updated_at = self.clock().now();
        Ok(self.store().update_batch(record).await?)
    }

    /// The collections that the batch feeds: those that hang off its bucket, or the chosen ones of them.
    async fn collections_of(
        &self,
        record: &BatchRecord,
    ) -> Result<BTreeMap<CollectionId, CollectionRecord>, RequestError> {
        let mut all = Vec::new();
        let mut page = Page {
            limit: COLLECTIONS_PAGE,
            ..Page::default()
        };
        loop {
            let (rows, _) = self
                .store()
                .list::<CollectionRecord>(Some(&record.namespace_id), None, page)
                .await?;
            let Some((last, _)) = rows.last() else { break };
            page.after = Some(*last);
            all.extend(rows.into_iter().map(|(_, collection)| collection));
        }
        let chosen: BTreeSet<&CollectionId> = record.collection_ids.iter().collect();
        all.retain(|c| c.enabled && (chosen.is_empty() || chosen.contains(&c.collection_id)));
        let mut fed: BTreeMap<CollectionId, CollectionRecord> = BTreeMap::new();
        loop {
            let next = all.iter().position(|collection| match &collection.source {
                CollectionSource::Bucket { bucket_ids } => bucket_ids.contains(&record.bucket_id),
                CollectionSource::Collection { collection_ids } => {
                    collection_ids.iter().any(|id| fed.contains_key(id))
                }
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
        let count = u32::try_from(tiers.len()).unwrap_or(u32::MAX);
        if let Some(tier) = overrides.keys().find(|tier| **tier >= count) {
            return Err(RequestError::Invalid {
                message: format!(
                    "resources are given for tier {tier}; the batch has {count} tier(s), from 0"
                ),
                field: Some("resources".to_owned()),
            });
        }
        Ok(BatchPlan {
            id: record.batch_id.clone(),
            namespace_id: record.namespace_id.clone(),
            bucket_id: record.bucket_id.clone(),
            tiers,
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
