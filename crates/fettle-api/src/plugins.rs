//! Plugins: registered as a zip archive, listed, shown.
//!
//! Owns the order of a registration: checked, unpacked, its environment made, its archive kept, its record last. It must
//! not run anything of a plugin; installing its requirements is the plugin room's.

use std::path::PathBuf;

use aide::axum::ApiRouter;
use aide::axum::routing::get;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use fettle_model::catalogue;
use fettle_model::extractor::PluginSource;
use fettle_model::{NamespaceId, PluginId};
use fettle_plugin::archive::ARCHIVE_BYTES_MAX;
use fettle_plugin::{Archive, EnvironmentError, PluginManifest, prepare_environment};
use fettle_ports::{PluginRecord, StoreExt};
use fettle_wire::extractor::PluginResponse;
use fettle_wire::page::{ListResponse, PageQuery};
use serde_json::json;

use crate::body::{InPath, Params};
use crate::error::ApiError;
use crate::lookup::find;
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted};
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route("/collections/features/plugins", get(list).post(register))
        .api_route("/collections/features/plugins/{plugin}", get(read))
        .api_route("/plugins", get(list).post(register))
        .api_route("/plugins/{plugin}", get(read))
        .layer(DefaultBodyLimit::max(ARCHIVE_BYTES_MAX))
}

async fn register(
    State(state): State<ApiState>,
    tenant: Tenant,
    archive: Bytes,
) -> Result<Json<PluginResponse>, ApiError> {
    let folder = state.control().config().data_dir.join("plugins");
    let bytes = archive.clone();
    // Reading and unpacking is disk and processor work that must not hold up other requests.
    let unpacked = tokio::task::spawn_blocking(move || unpack(&bytes, folder)).await;
    let (manifest, source) = unpacked.map_err(ApiError::internal)??;
    is_free(&state, &tenant.namespace_id, &manifest).await?;
    let (directory, requirements) = (
        PathBuf::from(&source.directory),
        source.requirements.clone(),
    );
    let prepared =
        tokio::task::spawn_blocking(move || prepare_environment(&directory, &requirements)).await;
    prepared
        .map_err(ApiError::internal)?
        .map_err(|error| environment_failed(&error))?;
    let archive_key = format!("plugins/{}.zip", source.archive_hash);
    state.control().blobs().put(&archive_key, archive).await?;
    let record = PluginRecord {
        namespace_id: tenant.namespace_id,
        plugin_id: PluginId::from_entropy(state.id_bits()),
        extractor_id: manifest.extractor_id(),
        description: manifest.description.clone(),
        plugin_name: manifest.name.clone(),
        version: manifest.version.clone(),
        manifest: json!(manifest),
        source,
        archive_key,
        created_at: state.now(),
    };
    state.control().store().insert(&record).await?;
    Ok(Json(view(record)))
}

fn unpack(bytes: &[u8], folder: PathBuf) -> Result<(PluginManifest, PluginSource), ApiError> {
    let refuse = |message: String| ApiError::invalid(&["archive"], message);
    let mut archive = Archive::read(bytes.to_vec()).map_err(|error| refuse(error.to_string()))?;
    let manifest = archive.manifest().clone();
    if catalogue::catalogue()
        .iter()
        .any(|info| info.name == manifest.name)
    {
        return Err(refuse(format!(
            "`{}` is the name of a built-in extractor; choose another",
            manifest.name
        )));
    }
    let hash = archive.hash().to_owned();
    let directory = folder.join(&hash);
    std::fs::create_dir_all(&folder).map_err(ApiError::internal)?;
    archive.unpack(&directory).map_err(ApiError::internal)?;
    let source = PluginSource {
        directory: directory.display().to_string(),
        archive_hash: hash,
        requirements: manifest.requirements.clone(),
    };
    Ok((manifest, source))
}

/// A version is registered once: what ran must stay what it was.
async fn is_free(
    state: &ApiState,
    namespace: &NamespaceId,
    manifest: &PluginManifest,
) -> Result<(), ApiError> {
    let id = manifest.extractor_id();
    let taken: Option<PluginRecord> = state.control().store().find(Some(namespace), &id).await?;
    taken.map_or(Ok(()), |_| {
        Err(ApiError::exists("plugin", &id).with("hint", "raise the version in the manifest"))
    })
}

fn environment_failed(error: &EnvironmentError) -> ApiError {
    ApiError::invalid(
        &["archive", "requirements"],
        format!("the plugin's environment could not be made: {error}"),
    )
}

async fn list(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PageQuery>,
) -> Result<Json<ListResponse<PluginResponse>>, ApiError> {
    let wanted = Wanted::of(PageQuery::default(), query, PAGE_LIMIT_DEFAULT)?;
    let store = state.control().store();
    let (namespace, search) = (Some(&tenant.namespace_id), wanted.search.as_deref());
    let (rows, total) = store
        .list::<PluginRecord>(namespace, search, wanted.store_page()?)
        .await?;
    Ok(Json(wanted.answer(rows, total, view)))
}

async fn read(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(id): InPath<String>,
) -> Result<Json<PluginResponse>, ApiError> {
    find(&state, &tenant.namespace_id, &id)
        .await
        .map(view)
        .map(Json)
}

fn view(record: PluginRecord) -> PluginResponse {
    PluginResponse {
        plugin_id: record.plugin_id.to_string(),
        plugin_name: record.plugin_name,
        version: record.version,
        feature_extractor_id: record.extractor_id,
        description: record.description,
        manifest: record.manifest,
        archive_hash: record.source.archive_hash,
        requirements: record.source.requirements,
        created_at: record.created_at.into(),
    }
}
