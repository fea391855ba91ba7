//! The way of a command's requests to its host: by which proxy, whether in clear, and to whom.
//!
//! Invariant: a key or a secret leaves this machine encrypted, unless the user says that it may not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::{ClientBuilder, Proxy, Url, redirect};
use tokio_rustls::rustls::RootCertStore;

use super::exit::{Failure, Fault};
use crate::tls;

/// The name of this machine itself (RFC 6761, 6.3).
const LOCALHOST: &str = "localhost";

/// See the module's text.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) base: Url,
    proxy: Option<Url>,
    may_be_plain: bool,
}

impl Channel {
    /// The way to `host`, through `proxy` if there is one; in clear over a network only if it
    /// `may_be_plain`.
    ///
    /// # Errors
    /// If one of them is no address of its kind.
    pub(super) fn new(
        host: &str,
        proxy: Option<&str>,
        may_be_plain: bool,
    ) -> Result<Self, Failure> {
        let base = address(host).ok_or_else(|| {
            let message =
                format!("`{host}` is not a host's address: use https://HOST or http://HOST:PORT");
            Fault::Usage.says(message)
        })?;
        let wrong = |proxy| {
            Fault::Usage.says(format!("`{proxy}` is not a proxy's address: use http://HOST:PORT"))
        };
        let proxy = proxy.map(|proxy| address(proxy).ok_or_else(|| wrong(proxy))).transpose()?;
        Ok(Self { base, proxy, may_be_plain })
    }

    /// Refuses to send `what`, or to have it sent back, if others on the network could read it.
    ///
    /// # Errors
    /// With what to do.
    pub(super) fn protects(&self, what: &str) -> Result<(), Failure> {
        let stays_here = is_loopback(&self.base) && self.proxy.as_ref().is_none_or(is_loopback);
        if self.base.scheme() == "https" || stays_here || self.may_be_plain {
            return Ok(());
        }
        let by = if is_loopback(&self.base) { "a proxy" } else { "the network" };
        Err(Fault::Usage.says(format!(
            "{what} would be sent unencrypted through {by} to {}: use an https:// address, or \
             --insecure-http (JOBWRIGHT_INSECURE_HTTP=true)",
            self.shown()
        )))
    }

    /// The host's address, without what is confidential in it.
    pub(super) fn shown(&self) -> String {
        let mut shown = self.base.clone();
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.as_str().trim_end_matches('/').to_owned()
    }

    /// What may be wrong if no connection comes about.
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
        format!("cannot reach a host at {}{by}: {hint}", self.shown())
    }

    /// Whether the address carries credentials.
    pub(super) fn has_credentials(&self) -> bool {
        !self.base.username().is_empty() || self.base.password().is_some()
    }

    /// A client that goes this way and no other.
    ///
    /// # Errors
    /// If there is no TLS where it is needed.
    pub(super) fn client(&self) -> anyhow::Result<ClientBuilder> {
        let mut servers = [Some(&self.base), self.proxy.as_ref()].into_iter().flatten();
        let needs_tls = servers.any(|url| url.scheme() == "https");
        let roots = if needs_tls { tls::machine_roots() } else { Ok(RootCertStore::empty()) };
        let tls = roots.and_then(tls::client_config).map_err(|why| Fault::Other.says(why))?;
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // Port 0 stands for the port of the address.
            .resolve_to_addrs(LOCALHOST, &here.map(|address| SocketAddr::new(address, 0)))
            // A host answers itself; a key must not follow to anywhere else.
            .redirect(redirect::Policy::none())
            // Nor to what the environment names for other programs.
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

/// Whether what is sent there does not leave this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == LOCALHOST || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
