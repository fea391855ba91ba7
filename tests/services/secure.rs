//! TLS: who answers is who was asked, or nothing is said.

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

use super::{Names, Stage};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        who_has_the_certificate_of_the_name_is_talked_to,
        another_name_is_not,
        who_is_trusted_by_nobody_is_not,
        who_speaks_no_tls_is_not,
    ]
}

/// A server that is `a.example.com` by a certificate of its own. Answers its port and that.
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

async fn stage(roots: Vec<CertificateDer<'static>>) -> anyhow::Result<Stage> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    let grants = json!({ "http": [
        { "origin": "https://*:*", "networks": ["127.0.0.0/8"] },
    ] });
    let names = Names::meaning(&[&["127.0.0.1"]])?;
    Stage::with(grants, |web: Web| web.resolving(names).trusting(store), &[]).await
}

async fn who_has_the_certificate_of_the_name_is_talked_to() -> anyhow::Result<()> {
    let (port, certificate) = server().await?;
    let stage = stage(vec![certificate]).await?;
    for host in ["a.example.com", "A.example.com.", "127.0.0.1"] {
        let response = stage.get(&format!("https://{host}:{port}/")).await?;
        assert_eq!(&response.body()[..], b"hello", "{host}");
    }
    Ok(())
}

fn insecure<T: std::fmt::Debug>(answer: Result<T, HttpRequestError>) -> anyhow::Result<String> {
    match answer {
        Err(HttpRequestError::Insecure(why)) => Ok(why),
        other => anyhow::bail!("it was talked to: {other:?}"),
    }
}

async fn another_name_is_not() -> anyhow::Result<()> {
    let (port, certificate) = server().await?;
    let stage = stage(vec![certificate]).await?;
    let why = insecure(stage.get(&format!("https://b.example.com:{port}/")).await)?;
    assert!(stage.log().contains(&format!("no secure connection: {why}")), "{}", stage.log());
    Ok(())
}

async fn who_is_trusted_by_nobody_is_not() -> anyhow::Result<()> {
    let (port, _) = server().await?;
    let (_, another) = server().await?;
    let stage = stage(vec![another]).await?;
    insecure(stage.get(&format!("https://a.example.com:{port}/")).await)?;
    Ok(())
}

async fn who_speaks_no_tls_is_not() -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
        }
    });
    let stage = stage(vec![]).await?;
    insecure(stage.get(&format!("https://a.example.com:{port}/")).await)?;
    Ok(())
}
