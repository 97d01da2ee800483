//! The blob store: a folder or an S3 bucket, through `object_store`.
//!
//! Owns keys (what they may look like), durability of files, and what a failure means. It must not interpret blobs.

mod address;
mod failure;
mod key;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fettle_ports::{BlobError, BlobMeta, Blobs, Pieces};
use futures_util::{StreamExt, TryStreamExt};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};

pub use self::address::BlobOpenError;
use self::failure::blob_error;
use self::key::KeySpace;

/// Parts in which a blob is written as it comes; S3 takes none below 5 MiB but the last.
const PART_BYTES: usize = 8 << 20;
/// Parts of one blob that are on their way to the store at a time; what comes faster waits.
const PARTS_IN_FLIGHT_MAX: usize = 2;

/// Blobs in a folder (`file:///…`) or a bucket (`s3://bucket/prefix`).
#[derive(Debug)]
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    /// Signs addresses for clients, where they can reach the store.
    signer: Option<Arc<dyn Signer>>,
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
        let put = self
            .store
            .put(&path, bytes.into())
            .await
            .map_err(|error| blob_error(key, &error))?;
        Ok(BlobMeta {
            key: key.to_owned(),
            size_bytes,
            etag: put.e_tag,
        })
    }

    async fn put_stream(&self, key: &str, mut pieces: Pieces) -> Result<BlobMeta, BlobError> {
        let path = self.keys.path(key)?;
        let failed = |error| blob_error(key, &error);
        let upload = self.store.put_multipart(&path).await.map_err(failed)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut size_bytes = 0;
        while let Some(piece) = pieces.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    writer.abort().await.map_err(failed)?;
                    return Err(error);
                }
            };
            size_bytes += piece.len() as u64;
            writer
                .wait_for_capacity(PARTS_IN_FLIGHT_MAX)
                .await
                .map_err(failed)?;
            writer.put(piece);
        }
        let put = writer.finish().await.map_err(failed)?;
        Ok(BlobMeta {
            key: key.to_owned(),
            size_bytes,
            etag: put.e_tag,
        })
    }

    async fn sign_put(
        &self,
        key: &str,
        content_type: &str,
        expires_in: Duration,
    ) -> Result<Option<String>, BlobError> {
        let path = self.keys.path(key)?;
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        let content_type =
            HeaderValue::from_str(content_type).map_err(|error| BlobError::Unavailable {
                key: key.to_owned(),
                message: error.to_string(),
            })?;
        let options = SignedUrlOptions::default().with_signed_header(CONTENT_TYPE, content_type);
        let signed = signer
            .signed_url_opts(Method::PUT, &path, expires_in, &options)
            .await
            .map_err(|error| blob_error(key, &error))?;
        Ok(Some(signed.into()))
    }

    async fn sign_get(&self, key: &str, expires_in: Duration) -> Result<Option<String>, BlobError> {
        let path = self.keys.path(key)?;
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        let signed = signer.signed_url(Method::GET, &path, expires_in).await;
        let signed = signed.map_err(|error| blob_error(key, &error))?;
        Ok(Some(signed.into()))
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
            etag: meta.e_tag,
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
