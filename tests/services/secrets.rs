//! Secrets: sent to their origins only, and never shown to the guest.

use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Request};
use jobwright_core::services::HttpRequestError;
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Names, TestServices, denied, get};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_secret_is_sent_to_its_origin,
        a_secret_in_a_response_is_masked,
        a_secret_in_basic_credentials_is_masked_too,
        a_secret_is_sent_to_no_other_origin,
        a_secret_in_a_url_is_refused,
        a_secret_in_a_body_stays_a_placeholder,
        a_secret_that_is_not_granted_is_not_sent,
        an_encoded_response_to_a_request_with_a_secret_is_refused,
        a_secret_of_an_earlier_request_is_masked_too,
        a_secret_is_masked_in_every_encoding,
        a_secret_in_a_long_response_is_masked,
        range_requests_to_the_origin_of_a_secret_are_refused,
        partial_responses_from_the_origin_of_a_secret_are_refused,
    ]
}

const VALUE: &str = "s3cr3t/v4lue";

/// A server that echoes requests in headers and body.
async fn echo() -> anyhow::Result<Server> {
    Server::answering(|request| {
        let named = |line: &&str| line.starts_with("authorization") || line.starts_with("x-");
        let echoed: String = request
            .lines()
            .filter(named)
            .map(|line| format!("echo-{}\r\n", line.replace("authorization", "x-auth")))
            .collect();
        let body = format!("{request} {}", request.replace('/', "\\/"));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{echoed}", body.len());
        format!("{head}\r\n{body}").into_bytes()
    })
    .await
}

/// An attempt that may send requests to this server as `a.example.com` and as `b.example.com`, and has a
/// secret for the first.
async fn services(server: &Server) -> anyhow::Result<(TestServices, String)> {
    let port = server.address().port();
    let grants = json!({
        "http": [{ "origin": "http://*.example.com:*", "networks": ["127.0.0.0/8"] }],
        "secrets": ["KEY", "UNSET"],
    });
    let names = Names::meaning(&[&["127.0.0.1"]])?;
    let origin = format!("http://a.example.com:{port}");
    let secrets = [("KEY", VALUE, origin.as_str()), ("OTHER", "another-value", origin.as_str())];
    let services = TestServices::with(grants, |web| web.resolving(names), &secrets).await?;
    Ok((services, origin))
}

fn with(mut request: Request<Bytes>, name: &'static str, value: &str) -> Request<Bytes> {
    request.headers_mut().insert(name, value.parse().expect("a value"));
    request
}

const KEY: &str = "jobwright-secret(KEY)";

async fn a_secret_is_sent_to_its_origin() -> anyhow::Result<()> {
    let server = echo().await?;
    let (services, origin) = services(&server).await?;
    let request = with(get(&origin), "authorization", &format!("Bearer {KEY}"));
    services.send(with(request, "accept-encoding", "gzip, br")).await?;
    let seen = server.seen().concat();
    assert!(seen.contains(&format!("authorization: Bearer {VALUE}\r\n")), "{seen}");
    assert!(seen.contains("accept-encoding: identity\r\n"), "{seen}");
    assert!(!seen.contains("jobwright-secret"), "{seen}");
    assert_eq!(services.log(), "");
    Ok(())
}

/// All of a response as text.
fn all(headers: &HeaderMap, body: &[u8]) -> String {
    format!("{headers:?} {}", String::from_utf8_lossy(body))
}

async fn a_secret_in_a_response_is_masked() -> anyhow::Result<()> {
    let server = echo().await?;
    let (services, origin) = services(&server).await?;
    let response = services.send(with(get(&origin), "x-key", &format!("<{KEY}>"))).await?;
    assert!(server.seen().concat().contains(VALUE));
    let stars = "*".repeat(VALUE.len());
    assert_eq!(response.headers()["echo-x-key"], format!("<{stars}>"));
    let text = all(response.headers(), response.body());
    assert!(text.contains(&format!("x-key: <{stars}>")), "{text}");
    assert!(text.contains(&format!("x-key: <{stars}*>")), "{text}");
    assert!(!text.contains(VALUE) && !text.contains("s3cr3t"), "{text}");
    // The length is unchanged.
    assert_eq!(response.headers()["content-length"], response.body().len().to_string());
    Ok(())
}

async fn a_secret_in_basic_credentials_is_masked_too() -> anyhow::Result<()> {
    let server = echo().await?;
    let (services, origin) = services(&server).await?;
    let credentials = format!("Basic {}", encode(&format!("me:{KEY}")));
    let response = services.send(with(get(&origin), "authorization", &credentials)).await?;
    let encoded = encode(&format!("me:{VALUE}"));
    let (own, secret) = encoded.split_at(4);
    let seen = server.seen().concat();
    assert!(seen.contains(&format!("authorization: Basic {encoded}\r\n")), "{seen}");
    let text = all(response.headers(), response.body());
    assert!(!text.contains(secret), "{text}");
    assert!(text.contains(&format!("Basic {own}{}", "*".repeat(secret.len()))), "{text}");
    Ok(())
}

/// Checks that the request was denied and not sent, with a log line that has the secret's name and not
/// its value.
async fn not_sent(
    services: &TestServices,
    server: &Server,
    request: Request<Bytes>,
) -> anyhow::Result<()> {
    let before = server.seen().len();
    denied(services, services.send(request).await)?;
    assert_eq!(server.seen().len(), before);
    let log = services.log();
    assert!(log.lines().all(|line| line.contains("the secret `")), "{log}");
    assert!(!log.contains(VALUE) && !log.contains("s3cr3t"), "{log}");
    Ok(())
}

async fn a_secret_is_sent_to_no_other_origin() -> anyhow::Result<()> {
    let server = echo().await?;
    let (services, origin) = services(&server).await?;
    let port = server.address().port();
    let elsewhere = format!("http://b.example.com:{port}/");
    services.get(&elsewhere).await?;
    not_sent(&services, &server, with(get(&elsewhere), "x-key", KEY)).await?;
    assert!(
        services.log().contains("the secret `KEY` is not bound to this origin"),
        "{}",
        services.log()
    );
    services.send(with(get(&origin), "x-key", KEY)).await?;
    Ok(())
}

async fn a_secret_in_a_url_is_refused() -> anyhow::Result<()> {
    let server = echo().await?;
    let (services, origin) = services(&server).await?;
    for address in [
        "/jobwright-secret(KEY)",
        "/?key=jobwright-secret(KEY)",
        "/?key=jobwright-secret%28KEY%29",
        "/jobwright-secret(OTHER)",
    ] {
        not_sent(&services, &server, get(&format!("{origin}{address}"))).await?;
    }
    Ok(())
}

async fn a_secret_in_a_body_stays_a_placeholder() -> anyhow::Result<()> {
    let server = echo().await?;
    let (services, origin) = services(&server).await?;
    let body = Bytes::from_static(KEY.as_bytes());
    let response = services.send(Request::post(&origin).body(body)?).await?;
    assert!(server.seen()[0].ends_with(KEY));
    assert!(!all(response.headers(), response.body()).contains(VALUE));
    Ok(())
}

async fn a_secret_that_is_not_granted_is_not_sent() -> anyhow::Result<()> {
    let server = echo().await?;
    let (services, origin) = services(&server).await?;
    for (name, why) in [
        ("OTHER", "the secret `OTHER` is not granted to the plugin"),
        ("UNSET", "the secret `UNSET` is granted but not set"),
        ("NONE", "the secret `NONE` is not granted to the plugin"),
    ] {
        let placeholder = format!("jobwright-secret({name})");
        not_sent(&services, &server, with(get(&origin), "x-key", &placeholder)).await?;
        assert!(services.log().contains(why), "{}", services.log());
    }
    Ok(())
}

async fn an_encoded_response_to_a_request_with_a_secret_is_refused() -> anyhow::Result<()> {
    for encoded in [
        "content-encoding: gzip\r\ncontent-length: 4\r\n\r\ngzip",
        "content-encoding: identity\r\ncontent-encoding: br\r\ncontent-length: 4\r\n\r\ngzip",
        "transfer-encoding: gzip, chunked\r\n\r\n4\r\ngzip\r\n0\r\n\r\n",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngzip\r\n0\r\n\r\n",
        "transfer-encoding: gzip\r\n\r\ngzip",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{encoded}").into_bytes();
        let server = Server::answering(move |_| answer.clone()).await?;
        let (services, origin) = services(&server).await?;
        let elsewhere = origin.replace("a.example", "b.example");
        assert_eq!(&services.get(&elsewhere).await?.body()[..], b"gzip", "{encoded}");
        for request in [with(get(&origin), "x-key", KEY), get(&origin)] {
            let answer = services.send(request).await;
            assert!(matches!(answer, Err(HttpRequestError::Broken(_))), "{encoded}: {answer:?}");
        }
        assert!(
            services.log().contains("it is encoded, so it cannot be searched"),
            "{}",
            services.log()
        );
    }
    let plain = "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n\
                 4\r\ntext\r\n0\r\n\r\n";
    let server = Server::answering(move |_| plain.into()).await?;
    let (services, origin) = services(&server).await?;
    assert_eq!(&services.send(with(get(&origin), "x-key", KEY)).await?.body()[..], b"text");
    Ok(())
}

fn encode(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

async fn a_secret_of_an_earlier_request_is_masked_too() -> anyhow::Result<()> {
    let memory = Mutex::new(String::new());
    let server = Server::answering(move |request| {
        let mut memory = memory.lock().expect("no panic");
        let before = std::mem::replace(&mut *memory, request.to_owned());
        Server::ok(&before)
    })
    .await?;
    let (services, origin) = services(&server).await?;
    for user in ["", "m", "me"] {
        let basic = format!("Basic {}", encode(&format!("{user}:{KEY}")));
        for (name, value) in [("x-a", KEY), ("authorization", &basic)] {
            services.send(with(get(&format!("{origin}/store")), name, value)).await?;
            let told = services.get(&format!("{origin}/last")).await?;
            let told = String::from_utf8_lossy(told.body()).into_owned();
            assert!(told.starts_with("GET /store "), "{told}");
            assert!(!told.contains(VALUE), "{told}");
            // The user is the guest's own; the rest is the secret.
            let encoded = encode(&format!("{user}:{VALUE}"));
            assert!(!told.contains(encoded[4..].trim_end_matches('=')), "{told}");
            assert!(told.contains("**********"), "{told}");
        }
    }
    Ok(())
}

/// An encoding of characters other than letters and digits.
type Way = fn(char) -> String;

async fn a_secret_is_masked_in_every_encoding() -> anyhow::Result<()> {
    const ODD: &str = r#"k>e?y~/+"&<'\1"#;
    let plain = |c: char| c.is_ascii_alphanumeric();
    let ways: [(&str, Way); 6] = [
        ("PHP", |c| format!("\\{c}")),
        (".NET", |c| format!("\\u{:04X}", u32::from(c))),
        ("Go", |c| format!("\\u{:04x}", u32::from(c))),
        ("a form", |c| format!("%{:02X}", u32::from(c))),
        ("HTML", |c| format!("&#{};", u32::from(c))),
        ("XML", |c| format!("&#x{:x};", u32::from(c))),
    ];
    let basic = encode(&format!("??:{ODD}"));
    for (who, way) in ways {
        let write = move |text: &str| -> String {
            text.chars().map(|c| if plain(c) { c.to_string() } else { way(c) }).collect()
        };
        let server = Server::answering(move |request| Server::ok(&write(request))).await?;
        let origin = format!("http://{}", server.address());
        let grants = json!({ "http": [{ "origin": origin }], "secrets": ["KEY"] });
        let services = TestServices::with(grants, |web| web, &[("KEY", ODD, &origin)]).await?;
        let credentials = format!("Basic {}", encode(&format!("??:{KEY}")));
        for (name, value, hidden) in
            [("x-key", KEY, ODD), ("authorization", &credentials, &basic[4..])]
        {
            let told = services.send(with(get(&origin), name, value)).await?;
            let told = String::from_utf8_lossy(told.body()).into_owned();
            assert!(!told.contains(&write(hidden)), "{who}: {told}");
            let end = write("\r\n");
            let stars = "*".repeat(write(hidden.trim_end_matches('=')).len());
            assert!(told.contains(&stars) && told.contains(&end), "{who}: {told}");
        }
    }
    Ok(())
}

async fn a_secret_in_a_long_response_is_masked() -> anyhow::Result<()> {
    let server = Server::answering(|request| Server::ok(&request.repeat(10_000))).await?;
    let (services, origin) = services(&server).await?;
    let told = services.send(with(get(&origin), "x-key", KEY)).await?;
    let told = String::from_utf8_lossy(told.body()).into_owned();
    let line = format!("x-key: {}\r\n", "*".repeat(VALUE.len()));
    assert_eq!((told.matches(&line).count(), told.contains(VALUE)), (10_000, false));
    Ok(())
}

async fn range_requests_to_the_origin_of_a_secret_are_refused() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("whole")).await?;
    let (services, origin) = services(&server).await?;
    for (name, value) in [("range", "bytes=0-3"), ("if-range", "\"tag\""), ("a-im", "vcdiff")] {
        let before = server.seen().len();
        let why = denied(&services, services.send(with(get(&origin), name, value)).await)?;
        assert!(why.contains(&format!("the header `{name}` requests a part")), "{why}");
        assert_eq!(server.seen().len(), before);
        let elsewhere = origin.replace("a.example", "b.example");
        services.send(with(get(&elsewhere), name, value)).await?;
    }
    Ok(())
}

async fn partial_responses_from_the_origin_of_a_secret_are_refused() -> anyhow::Result<()> {
    for status in ["206 Partial Content", "226 IM Used"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\ns3cr").into_bytes();
        let server = Server::answering(move |_| answer.clone()).await?;
        let (services, origin) = services(&server).await?;
        let broken = services.get(&origin).await;
        assert!(matches!(broken, Err(HttpRequestError::Broken(_))), "{broken:?}");
        assert!(
            services.log().contains("it is partial, so it cannot be searched for secrets"),
            "{}",
            services.log()
        );
        let elsewhere = origin.replace("a.example", "b.example");
        assert_eq!(&services.get(&elsewhere).await?.body()[..], b"s3cr");
    }
    Ok(())
}
