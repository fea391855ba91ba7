//! `Idempotency-Key`: a repeated request gets the same response, and is not executed again.

use std::time::Duration;

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Fixture, get, post, send, soon};

/// The header of responses to repeated requests.
const REPLAYED: &str = "idempotency-replayed";

pub fn trials() -> Vec<Trial> {
    tests![
        a_repeated_request_is_marked_and_shows_the_current_job,
        a_repeated_request_is_answered_after_its_job_was_pruned,
        a_key_is_the_same_with_and_without_quotes,
        a_job_can_have_its_key_in_the_body,
        another_request_under_the_same_key_is_refused,
        query_and_content_type_are_part_of_a_repeated_request,
        requests_at_the_same_time_make_one_job,
        a_refused_request_does_not_use_up_its_key,
        a_repeated_request_needs_no_room_in_the_queue,
        a_repeated_request_needs_no_plugin_any_more,
        a_key_is_forgotten_after_a_day,
        a_key_survives_a_restart,
        an_invalid_idempotency_key_is_refused,
        jobs_of_a_batch_have_keys_of_their_own,
        a_key_used_twice_in_a_batch_creates_one_job,
        a_repeated_batch_needs_no_room_in_the_queue_and_no_plugin,
    ]
}

async fn keyed(host: &TestHost, key: &str, job: &Value) -> anyhow::Result<Answer> {
    send(host.request(Method::POST, "/v1/jobs").header("idempotency-key", key).json(job)).await
}

async fn how_many(host: &TestHost) -> anyhow::Result<usize> {
    Ok(get(host, "/v1/jobs").await?.ok(200)?["jobs"].as_array().map_or(0, Vec::len))
}

async fn a_repeated_request_is_marked_and_shows_the_current_job() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let job = json!({ "plugin": "p", "payload": [1], "delay_ms": 5 });
    let first = keyed(&fixture.host, "k", &job).await?;
    assert_eq!((first.header(REPLAYED), &first.ok(202)?["state"]), ("", &json!("scheduled")));
    let id = first.json()?["id"].as_str().unwrap_or_default().to_owned();
    fixture.clock.advance(Duration::from_secs(1));
    let attempt = fixture.begins().await?;
    let again = keyed(&fixture.host, "k", &job).await?;
    assert_eq!(again.ok(202)?, fixture.host.job(&id).await?);
    assert_eq!((again.header(REPLAYED), &again.json()?["state"]), ("true", &json!("running")));
    assert_eq!(again.header("location"), first.header("location"));
    attempt.succeed();
    let over = fixture.host.finalized(&id).await?;
    let again = keyed(&fixture.host, "k", &job).await?;
    assert_eq!((again.header(REPLAYED), again.ok(202)?), ("true", over), "also when it is over");
    assert_eq!(how_many(&fixture.host).await?, 1);
    // A request that waits gets the current job.
    let request = fixture.host.request(Method::POST, "/v1/jobs").header("prefer", "wait=5");
    let waited = send(request.header("idempotency-key", "k").json(&job)).await?;
    assert_eq!(waited.header(REPLAYED), "true");
    let waited = waited.ok(200)?;
    assert_eq!((&waited["id"], &waited["state"]), (&json!(id), &json!("completed")));
    Ok(())
}

async fn a_repeated_request_is_answered_after_its_job_was_pruned() -> anyhow::Result<()> {
    let hour = Duration::from_secs(60 * 60);
    let fixture = Fixture::configured(|config| config.retention.completed = hour).await?;
    let job = json!({ "plugin": "p", "payload": [1], "tags": ["blue"] });
    let first = keyed(&fixture.host, "k", &job).await?.ok(202)?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(first["id"].as_str().unwrap_or_default()).await?;
    fixture.clock.advance(2 * hour);
    soon(async {
        while how_many(&fixture.host).await? > 0 {}
        anyhow::Ok(())
    })
    .await??;
    let again = keyed(&fixture.host, "k", &job).await?;
    assert_eq!(again.header(REPLAYED), "true");
    let mut known = first;
    (known["state"], known["pruned"]) = (Value::Null, json!(true));
    assert_eq!(again.ok(202)?, known);
    let batch = json!([{ "plugin": "p", "idempotency_key": "k" }]);
    let reused = post(&fixture.host, "/v1/jobs/batch", batch).await?.ok(200)?;
    assert_eq!(reused[0]["error"]["code"], "idempotency_key_reused", "the key is still known");
    Ok(())
}

async fn a_key_is_the_same_with_and_without_quotes() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let job = json!({ "plugin": "p" });
    let first = keyed(&host, r#""q \"1\"""#, &job).await?.ok(202)?;
    for same in [r#"q "1""#, r#""q \"1\"""#, r#""q \"1\"";v=1"#] {
        let again = keyed(&host, same, &job).await?;
        assert_eq!(
            (again.header(REPLAYED), &again.ok(202)?["id"]),
            ("true", &first["id"]),
            "{same}"
        );
    }
    Ok(())
}

async fn a_job_can_have_its_key_in_the_body() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let job = json!({ "plugin": "p", "idempotency_key": "k" });
    let first = send(host.request(Method::POST, "/v1/jobs").json(&job)).await?.ok(202)?;
    let again = send(host.request(Method::POST, "/v1/jobs").json(&job)).await?;
    assert_eq!((again.header(REPLAYED), &again.ok(202)?["id"]), ("true", &first["id"]));
    assert_eq!(keyed(&host, "k", &job).await?.ok(202)?["id"], first["id"]);
    let other = keyed(&host, "l", &job).await?.problem(422)?;
    assert_eq!(other["errors"][0]["field"], "idempotency_key");
    let batch = post(&host, "/v1/jobs/batch", json!([job])).await?.ok(200)?;
    assert_eq!(batch[0]["id"], first["id"], "alone or among many, it is the same request");
    Ok(())
}

async fn jobs_of_a_batch_have_keys_of_their_own() -> anyhow::Result<()> {
    let fixture = Fixture::one_by_one().await?;
    let job = |key: &str| json!({ "plugin": "p", "payload": key, "idempotency_key": key });
    let array = json!([job("a"), { "plugin": "p" }, job("b")]);
    let first = post(&fixture.host, "/v1/jobs/batch", &array).await?.ok(200)?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(first[0]["id"].as_str().unwrap_or_default()).await?;
    let _running = fixture.begins().await?;
    let lines = format!("{}\n{}\n{}\n", job("a"), job("b"), job("c"));
    let again = post(&fixture.host, "/v1/jobs/batch", lines).await?.ok(200)?;
    assert_json_snapshot!(again, { "[].id" => "[id]" }, @r#"
    [
      {
        "id": "[id]",
        "replayed": true,
        "state": "completed",
        "status": 202
      },
      {
        "id": "[id]",
        "replayed": true,
        "state": "available",
        "status": 202
      },
      {
        "id": "[id]",
        "status": 202
      }
    ]
    "#);
    assert_eq!((&again[0]["id"], &again[1]["id"]), (&first[0]["id"], &first[2]["id"]));
    let other = json!([{ "plugin": "p", "idempotency_key": "a" }, { "idempotency_key": "" }]);
    let refused = post(&fixture.host, "/v1/jobs/batch", other).await?.ok(200)?;
    assert_eq!(refused[0]["error"]["code"], "idempotency_key_reused");
    assert_eq!(refused[1]["error"]["errors"][0]["field"], "idempotency_key");
    assert_eq!(how_many(&fixture.host).await?, 4);
    Ok(())
}

async fn a_key_used_twice_in_a_batch_creates_one_job() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let job = json!({ "plugin": "p", "idempotency_key": "k" });
    let other = json!({ "plugin": "p", "idempotency_key": "k", "payload": 1 });
    let batch = json!([job, job, other]);
    let answers = post(&host, "/v1/jobs/batch", batch).await?.ok(200)?;
    assert_eq!(answers[0].get("replayed"), None);
    assert_eq!((&answers[1]["id"], &answers[1]["replayed"]), (&answers[0]["id"], &json!(true)));
    assert_eq!(answers[2]["error"]["code"], "idempotency_key_reused");
    assert_eq!(how_many(&host).await?, 1);
    Ok(())
}

async fn a_repeated_batch_needs_no_room_in_the_queue_and_no_plugin() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(1).await?;
    let batch = json!([{ "plugin": "p", "idempotency_key": "k", "limits": { "fuel": 1000 } }]);
    let first = post(&fixture.host, "/v1/jobs/batch", &batch).await?.ok(200)?;
    let again = post(&fixture.host, "/v1/jobs/batch", &batch).await?.ok(200)?;
    assert_eq!((&again[0]["id"], &again[0]["status"]), (&first[0]["id"], &json!(202)));
    fixture.begins().await?.succeed();
    fixture.host.finalized(first[0]["id"].as_str().unwrap_or_default()).await?;
    let removed = send(fixture.host.request(Method::DELETE, "/v1/plugins/p")).await?;
    ensure!(removed.status == 204, "{:?}", removed.body);
    let again = post(&fixture.host, "/v1/jobs/batch", &batch).await?.ok(200)?;
    assert_eq!((&again[0]["id"], &again[0]["state"]), (&first[0]["id"], &json!("completed")));
    Ok(())
}

async fn another_request_under_the_same_key_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
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

async fn query_and_content_type_are_part_of_a_repeated_request() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
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
        bodies.push(answer?.ok(202)?["id"].clone());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "all are of the same job");
    assert_eq!(how_many(&host).await?, 1);
    Ok(())
}

async fn a_refused_request_does_not_use_up_its_key() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(1).await?;
    let job = json!({ "plugin": "p" });
    assert_eq!(keyed(&fixture.host, "k", &json!({ "plugin": "none" })).await?.status, 404);
    let first = fixture.submit(json!({})).await?;
    assert_eq!(keyed(&fixture.host, "k", &job).await?.code(503)?, "queue_full");
    fixture.begins().await?.succeed();
    fixture.host.finalized(&first).await?;
    keyed(&fixture.host, "k", &job).await?.ok(202)?;
    Ok(())
}

async fn a_repeated_request_needs_no_room_in_the_queue() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::with_capacity(1).await?;
    let job = json!({ "plugin": "p" });
    let first = keyed(&host, "k", &job).await?;
    assert_eq!(keyed(&host, "k", &job).await?.ok(202)?["id"], first.ok(202)?["id"]);
    assert_eq!(keyed(&host, "other", &job).await?.code(503)?, "queue_full");
    Ok(())
}

async fn a_key_is_forgotten_after_a_day() -> anyhow::Result<()> {
    let Fixture { host, clock, .. } = Fixture::new().await?;
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
    let again = keyed(&host, "k", &job).await?;
    assert_eq!((again.header(REPLAYED), &again.ok(202)?["id"]), ("true", &first.json()?["id"]));
    let other = json!({ "plugin": "echo", "payload": [2] });
    assert_eq!(keyed(&host, "k", &other).await?.code(422)?, "idempotency_key_reused");
    assert_eq!(how_many(&host).await?, 1);
    Ok(())
}

async fn an_invalid_idempotency_key_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let job = json!({ "plugin": "p" });
    for bad in ["", "ä", "\"", "\"k", "\"\"", &"x".repeat(256)] {
        let answer = keyed(&host, bad, &job).await?;
        assert_eq!(answer.code(400)?, "invalid_idempotency_key", "{bad}");
    }
    keyed(&host, &"x".repeat(255), &job).await?.ok(202)?;
    let batch = host.request(Method::POST, "/v1/jobs/batch").header("idempotency-key", "k");
    let problem = send(batch.json(&json!([job]))).await?.problem(400)?;
    assert_json_snapshot!(problem, @r#"
    {
      "code": "invalid_idempotency_key",
      "detail": "an Idempotency-Key is for one job: give each job of a batch an `idempotency_key` of its own"
    }
    "#);
    let two = host.request(Method::POST, "/v1/jobs").header("idempotency-key", "k");
    let two = two.header("idempotency-key", "l").json(&job);
    assert_eq!(send(two).await?.code(400)?, "invalid_idempotency_key");
    Ok(())
}

async fn a_repeated_request_needs_no_plugin_any_more() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let job = json!({ "plugin": "p" });
    let first = keyed(&fixture.host, "k", &job).await?;
    let id = first.ok(202)?["id"].as_str().unwrap_or_default().to_owned();
    fixture.begins().await?.succeed();
    fixture.host.finalized(&id).await?;
    let removed = send(fixture.host.request(Method::DELETE, "/v1/plugins/p")).await?;
    ensure!(removed.status == 204, "{:?}", removed.body);
    let again = keyed(&fixture.host, "k", &job).await?;
    assert_eq!((again.header(REPLAYED), again.ok(202)?["id"].clone()), ("true", json!(id)));
    keyed(&fixture.host, "another", &job).await?.problem(404)?;
    Ok(())
}
