//! Secrets: said to those they are for, and to nobody else; not even to the guest that asked for it.

use bytes::Bytes;
use http::{HeaderMap, Request};
use jobwright_core::outside::Unsent;
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Names, Stage, denied, get};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_secret_reaches_whom_it_is_for,
        what_comes_back_does_not_tell,
        so_in_basic_credentials,
        a_secret_goes_to_nobody_else,
        a_secret_in_an_address_is_refused,
        a_secret_in_a_body_stays_a_placeholder,
        a_secret_that_is_not_granted_is_not_said,
        an_encoded_answer_to_a_secret_is_not_taken,
    ]
}

const VALUE: &str = "s3cr3t/v4lue";

/// Says back all that it was sent, in headers and body.
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

/// An attempt that may ask this server as `a.example.com` and as `b.example.com`, and has a secret for
/// the first.
async fn stage(server: &Server) -> anyhow::Result<(Stage, String)> {
    let port = server.address().port();
    let grants = json!({
        "http": [{ "origin": "http://*.example.com:*", "networks": ["127.0.0.0/8"] }],
        "secrets": ["KEY", "UNSET"],
    });
    let names = Names::meaning(&[&["127.0.0.1"]])?;
    let origin = format!("http://a.example.com:{port}");
    let secrets = [("KEY", VALUE, origin.as_str()), ("OTHER", "another-value", origin.as_str())];
    let stage = Stage::with(grants, |web| web.resolving(names), &secrets).await?;
    Ok((stage, origin))
}

fn with(mut request: Request<Bytes>, name: &'static str, value: &str) -> Request<Bytes> {
    request.headers_mut().insert(name, value.parse().expect("a value"));
    request
}

const KEY: &str = "jobwright-secret(KEY)";

async fn a_secret_reaches_whom_it_is_for() -> anyhow::Result<()> {
    let server = echo().await?;
    let (stage, origin) = stage(&server).await?;
    let request = with(get(&origin), "authorization", &format!("Bearer {KEY}"));
    stage.send(with(request, "accept-encoding", "gzip, br")).await?;
    let seen = server.seen().concat();
    assert!(seen.contains(&format!("authorization: Bearer {VALUE}\r\n")), "{seen}");
    assert!(seen.contains("accept-encoding: identity\r\n"), "{seen}");
    assert!(!seen.contains("jobwright-secret"), "{seen}");
    assert_eq!(stage.log(), "");
    Ok(())
}

/// All of a response as text.
fn all(headers: &HeaderMap, body: &[u8]) -> String {
    format!("{headers:?} {}", String::from_utf8_lossy(body))
}

async fn what_comes_back_does_not_tell() -> anyhow::Result<()> {
    let server = echo().await?;
    let (stage, origin) = stage(&server).await?;
    let response = stage.send(with(get(&origin), "x-key", &format!("<{KEY}>"))).await?;
    assert!(server.seen().concat().contains(VALUE));
    let stars = "*".repeat(VALUE.len());
    assert_eq!(response.headers()["echo-x-key"], format!("<{stars}>"));
    let text = all(response.headers(), response.body());
    assert!(text.contains(&format!("x-key: <{stars}>")), "{text}");
    assert!(text.contains(&format!("x-key: <{stars}*>")), "{text}");
    assert!(!text.contains(VALUE) && !text.contains("s3cr3t"), "{text}");
    // Of the length that it had: nothing else is out of place.
    assert_eq!(response.headers()["content-length"], response.body().len().to_string());
    Ok(())
}

async fn so_in_basic_credentials() -> anyhow::Result<()> {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let server = echo().await?;
    let (stage, origin) = stage(&server).await?;
    let credentials = format!("Basic {}", encode(format!("me:{KEY}")));
    let response = stage.send(with(get(&origin), "authorization", &credentials)).await?;
    let encoded = encode(format!("me:{VALUE}"));
    let seen = server.seen().concat();
    assert!(seen.contains(&format!("authorization: Basic {encoded}\r\n")), "{seen}");
    let text = all(response.headers(), response.body());
    assert!(!text.contains(&encoded), "{text}");
    assert!(text.contains(&format!("Basic {}", "*".repeat(encoded.len()))), "{text}");
    Ok(())
}

/// That it was denied, with a line that names the secret and not its value, and nothing was sent.
async fn unsaid(stage: &Stage, server: &Server, request: Request<Bytes>) -> anyhow::Result<()> {
    let before = server.seen().len();
    denied(stage, stage.send(request).await)?;
    assert_eq!(server.seen().len(), before);
    let log = stage.log();
    assert!(log.lines().all(|line| line.contains("the secret `")), "{log}");
    assert!(!log.contains(VALUE) && !log.contains("s3cr3t"), "{log}");
    Ok(())
}

async fn a_secret_goes_to_nobody_else() -> anyhow::Result<()> {
    let server = echo().await?;
    let (stage, origin) = stage(&server).await?;
    let port = server.address().port();
    let elsewhere = format!("http://b.example.com:{port}/");
    stage.get(&elsewhere).await?;
    unsaid(&stage, &server, with(get(&elsewhere), "x-key", KEY)).await?;
    assert!(stage.log().contains("the secret `KEY` is not for this origin"), "{}", stage.log());
    stage.send(with(get(&origin), "x-key", KEY)).await?;
    Ok(())
}

async fn a_secret_in_an_address_is_refused() -> anyhow::Result<()> {
    let server = echo().await?;
    let (stage, origin) = stage(&server).await?;
    for address in [
        "/jobwright-secret(KEY)",
        "/?key=jobwright-secret(KEY)",
        "/?key=jobwright-secret%28KEY%29",
        "/jobwright-secret(OTHER)",
    ] {
        unsaid(&stage, &server, get(&format!("{origin}{address}"))).await?;
    }
    Ok(())
}

async fn a_secret_in_a_body_stays_a_placeholder() -> anyhow::Result<()> {
    let server = echo().await?;
    let (stage, origin) = stage(&server).await?;
    let body = Bytes::from_static(KEY.as_bytes());
    let response = stage.send(Request::post(&origin).body(body)?).await?;
    assert!(server.seen()[0].ends_with(KEY));
    assert!(!all(response.headers(), response.body()).contains(VALUE));
    Ok(())
}

async fn a_secret_that_is_not_granted_is_not_said() -> anyhow::Result<()> {
    let server = echo().await?;
    let (stage, origin) = stage(&server).await?;
    for (name, why) in [
        ("OTHER", "the secret `OTHER` is not granted to the plugin"),
        ("UNSET", "the secret `UNSET` is granted and was never set"),
        ("NONE", "the secret `NONE` is not granted to the plugin"),
    ] {
        let placeholder = format!("jobwright-secret({name})");
        unsaid(&stage, &server, with(get(&origin), "x-key", &placeholder)).await?;
        assert!(stage.log().contains(why), "{}", stage.log());
    }
    Ok(())
}

async fn an_encoded_answer_to_a_secret_is_not_taken() -> anyhow::Result<()> {
    let server = Server::answering(|_| {
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\ngzip".into()
    })
    .await?;
    let (stage, origin) = stage(&server).await?;
    assert_eq!(&stage.get(&origin).await?.body()[..], b"gzip");
    let answer = stage.send(with(get(&origin), "x-key", KEY)).await;
    assert!(matches!(answer, Err(Unsent::Broken(_))), "{answer:?}");
    Ok(())
}
