//! Clients that connect to public addresses only, but for hosts that are allowed by name.
//!
//! Addresses are checked as they are connected to, so a name that changes its address gains nothing. No client follows
//! redirects (each would be a new address to check) or uses a proxy, which would connect on its own account.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, redirect};
use thiserror::Error as ThisError;
use url::{Host, Url};

use crate::public_address::is_public;

/// Chooses the client that may connect to an address.
#[derive(Debug)]
pub struct Guard {
    /// `host` or `host:port`.
    allowed: Vec<String>,
    guarded: Client,
    /// Connects anywhere; only for hosts that are allowed by name.
    open: Client,
}

/// Why an address is not connected to.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum Refused {
    /// Another scheme.
    #[error("the address is not http(s)")]
    NotHttp,
    /// Nothing to connect to.
    #[error("the address has no host")]
    NoHost,
    /// A private one.
    #[error(transparent)]
    Private(#[from] PrivateAddress),
}

/// A host that leads to no public address.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("`{host}` leads to {address}, which is not public")]
pub struct PrivateAddress {
    /// As it stands in the address.
    pub host: String,
    /// Where it leads.
    pub address: IpAddr,
}

impl Guard {
    /// A guard that lets through to private addresses only what is `allowed` (`host` or `host:port`); `settings` gives what
    /// else a client is to do.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        allowed: &[String],
        settings: impl Fn() -> ClientBuilder,
    ) -> Result<Self, reqwest::Error> {
        let client = || settings().no_proxy().redirect(redirect::Policy::none());
        Ok(Self {
            allowed: allowed.to_vec(),
            guarded: client().dns_resolver(PublicResolver).build()?,
            open: client().build()?,
        })
    }

    /// The client for `url`. An address in the place of a name is checked here, since it is never resolved; a name is
    /// checked by the client as it connects.
    ///
    /// # Errors
    /// When nothing may connect to it.
    pub fn client_for(&self, url: &Url) -> Result<&Client, Refused> {
        if is_allowed(url, &self.allowed) {
            return checked_scheme(url).map(|()| &self.open);
        }
        check(url, &self.allowed).map(|()| &self.guarded)
    }
}

/// Whether anything may connect to `url`, as far as it shows without resolving its name; `allowed` as for [`Guard::new`].
///
/// # Errors
/// With the reason why not.
pub fn check(url: &Url, allowed: &[String]) -> Result<(), Refused> {
    checked_scheme(url)?;
    if is_allowed(url, allowed) {
        return Ok(());
    }
    let host = url.host().ok_or(Refused::NoHost)?;
    let literal = match host {
        Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        Host::Domain(_) => None,
    };
    match literal {
        Some(address) if !is_public(address) => Err(PrivateAddress {
            host: host.to_string(),
            address,
        }
        .into()),
        _ => Ok(()),
    }
}

fn checked_scheme(url: &Url) -> Result<(), Refused> {
    if matches!(url.scheme(), "http" | "https") {
        Ok(())
    } else {
        Err(Refused::NotHttp)
    }
}

fn is_allowed(url: &Url, allowed: &[String]) -> bool {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let with_port = format!("{host}:{port}");
    allowed.iter().any(|allowed| {
        allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(&with_port)
    })
}

impl PrivateAddress {
    /// The private address that kept a request from connecting, if that is what `error` comes from.
    #[must_use]
    pub fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(private) = error.downcast_ref::<Self>() {
                return Some(private);
            }
            cause = error.source();
        }
        None
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str]) -> Guard {
        let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
        Guard::new(&allowed, Client::builder).unwrap()
    }

    #[track_caller]
    fn check(allowed: &[&str], address: &str, may: bool) {
        let guard = guard(allowed);
        let found = guard.client_for(&Url::parse(address).unwrap());
        assert_eq!(found.is_ok(), may, "{address}: {found:?}");
    }

    #[test]
    fn a_private_address_needs_to_be_allowed_by_name() {
        check(&[], "http://8.8.8.8/", true);
        check(&[], "http://127.0.0.1/", false);
        check(&[], "http://2130706433/", false);
        check(&[], "http://0x7f.1/", false);
        check(&[], "http://[::ffff:127.0.0.1]/", false);
        check(&[], "http://169.254.169.254/latest", false);
        check(&[], "ftp://8.8.8.8/", false);
        check(&["127.0.0.1:80"], "http://127.0.0.1/", true);
        check(&["127.0.0.1:81"], "http://127.0.0.1/", false);
        check(&["127.0.0.1"], "http://127.0.0.1:9000/", true);
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
        let guard = guard(&[]);
        let url = Url::parse("http://localhost:1/").unwrap();
        let sent = guard.client_for(&url).unwrap().get(url).send().await;
        let error = sent.unwrap_err();
        let private = PrivateAddress::behind(&error).expect("refused before it connected");
        assert_eq!(private.host, "localhost");
    }
}
