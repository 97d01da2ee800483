//! The extractor of a new collection: found, its parameters completed, its inputs checked.
//!
//! Owns the order of the search: built in first, then the namespace's plugins.

use fettle_model::catalogue::{self, CatalogueError, Resolved};
use fettle_model::{ExtractorRef, NamespaceId};
use fettle_plugin::PluginManifest;
use fettle_ports::{PluginRecord, StoreExt, VectorSpec};
use serde_json::{Map, Value};

use super::view;
use crate::error::ApiError;
use crate::state::ApiState;

/// Checks the extractor. Its parameters are completed, so that later defaults do not change them.
pub(super) async fn checked(
    state: &ApiState,
    namespace: &NamespaceId,
    reference: ExtractorRef,
    input_mappings: &Map<String, Value>,
) -> Result<(ExtractorRef, Vec<VectorSpec>), ApiError> {
    let model_present = state.control().config().model_dir.is_some();
    let keys: Vec<&str> = input_mappings.keys().map(String::as_str).collect();
    let ExtractorRef {
        name,
        version,
        parameters,
    } = &reference;
    match catalogue::resolve(name, version, parameters, model_present) {
        Ok(resolved) => {
            // Without mappings the worker takes what fits by type and name.
            if !keys.is_empty() {
                resolved.info.check_inputs(keys).map_err(misfit)?;
            }
            Ok(builtin(reference, resolved))
        }
        Err(
            error @ (CatalogueError::UnknownExtractor { .. }
            | CatalogueError::UnknownVersion { .. }),
        ) => {
            let id = reference.id();
            let found: Option<PluginRecord> =
                state.control().store().find(Some(namespace), &id).await?;
            plugin(reference, &found.ok_or_else(|| misfit(error))?, &keys)
        }
        Err(error) => Err(misfit(error)),
    }
}

fn builtin(reference: ExtractorRef, resolved: Resolved) -> (ExtractorRef, Vec<VectorSpec>) {
    let vectors = resolved.vectors.iter().map(|info| VectorSpec {
        name: info.name.to_owned(),
        dimensions: info.dimensions,
    });
    let vectors = vectors.collect();
    (
        ExtractorRef {
            parameters: resolved.pinned,
            ..reference
        },
        vectors,
    )
}

fn plugin(
    reference: ExtractorRef,
    record: &PluginRecord,
    keys: &[&str],
) -> Result<(ExtractorRef, Vec<VectorSpec>), ApiError> {
    let manifest: PluginManifest =
        serde_json::from_value(record.manifest.clone()).map_err(ApiError::internal)?;
    let refuse =
        |field: &str, message: String| ApiError::invalid(&["feature_extractor", field], message);
    let parameters = manifest
        .parameters
        .complete(&reference.parameters)
        .map_err(|error| refuse("parameters", error.to_string()))?;
    let known = || {
        manifest
            .inputs
            .iter()
            .map(|input| input.key.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let is_known = |key: &&&str| manifest.inputs.iter().any(|input| input.key == **key);
    if let Some(unknown) = keys.iter().find(|key| !is_known(key)) {
        let message = format!(
            "plugin `{}` has no input `{unknown}`; its inputs are {}",
            record.extractor_id,
            known()
        );
        return Err(refuse("input_mappings", message));
    }
    let needed = manifest
        .inputs
        .iter()
        .find(|input| input.required && !keys.contains(&input.key.as_str()));
    if let Some(needed) = needed {
        let message = format!(
            "plugin `{}` needs its input `{}`; map a source field to it",
            record.extractor_id, needed.key
        );
        return Err(refuse("input_mappings", message));
    }
    let vectors = view::plugin_vectors(record)?;
    Ok((
        ExtractorRef {
            parameters,
            ..reference
        },
        vectors,
    ))
}

fn misfit(error: CatalogueError) -> ApiError {
    let field = match &error {
        CatalogueError::UnknownExtractor { .. } => "feature_extractor_name",
        CatalogueError::UnknownVersion { .. } => "version",
        CatalogueError::Parameter { .. } | CatalogueError::ModelMissing { .. } => "parameters",
        CatalogueError::UnknownInput { .. } | CatalogueError::MissingInput { .. } => {
            "input_mappings"
        }
    };
    ApiError::invalid(&["feature_extractor", field], error.to_string())
}
