//! Outputs and payloads over HTTP, served so that no browser renders them as a page.

use bytes::Bytes;
use insta::assert_json_snapshot;
use jobwright_core::outcome::{AttemptError, Outcome, Output, RetryHint};
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Fixture, get, patch, send};

pub fn trials() -> Vec<Trial> {
    tests![
        an_output_is_served_unchanged,
        only_inert_media_types_are_served_inline,
        a_json_output_is_included_in_the_job_verbatim,
        an_invalid_json_output_is_not_included_in_the_job,
        an_invalid_media_type_is_served_as_bytes,
        without_a_success_there_is_no_output,
        the_output_of_a_failed_attempt_is_separate_from_the_output,
        a_payload_is_served_unchanged,
    ]
}

impl Fixture {
    /// A job with this output, and the response to a request for the output.
    async fn output(&self, kind: &str, bytes: &[u8]) -> anyhow::Result<(Value, Answer)> {
        let id = self.submit(json!({})).await?;
        let output = Output::new(Bytes::copy_from_slice(bytes), Some(kind));
        self.begins().await?.end(Outcome::Succeeded { output });
        let job = self.host.finalized(&id).await?;
        let answer = get(&self.host, job["output_url"].as_str().unwrap_or_default()).await?;
        Ok((job, answer))
    }
}

async fn an_output_is_served_unchanged() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let (job, output) = fixture.output("text/csv", b"a,b\n").await?;
    assert_eq!((output.status.as_u16(), output.text()?), (200, "a,b\n"));
    let id = job["id"].as_str().unwrap_or_default();
    for (name, value) in [
        ("content-type", "text/csv"),
        ("content-length", "4"),
        ("content-digest", "sha-256=:W+CMloSh0l787gkxggSCQniwi7+0rvlz/+/QuddHgxM=:"),
        ("content-disposition", &format!("inline; filename=\"{id}\"")),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(output.header(name), value, "{name}");
    }
    assert_eq!((&job["output_type"], &job["output_bytes"]), (&json!("text/csv"), &json!(4)));
    let head = send(fixture.host.request(Method::HEAD, &format!("/v1/jobs/{id}/output"))).await?;
    assert_eq!((head.header("content-length"), head.body.len()), ("4", 0));
    Ok(())
}

async fn a_payload_is_served_unchanged() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for (job, kind, placed, bytes) in [
        (json!({ "payload": { "a": 1 } }), "application/json", "inline", "{\"a\":1}"),
        (json!({ "payload_base64": "PGI+" }), "", "attachment", "<b>"),
        (
            json!({ "payload_base64": "PGI+", "content_type": "text/html" }),
            "text/html",
            "attachment",
            "<b>",
        ),
        (json!({}), "", "attachment", ""),
    ] {
        let id = fixture.submit(job).await?;
        let payload = get(&fixture.host, &format!("/v1/jobs/{id}/payload")).await?;
        assert_eq!((payload.status.as_u16(), payload.text()?), (200, bytes));
        assert_eq!(payload.header("content-type"), kind);
        let disposition = payload.header("content-disposition");
        assert_eq!(disposition, format!("{placed}; filename=\"{id}.payload\""));
        assert_eq!(payload.header("x-content-type-options"), "nosniff");
        assert!(payload.header("content-security-policy").contains("sandbox"));
    }
    let unknown = "/v1/jobs/00dc6acf-ac00-7000-8000-000000000000/payload";
    let answer = get(&fixture.host, unknown).await?;
    assert_eq!((answer.status.as_u16(), &answer.json()?["code"]), (404, &json!("job_not_found")));
    Ok(())
}

async fn only_inert_media_types_are_served_inline() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for (kind, placed) in [
        ("text/plain; charset=utf-8", "inline"),
        ("application/json", "inline"),
        ("IMAGE/PNG", "inline"),
        ("text/html", "attachment"),
        ("text/html; charset=utf-8", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("application/pdf", "attachment"),
        ("text/javascript", "attachment"),
        ("text/plain, text/html", "attachment"),
        ("application/octet-stream", "attachment"),
        ("multipart/x-mixed-replace", "attachment"),
    ] {
        let (_, output) = fixture.output(kind, b"<script>alert(1)</script>").await?;
        let disposition = output.header("content-disposition");
        assert_eq!(disposition.split(';').next(), Some(placed), "{kind}");
        assert_eq!(output.header("content-type"), kind);
        assert_eq!(output.header("x-content-type-options"), "nosniff");
    }
    Ok(())
}

async fn a_json_output_is_included_in_the_job_verbatim() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let written = "{ \"n\" : 12345678901234567890123.100, \"n\":\n2 }";
    let (job, _) = fixture.output("application/json; charset=utf-8", written.as_bytes()).await?;
    let id = job["id"].as_str().unwrap_or_default();
    let text = get(&fixture.host, &format!("/v1/jobs/{id}")).await?;
    assert!(text.text()?.contains(written), "{}", text.text()?);
    Ok(())
}

async fn an_invalid_json_output_is_not_included_in_the_job() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let deep = [b"[".repeat(101), b"]".repeat(101)].concat();
    let injected: [&[u8]; 9] = [
        b"",
        b"{",
        b"1,\"state\":\"x\"",
        b"[1]}",
        b"[1] 2",
        b"\"\\ud800\"",
        b"1e999",
        &[b'"', 0xff, b'"'],
        &deep,
    ];
    for bytes in injected {
        let (job, output) = fixture.output("application/json", bytes).await?;
        assert_eq!((job.get("output"), &job["state"]), (None, &json!("completed")));
        assert_eq!(output.body, bytes);
    }
    Ok(())
}

async fn an_invalid_media_type_is_served_as_bytes() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for kind in ["", "text/plain\r\nset-cookie: a=b", "text/plain\0", "ä", &"x".repeat(100_000)] {
        let (_, output) = fixture.output(kind, b"<b>").await?;
        assert_eq!((output.status.as_u16(), output.text()?), (200, "<b>"));
        assert_eq!(output.header("set-cookie"), "");
    }
    let declared = json!({ "output_type": "text/csv; header=present" });
    patch(&fixture.host, "/v1/plugins/p", declared).await?.ok(200)?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    assert_eq!(attempt.attempt.job.spec.output_type.as_deref(), Some("text/csv; header=present"));
    attempt.succeed();
    fixture.host.finalized(&id).await?;
    Ok(())
}

async fn without_a_success_there_is_no_output() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    let path = format!("/v1/jobs/{id}/output");
    let problem = get(&fixture.host, &path).await?.problem(404)?;
    assert_eq!(problem["code"], "no_output");
    assert_eq!(problem["detail"], format!("job {id} has no output: its state is running"));
    let error = AttemptError::new("x", "it failed");
    attempt.end(Outcome::Failed { error, retry: RetryHint::Never });
    let job = fixture.host.finalized(&id).await?;
    assert_eq!(get(&fixture.host, &path).await?.code(404)?, "no_output");
    assert_eq!((&job["output_url"], &job["output_type"]), (&Value::Null, &Value::Null));
    assert_json_snapshot!(job["attempts"][0], { ".usage" => "[usage]", ".start" => "[start]" }, @r#"
    {
      "attempt": 1,
      "attempted_at": "2026-01-01T00:00:00Z",
      "ended_at": "2026-01-01T00:00:00Z",
      "error": {
        "code": "x",
        "message": "it failed"
      },
      "failures": 0,
      "outcome": "failed",
      "start": "[start]",
      "usage": "[usage]"
    }
    "#);
    Ok(())
}

/// Prints a line, then does `then`.
fn prints(then: &str) -> anyhow::Result<Vec<u8>> {
    guests::assemble(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 64) "{{\"row\":7}}")
          (data (i32.const 0) "\40\00\00\00\09\00\00\00")
          (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            {then}))"#
    ))
}

async fn the_output_of_a_failed_attempt_is_separate_from_the_output() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("done", prints("")?).await?;
    host.push("failed", prints("(call $exit (i32.const 65))")?).await?;
    host.push("trapped", prints("unreachable")?).await?;
    let headers = |answer: &Answer| {
        ["jobwright-attempt", "jobwright-outcome", "content-type"]
            .map(|name| answer.header(name).to_owned())
    };
    let done = host.run(json!({ "plugin": "done" })).await?;
    let answer = get(&host, done["output_url"].as_str().unwrap_or_default()).await?;
    assert_eq!(headers(&answer), ["1", "succeeded", "application/json"]);
    assert_eq!((&done["output"]["row"], &done["failed_output"]), (&json!(7), &Value::Null));
    for (plugin, outcome) in [("failed", "failed"), ("trapped", "trapped")] {
        let job = host.run(json!({ "plugin": plugin, "max_attempts": 1 })).await?;
        let path = format!("/v1/jobs/{}/output", job["id"].as_str().unwrap_or_default());
        let left = json!({
            "attempt": 1, "outcome": outcome, "content_type": "application/json", "bytes": 9,
            "url": path,
        });
        assert_eq!((&job["state"], &job["failed_output"]), (&json!("discarded"), &left));
        // The fields of the output stay empty.
        for field in ["output", "output_type", "output_bytes", "output_url"] {
            assert!(job[field].is_null(), "{field}: {job}");
        }
        let answer = get(&host, &path).await?;
        assert_eq!(headers(&answer), ["1", outcome, "application/json"]);
        assert_eq!(answer.text()?, r#"{"row":7}"#);
    }
    let message =
        &host.run(json!({ "plugin": "failed" })).await?["attempts"][0]["error"]["message"];
    assert_eq!(message, r#"exited with 65 (data error): {"row":7}"#);
    Ok(())
}
