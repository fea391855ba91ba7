//! Guests of every kind that ask others, in a real sandbox.

use std::sync::Arc;

use jobwright_core::Attempt;
use jobwright_core::limits::Limit;
use jobwright_core::outside::Granted;
use jobwright_tests::fetch::{self, Fetch};
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::Stage;
use crate::runtime::fixture::{Lab, attempt, exceeded, output};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        every_kind_of_component_asks_under_a_grant_and_is_denied_without,
        an_extism_plug_in_does_too,
        bodies_are_sent_and_taken_whole,
        every_refusal_has_its_own_error,
        a_secret_is_sent_by_a_guest_that_never_sees_it,
        a_host_that_never_answers_ends_with_the_jobs_time,
        a_guest_that_loses_patience_is_told,
    ]
}

/// An attempt of `wasm` under `grants`.
async fn granted(lab: &Lab, wasm: Vec<u8>, stage: &Stage) -> anyhow::Result<Attempt> {
    let mut attempt = attempt(lab.plugins.add(wasm))?;
    attempt.granted = Granted { grants: Arc::default(), outside: stage.reach.clone() };
    Ok(attempt)
}

/// What a guest leaves under these grants.
async fn left(lab: &Lab, wasm: Vec<u8>, grants: Value) -> anyhow::Result<String> {
    let stage = Stage::granted(grants).await?;
    let attempt = granted(lab, wasm, &stage).await?;
    Ok(String::from_utf8_lossy(&output(&lab.run(attempt).await)?).into_owned())
}

fn to(server: &Server) -> Value {
    json!({ "http": [{ "origin": format!("http://{}", server.address()) }] })
}

fn asking(server: &Server, path: &str) -> Fetch {
    let authority = server.address().to_string();
    Fetch { authority, path: path.to_owned(), ..Fetch::default() }
}

/// The number of `HTTP-request-denied` in `wasi:http`.
const DENIED: &str = "E15";

async fn every_kind_of_component_asks_under_a_grant_and_is_denied_without() -> anyhow::Result<()> {
    let (lab, server) = (Lab::new()?, Server::answering(|_| Server::ok("hello")).await?);
    let fetch = asking(&server, "/");
    for guest in [fetch.command()?, fetch.handler()?, fetch.job()?] {
        assert_eq!(left(&lab, guest.clone(), to(&server)).await?, "hello");
        let before = server.seen().len();
        assert_eq!(left(&lab, guest, json!({})).await?, DENIED);
        assert_eq!(server.seen().len(), before);
    }
    Ok(())
}

async fn an_extism_plug_in_does_too() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let server = Server::answering(|request| Server::ok(&format!("({request})"))).await?;
    let url = format!("http://{}/", server.address());
    let asks = async |payload: Value, grants: Value| {
        let stage = Stage::granted(grants).await?;
        let mut attempt = granted(&lab, fetch::extism()?, &stage).await?;
        attempt.payload.bytes = payload.to_string().into();
        anyhow::Ok(String::from_utf8_lossy(&output(&lab.run(attempt).await)?).into_owned())
    };
    let request = json!({ "url": url, "method": "PUT", "headers": { "X-A": "1" } });
    let answer = asks(request.clone(), to(&server)).await?;
    assert!(answer.starts_with("200(PUT / HTTP/1.1\r\nx-a: 1\r\n"), "{answer}");
    assert_eq!(asks(request, json!({})).await?, "403");
    for bad in [json!({ "url": "no url" }), json!({ "url": url, "headers": { "a b": "1" } })] {
        assert_eq!(asks(bad, to(&server)).await?, "400");
    }
    let nobody = json!({ "url": "http://127.0.0.1:1/" });
    let grants = json!({ "http": [{ "origin": "http://127.0.0.1:1" }] });
    assert_eq!(asks(nobody, grants).await?, "502");
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn bodies_are_sent_and_taken_whole() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let server = Server::answering(|request| {
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Server::ok(&format!("{}{}", body.len(), "y".repeat(40_000)))
    })
    .await?;
    let mut fetch = asking(&server, "/");
    // Some of the pieces in which guests write.
    fetch.body = "x".repeat(40_000);
    let answer = left(&lab, fetch.command()?, to(&server)).await?;
    assert_eq!(answer, format!("40000{}", "y".repeat(40_000)));
    let grants = json!({
        "http": [{ "origin": format!("http://{}", server.address()) }],
        "http_limits": { "request_bytes": 39_999 },
    });
    // `HTTP-request-body-size`: what is too long is not gathered.
    assert_eq!(left(&lab, fetch.command()?, grants).await?, "E17");
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn every_refusal_has_its_own_error() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let port = server.address().port();
    let answer = async |host: &str, mut grants: Value| {
        grants["http"] = json!([
            { "origin": format!("http://127.0.0.1:{port}") },
            { "origin": "http://127.0.0.1:1" },
            { "origin": "http://*.example.com:*" },
            { "origin": "http://[::1]:*", "methods": ["PUT"] },
            { "origin": "http://*:2" },
        ]);
        let (authority, path) = (host.to_owned(), "/".to_owned());
        left(&lab, Fetch { authority, path, ..Fetch::default() }.command()?, grants).await
    };
    let here = format!("127.0.0.1:{port}");
    for (host, grants, code) in [
        ("other.example.org:80", json!({}), DENIED),
        ("[::1]:80", json!({}), DENIED),
        ("127.0.0.1:2", json!({}), "E04"), // destination-IP-prohibited
        ("a.example.com:80", json!({}), "E01"), // DNS-error
        ("127.0.0.1:1", json!({}), "E06"), // connection-refused
        (&here, json!({ "http_limits": { "requests": 0 } }), "E11"), // connection-limit-reached
        (&here, json!({ "http_limits": { "response_bytes": 4 } }), "E28"), // HTTP-response-body-size
        (&here, json!({ "http_limits": { "response_bytes": 5 } }), "hello"),
    ] {
        assert_eq!(answer(host, grants.clone()).await?, code, "{host} {grants}");
    }
    let broken = Server::answering(|_| b"no HTTP\r\n\r\n".into()).await?;
    let answer = left(&lab, asking(&broken, "/").command()?, to(&broken)).await?;
    assert_eq!(answer, "E35", "HTTP-protocol-error");
    Ok(())
}

async fn a_secret_is_sent_by_a_guest_that_never_sees_it() -> anyhow::Result<()> {
    const VALUE: &str = "s3cr3t-v4lue";
    let (lab, server) = (Lab::new()?, Server::answering(Server::ok).await?);
    let origin = format!("http://{}", server.address());
    let grants = json!({ "http": [{ "origin": origin }], "secrets": ["KEY"] });
    let mut fetch = asking(&server, "/");
    fetch.header = Some(("authorization".to_owned(), "Bearer jobwright-secret(KEY)".to_owned()));
    let stage = Stage::with(grants, |web| web, &[("KEY", VALUE, &origin)]).await?;
    let answer = lab.run(granted(&lab, fetch.command()?, &stage).await?).await;
    let answer = String::from_utf8_lossy(&output(&answer)?).into_owned();
    assert!(server.seen()[0].contains(&format!("authorization: Bearer {VALUE}\r\n")));
    assert!(answer.contains("authorization: Bearer ************\r\n"), "{answer}");
    Ok(())
}

async fn a_host_that_never_answers_ends_with_the_jobs_time() -> anyhow::Result<()> {
    for first in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nh"] {
        let (closes, mut closed) = mpsc::channel(1);
        let server = Server::serving(move |mut stream, _| {
            let closes = closes.clone();
            async move {
                // And then a byte in each minute, of which none comes in time.
                let _ = stream.write_all(first.as_bytes()).await;
                let _ = stream.read(&mut [0; 1]).await;
                let _ = closes.send(()).await;
            }
        })
        .await?;
        let lab = Lab::new()?;
        let stage = Stage::granted(to(&server)).await?;
        let mut attempt = granted(&lab, asking(&server, "/").command()?, &stage).await?;
        attempt.limits.timeout_ms = 300;
        exceeded(&lab.run(attempt).await, Limit::Time)?;
        closed.recv().await;
    }
    Ok(())
}

async fn a_guest_that_loses_patience_is_told() -> anyhow::Result<()> {
    let server = Server::serving(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await?;
    let lab = Lab::new()?;
    let fetch = Fetch { patience_ms: Some(50), ..asking(&server, "/") };
    // `HTTP-response-timeout`.
    assert_eq!(left(&lab, fetch.command()?, to(&server)).await?, "E33");
    Ok(())
}
