//! TLS: the identity of servers is verified before a request is sent.

use std::sync::Arc;

use jobwright::services::web::Web;
use jobwright_core::services::HttpRequestError;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::{Names, TestServices};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_server_with_a_certificate_of_the_name_is_accepted,
        a_certificate_of_another_name_is_refused,
        an_untrusted_certificate_is_refused,
        a_server_without_tls_is_refused,
    ]
}

/// A server with a self-signed certificate for `a.example.com`. Returns its port and the certificate.
async fn server() -> anyhow::Result<(u16, CertificateDer<'static>)> {
    let made = generate_simple_self_signed(["a.example.com".to_owned(), "127.0.0.1".to_owned()])?;
    let CertifiedKey { cert, signing_key } = made;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![];
            while !request.ends_with(b"\r\n\r\n") {
                if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                    break;
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
            let _ = stream.shutdown().await;
        }
    });
    Ok((port, cert.der().clone()))
}

async fn services(roots: Vec<CertificateDer<'static>>) -> anyhow::Result<TestServices> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    let grants = json!({ "http": [
        { "origin": "https://*:*", "networks": ["127.0.0.0/8"] },
    ] });
    let names = Names::meaning(&[&["127.0.0.1"]])?;
    TestServices::with(grants, |web: Web| web.resolving(names).trusting(store), &[]).await
}

async fn a_server_with_a_certificate_of_the_name_is_accepted() -> anyhow::Result<()> {
    let (port, certificate) = server().await?;
    let services = services(vec![certificate]).await?;
    for host in ["a.example.com", "A.example.com.", "127.0.0.1"] {
        let response = services.get(&format!("https://{host}:{port}/")).await?;
        assert_eq!(&response.body()[..], b"hello", "{host}");
    }
    Ok(())
}

fn insecure<T: std::fmt::Debug>(answer: Result<T, HttpRequestError>) -> anyhow::Result<String> {
    match answer {
        Err(HttpRequestError::Insecure(why)) => Ok(why),
        other => anyhow::bail!("the connection was accepted: {other:?}"),
    }
}

async fn a_certificate_of_another_name_is_refused() -> anyhow::Result<()> {
    let (port, certificate) = server().await?;
    let services = services(vec![certificate]).await?;
    let why = insecure(services.get(&format!("https://b.example.com:{port}/")).await)?;
    assert!(services.log().contains(&format!("no secure connection: {why}")), "{}", services.log());
    Ok(())
}

async fn an_untrusted_certificate_is_refused() -> anyhow::Result<()> {
    let (port, _) = server().await?;
    let (_, another) = server().await?;
    let services = services(vec![another]).await?;
    insecure(services.get(&format!("https://a.example.com:{port}/")).await)?;
    Ok(())
}

async fn a_server_without_tls_is_refused() -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
        }
    });
    let services = services(vec![]).await?;
    insecure(services.get(&format!("https://a.example.com:{port}/")).await)?;
    Ok(())
}
