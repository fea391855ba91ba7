//! TLS as a client: which servers are trusted, and how they are spoken to.
//!
//! The roots are the machine's and not a list of our own: what an operator adds for the services of a
//! network is trusted here too, and what an operator removes is not.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// TLS 1.2 and 1.3 with servers that these roots vouch for, by HTTP/1.1.
///
/// # Errors
/// If the provider of cryptography lacks what TLS needs.
pub(crate) fn client_config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The root certificates of this machine. Reading them takes some milliseconds.
///
/// # Errors
/// If there are none; with what to do.
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
