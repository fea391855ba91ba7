//! `webhook` with and without its grants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use jobwright_tests::{Server, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Fixture, Of};

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Of> {
    let name = "webhook::delivers_under_a_grant_and_is_refused_without";
    vec![("webhook".to_owned(), fixture.trial(name, delivers))]
}

const KEY: &str = "s3cr3t-of-the-receiver";

/// A job of the plugin `name`, which is granted requests to `server` and the secret for it.
async fn granted(fixture: &Fixture, name: &str, server: &Server) -> anyhow::Result<Value> {
    let (host, wasm) = (fixture.host().await?, tokio::fs::read(fixture.wasm("webhook")?).await?);
    host.push(name, wasm).await?;
    let origin = format!("http://{}", server.address());
    let secret = json!({ "value": KEY, "origins": [origin] });
    set(host, Method::PUT, "/v1/secrets/WEBHOOK_KEY", secret).await?;
    let grants =
        json!({ "http": [{ "origin": origin, "methods": ["POST"] }], "secrets": ["WEBHOOK_KEY"] });
    set(host, Method::PATCH, &format!("/v1/plugins/{name}"), json!({ "grants": grants })).await?;
    Ok(job(name, server))
}

fn job(name: &str, server: &Server) -> Value {
    let url = format!("http://{}/orders", server.address());
    json!({ "plugin": name, "payload": { "url": url, "event": { "order": 42 } } })
}

async fn set(host: &TestHost, method: Method, path: &str, body: Value) -> anyhow::Result<()> {
    host.request(method, path).json(&body).send().await?.error_for_status()?;
    Ok(())
}

/// A server that first responds that it is busy.
async fn receiver() -> anyhow::Result<Server> {
    let asked = AtomicBool::new(false);
    Server::answering(move |_| match asked.swap(true, Ordering::SeqCst) {
        true => Server::ok("thanks"),
        false => b"HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n".to_vec(),
    })
    .await
}

async fn delivers(fixture: Arc<Fixture>) -> anyhow::Result<()> {
    let server = receiver().await?;
    fixture.push("webhook").await?;
    let host = fixture.host().await?;
    let refused = host.run(job("webhook", &server)).await?;
    ensure!(refused["state"] == "discarded" && refused["attempt"] == 1, "{refused}");
    let said = refused["attempts"][0]["error"]["message"].as_str().unwrap_or_default();
    ensure!(said.contains("403") && said.contains("HttpRequestDenied"), "{said}");
    let log = host.log(refused["id"].as_str().unwrap_or_default()).await?;
    ensure!(log.contains("denied: the plugin is not granted HTTP requests"), "{log}");
    ensure!(server.seen().is_empty());

    let delivered = host.run(granted(&fixture, "webhook-granted", &server).await?).await?;
    ensure!(delivered["state"] == "completed" && delivered["attempt"] == 2, "{delivered}");
    ensure!(delivered["output"] == json!({ "delivered": true, "status": 200 }), "{delivered}");
    let id = delivered["id"].as_str().unwrap_or_default();
    let seen = server.seen();
    ensure!(seen.len() == 2, "{seen:?}");
    for request in seen {
        ensure!(request.starts_with("POST /orders HTTP/1.1\r\n"), "{request}");
        ensure!(request.contains(&format!("authorization: Bearer {KEY}\r\n")), "{request}");
        ensure!(request.contains(&format!("webhook-id: {id}\r\n")), "{request}");
        ensure!(request.ends_with(r#"{"order":42}"#), "{request}");
    }
    ensure!(!delivered.to_string().contains(KEY) && !host.log(id).await?.contains(KEY));
    Ok(())
}
