//! TLS: that who answers is who was asked, by the roots that the machine trusts.
//!
//! The machine's and not a list of our own: what an operator adds for the services of his own network
//! is trusted here too, and what he takes away is not.

use std::fmt::{self, Debug};
use std::sync::{Arc, OnceLock};

use jobwright_core::outside::Unsent;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Makes connections secure.
#[derive(Default)]
pub(super) struct Tls {
    /// Made when it is first needed: reading a machine's roots takes some milliseconds.
    connector: OnceLock<Result<TlsConnector, String>>,
}

impl Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts these roots, and none of the machine.
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self { connector: OnceLock::from(connector(roots)) }
    }

    /// Speaks TLS on `stream` with `host`, a name or an address.
    pub(super) async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Unsent> {
        let connector = self.connector.get_or_init(|| machine_roots().and_then(connector));
        let connector = connector.as_ref().map_err(|why| Unsent::Insecure(why.clone()))?;
        let name = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Unsent::Insecure("its name cannot be in a certificate".to_owned()))?;
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| Unsent::Insecure(error.to_string()))
    }
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn machine_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "cannot read some of the machine's root certificates");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let hint = "the host's machine has no root certificates: install `ca-certificates`";
        return Err(hint.to_owned());
    }
    Ok(roots)
}
