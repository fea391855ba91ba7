//! HTTP requests of every kind of guest: components and Extism plug-ins, in the host's process and in a
//! process of their own. Grants and log lines are the same for all.

use jobwright_core::outcome::Outcome;
use jobwright_core::services::Capabilities;
use jobwright_tests::fetch::{self, Fetch};
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::TestServices;
use crate::runtime::fixture::{RuntimeFixture, attempt, small};

pub(super) fn trials() -> Vec<Trial> {
    tests![every_law_of_requests_holds_for_every_kind_of_guest]
}

/// A kind of guest that sends requests.
#[derive(Debug, Clone, Copy)]
enum Guest {
    Component,
    Extism,
}

/// The response as a guest reads it; `None` if there was none, or if it ended early.
async fn read(
    fixture: &RuntimeFixture,
    guest: Guest,
    services: &TestServices,
    to: &To,
) -> anyhow::Result<Option<String>> {
    let (method, url) = (to.method, format!("http://{}{}", to.authority, to.path));
    let wasm = match guest {
        Guest::Component => Fetch {
            authority: to.authority.clone(),
            path: to.path.to_owned(),
            header: to.header.map(|(name, value)| (name.to_owned(), value.to_owned())),
            body: if method == "POST" { "body".to_owned() } else { String::new() },
            ..Fetch::default()
        }
        .command()?,
        Guest::Extism => fetch::extism()?,
    };
    let mut attempt = attempt(fixture.plugins.add(wasm))?;
    attempt.granted = Capabilities { services: services.reach.clone(), ..attempt.granted };
    let headers: Value = to.header.map_or(json!({}), |(name, value)| json!({ name: value }));
    let asked = json!({ "url": url, "method": method, "headers": headers });
    attempt.payload.bytes = asked.to_string().into();
    attempt.log = services.log.clone();
    match (fixture.run(attempt).await.outcome, guest) {
        (Outcome::Succeeded { output }, Guest::Component) => {
            let text = String::from_utf8_lossy(&output.bytes).into_owned();
            let failed = text.ends_with('!') || (text.len() == 3 && text.starts_with('E'));
            Ok((!failed).then_some(text))
        }
        (Outcome::Succeeded { output }, Guest::Extism) => {
            let text = String::from_utf8_lossy(&output.bytes).into_owned();
            Ok(text.strip_prefix("200").map(str::to_owned))
        }
        (Outcome::Failed { .. }, Guest::Extism) => Ok(None),
        (other, _) => anyhow::bail!("{other:?}"),
    }
}

/// A request.
struct To {
    method: &'static str,
    authority: String,
    path: &'static str,
    header: Option<(&'static str, &'static str)>,
}

/// A law: grants, request, expected response, and expected log line.
struct Law {
    grants: Value,
    to: To,
    read: Option<&'static str>,
    log: &'static str,
}

fn laws(authority: &str) -> Vec<Law> {
    let origin = format!("http://{authority}");
    let to = |method, path| To { method, authority: authority.to_owned(), path, header: None };
    let law = |grants, to, read, log| Law { grants, to, read, log };
    let granted = || json!({ "http": [{ "origin": origin }] });
    let limited = |limits: Value| json!({ "http": [{ "origin": origin }], "http_limits": limits });
    let with = |header, to| To { header: Some(header), ..to };
    let secret = json!({ "http": [{ "origin": origin }], "secrets": ["KEY"] });
    let key = ("x-key", "jobwright-secret(KEY)");
    let gets = json!({ "http": [{ "origin": origin, "methods": ["GET"] }] });
    let nobody = To { authority: "127.0.0.1:1".to_owned(), ..to("GET", "/") };
    let elsewhere = json!({ "http": [{ "origin": "http://127.0.0.1:1" }] });
    vec![
        law(granted(), to("GET", "/hello"), Some("hello"), ""),
        law(
            json!({}),
            to("GET", "/hello"),
            None,
            "denied: the plugin is not granted HTTP requests",
        ),
        law(elsewhere.clone(), to("GET", "/hello"), None, "denied: no grant allows this method"),
        law(gets, to("POST", "/hello"), None, "denied: no grant allows this method"),
        law(elsewhere, nobody, None, "cannot connect: "),
        law(limited(json!({ "requests": 1 })), to("GET", "/hello"), Some("hello"), ""),
        law(limited(json!({ "requests": 0 })), to("GET", "/hello"), None, "has sent 0 requests"),
        law(limited(json!({ "response_bytes": 5 })), to("GET", "/hello"), Some("hello"), ""),
        law(limited(json!({ "response_bytes": 4 })), to("GET", "/hello"), None, "limit of 4 bytes"),
        law(
            limited(json!({ "response_bytes": 4 })),
            to("GET", "/chunked"),
            None,
            "limit of 4 bytes",
        ),
        law(granted(), to("GET", "/broken"), None, "the response is broken: "),
        law(granted(), to("GET", "/headers"), Some("many"), ""),
        law(granted(), to("GET", "/long"), None, "the response has headers of more than"),
        law(granted(), with(("range", "bytes=0-1"), to("GET", "/hello")), None, "requests a part"),
        law(granted(), with(key, to("GET", "/hello")), None, "the secret `KEY` is not granted"),
        law(secret.clone(), with(key, to("GET", "/secret")), Some("<************>"), ""),
        law(secret, to("GET", "/gzip"), None, "it is encoded, so it cannot be searched"),
    ]
}

fn answer(request: &str) -> Vec<u8> {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let with = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
    let headers = |bytes: usize| {
        let header = format!("x-a: {}\r\n", "x".repeat(93));
        with(&format!("content-length: 4\r\n{}", header.repeat(bytes / header.len())), "many")
    };
    match path {
        "/chunked" => with("transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        "/broken" => with("content-length: 10\r\n", "hello"),
        // With the length of the body: 10 bytes below the limit, and above it.
        "/headers" => headers(65_500),
        "/long" => headers(65_700),
        "/gzip" => with("content-encoding: gzip\r\ncontent-length: 4\r\n", "gzip"),
        "/secret" => with("content-length: 14\r\n", "<s3cr3t-v4lue>"),
        _ => with("content-length: 5\r\n", "hello"),
    }
    .into_bytes()
}

async fn every_law_of_requests_holds_for_every_kind_of_guest() -> anyhow::Result<()> {
    let server = Server::answering(answer).await?;
    let origin = format!("http://{}", server.address());
    for fixture in [RuntimeFixture::new()?, RuntimeFixture::in_processes(small())?] {
        for guest in [Guest::Component, Guest::Extism] {
            for Law { grants, to, read: expected, log } in laws(&server.address().to_string()) {
                let secrets = [("KEY", "s3cr3t-v4lue", origin.as_str())];
                let services = TestServices::with(grants.clone(), |web| web, &secrets).await?;
                let seen = read(&fixture, guest, &services, &to).await?;
                let way = format!("{guest:?} {} {} {grants}", to.method, to.path);
                assert_eq!(seen.as_deref(), expected, "{way}: {}", services.log());
                let lines = services.log().lines().count();
                assert_eq!(lines, usize::from(!log.is_empty()), "{way}: {}", services.log());
                assert!(services.log().contains(log), "{way}: {}", services.log());
            }
        }
    }
    Ok(())
}
