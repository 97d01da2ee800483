//! Blobs in S3 and in Fettle's own blob store.
//!
//! Owns the connection to each bucket. Endpoint and credentials come from the operator alone, so an address can choose a
//! bucket and a key and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use url::Url;

use super::BLOB_BYTES_MAX;
use super::error::{LoadError, shown};
use crate::served;

/// Tries of one request to S3. More is the batch's business: it knows of back-off and budgets.
const RETRIES_MAX: usize = 3;
/// Time for all tries of one request.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Object stores by bucket.
pub(super) struct Stores {
    s3: AmazonS3Builder,
    buckets: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    base: Base,
}

/// Where the blob store's keys lie.
enum Base {
    /// A folder, or `serve` itself.
    Whole(Arc<dyn ObjectStore>),
    Bucket {
        bucket: String,
        prefix: String,
    },
}

impl Stores {
    pub(super) fn new(
        blob_base: &str,
        token: &str,
        s3: AmazonS3Builder,
    ) -> Result<Self, LoadError> {
        let retry = RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let base = base(blob_base, token)?;
        Ok(Self {
            s3: s3.with_retry(retry),
            buckets: Mutex::default(),
            base,
        })
    }

    /// The object at `s3://bucket/key`.
    pub(super) async fn load_s3(&self, address: &str) -> Result<Bytes, LoadError> {
        let (bucket, key) = split_s3(address)?;
        if key.is_empty() {
            return Err(LoadError::malformed(address, "write it as s3://bucket/key"));
        }
        let store = self.bucket(bucket)?;
        get(store.as_ref(), key, address, None).await
    }

    /// The object at a key of the blob store.
    pub(super) async fn load_key(
        &self,
        key: &str,
        expected_bytes: Option<u64>,
    ) -> Result<Bytes, LoadError> {
        match &self.base {
            Base::Whole(store) => get(store.as_ref(), key, key, expected_bytes).await,
            Base::Bucket { bucket, prefix } => {
                let store = self.bucket(bucket)?;
                // Checked before the prefix is put in front, so that no key leads out of it.
                parse(key, key)?;
                get(
                    store.as_ref(),
                    &format!("{prefix}/{key}"),
                    key,
                    expected_bytes,
                )
                .await
            }
        }
    }

    fn bucket(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>, LoadError> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = buckets.get(bucket) {
            return Ok(Arc::clone(store));
        }
        let built = self.s3.clone().with_bucket_name(bucket).build();
        let store: Arc<dyn ObjectStore> = Arc::new(built.map_err(|error| LoadError::Setup {
            source: error.into(),
        })?);
        buckets.insert(bucket.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

fn base(blob_base: &str, token: &str) -> Result<Base, LoadError> {
    if served::is_served(blob_base) {
        let store = served::open(blob_base, token).map_err(|error| LoadError::Setup {
            source: error.into(),
        })?;
        return Ok(Base::Whole(Arc::new(store)));
    }
    if blob_base.starts_with("s3://") {
        let (bucket, prefix) = split_s3(blob_base)?;
        let prefix = prefix.trim_matches('/').to_owned();
        return Ok(Base::Bucket {
            bucket: bucket.to_owned(),
            prefix,
        });
    }
    let url = Url::parse(blob_base)
        .ok()
        .filter(|url| url.scheme() == "file");
    let path = url.and_then(|url| url.to_file_path().ok()).ok_or_else(|| {
        LoadError::malformed(
            blob_base,
            "the blob store is file:///folder or s3://bucket/prefix",
        )
    })?;
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| LoadError::Setup {
        source: error.into(),
    })?;
    Ok(Base::Whole(Arc::new(store)))
}

fn split_s3(address: &str) -> Result<(&str, &str), LoadError> {
    let rest = address.get("s3://".len()..).unwrap_or_default();
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if bucket.is_empty() || !bucket.bytes().all(plain) {
        return Err(LoadError::malformed(address, "write it as s3://bucket/key"));
    }
    Ok((bucket, key))
}

fn parse(key: &str, address: &str) -> Result<Path, LoadError> {
    let path =
        Path::parse(key).map_err(|error| LoadError::malformed(address, error.to_string()))?;
    if path.as_ref().is_empty() {
        return Err(LoadError::malformed(address, "it names nothing"));
    }
    Ok(path)
}

async fn get(
    store: &dyn ObjectStore,
    key: &str,
    address: &str,
    expected_bytes: Option<u64>,
) -> Result<Bytes, LoadError> {
    let path = parse(key, address)?;
    let found = store
        .get(&path)
        .await
        .map_err(|error| store_error(address, error))?;
    let size = found.meta.size;
    if size > BLOB_BYTES_MAX {
        return Err(LoadError::too_large(address));
    }
    let mut content = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0));
    let mut stream = found.into_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| store_error(address, error))?;
        if content.len() as u64 + piece.len() as u64 > BLOB_BYTES_MAX {
            return Err(LoadError::too_large(address));
        }
        content.extend_from_slice(&piece);
    }
    let found_bytes = content.len() as u64;
    match expected_bytes {
        Some(expected_bytes) if expected_bytes != found_bytes => Err(LoadError::WrongSize {
            address: shown(address),
            expected_bytes,
            found_bytes,
        }),
        _ => Ok(content.freeze()),
    }
}

fn store_error(address: &str, error: object_store::Error) -> LoadError {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => LoadError::missing(address),
        Error::InvalidPath { source } => LoadError::malformed(address, source.to_string()),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            LoadError::denied(address, Some(error.into()))
        }
        other => LoadError::network(address, other),
    }
}
