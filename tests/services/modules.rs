//! Core modules that send requests with the functions of the module `jobwright`.

use std::sync::Arc;

use anyhow::ensure;
use jobwright_core::Attempt;
use jobwright_core::outcome::OutcomeKind;
use jobwright_core::services::Capabilities;
use jobwright_tests::{Server, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::TestServices;
use crate::runtime::fixture::{RuntimeFixture, attempt, output};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_core_module_sends_granted_requests_and_is_refused_others,
        a_response_above_the_memory_limit_is_refused,
    ]
}

/// Sends `request` with the body `hi`, and writes the headers and the body of the response; exits with 7
/// if it is refused.
fn asking(request: &Value) -> anyhow::Result<Vec<u8>> {
    let text = request.to_string();
    let (length, escaped) = (text.len(), text.replace('"', "\\22"));
    guests::assemble(&format!(
        r#"(module
          (import "jobwright" "http_send"
            (func $send (param i32 i32 i32 i32) (result i32)))
          (import "jobwright" "http_headers" (func $headers (param i32 i32) (result i32)))
          (import "jobwright" "http_body" (func $body (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 2)
          (data (i32.const 1024) "{escaped}")
          (data (i32.const 1020) "hi")
          (func (export "_start")
            ;; There is no response yet.
            (if (i32.ne (call $body (i32.const 0) (i32.const 0)) (i32.const -1))
              (then unreachable))
            (if (i32.lt_s
                (call $send (i32.const 1024) (i32.const {length}) (i32.const 1020) (i32.const 2))
                (i32.const 0))
              (then (call $exit (i32.const 7))))
            (i32.store (i32.const 0) (i32.const 8192))
            (i32.store (i32.const 4) (call $headers (i32.const 8192) (i32.const 8192)))
            (i32.store (i32.const 8) (i32.const 24576))
            (i32.store (i32.const 12) (call $body (i32.const 24576) (i32.const 106496)))
            ;; One after the other: a write may be short.
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"#
    ))
}

/// An attempt of `wasm` under these grants.
async fn granted(
    fixture: &RuntimeFixture,
    wasm: Vec<u8>,
    grants: Value,
) -> anyhow::Result<Attempt> {
    let services = TestServices::granted(grants).await?;
    let mut attempt = attempt(fixture.plugins.add(wasm))?;
    attempt.granted = Capabilities { grants: Arc::default(), services: services.reach.clone() };
    attempt.log = services.log.clone();
    Ok(attempt)
}

fn to(server: &Server) -> Value {
    json!({ "http": [{ "origin": format!("http://{}", server.address()) }] })
}

async fn a_core_module_sends_granted_requests_and_is_refused_others() -> anyhow::Result<()> {
    let (fixture, server) =
        (RuntimeFixture::new()?, Server::answering(|_| Server::ok("hello")).await?);
    let url = format!("http://{}/x", server.address());
    let request = json!({ "url": url, "method": "PUT", "headers": { "X-A": "1" } });
    let ended = fixture.run(granted(&fixture, asking(&request)?, to(&server)).await?).await;
    assert_eq!(output(&ended)?, "{\"content-length\":\"5\"}hello");
    let seen = server.seen();
    ensure!(
        seen[0].starts_with("PUT /x HTTP/1.1\r\n") && seen[0].ends_with("\r\n\r\nhi"),
        "{seen:?}"
    );
    for (request, grants) in [(request, json!({})), (json!({ "url": "no url" }), to(&server))] {
        let attempt = granted(&fixture, asking(&request)?, grants).await?;
        let log = attempt.log.clone();
        assert_eq!(fixture.run(attempt).await.outcome.kind(), OutcomeKind::Failed);
        let log = String::from_utf8_lossy(&log.snapshot().bytes).into_owned();
        ensure!(log.contains("denied") || log.contains("http_send refused: its url"), "{log}");
    }
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn a_response_above_the_memory_limit_is_refused() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let server = Server::answering(|_| Server::ok(&"x".repeat(100_000))).await?;
    let request = json!({ "url": format!("http://{}/", server.address()) });
    // The guest handles the refusal: it exits with 7.
    for (memory_bytes, outcome) in
        [(1 << 20, OutcomeKind::Succeeded), (200_000, OutcomeKind::Failed)]
    {
        let mut attempt = granted(&fixture, asking(&request)?, to(&server)).await?;
        attempt.limits.memory_bytes = memory_bytes;
        let log = attempt.log.clone();
        assert_eq!(fixture.run(attempt).await.outcome.kind(), outcome, "{memory_bytes}");
        let log = String::from_utf8_lossy(&log.snapshot().bytes).into_owned();
        let refused = log.contains("the memory limit leaves no room for its response of 100");
        assert_eq!(refused, outcome == OutcomeKind::Failed, "{log}");
    }
    Ok(())
}
