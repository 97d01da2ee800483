//! Writing artifacts to the blob store, from where `serve` shows them.
//!
//! Owns the write access of workers. It must not overwrite anything but artifacts: keys come from `compose` alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fettle_client::Backoff;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use thiserror::Error;
use url::Url;

use crate::served;

/// Tries of one artifact: a document without its thumbnail is no reason to hold everything up.
const TRIES_MAX: u32 = 5;
/// The first and the longest wait between tries.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LONGEST: Duration = Duration::from_secs(2);

/// Why artifacts cannot be stored.
#[derive(Debug, Error)]
pub(crate) enum ArtifactError {
    /// The base is of another form.
    #[error("the blob store `{base}` is neither file:///folder nor s3://bucket/prefix")]
    BadBase {
        /// What was given.
        base: String,
    },
    /// The store cannot be reached.
    #[error("the blob store cannot be opened")]
    Open {
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// The key is not a path.
    #[error("`{key}` is not a key of the blob store")]
    BadKey {
        /// What was given.
        key: String,
    },
    /// Writing failed, again and again.
    #[error("writing `{key}` to the blob store failed")]
    Write {
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
}

/// The blob store, for writing.
pub(crate) struct ArtifactStore {
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

impl ArtifactStore {
    /// The store at `blob_base`.
    pub(crate) fn open(blob_base: &str, token: &str) -> Result<Self, ArtifactError> {
        if served::is_served(blob_base) {
            let opened = served::open(blob_base, token);
            let store = Arc::new(opened.map_err(|source| ArtifactError::Open { source })?);
            return Ok(Self {
                store,
                prefix: String::new(),
            });
        }
        if let Some(rest) = blob_base.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let built = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
            let store = Arc::new(built.map_err(|source| ArtifactError::Open { source })?);
            return Ok(Self {
                store,
                prefix: prefix.trim_matches('/').to_owned(),
            });
        }
        let folder = folder_of(blob_base).ok_or_else(|| ArtifactError::BadBase {
            base: blob_base.to_owned(),
        })?;
        let opened = LocalFileSystem::new_with_prefix(folder);
        let store = Arc::new(opened.map_err(|source| ArtifactError::Open { source })?);
        Ok(Self {
            store,
            prefix: String::new(),
        })
    }

    /// Stores `bytes` under `key`, replacing what was there.
    pub(crate) async fn put(&self, key: &str, bytes: &Bytes) -> Result<(), ArtifactError> {
        let whole = if self.prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.prefix)
        };
        let path = Path::parse(&whole).map_err(|_| ArtifactError::BadKey {
            key: key.to_owned(),
        })?;
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LONGEST);
        loop {
            match self.store.put(&path, bytes.clone().into()).await {
                Ok(_) => return Ok(()),
                Err(source) if backoff.tries() + 1 >= TRIES_MAX => {
                    return Err(ArtifactError::Write {
                        key: key.to_owned(),
                        source,
                    });
                }
                Err(_) => tokio::time::sleep(backoff.next_wait()).await,
            }
        }
    }
}

/// The folder of a `file://` base.
pub(crate) fn folder_of(blob_base: &str) -> Option<PathBuf> {
    let url = Url::parse(blob_base)
        .ok()
        .filter(|url| url.scheme() == "file")?;
    url.to_file_path().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_artifact_lands_under_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let base = Url::from_directory_path(folder.path()).unwrap();
        let store = ArtifactStore::open(base.as_str(), "").unwrap();
        store
            .put("artifacts/a/b.jpeg", &Bytes::from_static(b"x"))
            .await
            .unwrap();
        assert_eq!(
            std::fs::read(folder.path().join("artifacts/a/b.jpeg")).unwrap(),
            b"x"
        );
        assert!(store.put("../evil", &Bytes::new()).await.is_err());
        assert!(ArtifactStore::open("ftp://x", "").is_err());
    }
}
