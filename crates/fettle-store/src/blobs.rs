//! The blob store: a folder or an S3 bucket, through `object_store`.
//!
//! Owns keys (what they may look like), durability of files, and what a failure means. It must not interpret blobs.

mod address;
mod failure;
mod key;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fettle_ports::{BlobError, BlobMeta, Blobs};
use futures_util::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

pub use self::address::BlobOpenError;
use self::failure::blob_error;
use self::key::KeySpace;

/// Blobs in a folder (`file:///…`) or a bucket (`s3://bucket/prefix`).
#[derive(Debug)]
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    keys: KeySpace,
    address: String,
    /// The folder of a `file:///…` store.
    folder: Option<PathBuf>,
}

impl ObjectBlobs {
    /// Opens the store at `address`: `file:///folder` (made where it does not exist) or `s3://bucket/prefix`, with endpoint and
    /// credentials from the usual `AWS_*` environment variables.
    ///
    /// # Errors
    /// The address has another form, the folder cannot be made, or the `AWS_*` settings do not fit.
    pub fn open(address: &str) -> Result<Self, BlobOpenError> {
        Self::open_with_env(
            address,
            std::env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            }),
        )
    }

    /// As `open`, with the environment given: names and values; those that do not begin with `AWS_` are passed over.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_with_env(
        address: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BlobOpenError> {
        address::open(address, env)
    }

    /// Removes the empty folders that a deleted prefix leaves, and what a write that was cut off left in them.
    async fn sweep(&self, prefix: &str) {
        let Some(folder) = self.folder.as_ref().map(|folder| folder.join(prefix)) else {
            return;
        };
        let swept = tokio::fs::remove_dir_all(&folder).await;
        if let Err(error) = swept.as_ref()
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, folder = %folder.display(), "a folder of deleted blobs stays");
        }
    }
}

#[async_trait]
impl Blobs for ObjectBlobs {
    fn base_address(&self) -> String {
        self.address.clone()
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<BlobMeta, BlobError> {
        let path = self.keys.path(key)?;
        let size_bytes = bytes.len() as u64;
        self.store
            .put(&path, bytes.into())
            .await
            .map_err(|error| blob_error(key, &error))?;
        Ok(BlobMeta {
            key: key.to_owned(),
            size_bytes,
        })
    }

    async fn get(&self, key: &str) -> Result<Bytes, BlobError> {
        let path = self.keys.path(key)?;
        let failed = |error| blob_error(key, &error);
        self.store
            .get(&path)
            .await
            .map_err(failed)?
            .bytes()
            .await
            .map_err(failed)
    }

    async fn head(&self, key: &str) -> Result<BlobMeta, BlobError> {
        let path = self.keys.path(key)?;
        let meta = self
            .store
            .head(&path)
            .await
            .map_err(|error| blob_error(key, &error))?;
        Ok(BlobMeta {
            key: key.to_owned(),
            size_bytes: meta.size,
        })
    }

    async fn delete(&self, key: &str) -> Result<(), BlobError> {
        let path = self.keys.path(key)?;
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(blob_error(key, &error)),
        }
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<u64, BlobError> {
        let path = self.keys.path(prefix)?;
        let listed = self.store.list(Some(&path)).map_ok(|meta| meta.location);
        let mut results = self.store.delete_stream(listed.boxed());
        let mut deleted = 0;
        while let Some(result) = results.next().await {
            match result {
                Ok(_) => deleted += 1,
                // Somebody else was faster.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(blob_error(prefix, &error)),
            }
        }
        self.sweep(prefix).await;
        Ok(deleted)
    }

    async fn check(&self) -> Result<(), BlobError> {
        let place = self.address.as_str();
        if let Some(folder) = &self.folder {
            // A list of a folder that is gone is empty, not an error.
            let found = tokio::fs::metadata(folder).await;
            return found.map(drop).map_err(|error| BlobError::Unavailable {
                key: place.to_owned(),
                message: error.to_string(),
            });
        }
        let mut listed = self.store.list(self.keys.prefix());
        let first = listed.next().await.transpose();
        first.map(drop).map_err(|error| blob_error(place, &error))
    }
}
