//! Many jobs in one request: each is answered in order, as if it were the only one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_core::store::StoreError;
use jobwright_tests::{ScriptedRuntime, TestClock, TestHost, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::interposed::Interposed;
use super::{Fixture, get, patch, post};

pub fn trials() -> Vec<Trial> {
    tests![
        an_array_is_a_batch,
        one_object_per_line_is_a_batch,
        invalid_jobs_are_refused_in_their_places_and_the_rest_accepted,
        a_full_queue_refuses_the_rest_in_order,
        repeated_jobs_are_answered_even_if_the_rest_is_refused,
        an_unreadable_entry_does_not_affect_the_others,
        a_batch_is_bounded,
        an_empty_batch_gets_an_empty_response,
        a_broken_batch_is_refused_as_a_whole,
        a_thousand_real_jobs_in_one_request_are_all_run,
    ]
}

async fn an_array_is_a_batch() -> anyhow::Result<()> {
    let fixture = Fixture::one_by_one().await?;
    let batch = r#" [ {"plugin":"p","payload":{"n" : 1.0}}, {"plugin":"p"} ] "#;
    let answers = post(&fixture.host, "/v1/jobs/batch", batch).await?.ok(200)?;
    assert_json_snapshot!(answers, { "[].id" => "[id]" }, @r#"
    [
      {
        "id": "[id]",
        "status": 202
      },
      {
        "id": "[id]",
        "status": 202
      }
    ]
    "#);
    let (first, second) = (fixture.succeeds().await?, fixture.succeeds().await?);
    assert_eq!(
        (&first.payload.bytes[..], &second.payload.bytes[..]),
        (&b"{\"n\" : 1.0}"[..], &b""[..])
    );
    assert_eq!(answers[0]["id"], first.job.id.to_string());
    assert_eq!(answers[1]["id"], second.job.id.to_string());
    Ok(())
}

async fn one_object_per_line_is_a_batch() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let batch = "\n{\"plugin\":\"p\"}\r\n\n  {\"plugin\":\"p\",\"tags\":[\"last\"]}";
    let answers = post(&fixture.host, "/v1/jobs/batch", batch).await?.ok(200)?;
    assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
    let last = fixture.host.job(answers[1]["id"].as_str().unwrap_or_default()).await?;
    assert_eq!(last["tags"], json!(["last"]));
    Ok(())
}

async fn invalid_jobs_are_refused_in_their_places_and_the_rest_accepted() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let batch = [
        r#"{"plugin":"p"}"#,
        r#"{"plugin":"none"}"#,
        r#"{"plugin":"p","priority":9,"colour":1}"#,
        r#"{"plugin":"#,
        "[]",
        r#"{"plugin":"p","limits":{"memory_bytes":9999999999}}"#,
        r#"{"plugin":"p"}"#,
    ];
    let answer = post(&host, "/v1/jobs/batch", batch.join("\n")).await?;
    assert_eq!(answer.header("retry-after"), "", "none of this goes better later");
    let answers = answer.ok(200)?;
    assert_json_snapshot!(answers, { "[].id" => "[id]" }, @r#"
    [
      {
        "id": "[id]",
        "status": 202
      },
      {
        "error": {
          "code": "plugin_not_found",
          "detail": "plugin `none` is not installed",
          "status": 404,
          "title": "Not Found",
          "type": "about:blank"
        },
        "status": 404
      },
      {
        "error": {
          "code": "invalid_fields",
          "detail": "priority: expected one of 1 (first) to 4 (last), got `9`; colour: is not a field of a job; there are: idempotency_key, payload, payload_base64, content_type, plugin, delay_ms, scheduled_at, max_attempts, retry_on, backoff, limits, ttl_ms, deadline_ms, queue, priority, entrypoint, args, env, tags, deterministic, inject_env",
          "errors": [
            {
              "field": "priority",
              "message": "expected one of 1 (first) to 4 (last), got `9`"
            },
            {
              "field": "colour",
              "message": "is not a field of a job; there are: idempotency_key, payload, payload_base64, content_type, plugin, delay_ms, scheduled_at, max_attempts, retry_on, backoff, limits, ttl_ms, deadline_ms, queue, priority, entrypoint, args, env, tags, deterministic, inject_env"
            }
          ],
          "status": 422,
          "title": "Unprocessable Entity",
          "type": "about:blank"
        },
        "status": 422
      },
      {
        "error": {
          "code": "invalid_json",
          "detail": "the body: EOF while parsing a value at line 1 column 10",
          "status": 400,
          "title": "Bad Request",
          "type": "about:blank"
        },
        "status": 400
      },
      {
        "error": {
          "code": "invalid_json",
          "detail": "the body is not a JSON object",
          "status": 400,
          "title": "Bad Request",
          "type": "about:blank"
        },
        "status": 400
      },
      {
        "error": {
          "code": "invalid_fields",
          "detail": "limits.memory_bytes: memory limit 9.3 GiB (--memory) exceeds the operator's maximum 1 GiB, which `ceilings.memory_bytes` in the host's configuration sets",
          "errors": [
            {
              "field": "limits.memory_bytes",
              "message": "memory limit 9.3 GiB (--memory) exceeds the operator's maximum 1 GiB, which `ceilings.memory_bytes` in the host's configuration sets"
            }
          ],
          "status": 422,
          "title": "Unprocessable Entity",
          "type": "about:blank"
        },
        "status": 422
      },
      {
        "id": "[id]",
        "status": 202
      }
    ]
    "#);
    let jobs = get(&host, "/v1/jobs").await?.ok(200)?;
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(2));
    Ok(())
}

async fn a_full_queue_refuses_the_rest_in_order() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::with_capacity(2).await?;
    let job = json!({ "plugin": "p" });
    let other = json!({ "plugin": "p", "queue": "other" });
    let batch = json!([job, job, job, other, job]);
    let answer = post(&host, "/v1/jobs/batch", batch).await?;
    assert_eq!(answer.header("retry-after"), "1");
    let answers = answer.ok(200)?;
    let statuses: Vec<&Value> =
        answers.as_array().into_iter().flatten().map(|a| &a["status"]).collect();
    assert_eq!(statuses, [202, 202, 503, 202, 503]);
    assert_json_snapshot!(answers[2], @r#"
    {
      "error": {
        "capacity": 2,
        "code": "queue_full",
        "depth": 2,
        "detail": "queue `default` is full: it holds 2 jobs that are due or running, of at most 2; the operator raises it with --queue-capacity or `queue.capacity`",
        "full": "queue",
        "queue": "default",
        "status": 503,
        "title": "Service Unavailable",
        "type": "about:blank"
      },
      "status": 503
    }
    "#);
    Ok(())
}

/// A job with a key.
fn keyed(key: &str) -> Value {
    json!({ "plugin": "p", "delay_ms": 3_600_000, "idempotency_key": key })
}

async fn repeated_jobs_are_answered_even_if_the_rest_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    patch(&host, "/v1/tenants/default", json!({ "limits": { "jobs_per_second": 1 } }))
        .await?
        .ok(200)?;
    let first = post(&host, "/v1/jobs/batch", json!([keyed("a")])).await?.ok(200)?;
    let again = json!([keyed("a"), keyed("b"), { "plugin": 7 }]);
    let answer = post(&host, "/v1/jobs/batch", again).await?;
    ensure!(!answer.header("retry-after").is_empty(), "{answer:?}");
    let answers = answer.ok(200)?;
    assert_eq!((&answers[0]["id"], &answers[0]["replayed"]), (&first[0]["id"], &json!(true)));
    assert_eq!(
        (&answers[1]["status"], &answers[1]["error"]["code"]),
        (&json!(429), &json!("too_fast"))
    );
    // The explanation of an invalid entry is not an entry itself.
    let wrong = post(&host, "/v1/jobs/batch", json!([keyed("a"), 7])).await?.ok(200)?;
    assert_eq!((&wrong[0]["status"], &wrong[1]["status"]), (&json!(202), &json!(400)));
    Ok(())
}

async fn an_unreadable_entry_does_not_affect_the_others() -> anyhow::Result<()> {
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = is_broken.clone();
    let store = Interposed::new(move |name, _| {
        let fails = name == "get" && broken.load(Ordering::Relaxed);
        let error = StoreError::Unavailable { reason: "a bad sector".to_owned() };
        Box::pin(async move { if fails { Err(error) } else { Ok(()) } })
    });
    let (runtime, clock) = (ScriptedRuntime::default(), TestClock::default());
    let host = TestHost::of(store, Arc::new(runtime), Arc::new(clock), |_| {}).await?;
    host.push("p", "bytes").await?;
    host.submit(keyed("a")).await?;
    is_broken.store(true, Ordering::Relaxed);
    let batch = json!([keyed("a"), { "plugin": "p", "delay_ms": 3_600_000 }]);
    let answer = post(&host, "/v1/jobs/batch", batch).await?;
    assert_eq!(answer.header("retry-after"), "10");
    let answers = answer.ok(200)?;
    assert_eq!((&answers[0]["status"], &answers[1]["status"]), (&json!(503), &json!(202)));
    is_broken.store(false, Ordering::Relaxed);
    host.job(answers[1]["id"].as_str().unwrap_or_default()).await.map(drop)
}

async fn a_batch_is_bounded() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let many = json!(vec![json!({ "plugin": "p" }); 1001]);
    let problem = post(&host, "/v1/jobs/batch", &many).await?.problem(400)?;
    assert_eq!(problem["code"], "batch_too_long");
    let lines = "{\"plugin\":\"p\"}\n".repeat(1001);
    assert_eq!(post(&host, "/v1/jobs/batch", lines).await?.code(400)?, "batch_too_long");
    let long = " ".repeat((16 << 20) + 1);
    assert_eq!(post(&host, "/v1/jobs/batch", long).await?.code(413)?, "too_large");
    let payload = json!([{ "plugin": "p", "payload": "x".repeat(1 << 20) }, { "plugin": "p" }]);
    let answers = post(&host, "/v1/jobs/batch", payload).await?.ok(200)?;
    assert_eq!((&answers[0]["status"], &answers[1]["status"]), (&json!(413), &json!(202)));
    Ok(())
}

async fn an_empty_batch_gets_an_empty_response() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    for nothing in ["[]", "", "\n\n"] {
        assert_eq!(post(&host, "/v1/jobs/batch", nothing).await?.ok(200)?, json!([]));
    }
    let invalid = post(&host, "/v1/jobs/batch", "[1,null]").await?.ok(200)?;
    assert_eq!((&invalid[0]["status"], &invalid[1]["status"]), (&json!(400), &json!(400)));
    Ok(())
}

async fn a_broken_batch_is_refused_as_a_whole() -> anyhow::Result<()> {
    let Fixture { host, runtime, .. } = Fixture::new().await?;
    let job = r#"{"plugin":"p"}"#;
    for broken in [format!("[{job}"), format!("[{job}] {job}"), format!("[{job},]")] {
        let answer = post(&host, "/v1/jobs/batch", &broken).await?;
        assert_eq!(answer.code(400)?, "invalid_json", "{broken}");
    }
    ensure!(runtime.begun().await.is_none(), "a job was accepted");
    Ok(())
}

async fn a_thousand_real_jobs_in_one_request_are_all_run() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let batch: Vec<Value> =
        (0..1000).map(|n| json!({ "plugin": "echo", "payload": [n] })).collect();
    let answers = post(&host, "/v1/jobs/batch", json!(batch)).await?.ok(200)?;
    for (n, answer) in answers.as_array().into_iter().flatten().enumerate() {
        let job = host.finalized(answer["id"].as_str().unwrap_or_default()).await?;
        assert_eq!((&job["state"], &job["output"]), (&json!("completed"), &json!([n])));
    }
    assert_eq!(answers.as_array().map(Vec::len), Some(1000));
    Ok(())
}
