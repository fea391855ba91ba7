//! `Idempotency-Key`: a request that is sent again is answered again, and not done again.

use std::time::Duration;

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Stage, get, send};

pub fn trials() -> Vec<Trial> {
    tests![
        a_repeated_request_is_answered_with_the_first_answer,
        another_request_under_the_same_key_is_refused,
        what_a_request_asks_for_is_more_than_its_body,
        requests_at_the_same_time_make_one_job,
        a_refused_request_does_not_use_its_key_up,
        a_repeated_request_needs_no_room,
        a_repeated_request_needs_no_plugin_any_more,
        a_key_is_forgotten_after_a_day,
        a_key_survives_a_restart,
        a_key_that_is_none_is_refused,
    ]
}

async fn keyed(host: &TestHost, key: &str, job: &Value) -> anyhow::Result<Answer> {
    send(host.request(Method::POST, "/v1/jobs").header("idempotency-key", key).json(job)).await
}

async fn how_many(host: &TestHost) -> anyhow::Result<usize> {
    Ok(get(host, "/v1/jobs").await?.ok(200)?["jobs"].as_array().map_or(0, Vec::len))
}

async fn a_repeated_request_is_answered_with_the_first_answer() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let job = json!({ "plugin": "p", "payload": [1], "delay_ms": 5 });
    let first = keyed(&stage.host, "k", &job).await?;
    let id = first.ok(202)?["id"].as_str().unwrap_or_default().to_owned();
    stage.clock.advance(Duration::from_secs(1));
    let again = keyed(&stage.host, "k", &job).await?;
    assert_eq!((again.status.as_u16(), &again.body), (202, &first.body));
    assert_eq!(again.header("location"), first.header("location"));
    stage.begins().await?.succeed();
    stage.host.finalized(&id).await?;
    assert_eq!(keyed(&stage.host, "k", &job).await?.body, first.body, "also when it is over");
    assert_eq!(how_many(&stage.host).await?, 1);
    // Who waits gets the job as it is.
    let request = stage.host.request(Method::POST, "/v1/jobs").header("prefer", "wait=5");
    let waited = send(request.header("idempotency-key", "k").json(&job)).await?.ok(200)?;
    assert_eq!((&waited["id"], &waited["state"]), (&json!(id), &json!("completed")));
    Ok(())
}

async fn another_request_under_the_same_key_is_refused() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    keyed(&host, "k", &json!({ "plugin": "p", "payload": 1 })).await?.ok(202)?;
    let other = keyed(&host, "k", &json!({ "plugin": "p", "payload": 2 })).await?;
    assert_json_snapshot!(other.problem(422)?, @r#"
    {
      "code": "idempotency_key_reused",
      "detail": "this Idempotency-Key was used for another request in the last 24 hours"
    }
    "#);
    assert_eq!(how_many(&host).await?, 1);
    Ok(())
}

async fn what_a_request_asks_for_is_more_than_its_body() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    let raw = async |query: &str, kind: &str| {
        let request = host.request(Method::POST, &format!("/v1/jobs?{query}"));
        let request = request.header("idempotency-key", "k").header("content-type", kind);
        anyhow::Ok(send(request.body("x")).await?.status.as_u16())
    };
    assert_eq!(raw("plugin=p", "text/plain").await?, 202);
    assert_eq!(raw("plugin=p", "text/plain").await?, 202);
    assert_eq!(raw("plugin=p&priority=1", "text/plain").await?, 422);
    assert_eq!(raw("plugin=p", "text/csv").await?, 422);
    assert_eq!(how_many(&host).await?, 1);
    Ok(())
}

async fn requests_at_the_same_time_make_one_job() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let job = json!({ "plugin": "echo", "payload": [1] });
    let answers = (0..20).map(|_| keyed(&host, "k", &job));
    let mut bodies = Vec::new();
    for answer in futures_util::future::join_all(answers).await {
        bodies.push(answer?.ok(202)?);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "all are the same");
    assert_eq!(how_many(&host).await?, 1);
    Ok(())
}

async fn a_refused_request_does_not_use_its_key_up() -> anyhow::Result<()> {
    let stage = Stage::with_capacity(1).await?;
    let job = json!({ "plugin": "p" });
    assert_eq!(keyed(&stage.host, "k", &json!({ "plugin": "none" })).await?.status, 404);
    let first = stage.submit(json!({})).await?;
    assert_eq!(keyed(&stage.host, "k", &job).await?.code(503)?, "queue_full");
    stage.begins().await?.succeed();
    stage.host.finalized(&first).await?;
    keyed(&stage.host, "k", &job).await?.ok(202)?;
    Ok(())
}

async fn a_repeated_request_needs_no_room() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::with_capacity(1).await?;
    let job = json!({ "plugin": "p" });
    let first = keyed(&host, "k", &job).await?;
    assert_eq!(keyed(&host, "k", &job).await?.ok(202)?, first.ok(202)?);
    assert_eq!(keyed(&host, "other", &job).await?.code(503)?, "queue_full");
    Ok(())
}

async fn a_key_is_forgotten_after_a_day() -> anyhow::Result<()> {
    let Stage { host, clock, .. } = Stage::new().await?;
    let job = json!({ "plugin": "p" });
    let first = keyed(&host, "k", &job).await?.ok(202)?;
    clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    assert_eq!(keyed(&host, "k", &job).await?.ok(202)?["id"], first["id"]);
    clock.advance(Duration::from_secs(1));
    ensure!(keyed(&host, "k", &job).await?.ok(202)?["id"] != first["id"]);
    Ok(())
}

async fn a_key_survives_a_restart() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let job = json!({ "plugin": "echo", "payload": [1] });
    let first = keyed(&host, "k", &job).await?;
    host.finalized(first.ok(202)?["id"].as_str().unwrap_or_default()).await?;
    let host = TestHost::on(host.stop().await?, |_| {}).await?;
    assert_eq!(keyed(&host, "k", &job).await?.body, first.body);
    let other = json!({ "plugin": "echo", "payload": [2] });
    assert_eq!(keyed(&host, "k", &other).await?.code(422)?, "idempotency_key_reused");
    assert_eq!(how_many(&host).await?, 1);
    Ok(())
}

async fn a_key_that_is_none_is_refused() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    let job = json!({ "plugin": "p" });
    for bad in ["", "ä", &"x".repeat(256)] {
        let answer = keyed(&host, bad, &job).await?;
        assert_eq!(answer.code(400)?, "invalid_idempotency_key", "{bad}");
    }
    keyed(&host, &"x".repeat(255), &job).await?.ok(202)?;
    let batch = host.request(Method::POST, "/v1/jobs/batch").header("idempotency-key", "k");
    assert_eq!(send(batch.json(&json!([job]))).await?.code(400)?, "invalid_idempotency_key");
    Ok(())
}

async fn a_repeated_request_needs_no_plugin_any_more() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let job = json!({ "plugin": "p" });
    let first = keyed(&stage.host, "k", &job).await?;
    let id = first.ok(202)?["id"].as_str().unwrap_or_default().to_owned();
    stage.begins().await?.succeed();
    stage.host.finalized(&id).await?;
    let removed = send(stage.host.request(Method::DELETE, "/v1/plugins/p")).await?;
    ensure!(removed.status == 204, "{:?}", removed.body);
    let again = keyed(&stage.host, "k", &job).await?;
    assert_eq!((again.status.as_u16(), again.body), (202, first.body));
    keyed(&stage.host, "another", &job).await?.problem(404)?;
    Ok(())
}
