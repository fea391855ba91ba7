//! Creating a job from JSON, and what the guest then reads.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Fixture, get, post};

pub fn trials() -> Vec<Trial> {
    tests![
        the_response_to_a_new_job_has_all_its_fields,
        a_finalized_job_shows_its_attempts_and_outcome,
        a_payload_reaches_the_guest_as_it_was_written,
        a_payload_of_bytes_reaches_the_guest_decoded,
        invalid_base64_is_explained,
        a_string_of_another_media_type_reaches_the_guest_as_its_text,
        a_payload_that_is_not_a_string_needs_a_json_media_type,
        a_fully_escaped_string_is_accepted_up_to_the_payload_limit,
        a_job_carries_all_its_options_to_the_guest,
        limits_come_from_the_job_then_the_plugin_then_the_host,
    ]
}

async fn the_response_to_a_new_job_has_all_its_fields() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let body = json!({ "plugin": "p", "delay_ms": 90_000, "tags": ["blue"] });
    let answer = post(&host, "/v1/jobs", body).await?;
    let job = answer.ok(202)?;
    assert_json_snapshot!(job, {
        ".id" => "[id]", ".digest" => "[digest]", ".logs_url" => "/v1/jobs/[id]/logs",
    }, @r#"
    {
      "args": [],
      "attempt": 0,
      "attempted_at": null,
      "attempts": [],
      "attempts_left": 5,
      "backoff": {
        "jitter_percent": 20,
        "kind": "polynomial"
      },
      "cancel_requested_at": null,
      "created_at": "2026-01-01T00:00:00Z",
      "deadline_at": null,
      "deadline_ms": null,
      "deterministic": false,
      "digest": "[digest]",
      "ended_by": null,
      "entrypoint": null,
      "env": {},
      "exit_codes": {},
      "expires_at": null,
      "failed_output": null,
      "failures": 0,
      "finalized_at": null,
      "host": null,
      "id": "[id]",
      "inject_env": true,
      "limits": {
        "checkpoint_bytes": 1048576,
        "fuel": 300000000000,
        "grace_ms": 1000,
        "log_bytes": 262144,
        "memory_bytes": 67108864,
        "output_bytes": 1048576,
        "resources": 1000,
        "tables": 100000,
        "timeout_ms": 60000
      },
      "logs_url": "/v1/jobs/[id]/logs",
      "max_attempts": 5,
      "output_bytes": null,
      "output_type": null,
      "output_url": null,
      "plugin": "p@1.0.0",
      "priority": 2,
      "progress": null,
      "queue": "default",
      "retry_on": [
        "failed",
        "trapped",
        "time"
      ],
      "scheduled_at": "2026-01-01T00:01:30Z",
      "snoozes": 0,
      "state": "scheduled",
      "tags": [
        "blue"
      ],
      "ttl_ms": null
    }
    "#);
    let id = job["id"].as_str().unwrap_or_default();
    assert_eq!(job["logs_url"], format!("/v1/jobs/{id}/logs"));
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    assert_eq!(get(&host, answer.header("location")).await?.ok(200)?, job);
    Ok(())
}

async fn a_finalized_job_shows_its_attempts_and_outcome() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "payload": { "a": [1] } })).await?;
    let attempt = fixture.begins().await?;
    let running = fixture.host.job(&id).await?;
    assert_eq!(running["state"], "running");
    assert_eq!(running["host"].as_str().map(str::len), Some(36), "a UUID: {running}");
    attempt.succeed();
    let job = fixture.host.finalized(&id).await?;
    ensure!(job["output_url"] == format!("/v1/jobs/{id}/output"), "{job}");
    assert_json_snapshot!(job, {
        ".id" => "[id]", ".digest" => "[digest]", ".limits" => "[limits]",
        ".logs_url" => "[url]", ".output_url" => "[url]",
    }, @r#"
    {
      "args": [],
      "attempt": 1,
      "attempted_at": "2026-01-01T00:00:00Z",
      "attempts": [
        {
          "attempt": 1,
          "attempted_at": "2026-01-01T00:00:00Z",
          "ended_at": "2026-01-01T00:00:00Z",
          "failures": 0,
          "outcome": "succeeded",
          "start": {
            "clock": "2026-01-01T00:00:00Z"
          },
          "usage": {
            "compile_ms": 0.0,
            "cpu_ms": 0.0,
            "fuel": null,
            "instantiate_ms": 0.0,
            "log_bytes": 0,
            "log_dropped_bytes": 0,
            "output_bytes": 0,
            "payload_bytes": 0,
            "peak_memory_bytes": 0,
            "queue_ms": 0.0,
            "run_ms": 0.0
          }
        }
      ],
      "attempts_left": 0,
      "backoff": {
        "jitter_percent": 20,
        "kind": "polynomial"
      },
      "cancel_requested_at": null,
      "created_at": "2026-01-01T00:00:00Z",
      "deadline_at": null,
      "deadline_ms": null,
      "deterministic": false,
      "digest": "[digest]",
      "ended_by": null,
      "entrypoint": null,
      "env": {},
      "exit_codes": {},
      "expires_at": null,
      "failed_output": null,
      "failures": 0,
      "finalized_at": "2026-01-01T00:00:00Z",
      "host": null,
      "id": "[id]",
      "inject_env": true,
      "limits": "[limits]",
      "logs_url": "[url]",
      "max_attempts": 5,
      "output": {
        "a": [
          1
        ]
      },
      "output_bytes": 9,
      "output_type": "application/json",
      "output_url": "[url]",
      "plugin": "p@1.0.0",
      "priority": 2,
      "progress": null,
      "queue": "default",
      "retry_on": [
        "failed",
        "trapped",
        "time"
      ],
      "scheduled_at": "2026-01-01T00:00:00Z",
      "snoozes": 0,
      "state": "completed",
      "tags": [],
      "ttl_ms": null
    }
    "#);
    Ok(())
}

async fn a_payload_reaches_the_guest_as_it_was_written() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for payload in [
        r#"{"a" : 1,"b":[ ],  "a": 2}"#,
        "12345678901234567890123456789.0100e-400",
        r#""\u00e4 ä \ud83e\udd80""#,
        "null",
        "false",
        "\"\"",
        "{\n\t\"lines\": true\r\n}",
        &deep,
    ] {
        let body = format!(r#"{{"payload": {payload} ,"plugin":"p"}}"#);
        post(&fixture.host, "/v1/jobs", body).await?.ok(202)?;
        let given = fixture.succeeds().await?.payload;
        assert_eq!(std::str::from_utf8(&given.bytes)?, payload);
        assert_eq!(given.content_type.as_deref(), Some("application/json"));
    }
    fixture.submit(json!({})).await?;
    let given = fixture.succeeds().await?.payload;
    ensure!(given.bytes.is_empty() && given.content_type.is_none(), "absent is empty: {given:?}");
    Ok(())
}

async fn a_payload_of_bytes_reaches_the_guest_decoded() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    fixture.submit(json!({ "payload_base64": "AP/+", "content_type": "image/png" })).await?;
    let given = fixture.succeeds().await?.payload;
    assert_eq!(
        (&*given.bytes, given.content_type.as_deref()),
        (&[0, 255, 254][..], Some("image/png"))
    );
    for (text, bytes) in [
        ("QUJD\n", &b"ABC"[..]),
        ("QUJD\r\nREVG", b"ABCDEF"),
        ("QUI", b"AB"),
        ("-_-_", &[0xfb, 0xff, 0xbf]),
    ] {
        fixture.submit(json!({ "payload_base64": text })).await?;
        assert_eq!(&*fixture.succeeds().await?.payload.bytes, bytes, "{text:?}");
    }
    Ok(())
}

async fn invalid_base64_is_explained() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let job = json!({ "plugin": "p", "payload_base64": "QUJD\nQ*==" });
    let problem = post(&host, "/v1/jobs", job).await?.problem(422)?;
    assert_json_snapshot!(problem["errors"], @r#"
    [
      {
        "field": "payload_base64",
        "message": "character 7 is `*`, which base64 does not use"
      }
    ]
    "#);
    Ok(())
}

async fn a_string_of_another_media_type_reaches_the_guest_as_its_text() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for (payload, kind, bytes) in [
        (r#""to be\nor not \u00e4\ud83e\udd80 \"""#, "text/plain", "to be\nor not ä🦀 \""),
        (r##""# hi""##, "text/markdown; charset=utf-8", "# hi"),
        (r#""""#, "application/octet-stream", ""),
        (r#""[1]""#, "application/json", r#""[1]""#),
        (r#""[1]""#, "application/ld+json; profile=x", r#""[1]""#),
        (r#"{"a" : 1.0}"#, "application/cloudevents+JSON", r#"{"a" : 1.0}"#),
    ] {
        let body = format!(r#"{{"plugin":"p","payload":{payload},"content_type":"{kind}"}}"#);
        let id = post(&fixture.host, "/v1/jobs", body).await?.ok(202)?["id"].clone();
        let given = fixture.succeeds().await?.payload;
        assert_eq!(std::str::from_utf8(&given.bytes)?, bytes, "{kind}");
        assert_eq!(given.content_type.as_deref(), Some(kind));
        let path = format!("/v1/jobs/{}/payload", id.as_str().unwrap_or_default());
        let shown = get(&fixture.host, &path).await?;
        assert_eq!((shown.text()?, shown.header("content-type")), (bytes, kind));
    }
    Ok(())
}

async fn a_payload_that_is_not_a_string_needs_a_json_media_type() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for payload in ["{}", "[\"a\"]", "7", "null", "true", r#""\ud800""#] {
        let body = format!(r#"{{"plugin":"p","payload":{payload},"content_type":"text/csv"}}"#);
        let problem = post(&host, "/v1/jobs", body).await?.problem(422)?;
        assert_eq!(problem["errors"][0]["field"], "payload", "{payload}: {problem}");
    }
    let job = json!({ "plugin": "p", "payload": 7, "content_type": "text/csv" });
    assert_json_snapshot!(post(&host, "/v1/jobs", job).await?.problem(422)?["detail"], @r#""payload: expected a string, because `content_type` is `text/csv`: give a string, the bytes in `payload_base64`, or a media type of JSON""#);
    Ok(())
}

async fn a_fully_escaped_string_is_accepted_up_to_the_payload_limit() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let text = r"\u00e4".repeat(1 << 19);
    let body = format!(r#"{{"plugin":"p","payload":"{text}","content_type":"text/plain"}}"#);
    post(&fixture.host, "/v1/jobs", body).await?.ok(202)?;
    assert_eq!(fixture.succeeds().await?.payload.bytes, "ä".repeat(1 << 19));
    let body = format!(r#"{{"plugin":"p","payload":"{text}x","content_type":"text/plain"}}"#);
    assert_eq!(post(&fixture.host, "/v1/jobs", body).await?.code(413)?, "too_large");
    Ok(())
}

async fn a_job_carries_all_its_options_to_the_guest() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let options = json!({
        "queue": "slow", "priority": 1, "max_attempts": 25, "args": ["-x", "", "ä b"],
        "env": { "N": "5", "_empty": "" }, "tags": ["blue", "blue"], "deterministic": true,
    });
    let id = fixture.submit(options.clone()).await?;
    let spec = fixture.succeeds().await?.job.spec;
    assert_eq!(
        (&spec.args[..], &spec.env["N"], spec.deterministic),
        (&["-x", "", "ä b"].map(str::to_owned)[..], &"5".to_owned(), true)
    );
    let job = fixture.host.job(&id).await?;
    for (name, value) in options.as_object().into_iter().flatten() {
        assert_eq!(&job[name], value, "{name}");
    }
    // Ignored, as if they were absent.
    let none = json!({
        "plugin": "p", "queue": null, "priority": null, "max_attempts": null, "args": null,
        "env": null, "tags": null, "deterministic": null, "limits": null, "delay_ms": null,
        "scheduled_at": null, "payload_base64": null, "content_type": null,
    });
    let job = post(&fixture.host, "/v1/jobs", none).await?.ok(202)?;
    assert_eq!(
        (&job["queue"], &job["priority"], &job["max_attempts"]),
        (&json!("default"), &json!(2), &json!(5))
    );
    Ok(())
}

async fn limits_come_from_the_job_then_the_plugin_then_the_host() -> anyhow::Result<()> {
    let fixture = Fixture::configured(|config| config.limits.timeout_ms = Some(7000)).await?;
    let settings = json!({ "limits": { "log_bytes": 100, "output_bytes": 200 } });
    super::patch(&fixture.host, "/v1/plugins/p", settings).await?.ok(200)?;
    let asked = json!({ "limits": { "output_bytes": 300, "fuel": "unlimited" } });
    let id = fixture.submit(asked).await?;
    let limits: Value = fixture.host.job(&id).await?["limits"].clone();
    assert_json_snapshot!(limits, @r#"
    {
      "checkpoint_bytes": 1048576,
      "fuel": "unlimited",
      "grace_ms": 1000,
      "log_bytes": 100,
      "memory_bytes": 67108864,
      "output_bytes": 300,
      "resources": 1000,
      "tables": 100000,
      "timeout_ms": 7000
    }
    "#);
    Ok(())
}
