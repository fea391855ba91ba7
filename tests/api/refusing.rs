//! Invalid jobs: each is refused with every reason, and is not stored.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Answer, Fixture, get, patch, post};

pub fn trials() -> Vec<Trial> {
    tests![
        all_invalid_fields_are_reported,
        every_invalid_limit_is_reported_in_plain_words,
        every_field_has_its_bounds,
        a_duplicate_field_is_refused,
        two_payloads_exclude_each_other,
        a_body_that_is_not_a_json_object_is_refused,
        invalid_ids_and_unknown_ids_get_different_codes,
        a_refused_job_leaves_nothing_in_the_store,
        invalid_fields_are_reported_before_temporary_refusals,
    ]
}

async fn all_invalid_fields_are_reported() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let body = json!({
        "plugin": "Not A Name", "priority": 5, "queue": "Default", "colour": "red",
        "max_attempts": 26, "delay_ms": "soon", "limits": { "memory_bytes": 2_u64 << 30 },
    });
    assert_json_snapshot!(post(&host, "/v1/jobs", body).await?.problem(422)?, @r#"
    {
      "code": "invalid_fields",
      "detail": "plugin: `Not A Name` is not a name: use 1 to 64 characters a-z, 0-9, `.`, `_` and `-`, the first of them a letter or digit; delay_ms: expected a whole number of milliseconds, got `\"soon\"`; max_attempts: expected a whole number from 1 to 25, got `26`; limits.memory_bytes: memory limit 2 GiB (--memory) exceeds the operator's maximum 1 GiB, which `ceilings.memory_bytes` in the host's configuration sets; queue: `Default` is not a name: use 1 to 64 characters a-z, 0-9, `.`, `_` and `-`, the first of them a letter or digit; priority: expected one of 1 (first) to 4 (last), got `5`; colour: is not a field of a job; there are: idempotency_key, payload, payload_base64, content_type, plugin, delay_ms, scheduled_at, max_attempts, retry_on, backoff, limits, ttl_ms, deadline_ms, queue, priority, entrypoint, args, env, tags, deterministic, inject_env",
      "errors": [
        {
          "field": "plugin",
          "message": "`Not A Name` is not a name: use 1 to 64 characters a-z, 0-9, `.`, `_` and `-`, the first of them a letter or digit"
        },
        {
          "field": "delay_ms",
          "message": "expected a whole number of milliseconds, got `\"soon\"`"
        },
        {
          "field": "max_attempts",
          "message": "expected a whole number from 1 to 25, got `26`"
        },
        {
          "field": "limits.memory_bytes",
          "message": "memory limit 2 GiB (--memory) exceeds the operator's maximum 1 GiB, which `ceilings.memory_bytes` in the host's configuration sets"
        },
        {
          "field": "queue",
          "message": "`Default` is not a name: use 1 to 64 characters a-z, 0-9, `.`, `_` and `-`, the first of them a letter or digit"
        },
        {
          "field": "priority",
          "message": "expected one of 1 (first) to 4 (last), got `5`"
        },
        {
          "field": "colour",
          "message": "is not a field of a job; there are: idempotency_key, payload, payload_base64, content_type, plugin, delay_ms, scheduled_at, max_attempts, retry_on, backoff, limits, ttl_ms, deadline_ms, queue, priority, entrypoint, args, env, tags, deterministic, inject_env"
        }
      ]
    }
    "#);
    Ok(())
}

async fn every_invalid_limit_is_reported_in_plain_words() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let limits = json!({
        "fuel": "much", "timeout_ms": "5s", "memory_bytes": -1, "output_bytes": 1.5,
        "log_bytes": [1], "tables": true, "resources": {}, "fule": 1,
    });
    let body = json!({ "plugin": "p", "limits": limits });
    let problem = post(&host, "/v1/jobs", body).await?.problem(422)?;
    assert_json_snapshot!(problem["errors"], @r#"
    [
      {
        "field": "limits.fuel",
        "message": "expected a whole number or \"unlimited\", got `\"much\"`"
      },
      {
        "field": "limits.timeout_ms",
        "message": "expected a whole number of milliseconds, got `\"5s\"`"
      },
      {
        "field": "limits.memory_bytes",
        "message": "`-1` is negative: expected a whole number of bytes"
      },
      {
        "field": "limits.output_bytes",
        "message": "expected a whole number of bytes, got `1.5`"
      },
      {
        "field": "limits.log_bytes",
        "message": "expected a whole number of bytes, got `[1]`"
      },
      {
        "field": "limits.tables",
        "message": "expected a whole number of elements, got `true`"
      },
      {
        "field": "limits.resources",
        "message": "expected a whole number of handles, got `{}`"
      },
      {
        "field": "limits.fule",
        "message": "is not a limit; there are: fuel, timeout_ms, memory_bytes, output_bytes, log_bytes, tables, resources, checkpoint_bytes, grace_ms"
      }
    ]
    "#);
    let settings = super::patch(&host, "/v1/plugins/p", json!({ "limits": limits })).await?;
    assert_eq!(settings.problem(422)?["errors"], problem["errors"], "settings are told the same");
    Ok(())
}

/// The invalid fields that a response reports.
fn fields(answer: &Answer) -> anyhow::Result<Vec<String>> {
    let problem = answer.problem(422)?;
    ensure!(problem["code"] == "invalid_fields", "{problem}");
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    Ok(errors.iter().filter_map(|error| error["field"].as_str().map(str::to_owned)).collect())
}

async fn every_field_has_its_bounds() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let many = vec!["x"; 65];
    for (field, wrong) in [
        ("plugin", json!(7)),
        ("plugin", json!(null)),
        ("queue", json!("")),
        ("queue", json!("x".repeat(65))),
        ("priority", json!(0)),
        ("priority", json!(2.5)),
        ("max_attempts", json!(0)),
        ("max_attempts", json!(65_536)),
        ("delay_ms", json!(-1)),
        ("ttl_ms", json!(0)),
        ("ttl_ms", json!(-1)),
        ("ttl_ms", json!("5m")),
        ("ttl_ms", json!(31_622_400_001_u64)),
        ("deadline_ms", json!(0)),
        ("deadline_ms", json!("1h")),
        ("deadline_ms", json!(31_622_400_001_u64)),
        ("delay_ms", json!(u64::MAX)),
        ("scheduled_at", json!("tomorrow")),
        ("scheduled_at", json!("2027-06-01T00:00:00Z")),
        ("args", json!("-x")),
        ("args", json!([7])),
        ("args", json!(many)),
        ("args", json!(["x".repeat(16 << 10), "y"])),
        ("args", json!(["nul\0"])),
        ("env", json!([])),
        ("env.N", json!({ "N": 5 })),
        ("env.N", json!({ "N": null })),
        ("env.N", json!({ "N": "nul\0" })),
        ("env.1N", json!({ "1N": "" })),
        ("env.", json!({ "": "" })),
        ("env.A=B", json!({ "A=B": "" })),
        ("env.JOBWRIGHT_JOB_ID", json!({ "JOBWRIGHT_JOB_ID": "mine" })),
        ("tags", json!("blue")),
        ("tags", json!(many)),
        ("retry_on", json!(["sometimes"])),
        ("retry_on", json!("failed,time")),
        ("backoff", json!("fixed")),
        ("backoff.kind", json!({})),
        ("backoff.kind", json!({ "kind": "linear" })),
        ("backoff.wait_ms", json!({ "kind": "fixed" })),
        ("backoff.wait_ms", json!({ "kind": "fixed", "wait_ms": -1 })),
        ("backoff.wait_ms", json!({ "kind": "fixed", "wait_ms": 31_622_400_001_u64 })),
        ("backoff.wait_ms", json!({ "kind": "polynomial", "wait_ms": 1 })),
        ("backoff.first_ms", json!({ "kind": "exponential", "factor": 2 })),
        ("backoff.factor", json!({ "kind": "exponential", "first_ms": 1, "factor": 0.5 })),
        ("backoff.waits_ms", json!({ "kind": "list", "waits_ms": [] })),
        ("backoff.waits_ms", json!({ "kind": "list", "waits_ms": vec![1; 26] })),
        ("backoff.jitter_percent", json!({ "kind": "polynomial", "jitter_percent": 101 })),
        ("backoff.max_ms", json!({ "kind": "polynomial", "max_ms": "6h" })),
        ("deterministic", json!("yes")),
        ("limits", json!(5)),
        ("limits.fule", json!({ "fule": 5 })),
        ("limits.timeout_ms", json!({ "timeout_ms": 0 })),
        ("content_type", json!("text")),
        ("content_type", json!("text/plain\nx: y")),
        ("payload_base64", json!("not base64")),
        ("payload_base64", json!("AA=A")),
        ("idempotency_key", json!("")),
        ("idempotency_key", json!("ä")),
        ("idempotency_key", json!(7)),
    ] {
        let name = field.split('.').next().unwrap_or(field);
        let mut body = json!({ "plugin": "p" });
        body[name] = wrong;
        let answer = post(&host, "/v1/jobs", &body).await?;
        ensure!(fields(&answer)? == [field], "{field}: {body}: {answer:?}");
    }
    let both = json!({ "plugin": "p", "delay_ms": 1, "scheduled_at": "2026-01-02T00:00:00Z" });
    assert_eq!(fields(&post(&host, "/v1/jobs", both).await?)?, ["delay_ms"]);
    Ok(())
}

async fn a_duplicate_field_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (field, body) in [
        ("plugin", r#"{"plugin":"p","plugin":"p"}"#),
        ("payload", r#"{"plugin":"p","payload":1,"payload":2}"#),
        ("limits.fuel", r#"{"plugin":"p","limits":{"fuel":1,"fuel":2}}"#),
        ("env.A", r#"{"plugin":"p","env":{"A":"1","A":"1"}}"#),
    ] {
        assert_eq!(fields(&post(&host, "/v1/jobs", body).await?)?, [field]);
    }
    Ok(())
}

async fn two_payloads_exclude_each_other() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let body = json!({ "plugin": "p", "payload": null, "payload_base64": "" });
    assert_json_snapshot!(post(&host, "/v1/jobs", body).await?.problem(400)?, @r#"
    {
      "code": "two_payloads",
      "detail": "`payload` and `payload_base64` exclude each other: give one"
    }
    "#);
    Ok(())
}

async fn a_body_that_is_not_a_json_object_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    assert_json_snapshot!(post(&host, "/v1/jobs", "{\"plugin\":").await?.problem(400)?, @r#"
    {
      "code": "invalid_json",
      "detail": "the body: EOF while parsing a value at line 1 column 10"
    }
    "#);
    let deep = "[".repeat(100_000);
    for body in ["", "null", "[]", "\"p\"", "{\"plugin\":\"p\"}x", "{'plugin':'p'}", &deep] {
        assert_eq!(post(&host, "/v1/jobs", body).await?.code(400)?, "invalid_json", "{body}");
    }
    let bytes =
        super::send(host.request(reqwest::Method::POST, "/v1/jobs").body(vec![0xff])).await?;
    assert_eq!(bytes.code(400)?, "invalid_json");
    Ok(())
}

async fn invalid_ids_and_unknown_ids_get_different_codes() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let unknown = "019b7000-0000-7000-8000-000000000000";
    assert_json_snapshot!(get(&host, &format!("/v1/jobs/{unknown}")).await?.problem(404)?, @r#"
    {
      "code": "job_not_found",
      "detail": "job 019b7000-0000-7000-8000-000000000000 is not known; it may have been pruned"
    }
    "#);
    assert_json_snapshot!(get(&host, "/v1/jobs/7").await?.problem(400)?, @r#"
    {
      "code": "invalid_job_id",
      "detail": "`7` is not a job id: use the `id` of the job, a UUID, or its first 8 or more characters"
    }
    "#);
    let bare = unknown.replace('-', "");
    for id in ["%00", "%F0%9F%A6%80", "null", &bare, &"9".repeat(5000)] {
        for resource in ["", "/output", "/logs"] {
            let answer = get(&host, &format!("/v1/jobs/{id}{resource}")).await?;
            assert_eq!(answer.code(400)?, "invalid_job_id", "{id}{resource}");
        }
    }
    for resource in ["/output", "/logs", "?wait=1s"] {
        let answer = get(&host, &format!("/v1/jobs/{unknown}{resource}")).await?;
        assert_eq!(answer.code(404)?, "job_not_found", "{resource}");
    }
    for action in ["cancel", "retry"] {
        let answer = post(&host, &format!("/v1/jobs/{unknown}/{action}"), "").await?;
        assert_eq!(answer.code(404)?, "job_not_found", "{action}");
        let answer = post(&host, &format!("/v1/jobs/7/{action}"), "").await?;
        assert_eq!(answer.code(400)?, "invalid_job_id", "{action}");
    }
    Ok(())
}

async fn a_refused_job_leaves_nothing_in_the_store() -> anyhow::Result<()> {
    let Fixture { host, runtime, .. } = Fixture::new().await?;
    for body in ["{", r#"{"plugin":"p","priority":9}"#, r#"{"plugin":"none"}"#] {
        ensure!(post(&host, "/v1/jobs", body).await?.status.is_client_error());
    }
    let jobs = get(&host, "/v1/jobs").await?.ok(200)?;
    assert_eq!(jobs, json!({ "jobs": [], "next_cursor": Value::Null }));
    ensure!(runtime.begun().await.is_none());
    Ok(())
}

async fn invalid_fields_are_reported_before_temporary_refusals() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let limits = json!({ "limits": { "jobs_per_second": 1 } });
    patch(&host, "/v1/tenants/default", limits).await?.ok(200)?;
    // This job uses up the rate.
    let first = json!({ "plugin": "p", "delay_ms": 3_600_000, "idempotency_key": "first" });
    let accepted = post(&host, "/v1/jobs/batch", json!([first])).await?.ok(200)?;
    let id = accepted[0]["id"].as_str().unwrap_or_default().to_owned();
    post(&host, &format!("/v1/jobs/{id}/cancel"), "").await?.ok(200)?;
    let retry = async || post(&host, &format!("/v1/jobs/{id}/retry"), "").await;
    assert_eq!(retry().await?.code(429)?, "too_fast");
    let submit = async |job: Value, status: u16| {
        let alone = post(&host, "/v1/jobs", job.clone()).await?.code(status)?;
        let among = post(&host, "/v1/jobs/batch", json!([first, job])).await?.ok(200)?;
        assert_eq!(among[1]["error"]["code"], alone);
        anyhow::Ok(alone)
    };
    assert_eq!(submit(json!({ "plugin": "p", "priority": 9 }), 422).await?, "invalid_fields");
    assert_eq!(submit(json!({ "plugin": "none" }), 404).await?, "plugin_not_found");
    assert_eq!(submit(json!({ "plugin": "p" }), 429).await?, "too_fast");
    post(&host, "/v1/plugins/p/disable", "").await?.ok(200)?;
    assert_eq!(submit(json!({ "plugin": "p" }), 409).await?, "disabled");
    assert_eq!(retry().await?.code(409)?, "disabled");
    Ok(())
}
