//! From an address to an open store.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use super::ObjectBlobs;
use super::key::KeySpace;

/// Tries after a failed S3 request. With the back-off below they take a few seconds in all: long enough for a server that
/// restarts its connections, short enough that the caller hears of an outage.
const RETRIES_MAX: usize = 5;
/// First pause between tries; it doubles.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between tries.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// After this long no further try is begun.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that takes longer is not coming.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest single request: a blob of a gigabyte at 4 MB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Why a blob store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BlobOpenError {
    /// The address has a form that is not known.
    #[error(
        "`{address}` is not the address of a blob store: use file:///absolute/folder or s3://bucket/prefix"
    )]
    BadAddress {
        /// The address.
        address: String,
    },
    /// The prefix has characters that keys must not have.
    #[error(
        "the prefix of `{address}` is not allowed: use segments of [A-Za-z0-9._-] with `/` between them"
    )]
    BadPrefix {
        /// The address.
        address: String,
    },
    /// The folder cannot be made or reached.
    #[error("open the blob folder {}: check that it may be written", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The settings do not fit together.
    #[error("set up `{address}`: check the AWS_* environment variables")]
    Settings {
        /// The address.
        address: String,
        /// What does not fit.
        #[source]
        source: object_store::Error,
    },
}

/// Opens the store at `address`.
pub(super) fn open(
    address: &str,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<ObjectBlobs, BlobOpenError> {
    if let Some(rest) = address.strip_prefix("s3://") {
        return open_s3(address, rest, env);
    }
    let folder = Url::parse(address)
        .ok()
        .filter(|url| url.scheme() == "file" && address.starts_with("file:///"))
        .and_then(|url| url.to_file_path().ok());
    match folder {
        Some(folder) => open_folder(&folder, address),
        None => Err(BlobOpenError::BadAddress {
            address: address.to_owned(),
        }),
    }
}

fn open_folder(folder: &Path, address: &str) -> Result<ObjectBlobs, BlobOpenError> {
    let failed = |source| BlobOpenError::Folder {
        folder: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let folder = std::fs::canonicalize(folder).map_err(failed)?;
    let setting = |source| BlobOpenError::Settings {
        address: address.to_owned(),
        source,
    };
    // A blob is written beside its place, synced, and renamed; `with_fsync` syncs the folders too.
    let store = LocalFileSystem::new_with_prefix(&folder)
        .map_err(setting)?
        .with_fsync(true);
    let url = Url::from_file_path(&folder).map_err(|()| BlobOpenError::BadAddress {
        address: address.to_owned(),
    })?;
    Ok(ObjectBlobs {
        store: Arc::new(store),
        signer: None,
        keys: KeySpace::below("").ok_or_else(|| BlobOpenError::BadPrefix {
            address: address.to_owned(),
        })?,
        address: url.as_str().trim_end_matches('/').to_owned(),
        folder: Some(folder),
    })
}

fn open_s3(
    address: &str,
    rest: &str,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<ObjectBlobs, BlobOpenError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    if bucket.is_empty() {
        return Err(BlobOpenError::BadAddress {
            address: address.to_owned(),
        });
    }
    let keys = KeySpace::below(prefix).ok_or_else(|| BlobOpenError::BadPrefix {
        address: address.to_owned(),
    })?;
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT);
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: BACKOFF_FIRST,
            max_backoff: BACKOFF_MAX,
            ..BackoffConfig::default()
        },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIMEOUT,
    };
    let builder = AmazonS3Builder::new()
        .with_client_options(client)
        .with_retry(retry);
    let store = Arc::new(
        env.into_iter()
            .filter_map(|(name, value)| Some((s3_setting(&name)?, value)))
            .fold(builder, |builder, (key, value)| {
                builder.with_config(key, value)
            })
            .with_bucket_name(bucket)
            .build()
            .map_err(|source| BlobOpenError::Settings {
                address: address.to_owned(),
                source,
            })?,
    );
    Ok(ObjectBlobs {
        store: store.clone(),
        signer: Some(store),
        keys,
        address: format!("s3://{bucket}/{prefix}")
            .trim_end_matches('/')
            .to_owned(),
        folder: None,
    })
}

/// The setting that an environment variable stands for; those that are not of S3 (such as AWS_PROFILE) are passed over.
fn s3_setting(name: &str) -> Option<AmazonS3ConfigKey> {
    let name = name.to_ascii_lowercase();
    name.starts_with("aws_")
        .then(|| AmazonS3ConfigKey::from_str(&name).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(address: &str) -> String {
        open(address, []).unwrap_err().to_string()
    }

    #[test]
    fn an_address_of_another_form_is_refused_with_the_right_form() {
        for bad in [
            "",
            "data",
            "/data",
            "file://data/x",
            "file:data",
            "gs://b/x",
            "s3:///x",
            "s3://",
        ] {
            assert!(
                message(bad).contains("use file:///absolute/folder or s3://bucket/prefix"),
                "{bad}"
            );
        }
        assert!(message("s3://b/a b").contains("prefix"));
        assert!(message("s3://b/../c").contains("prefix"));
    }

    #[test]
    fn an_address_is_given_back_without_a_trailing_slash() {
        let base = |address: &str| open(address, []).unwrap().address;
        assert_eq!(base("s3://b"), "s3://b");
        assert_eq!(base("s3://b/"), "s3://b");
        assert_eq!(base("s3://My_bucket/a/b/"), "s3://My_bucket/a/b");
    }

    #[test]
    fn a_folder_with_blanks_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap().join("with blank");
        let address = format!("file://{}", folder.display());
        let opened = open(&address, []).unwrap();
        assert_eq!(opened.folder.as_deref(), Some(folder.as_path()));
        assert!(folder.is_dir());
        assert!(
            opened.address.ends_with("/with%20blank"),
            "{}",
            opened.address
        );
    }

    #[test]
    fn settings_of_s3_are_known_by_their_environment_names() {
        assert_eq!(
            s3_setting("AWS_ENDPOINT_URL"),
            Some(AmazonS3ConfigKey::Endpoint)
        );
        assert_eq!(
            s3_setting("AWS_ACCESS_KEY_ID"),
            Some(AmazonS3ConfigKey::AccessKeyId)
        );
        assert!(s3_setting("AWS_ALLOW_HTTP").is_some());
        assert_eq!(s3_setting("HOME"), None);
    }
}
