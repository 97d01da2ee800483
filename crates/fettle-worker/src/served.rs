//! The blob store as `serve` hands it out, for workers on machines that do not see its folder.
//!
//! Owns the connection. A `serve` that is away is waited for, as reports wait for it.

use std::time::Duration;

use object_store::http::{HttpBuilder, HttpStore};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// How long a blob waits for a `serve` that is away; a restart takes seconds, an update of its machine minutes.
const AWAY_MAX: Duration = Duration::from_secs(30 * 60);
/// The longest wait between two tries.
const WAIT_LONGEST: Duration = Duration::from_secs(5);
/// The largest blob through a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Whether `blob_base` is such an address.
pub(crate) fn is_served(blob_base: &str) -> bool {
    blob_base.starts_with("http://") || blob_base.starts_with("https://")
}

/// The store at `blob_base`, opened by the attempt's token.
pub(crate) fn open(blob_base: &str, token: &str) -> object_store::Result<HttpStore> {
    let mut headers = HeaderMap::new();
    if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let options = ClientOptions::new()
        .with_allow_http(true)
        .with_default_headers(headers)
        .with_timeout(REQUEST_TIMEOUT);
    let retry = RetryConfig {
        backoff: BackoffConfig {
            max_backoff: WAIT_LONGEST,
            ..BackoffConfig::default()
        },
        max_retries: usize::MAX,
        retry_timeout: AWAY_MAX,
    };
    HttpBuilder::new()
        .with_url(blob_base)
        .with_client_options(options)
        .with_retry(retry)
        .build()
}
