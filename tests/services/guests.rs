//! Guests of every kind that send HTTP requests from a real sandbox.

use std::sync::Arc;

use jobwright_core::Attempt;
use jobwright_core::limits::Limit;
use jobwright_core::outcome::Outcome;
use jobwright_core::services::{Capabilities, MAX_HEAD_BYTES};
use jobwright_tests::fetch::{self, Fetch};
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::TestServices;
use crate::runtime::fixture::{RuntimeFixture, attempt, exceeded, output};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        every_kind_of_component_sends_granted_requests_and_is_denied_others,
        an_extism_plug_in_sends_granted_requests_and_is_denied_others,
        methods_of_extism_plug_ins_are_upper_cased_before_grants_are_checked,
        headers_that_the_host_sets_are_dropped_from_extism_requests,
        bodies_are_sent_and_received_completely,
        every_refusal_has_its_own_error,
        headers_of_a_component_above_the_limit_are_an_error,
        a_secret_is_sent_by_a_guest_that_never_sees_it,
        a_request_to_an_unresponsive_server_ends_at_the_jobs_time_limit,
        a_timeout_set_by_the_guest_is_an_error,
        refused_requests_of_components_are_logged,
        the_request_of_an_extism_plug_in_is_limited_in_size,
        a_response_above_the_memory_limit_is_reported,
    ]
}

/// An attempt of `wasm` under `grants`.
async fn granted(
    fixture: &RuntimeFixture,
    wasm: Vec<u8>,
    services: &TestServices,
) -> anyhow::Result<Attempt> {
    let mut attempt = attempt(fixture.plugins.add(wasm))?;
    attempt.granted = Capabilities { grants: Arc::default(), services: services.reach.clone() };
    Ok(attempt)
}

/// The output of a guest with these grants.
async fn left(fixture: &RuntimeFixture, wasm: Vec<u8>, grants: Value) -> anyhow::Result<String> {
    let services = TestServices::granted(grants).await?;
    let attempt = granted(fixture, wasm, &services).await?;
    Ok(String::from_utf8_lossy(&output(&fixture.run(attempt).await)?).into_owned())
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

async fn every_kind_of_component_sends_granted_requests_and_is_denied_others() -> anyhow::Result<()>
{
    let (fixture, server) =
        (RuntimeFixture::new()?, Server::answering(|_| Server::ok("hello")).await?);
    let fetch = asking(&server, "/");
    for guest in [fetch.command()?, fetch.handler()?, fetch.job()?] {
        assert_eq!(left(&fixture, guest.clone(), to(&server)).await?, "hello");
        let before = server.seen().len();
        assert_eq!(left(&fixture, guest, json!({})).await?, DENIED);
        assert_eq!(server.seen().len(), before);
    }
    Ok(())
}

/// The output of an Extism plug-in that sends this request, or its error; and its log.
async fn extism(
    services: &TestServices,
    payload: &Value,
    memory_bytes: u64,
) -> anyhow::Result<(Result<String, String>, String)> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = granted(&fixture, fetch::extism()?, services).await?;
    attempt.log = services.log.clone();
    attempt.limits.memory_bytes = memory_bytes;
    attempt.payload.bytes = payload.to_string().into();
    let left = match fixture.run(attempt).await.outcome {
        Outcome::Succeeded { output } => Ok(String::from_utf8_lossy(&output.bytes).into_owned()),
        Outcome::Failed { error, .. } if error.code == "http_request" => Err(error.message),
        Outcome::LimitExceeded { limit: Limit::Memory, error } => {
            let remedy = Limit::Memory.remedy();
            anyhow::ensure!(
                error.message.ends_with(&remedy),
                "the message does not say how to raise the limit: {error:?}"
            );
            Err(format!("memory: {}", error.message))
        }
        other => anyhow::bail!("{other:?}"),
    };
    Ok((left, services.log()))
}

async fn an_extism_plug_in_sends_granted_requests_and_is_denied_others() -> anyhow::Result<()> {
    let server = Server::answering(|request| Server::ok(&format!("({request})"))).await?;
    let url = format!("http://{}/", server.address());
    let asks = async |payload: Value, grants: Value| {
        anyhow::Ok(extism(&TestServices::granted(grants).await?, &payload, 1 << 24).await?.0)
    };
    let request = json!({ "url": url, "method": "PUT", "headers": { "X-A": "1" } });
    let answer = asks(request.clone(), to(&server)).await?.map_err(anyhow::Error::msg)?;
    assert!(answer.starts_with("200(PUT / HTTP/1.1\r\nx-a: 1\r\n"), "{answer}");
    let elsewhere = json!({ "http": [{ "origin": "http://127.0.0.1:1" }] });
    for (request, grants, why) in [
        (request, json!({}), "denied: the plugin is not granted HTTP requests"),
        (json!({ "url": "no url" }), to(&server), "its url `no url` is not an address"),
        (
            json!({ "url": url, "headers": { "a b": "1" } }),
            to(&server),
            "its header `a b` has a name",
        ),
        (json!({ "url": "http://127.0.0.1:1/" }), elsewhere, "cannot connect: "),
    ] {
        let failure = asks(request.clone(), grants).await?.expect_err("it fails");
        assert!(failure.starts_with("http_request failed: "), "{failure}");
        assert!(failure.contains(why), "{request}: {failure}");
    }
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn methods_of_extism_plug_ins_are_upper_cased_before_grants_are_checked() -> anyhow::Result<()>
{
    let server = Server::answering(|_| Server::ok("")).await?;
    let origin = format!("http://{}", server.address());
    let asks = async |method: &str| {
        let grants = json!({ "http": [{ "origin": origin, "methods": ["POST"] }] });
        let request = json!({ "url": format!("{origin}/"), "method": method });
        anyhow::Ok(extism(&TestServices::granted(grants).await?, &request, 1 << 24).await?.0)
    };
    for method in ["post", "Post", "POST"] {
        assert_eq!(asks(method).await?, Ok("200".to_owned()), "{method}");
        assert!(server.seen().pop().expect("a request").starts_with("POST / HTTP/1.1"));
    }
    asks("get").await?.expect_err("it is not granted");
    Ok(())
}

async fn headers_that_the_host_sets_are_dropped_from_extism_requests() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("")).await?;
    let at = server.address();
    let asks = async |headers: Value| {
        let request = json!({ "url": format!("http://{at}/"), "headers": headers });
        extism(&TestServices::granted(to(&server)).await?, &request, 1 << 24).await
    };
    let headers = json!({ "Connection": "keep-alive", "Keep-Alive": "5", "Host": at, "X-A": "1" });
    let (left, log) = asks(headers).await?;
    let names = "`connection`, `host`, `keep-alive`";
    let line = format!("INFO: jobwright: GET http://{at}/: dropped {names}, which the host sets\n");
    assert_eq!((left, log), (Ok("200".to_owned()), line));
    let seen = server.seen().concat();
    assert_eq!(seen, format!("GET / HTTP/1.1\r\nx-a: 1\r\nhost: {at}\r\n\r\n"));
    let (refused, log) = asks(json!({ "Host": "elsewhere.example.com" })).await?;
    assert!(refused.is_err() && log.contains("the request goes to `"), "{log}");
    Ok(())
}

async fn bodies_are_sent_and_received_completely() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let server = Server::answering(|request| {
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Server::ok(&format!("{}{}", body.len(), "y".repeat(40_000)))
    })
    .await?;
    let mut fetch = asking(&server, "/");
    // Several times the pieces in which guests write.
    fetch.body = "x".repeat(40_000);
    let answer = left(&fixture, fetch.command()?, to(&server)).await?;
    assert_eq!(answer, format!("40000{}", "y".repeat(40_000)));
    let grants = json!({
        "http": [{ "origin": format!("http://{}", server.address()) }],
        "http_limits": { "request_bytes": 39_999 },
    });
    // `HTTP-request-body-size`: a body that is too long is not buffered.
    assert_eq!(left(&fixture, fetch.command()?, grants).await?, "E17");
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn every_refusal_has_its_own_error() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
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
        left(&fixture, Fetch { authority, path, ..Fetch::default() }.command()?, grants).await
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
    let answer = left(&fixture, asking(&broken, "/").command()?, to(&broken)).await?;
    assert_eq!(answer, "E35", "HTTP-protocol-error");
    Ok(())
}

async fn headers_of_a_component_above_the_limit_are_an_error() -> anyhow::Result<()> {
    let (fixture, server) =
        (RuntimeFixture::new()?, Server::answering(|_| Server::ok("hello")).await?);
    let most = MAX_HEAD_BYTES - "x-a: \r\n".len();
    let with_address = most - server.address().to_string().len() - "/".len();
    for (length, answer) in [
        (with_address, "hello"),
        // `HTTP-request-header-section-size`, and the error of the call that adds the header.
        (with_address + 1, "E21"),
        (most, "E21"),
        (most + 1, "E99"),
    ] {
        let header = Some(("x-a".to_owned(), "x".repeat(length)));
        let fetch = Fetch { header, ..asking(&server, "/") };
        assert_eq!(left(&fixture, fetch.command()?, to(&server)).await?, answer, "{length}");
    }
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn a_secret_is_sent_by_a_guest_that_never_sees_it() -> anyhow::Result<()> {
    const VALUE: &str = "s3cr3t-v4lue";
    let (fixture, server) = (RuntimeFixture::new()?, Server::answering(Server::ok).await?);
    let origin = format!("http://{}", server.address());
    let grants = json!({ "http": [{ "origin": origin }], "secrets": ["KEY"] });
    let mut fetch = asking(&server, "/");
    fetch.header = Some(("authorization".to_owned(), "Bearer jobwright-secret(KEY)".to_owned()));
    let services = TestServices::with(grants, |web| web, &[("KEY", VALUE, &origin)]).await?;
    let answer = fixture.run(granted(&fixture, fetch.command()?, &services).await?).await;
    let answer = String::from_utf8_lossy(&output(&answer)?).into_owned();
    assert!(server.seen()[0].contains(&format!("authorization: Bearer {VALUE}\r\n")));
    assert!(answer.contains("authorization: Bearer ************\r\n"), "{answer}");
    Ok(())
}

async fn a_request_to_an_unresponsive_server_ends_at_the_jobs_time_limit() -> anyhow::Result<()> {
    for first in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nh"] {
        let (closes, mut closed) = mpsc::channel(1);
        let server = Server::serving(move |mut stream, _| {
            let closes = closes.clone();
            async move {
                // Then a byte each minute, none of which arrives in time.
                let _ = stream.write_all(first.as_bytes()).await;
                let _ = stream.read(&mut [0; 1]).await;
                let _ = closes.send(()).await;
            }
        })
        .await?;
        let fixture = RuntimeFixture::new()?;
        let services = TestServices::granted(to(&server)).await?;
        let mut attempt = granted(&fixture, asking(&server, "/").command()?, &services).await?;
        attempt.limits.timeout_ms = 300;
        exceeded(&fixture.run(attempt).await, Limit::Time)?;
        closed.recv().await;
    }
    Ok(())
}

async fn a_timeout_set_by_the_guest_is_an_error() -> anyhow::Result<()> {
    let server = Server::serving(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await?;
    let fixture = RuntimeFixture::new()?;
    let fetch = Fetch { first_byte_ms: Some(50), ..asking(&server, "/") };
    // `connection-read-timeout`.
    assert_eq!(left(&fixture, fetch.command()?, to(&server)).await?, "E09");
    Ok(())
}

async fn refused_requests_of_components_are_logged() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let grants = json!({
        "http": [{ "origin": format!("http://{at}") }], "http_limits": { "request_bytes": 5 },
    });
    let path = "/p?q".to_owned();
    let asking = Fetch { authority: at.to_string(), path, ..Fetch::default() };
    for (fetch, answer, line) in [
        (Fetch { body: "12345".into(), ..asking.clone() }, "hello", String::new()),
        (
            Fetch { body: "123456".into(), ..asking.clone() },
            "E17",
            format!(
                "POST http://{at}/p: the body of the request is longer than the limit of 5 bytes \
                 (`grants.http_limits.request_bytes`)"
            ),
        ),
        (
            Fetch { scheme: Some("ftp".into()), ..asking.clone() },
            DENIED,
            format!("GET ftp://{at}/p: denied: no grant allows this method and origin"),
        ),
    ] {
        let services = TestServices::granted(grants.clone()).await?;
        let mut attempt = granted(&fixture, fetch.command()?, &services).await?;
        attempt.log = services.log.clone();
        let left = output(&fixture.run(attempt).await)?;
        let line = if line.is_empty() { line } else { format!("WARN: jobwright: {line}\n") };
        assert_eq!((String::from_utf8_lossy(&left).as_ref(), services.log()), (answer, line));
    }
    Ok(())
}

async fn the_request_of_an_extism_plug_in_is_limited_in_size() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("")).await?;
    let url = format!("http://{}/", server.address());
    let request = |length: usize| json!({ "url": url, "headers": { "x-a": "x".repeat(length) } });
    let services = TestServices::granted(to(&server)).await?;
    // Less the URL, and the name and line end of the header.
    let most = MAX_HEAD_BYTES - (url.len() - "http://".len()) - "x-a: \r\n".len();
    assert_eq!(extism(&services, &request(most), 1 << 24).await?.0, Ok("200".to_owned()));
    let (answer, log) = extism(&services, &request(most + 1), 1 << 24).await?;
    let line = "the address and headers of the request are longer than the limit of 65536 bytes\n";
    assert!(answer.is_err() && log.ends_with(line), "{log}");
    // More headers than the limit allows.
    let headers: serde_json::Map<_, _> =
        (0..40_000).map(|number| (format!("a{number}"), json!(""))).collect();
    let (answer, log) =
        extism(&services, &json!({ "url": url, "headers": headers }), 1 << 24).await?;
    assert!(
        answer.is_err() && log.contains("http_request failed: the request's JSON has "),
        "{log}"
    );
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn a_response_above_the_memory_limit_is_reported() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok(&"x".repeat(500_000))).await?;
    let request = json!({ "url": format!("http://{}/", server.address()) });
    let services = TestServices::granted(to(&server)).await?;
    let (answer, log) = extism(&services, &request, 2 << 20).await?;
    assert!(answer.is_ok_and(|answer| answer.starts_with("200xxx")) && log.is_empty(), "{log}");
    let (answer, log) = extism(&services, &request, 512 << 10).await?;
    let why = "http_request failed: the memory limit leaves no room for the 500000 bytes of its \
               response";
    assert_eq!(log, format!("WARN: jobwright: {why}\n"));
    let reached = answer.expect_err("it reached its limit, and is not tried again");
    assert!(reached.starts_with("memory: memory limit 512 KiB exceeded"), "{reached}");
    Ok(())
}
