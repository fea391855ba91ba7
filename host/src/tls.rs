//! TLS as a client: root certificates and protocol versions.
//!
//! The root certificates are those of the machine: authorities that an operator adds for an internal
//! network are trusted, and those that an operator removes are not.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// TLS 1.2 and 1.3 with servers whose certificates these roots have signed, for HTTP/1.1.
///
/// # Errors
/// If the cryptography provider does not support these versions.
pub(crate) fn client_config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Reads the root certificates of this machine, which takes some milliseconds.
///
/// # Errors
/// If there are none.
pub(crate) fn machine_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "cannot read some of the machine's root certificates");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this machine has no root certificates: install `ca-certificates`".to_owned());
    }
    Ok(roots)
}
