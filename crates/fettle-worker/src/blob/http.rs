//! http(s) blobs, guarded against requests into the private network.
//!
//! Owns redirects, each of which is checked like a first address, and limits. Where it may connect, the guard says.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fettle_outbound::{Guard, PrivateAddress, Refused};
use futures_util::StreamExt;
use reqwest::header::LOCATION;
use reqwest::{Client, Response};
use url::Url;

use super::BLOB_BYTES_MAX;
use super::error::{LoadError, shown};

/// Redirects that are followed: what file hosts use is one or two.
const REDIRECTS_MAX: usize = 5;
/// A server that does not accept a connection for this long is counted as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that sends nothing for this long is counted as gone.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A blob that takes longer than this keeps a worker from its work: [`BLOB_BYTES_MAX`] at under 1 MB/s.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(300);

/// Fetches over HTTP.
pub(super) struct Http {
    guard: Guard,
}

impl Http {
    pub(super) fn new(private_hosts: &[String]) -> Result<Self, LoadError> {
        let guard = Guard::new(private_hosts, builder);
        let guard = guard.map_err(|error| LoadError::Setup {
            source: error.into(),
        })?;
        Ok(Self { guard })
    }

    pub(super) async fn load(&self, address: &str) -> Result<Bytes, LoadError> {
        let response = self.follow(address).await?;
        let status = response.status().as_u16();
        match status {
            200..=299 => body(address, response).await,
            401 | 403 | 407 => Err(LoadError::denied(address, None)),
            404 | 410 => Err(LoadError::missing(address)),
            _ => Err(LoadError::Status {
                address: shown(address),
                status,
            }),
        }
    }

    /// The first answer that is not a redirect.
    async fn follow(&self, address: &str) -> Result<Response, LoadError> {
        let mut url = Url::parse(address)
            .map_err(|error| LoadError::malformed(address, error.to_string()))?;
        for _ in 0..=REDIRECTS_MAX {
            let client = self.client_for(&url)?;
            let sent = client.get(url.clone()).send().await;
            let response = sent.map_err(|error| request_error(&url, error))?;
            let Some(next) = redirect_target(&url, &response)? else {
                return Ok(response);
            };
            url = next;
        }
        Err(LoadError::TooManyRedirects {
            address: shown(address),
            limit: REDIRECTS_MAX,
        })
    }

    fn client_for(&self, url: &Url) -> Result<&Client, LoadError> {
        let malformed = |reason: &str| LoadError::malformed(url.as_str(), reason);
        self.guard.client_for(url).map_err(|refused| match refused {
            Refused::NotHttp => malformed("it redirects to something that is not http(s)"),
            Refused::NoHost => malformed("it has no host"),
            Refused::Private(private) => private_host(&private),
        })
    }
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .user_agent(concat!("fettle/", env!("CARGO_PKG_VERSION")))
}

fn redirect_target(url: &Url, response: &Response) -> Result<Option<Url>, LoadError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| url.join(location).ok());
    let malformed = || {
        LoadError::malformed(
            url.as_str(),
            "it redirects to an address that cannot be read",
        )
    };
    target.ok_or_else(malformed).map(Some)
}

/// The body, as long as it is within the limit, whatever the headers say.
async fn body(address: &str, response: Response) -> Result<Bytes, LoadError> {
    let announced = response.content_length();
    if announced.is_some_and(|length| length > BLOB_BYTES_MAX) {
        return Err(LoadError::too_large(address));
    }
    let mut content = BytesMut::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(0));
    let mut stream = response.bytes_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| LoadError::network(address, error.without_url()))?;
        if content.len() as u64 + piece.len() as u64 > BLOB_BYTES_MAX {
            return Err(LoadError::too_large(address));
        }
        content.extend_from_slice(&piece);
    }
    Ok(content.freeze())
}

/// A request that got no answer. The address is taken out of the library's text, since its query may be a secret.
fn request_error(url: &Url, error: reqwest::Error) -> LoadError {
    match PrivateAddress::behind(&error) {
        Some(private) => private_host(private),
        None => LoadError::network(url.as_str(), error.without_url()),
    }
}

fn private_host(private: &PrivateAddress) -> LoadError {
    LoadError::PrivateHost {
        host: private.host.clone(),
        ip: private.address.to_string(),
    }
}
