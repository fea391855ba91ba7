//! Logs of attempts over HTTP.

use std::time::Duration;

use anyhow::ensure;
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;

use super::{Answer, Fixture, get, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        a_log_is_served_as_plain_text,
        a_log_can_be_read_while_it_is_written,
        the_latest_log_is_shown_unless_another_attempt_is_asked_for,
        dropped_log_bytes_are_counted,
        a_log_is_cut_between_characters,
        the_log_of_an_unknown_attempt_is_not_found,
    ]
}

impl Fixture {
    async fn log(&self, id: &str, query: &str) -> anyhow::Result<Answer> {
        get(&self.host, &format!("/v1/jobs/{id}/logs{query}")).await
    }
}

fn failed() -> Outcome {
    let retry = RetryHint::After(Duration::from_secs(60));
    Outcome::Failed { error: AttemptError::new("x", "y"), retry }
}

async fn a_log_is_served_as_plain_text() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    attempt.attempt.log.write(b"<script>alert(1)</script>\xff\n");
    attempt.succeed();
    fixture.host.finalized(&id).await?;
    let log = fixture.log(&id, "").await?;
    assert_eq!(log.body, &b"<script>alert(1)</script>\xff\n"[..]);
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-disposition", &format!("inline; filename=\"{id}.log\"")),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
        ("jobwright-attempt", "1"),
        ("jobwright-log-dropped-bytes", "0"),
    ] {
        assert_eq!(log.header(name), value, "{name}");
    }
    Ok(())
}

async fn a_log_can_be_read_while_it_is_written() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    ensure!(fixture.log(&id, "").await?.body.is_empty());
    let attempt = fixture.begins().await?;
    // The guest has written only a part of the last character yet.
    attempt.attempt.log.write(b"first\nz\xc3");
    soon(async {
        while fixture.log(&id, "").await?.body != "first\nz" {
            fixture.clock.advance(Duration::from_secs(1));
        }
        anyhow::Ok(())
    })
    .await??;
    assert_eq!(fixture.host.job(&id).await?["state"], "running");
    Ok(())
}

async fn the_latest_log_is_shown_unless_another_attempt_is_asked_for() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    for text in ["one", "two", ""] {
        let attempt = soon(async {
            loop {
                match fixture.runtime.begun().await {
                    Some(attempt) => break attempt,
                    None => fixture.clock.advance(Duration::from_secs(60)),
                }
                tokio::task::yield_now().await;
            }
        })
        .await?;
        attempt.attempt.log.write(text.as_bytes());
        attempt.end(failed());
    }
    soon(async {
        while fixture.host.job(&id).await?["attempts"].as_array().map_or(0, Vec::len) < 3 {}
        anyhow::Ok(())
    })
    .await??;
    for (query, attempt, text) in [
        ("", "2", "two"), // the third wrote nothing
        ("?attempt=1", "1", "one"),
        ("?attempt=2", "2", "two"),
        ("?attempt=3", "3", ""),
    ] {
        let log = fixture.log(&id, query).await?;
        assert_eq!((log.header("jobwright-attempt"), log.text()?), (attempt, text), "{query}");
    }
    Ok(())
}

async fn dropped_log_bytes_are_counted() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "limits": { "log_bytes": 10 } })).await?;
    let attempt = fixture.begins().await?;
    attempt.attempt.log.write(b"the first and the last are kept");
    attempt.succeed();
    fixture.host.finalized(&id).await?;
    let log = fixture.log(&id, "").await?;
    assert_eq!(
        log.text()?,
        "the f\n[… 21 bytes of log dropped: --log-limit or `limits.log_bytes` keeps more …]\n kept"
    );
    assert_eq!(log.header("jobwright-log-dropped-bytes"), "21");
    Ok(())
}

async fn a_log_is_cut_between_characters() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "limits": { "log_bytes": 10 } })).await?;
    let attempt = fixture.begins().await?;
    attempt.attempt.log.write("€€ no one sees this €€".as_bytes());
    attempt.succeed();
    fixture.host.finalized(&id).await?;
    let log = fixture.log(&id, "").await?;
    assert_eq!(
        log.text()?,
        "€\n[… 24 bytes of log dropped: --log-limit or `limits.log_bytes` keeps more …]\n€"
    );
    assert_eq!(log.header("jobwright-log-dropped-bytes"), "24");
    Ok(())
}

async fn the_log_of_an_unknown_attempt_is_not_found() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    let _attempt = fixture.begins().await?;
    for attempt in ["0", "2", "4294967295"] {
        let answer = fixture.log(&id, &format!("?attempt={attempt}")).await?;
        assert_eq!(answer.code(404)?, "attempt_not_found", "{attempt}");
    }
    for query in ["?attempt=x", "?attempt=-1", "?attempt=4294967296", "?follow"] {
        assert_eq!(fixture.log(&id, query).await?.code(400)?, "invalid_query", "{query}");
    }
    Ok(())
}
