//! TLS for requests of guests: verifies the identity of the server.

use std::fmt::{self, Debug};
use std::sync::{Arc, OnceLock};

use jobwright_core::services::HttpRequestError;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::tls;

/// Adds TLS to connections.
#[derive(Default)]
pub(super) struct Tls {
    /// Created on first use: reading the roots of the machine takes some milliseconds.
    connector: OnceLock<Result<TlsConnector, String>>,
}

impl Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts only `roots`, not those of the machine.
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self { connector: OnceLock::from(connector(roots)) }
    }

    /// Does the TLS handshake on `stream`, and verifies the certificate of `host`, a name or an address.
    pub(super) async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, HttpRequestError> {
        let connector = self.connector.get_or_init(|| tls::machine_roots().and_then(connector));
        let connector =
            connector.as_ref().map_err(|why| HttpRequestError::Insecure(why.clone()))?;
        let name = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            HttpRequestError::Insecure("the host's name cannot occur in a certificate".to_owned())
        })?;
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| HttpRequestError::Insecure(error.to_string()))
    }
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, String> {
    tls::client_config(roots).map(|config| TlsConnector::from(Arc::new(config)))
}
