//! The last good run before a batch, job by job.
//!
//! Owns which run counts as one: the last batch made before it that fed the same collection and is COMPLETED. It must not compare.

use std::collections::BTreeMap;

use fettle_core::{Batch, Job};
use fettle_diagnose::{BatchFacts, GoodRun, JobProfile};
use fettle_model::evidence::NodeEvidence;
use fettle_model::{
    AttemptEvidence, AttemptId, BatchId, BatchStatus, CollectionId, JobId, NamespaceId,
};
use fettle_ports::{BatchFilter, Page};

use crate::control::Control;
use crate::error::RequestError;

/// The evidence of the attempts of a batch.
type Evidence = BTreeMap<AttemptId, AttemptEvidence>;

impl Control {
    /// Everything that the diagnosis of a batch may rest on, with the last good runs of its jobs.
    pub async fn facts_with_last_good(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
    ) -> Result<BatchFacts, RequestError> {
        let mut facts = self.facts(namespace, id).await?;
        let mut found: Vec<(Batch, Evidence)> = Vec::new();
        let mut runs = Vec::new();
        for job in facts.tiers.iter().flat_map(|tier| &tier.jobs) {
            let collections = &job.profile.collection_ids;
            for collection in collections {
                if !found.iter().any(|(good, _)| feeds(good, collection))
                    && let Some(good) = self.last_good(namespace, id, collection).await?
                {
                    found.push(good);
                }
            }
            let of_job = collections.iter().find_map(|collection| {
                let good = found.iter();
                good.filter_map(|(good, evidence)| {
                    good_run(&job.job_id, good, collection, evidence)
                })
                .next()
            });
            runs.extend(of_job);
        }
        facts.last_good = runs;
        Ok(facts)
    }

    async fn last_good(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
        collection: &CollectionId,
    ) -> Result<Option<(Batch, Evidence)>, RequestError> {
        let filter = BatchFilter {
            namespace_id: Some(namespace.clone()),
            status: Some(BatchStatus::Completed),
            collection_id: Some(collection.clone()),
            before: Some(id.clone()),
            ..BatchFilter::default()
        };
        let page = Page {
            limit: 1,
            ..Page::default()
        };
        let (batches, _) = self.store().list_batches(&filter, page).await?;
        let Some(good) = batches.into_iter().find_map(|(_, _, state)| state) else {
            return Ok(None);
        };
        let evidence = self.store().evidence(&good.id).await?;
        let evidence = evidence.into_iter().map(|(id, evidence, _)| (id, evidence));
        Ok(Some((good, evidence.collect())))
    }
}

fn feeds(batch: &Batch, collection: &CollectionId) -> bool {
    batch
        .jobs()
        .any(|(_, job)| job.collection_ids.contains(collection))
}

/// The run of the job of `good` that fed `collection`, as the good one of `job_id`.
fn good_run(
    job_id: &JobId,
    good: &Batch,
    collection: &CollectionId,
    evidence: &Evidence,
) -> Option<GoodRun> {
    let mut jobs = good.jobs().map(|(_, job)| job);
    let same = jobs.find(|job| job.collection_ids.contains(collection))?;
    let last = same.last_attempt();
    Some(GoodRun {
        job_id: job_id.clone(),
        batch_id: good.id.clone(),
        good_job_id: same.id.clone(),
        ended_at: good.ended_at,
        profile: profile(same, last.and_then(|attempt| evidence.get(&attempt.id))),
    })
}

/// What a job runs, on what and where; `evidence` is its last attempt's.
pub(crate) fn profile(job: &Job, evidence: Option<&AttemptEvidence>) -> JobProfile {
    let params = job.last_attempt().map(|attempt| &attempt.params);
    let node: Option<&NodeEvidence> = evidence.and_then(|evidence| evidence.node_facts.as_ref());
    JobProfile {
        extractor: job.extractor.clone(),
        collection_ids: job.collection_ids.clone(),
        rows: job.manifest.as_ref().map(|manifest| manifest.rows),
        sizes: job.manifest.as_ref().and_then(|manifest| manifest.sizes),
        resources: params
            .map_or(&job.resources, |params| &params.resources)
            .clone(),
        node: node.cloned(),
        version: evidence.and_then(|evidence| evidence.version.clone()),
        worker_version: evidence.and_then(|evidence| evidence.worker_version.clone()),
        deployment_mode: params.map(|params| params.deployment_mode.clone()),
        plugin_archives: params.map_or_else(Vec::new, |p| p.plugin_archives.clone()),
        plugin_dependencies: params.map_or_else(Vec::new, |p| p.plugin_dependencies.clone()),
    }
}
