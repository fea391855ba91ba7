//! Keys and secrets are sent only to the given host, and unencrypted only if the user allows it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_proxy_of_the_environment_is_not_used,
        a_proxy_that_is_named_is_used,
        a_host_behind_tls_is_reached,
        a_tls_server_with_an_untrusted_certificate_gets_no_key,
        a_tls_server_of_another_name_gets_no_key,
        a_host_behind_tls_is_reached_through_a_proxy_that_sees_nothing,
        keys_and_secrets_do_not_leave_the_machine_in_clear,
    ]
}

const SECRET: &str = "sk_very_secret_value";

/// Runs a command to its end, with a secret as its input.
async fn run(mut command: Command) -> anyhow::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("its input is piped")?;
    // A command that refuses does not read its input.
    let _ = input.write_all(SECRET.as_bytes()).await;
    drop(input);
    Ok(child.wait_with_output().await?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn a_proxy_of_the_environment_is_not_used() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let proxy = Server::answering(|_| Server::ok("{}")).await?;
    let address = format!("http://{}", proxy.address());
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        let mut command = shell.command("secret set KEY --origin https://api.example.com")?;
        command.env(name, &address);
        let output = run(command).await?;
        ensure!(output.status.success(), "{name}: {}", said(&output));
    }
    assert_eq!(proxy.seen(), Vec::<String>::new());
    Ok(())
}

async fn a_proxy_that_is_named_is_used() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let proxy = Server::answering(|_| Server::ok(r#"{"plugins": []}"#)).await?;
    let address = format!("http://{}", proxy.address());
    let by_flag = shell.command(&format!("plugin list --proxy {address}"))?;
    let mut by_variable = shell.command("plugin list")?;
    by_variable.env("JOBWRIGHT_PROXY", &address);
    for command in [by_flag, by_variable] {
        let output = run(command).await?;
        ensure!(output.status.success(), "{}", said(&output));
    }
    let expected = format!("GET http://{}/v1/plugins HTTP/1.1", shell.host.address());
    let seen = proxy.seen();
    ensure!(
        seen.len() == 2 && seen.iter().all(|request| request.starts_with(&expected)),
        "{seen:?}"
    );
    Ok(())
}

/// A TLS server with a certificate for `localhost`, which forwards to a host; with the file of its
/// certificate.
struct Tls {
    port: u16,
    certificate: PathBuf,
}

impl Tls {
    async fn before(shell: &Shell) -> anyhow::Result<Self> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()])?;
        let key =
            PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        let certificate = shell.folder.path().join("certificate.pem");
        std::fs::write(&certificate, cert.pem())?;
        let (acceptor, host) = (TlsAcceptor::from(Arc::new(config)), shell.host.address());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    copy_bidirectional(&mut stream, &mut TcpStream::connect(host).await?).await
                });
            }
        });
        Ok(Self { port, certificate })
    }

    /// A command that connects to the server as `name`, with a key.
    fn command(&self, shell: &Shell, line: &str, name: &str) -> anyhow::Result<Command> {
        let mut command = shell.command(line)?;
        command.env("JOBWRIGHT_HOST", format!("https://{name}:{}", self.port));
        command.env("JOBWRIGHT_API_KEY", "0123456789abcdef");
        Ok(command)
    }
}

async fn a_host_behind_tls_is_reached() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let tls = Tls::before(&shell).await?;
    for line in [
        "secret set KEY --origin https://api.example.com",
        "plugin push echo.wasm",
        "job submit echo --data hello --wait",
    ] {
        let mut command = tls.command(&shell, line, "localhost")?;
        command.env("SSL_CERT_FILE", &tls.certificate);
        let output = run(command).await?;
        ensure!(output.status.success(), "{line}: {}", said(&output));
    }
    Ok(())
}

async fn a_tls_server_with_an_untrusted_certificate_gets_no_key() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let tls = Tls::before(&shell).await?;
    let output = run(tls.command(&shell, "plugin list", "localhost")?).await?;
    let said = said(&output);
    ensure!(output.status.code() == Some(69), "{said}");
    ensure!(said.contains("certificate") && said.contains("SSL_CERT_FILE"), "{said}");
    Ok(())
}

async fn a_tls_server_of_another_name_gets_no_key() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let tls = Tls::before(&shell).await?;
    let mut command = tls.command(&shell, "plugin list", "127.0.0.1")?;
    command.env("SSL_CERT_FILE", &tls.certificate);
    let output = run(command).await?;
    ensure!(output.status.code() == Some(69), "{}", said(&output));
    Ok(())
}

/// A proxy that creates tunnels (RFC 9110, 9.3.6), and everything that it received unencrypted.
async fn tunnels() -> anyhow::Result<(SocketAddr, Arc<Mutex<String>>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (address, heads) = (listener.local_addr()?, Arc::new(Mutex::new(String::new())));
    let seen = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut head = vec![];
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
                let head = String::from_utf8_lossy(&head).into_owned();
                let to = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap_or_else(PoisonError::into_inner).push_str(&head);
                let mut host = TcpStream::connect(to).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut stream, &mut host).await
            });
        }
    });
    Ok((address, heads))
}

async fn a_host_behind_tls_is_reached_through_a_proxy_that_sees_nothing() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let tls = Tls::before(&shell).await?;
    let (proxy, seen) = tunnels().await?;
    let line = format!("secret set KEY --origin https://api.example.com --proxy http://{proxy}");
    let mut command = tls.command(&shell, &line, "localhost")?;
    command.env("SSL_CERT_FILE", &tls.certificate);
    let output = run(command).await?;
    ensure!(output.status.success(), "{}", said(&output));
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(seen.starts_with(&format!("CONNECT localhost:{} HTTP/1.1", tls.port)), "{seen}");
    ensure!(!seen.contains("0123456789abcdef") && !seen.contains(SECRET), "{seen}");
    Ok(())
}

async fn keys_and_secrets_do_not_leave_the_machine_in_clear() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    // A reserved name (RFC 2606), which does not resolve.
    let elsewhere = "--host http://jobs.invalid:7878";
    let (key, set) = ("--api-key 0123456789abcdef", "secret set KEY --origin https://a.example");
    let here = format!("--host http://{}", shell.host.address());
    for line in [
        format!("plugin list {elsewhere} {key}"),
        format!("{set} {elsewhere}"),
        format!("key create --scope admin {elsewhere}"),
        format!("plugin list {here} {key} --proxy http://proxy.invalid:3128"),
    ] {
        let refused = run(shell.command(&line)?).await?;
        ensure!(refused.status.code() == Some(64), "{line}: {}", said(&refused));
        ensure!(said(&refused).contains("--insecure-http"), "{line}: {}", said(&refused));
        let goes = run(shell.command(&format!("{line} --insecure-http"))?).await?;
        ensure!(goes.status.code() == Some(69), "{line}: {}", said(&goes));
        let mut variable = shell.command(&line)?;
        variable.env("JOBWRIGHT_INSECURE_HTTP", "true");
        ensure!(run(variable).await?.status.code() == Some(69), "{line}");
    }
    let without = run(shell.command(&format!("plugin list {elsewhere}"))?).await?;
    ensure!(without.status.code() == Some(69), "{}", said(&without));
    Ok(())
}
