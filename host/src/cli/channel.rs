//! The connection of a command to its host: address, proxy and TLS.
//!
//! Invariant: keys and secrets leave this machine only encrypted, unless the user gives
//! `--insecure-http`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::{ClientBuilder, Proxy, Url, redirect};
use tokio_rustls::rustls::RootCertStore;

use super::exit::{Failure, Fault};
use crate::tls;

/// The name of the loopback addresses (RFC 6761, 6.3).
const LOCALHOST: &str = "localhost";

/// Address and proxy of a host; see the module documentation.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) base: Url,
    proxy: Option<Url>,
    allow_plain: bool,
}

impl Channel {
    /// A channel to `host`, through `proxy` if given. Confidential values cross a network unencrypted only
    /// if `allow_plain` is set.
    ///
    /// # Errors
    /// If one of the addresses is invalid.
    pub(super) fn new(host: &str, proxy: Option<&str>, allow_plain: bool) -> Result<Self, Failure> {
        let base = address(host).ok_or_else(|| {
            let message =
                format!("`{host}` is not a host's address: use https://HOST or http://HOST:PORT");
            Fault::Usage.failure(message)
        })?;
        let wrong = |proxy| {
            Fault::Usage
                .failure(format!("`{proxy}` is not a proxy's address: use http://HOST:PORT"))
        };
        let proxy = proxy.map(|proxy| address(proxy).ok_or_else(|| wrong(proxy))).transpose()?;
        Ok(Self { base, proxy, allow_plain })
    }

    /// Checks that `what` can be sent or received without others on the network reading it.
    ///
    /// # Errors
    /// If it would be sent unencrypted.
    pub(super) fn ensure_confidential(&self, what: &str) -> Result<(), Failure> {
        let stays_here = is_loopback(&self.base) && self.proxy.as_ref().is_none_or(is_loopback);
        if self.base.scheme() == "https" || stays_here || self.allow_plain {
            return Ok(());
        }
        let by = if is_loopback(&self.base) { "a proxy" } else { "the network" };
        Err(Fault::Usage.failure(format!(
            "{what} would be sent unencrypted through {by} to {}: use an https:// address, or \
             --insecure-http (JOBWRIGHT_INSECURE_HTTP=true)",
            self.public_address()
        )))
    }

    /// The host's address, without credentials.
    pub(super) fn public_address(&self) -> String {
        let mut address = self.base.clone();
        let _ = address.set_username("");
        let _ = address.set_password(None);
        address.as_str().trim_end_matches('/').to_owned()
    }

    /// The error message for a failed connection.
    pub(super) fn unreachable(&self) -> String {
        let by = self.proxy.as_ref().map_or("", |_| " through the proxy");
        let hint = match self.base.scheme() {
            "https" => {
                "it must speak TLS, with a certificate for that name that is signed by an authority \
                 which this machine trusts, or which is in the file SSL_CERT_FILE"
            }
            _ => {
                "start a host with `jobwright serve`, or give the address of another with --host URL"
            }
        };
        format!("cannot reach a host at {}{by}: {hint}", self.public_address())
    }

    /// Whether the address contains credentials.
    pub(super) fn has_credentials(&self) -> bool {
        !self.base.username().is_empty() || self.base.password().is_some()
    }

    /// An HTTP client that connects only to this host, through this proxy.
    ///
    /// # Errors
    /// If TLS is needed, and is not available.
    pub(super) fn client(&self) -> anyhow::Result<ClientBuilder> {
        let mut servers = [Some(&self.base), self.proxy.as_ref()].into_iter().flatten();
        let needs_tls = servers.any(|url| url.scheme() == "https");
        let roots = if needs_tls { tls::machine_roots() } else { Ok(RootCertStore::empty()) };
        let tls = roots.and_then(tls::client_config).map_err(|why| Fault::Other.failure(why))?;
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // Port 0 means the port of the URL.
            .resolve_to_addrs(LOCALHOST, &here.map(|address| SocketAddr::new(address, 0)))
            // Hosts do not redirect, and a key must not be sent to another server.
            .redirect(redirect::Policy::none())
            // The same for proxies that `HTTP_PROXY` and similar variables name.
            .no_proxy();
        Ok(match &self.proxy {
            Some(proxy) => builder.proxy(Proxy::all(proxy.clone())?),
            None => builder,
        })
    }
}

fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(Url::has_host)?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Whether data that is sent to `url` stays on this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == LOCALHOST || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
