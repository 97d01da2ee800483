//! Loads blobs: from files, http(s), S3 and Fettle's own blob store.
//!
//! Owns the rules what may be read for a user: files only below the allowed folders, hosts only with public addresses unless
//! they are allowed by name. It must not write, and must not look into what it loads.

mod error;
mod file;
mod http;
mod store;

use bytes::Bytes;
use fettle_model::attempt::AccessPolicy;
use object_store::aws::AmazonS3Builder;

pub use error::LoadError;

/// Largest blob that is loaded, in bytes. A worker holds a few blobs at once, and extractors need several times a blob's
/// size; this keeps that within the gigabytes that a worker usually has.
pub const BLOB_BYTES_MAX: u64 = 256 << 20;

/// A blob to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRef {
    /// `file://…`, `http(s)://…`, `s3://bucket/key`, or a key of the blob store.
    pub address: String,
    /// Its size where it is known, so that a blob that is too large is refused before it is fetched, and a store's object
    /// that is cut short is noticed.
    pub expected_bytes: Option<u64>,
}

/// Loads blobs for one attempt; cheap to share by reference.
pub struct BlobLoader {
    files: file::Files,
    http: http::Http,
    stores: store::Stores,
}

impl BlobLoader {
    /// A loader under `access`; `blob_base` is the base of the blob store: `file:///…`, `s3://bucket/prefix`, or an address of `serve`,
    /// which `token` opens. S3 credentials and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, …).
    ///
    /// # Errors
    /// When `blob_base` has another form or TLS cannot be set up.
    pub fn new(access: &AccessPolicy, blob_base: &str, token: &str) -> Result<Self, LoadError> {
        Self::with_s3(access, blob_base, token, AmazonS3Builder::from_env())
    }

    /// A loader with explicit S3 settings; the bucket is set for each address.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_s3(
        access: &AccessPolicy,
        blob_base: &str,
        token: &str,
        s3: AmazonS3Builder,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            files: file::Files::new(&access.file_roots),
            http: http::Http::new(&access.private_hosts)?,
            stores: store::Stores::new(blob_base, token, s3)?,
        })
    }

    /// The content of a blob.
    ///
    /// # Errors
    /// When the address is not allowed, the blob is not there, too large, or cannot be read.
    pub async fn load(&self, blob: &BlobRef) -> Result<Bytes, LoadError> {
        let address = blob.address.as_str();
        if blob
            .expected_bytes
            .is_some_and(|size| size > BLOB_BYTES_MAX)
        {
            return Err(LoadError::too_large(address));
        }
        match address.split_once("://") {
            None => self.stores.load_key(address, blob.expected_bytes).await,
            Some((scheme, _)) => match scheme.to_ascii_lowercase().as_str() {
                "file" => self.files.load(address).await,
                "http" | "https" => self.http.load(address).await,
                "s3" => self.stores.load_s3(address).await,
                _ => Err(LoadError::malformed(
                    address,
                    "only file://, http://, https:// and s3:// addresses can be loaded",
                )),
            },
        }
    }
}
