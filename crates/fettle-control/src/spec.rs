//! What an attempt is told, and where its extractor's code is.

use fettle_core::Batch;
use fettle_model::catalogue;
use fettle_model::extractor::PluginSource;
use fettle_model::{
    AttemptId, AttemptSpec, ExtractorRef, ExtractorSource, JobId, NamespaceId, RowNumber,
    RowRanges, TargetCollection,
};
use fettle_ports::{CollectionRecord, PluginRecord, StoreExt, VectorSpec};

use crate::control::Shared;
use crate::error::RequestError;

/// Everything that the attempt's driver needs.
pub(crate) async fn build(
    shared: &Shared,
    batch: &Batch,
    attempt: &AttemptId,
) -> Result<AttemptSpec, RequestError> {
    let no_such = || RequestError::NoSuch {
        kind: "attempt",
        id: attempt.to_string(),
    };
    let (job_id, _) = attempt.split().ok_or_else(no_such)?;
    let (at, job) = batch.job(&job_id).ok_or_else(no_such)?;
    let manifest = job.manifest.clone().ok_or_else(no_such)?;
    let pending = pending(shared, &job_id, manifest.rows).await?;
    let mut targets = Vec::with_capacity(job.collection_ids.len());
    for id in &job.collection_ids {
        targets.push(target(shared, &batch.namespace_id, id.as_str()).await?);
    }
    let config = &shared.config;
    Ok(AttemptSpec {
        attempt_id: attempt.clone(),
        job_id,
        batch_id: batch.id.clone(),
        namespace_id: batch.namespace_id.clone(),
        tier_num: batch.tiers[at].num,
        control_url: config.control_url.clone(),
        control_url_file: config
            .control_url_file
            .as_ref()
            .map(|path| path.display().to_string()),
        blob_base: shared.ports.blobs.base_address(),
        manifest,
        pending,
        extractor_source: source(shared, &batch.namespace_id, &job.extractor).await?,
        extractor: job.extractor.clone(),
        targets,
        resources: job.resources.clone(),
        model_dir: config
            .model_dir
            .as_ref()
            .map(|path| path.display().to_string()),
        access: config.access.clone(),
        row_timeout_ms: config.row_timeout_ms,
    })
}

/// Rows without an outcome.
async fn pending(shared: &Shared, job: &JobId, rows: u64) -> Result<RowRanges, RequestError> {
    let finished = shared.ports.store.finished_rows(job).await?;
    let rows = RowNumber::try_from(rows).unwrap_or(RowNumber::MAX);
    let mut finished = finished.into_iter().peekable();
    Ok(RowRanges::from_sorted(
        (0..rows).filter(|row| finished.next_if_eq(row).is_none()),
    ))
}

async fn target(
    shared: &Shared,
    namespace: &NamespaceId,
    id: &str,
) -> Result<TargetCollection, RequestError> {
    let found = shared
        .ports
        .store
        .find::<CollectionRecord>(Some(namespace), id)
        .await?;
    let collection = found.ok_or_else(|| RequestError::NoSuch {
        kind: "collection",
        id: id.to_owned(),
    })?;
    Ok(TargetCollection {
        collection_id: collection.collection_id,
        collection_name: collection.collection_name,
        input_mappings: collection.input_mappings,
        field_passthrough: collection.field_passthrough,
        include_all_source_fields: collection.include_all_source_fields,
    })
}

/// Where the extractor's code is.
pub(crate) async fn source(
    shared: &Shared,
    namespace: &NamespaceId,
    extractor: &ExtractorRef,
) -> Result<ExtractorSource, RequestError> {
    if catalogue::find(&extractor.name, &extractor.version).is_ok() {
        return Ok(ExtractorSource::Builtin);
    }
    plugin(shared, namespace, extractor)
        .await
        .map(|plugin| ExtractorSource::Plugin(plugin.source))
}

/// Archives and requirements that an attempt ships, for its submission parameters.
pub(crate) fn shipped(source: ExtractorSource) -> (Vec<String>, Vec<String>) {
    match source {
        ExtractorSource::Builtin => (Vec::new(), Vec::new()),
        ExtractorSource::Plugin(PluginSource {
            archive_hash,
            requirements,
            ..
        }) => (vec![format!("{archive_hash}.zip")], requirements),
    }
}

/// The vectors that documents of this extractor have.
pub(crate) async fn vectors(
    shared: &Shared,
    namespace: &NamespaceId,
    extractor: &ExtractorRef,
) -> Result<Vec<VectorSpec>, RequestError> {
    let ExtractorRef {
        name,
        version,
        parameters,
    } = extractor;
    if catalogue::find(name, version).is_err() {
        let plugin = plugin(shared, namespace, extractor).await?;
        return plugin_vectors(&plugin);
    }
    let model_present = shared.config.model_dir.is_some();
    let resolved = catalogue::resolve(name, version, parameters, model_present);
    let resolved = resolved.map_err(|error| RequestError::Invalid {
        message: error.to_string(),
        field: Some("feature_extractor.parameters".to_owned()),
    })?;
    let vector = |info: &&catalogue::VectorInfo| VectorSpec {
        name: info.name.to_owned(),
        dimensions: info.dimensions,
    };
    Ok(resolved.vectors.iter().map(vector).collect())
}

fn plugin_vectors(plugin: &PluginRecord) -> Result<Vec<VectorSpec>, RequestError> {
    let Some(vectors) = plugin
        .manifest
        .get("vectors")
        .filter(|vectors| !vectors.is_null())
    else {
        return Ok(Vec::new());
    };
    serde_json::from_value(vectors.clone()).map_err(|error| RequestError::Invalid {
        message: format!(
            "plugin {} declares vectors that cannot be read: {error}",
            plugin.extractor_id
        ),
        field: None,
    })
}

async fn plugin(
    shared: &Shared,
    namespace: &NamespaceId,
    extractor: &ExtractorRef,
) -> Result<PluginRecord, RequestError> {
    let id = extractor.id();
    let found = shared
        .ports
        .store
        .find::<PluginRecord>(Some(namespace), &id)
        .await?;
    found.ok_or(RequestError::NoSuch {
        kind: "feature extractor",
        id,
    })
}
