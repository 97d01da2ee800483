//! What an attempt's processes find in its folder and in the blob store: spec, token, manifest.
//!
//! Owns the reading. It must not write.

use std::fs::{self, File};
use std::path::PathBuf;

use fettle_client::{AttemptClient, AttemptClientConfig, AttemptError};
use fettle_confine::AttemptDir;
use fettle_manifest::{ManifestError, ManifestReader};
use fettle_model::AttemptSpec;
use thiserror::Error;

use crate::artifacts::folder_of;
use crate::blob::{BlobLoader, BlobRef, LoadError};

/// Why an attempt's files cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FilesError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The spec is not one.
    #[error("{path} is not the spec of an attempt")]
    Spec {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest is not one.
    #[error("the manifest `{key}` cannot be used")]
    Manifest {
        /// Its key.
        key: String,
        /// Why not.
        #[source]
        source: ManifestError,
    },
    /// The manifest cannot be loaded.
    #[error("the manifest cannot be loaded")]
    Load(#[from] LoadError),
    /// The manifest has fewer rows than the spec says.
    #[error("the manifest `{key}` has {found} rows instead of {expected}")]
    ManifestLength {
        /// Its key.
        key: String,
        /// Rows that it has.
        found: u64,
        /// Rows that the spec says.
        expected: u64,
    },
    /// No client for `serve`.
    #[error("reports cannot be sent")]
    Client(#[from] AttemptError),
}

/// The attempt's spec.
pub(crate) fn read_spec(dir: &AttemptDir) -> Result<AttemptSpec, FilesError> {
    let path = dir.spec();
    let bytes = fs::read(&path).map_err(|source| FilesError::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| FilesError::Spec { path, source })
}

/// The attempt's token.
pub(crate) fn token(dir: &AttemptDir) -> Result<String, FilesError> {
    let path = dir.token();
    let token = fs::read_to_string(&path).map_err(|source| FilesError::Read { path, source })?;
    Ok(token.trim().to_owned())
}

/// A client that reports with the attempt's token.
pub(crate) fn client(dir: &AttemptDir, spec: &AttemptSpec) -> Result<AttemptClient, FilesError> {
    let config = AttemptClientConfig {
        attempt_id: spec.attempt_id.clone(),
        control_url: spec.control_url.clone(),
        control_url_file: spec.control_url_file.as_ref().map(PathBuf::from),
        token: token(dir)?,
    };
    Ok(AttemptClient::new(config)?)
}

/// The manifest: a file where the blob store is a folder, else loaded once.
pub(crate) async fn manifest(
    spec: &AttemptSpec,
    loader: &BlobLoader,
) -> Result<ManifestReader, FilesError> {
    let key = &spec.manifest.key;
    let unusable = |source| FilesError::Manifest {
        key: key.clone(),
        source,
    };
    let reader = match folder_of(&spec.blob_base) {
        Some(folder) => {
            let path = folder.join(key);
            let file = File::open(&path).map_err(|source| FilesError::Read { path, source })?;
            ManifestReader::open_file(file).map_err(unusable)?
        }
        None => {
            let blob = BlobRef {
                address: key.clone(),
                expected_bytes: None,
            };
            ManifestReader::open(loader.load(&blob).await?).map_err(unusable)?
        }
    };
    let (found, expected) = (reader.rows(), spec.manifest.rows);
    if found < expected {
        return Err(FilesError::ManifestLength {
            key: key.clone(),
            found,
            expected,
        });
    }
    Ok(reader)
}
