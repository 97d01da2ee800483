//! http(s) blobs, guarded against requests into the private network.
//!
//! Owns the guard: addresses are checked as they are connected to, so a name that changes its address gains nothing, and each
//! redirect is checked like a first address. It must not use a proxy, which would connect on its own account.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;
use reqwest::{Client, Response, redirect};
use thiserror::Error as ThisError;
use url::{Host, Url};

use super::BLOB_BYTES_MAX;
use super::error::{LoadError, shown};
use super::public_address::is_public;

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
    private_hosts: Vec<String>,
    /// Connects to public addresses only.
    guarded: Client,
    /// Connects anywhere; only for hosts that are allowed by name.
    open: Client,
}

impl Http {
    pub(super) fn new(private_hosts: &[String]) -> Result<Self, LoadError> {
        let setup = |error: reqwest::Error| LoadError::Setup {
            source: error.into(),
        };
        Ok(Self {
            private_hosts: private_hosts
                .iter()
                .map(|host| host.to_lowercase())
                .collect(),
            guarded: builder()
                .dns_resolver(PublicResolver)
                .build()
                .map_err(setup)?,
            open: builder().build().map_err(setup)?,
        })
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

    /// The client that may connect to `url`; an address in the place of a name is checked here, since it is never resolved.
    fn client_for(&self, url: &Url) -> Result<&Client, LoadError> {
        let malformed = |reason: &str| LoadError::malformed(url.as_str(), reason);
        if !matches!(url.scheme(), "http" | "https") {
            return Err(malformed("it redirects to something that is not http(s)"));
        }
        let host = url.host().ok_or_else(|| malformed("it has no host"))?;
        if self.is_allowed_by_name(url) {
            return Ok(&self.open);
        }
        let literal = match host {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
            Host::Domain(_) => None,
        };
        match literal {
            Some(ip) if !is_public(ip) => Err(LoadError::PrivateHost {
                host: host.to_string(),
                ip: ip.to_string(),
            }),
            _ => Ok(&self.guarded),
        }
    }

    fn is_allowed_by_name(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default().to_lowercase();
        let port = url.port_or_known_default().unwrap_or_default();
        let with_port = format!("{host}:{port}");
        self.private_hosts
            .iter()
            .any(|allowed| *allowed == host || *allowed == with_port)
    }
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
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
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(private) = error.downcast_ref::<PrivateAddress>() {
            return LoadError::PrivateHost {
                host: private.host.clone(),
                ip: private.address.to_string(),
            };
        }
        cause = error.source();
    }
    LoadError::network(url.as_str(), error.without_url())
}

/// A name that leads to no public address.
#[derive(Debug, ThisError)]
#[error("`{host}` leads to {address}, which is not public")]
struct PrivateAddress {
    host: String,
    address: IpAddr,
}

/// Resolves names like the system does, and keeps the public addresses.
struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let private = found.iter().map(SocketAddr::ip).find(|ip| !is_public(*ip));
            let public: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| is_public(address.ip()))
                .collect();
            match private {
                Some(address) if public.is_empty() => {
                    Err(Box::new(PrivateAddress { host, address }) as _)
                }
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}
