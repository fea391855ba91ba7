//! Creating a job whose payload is the body itself, with its options in the query.

use anyhow::ensure;
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Fixture, get, post, send};

pub fn trials() -> Vec<Trial> {
    tests![
        the_body_is_the_payload_without_interpretation,
        every_option_can_be_given_in_the_query,
        numeric_values_of_string_options_are_strings,
        invalid_options_in_the_query_are_reported,
        an_empty_body_is_an_empty_payload,
        a_raw_payload_over_its_limit_is_refused,
        a_real_guest_reads_the_bytes_as_they_were_sent,
    ]
}

async fn the_body_is_the_payload_without_interpretation() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for (kind, bytes) in [
        ("text/csv", &b"a,b\n1,2\n"[..]),
        ("application/octet-stream", &[0, 255, 10, 13]),
        ("application/json", b"{\"plugin\": not even json"),
        ("application/x-www-form-urlencoded", b"plugin=q"),
    ] {
        let request = fixture.host.request(Method::POST, "/v1/jobs?plugin=p");
        send(request.header("content-type", kind).body(bytes.to_vec())).await?.ok(202)?;
        let given = fixture.succeeds().await?.payload;
        assert_eq!((&*given.bytes, given.content_type.as_deref()), (bytes, Some(kind)));
    }
    Ok(())
}

async fn every_option_can_be_given_in_the_query() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let query = "plugin=p%401&queue=slow&priority=1&max_attempts=3&delay_ms=5000&arg=-x&arg=a+b%26\
                 &tag=blue&tag=red&env.N=5&env.EMPTY=&deterministic=true&limits.fuel=unlimited\
                 &limits.timeout_ms=9000&retry_on=failed,fuel&backoff.kind=list\
                 &backoff.waits_ms=1000,60000&backoff.jitter_percent=0&ttl_ms=60000&deadline_ms=90000";
    let job = post(&fixture.host, &format!("/v1/jobs?{query}"), "payload").await?.ok(202)?;
    let expected = json!({
        "plugin": "p@1.0.0", "queue": "slow", "priority": 1, "max_attempts": 3,
        "state": "scheduled", "args": ["-x", "a b&"], "tags": ["blue", "red"],
        "env": { "N": "5", "EMPTY": "" }, "deterministic": true,
        "retry_on": ["failed", "fuel"], "ttl_ms": 60_000, "deadline_ms": 90_000,
        "backoff": { "kind": "list", "waits_ms": [1000, 60_000], "jitter_percent": 0 },
    });
    for (name, value) in expected.as_object().into_iter().flatten() {
        assert_eq!(&job[name], value, "{name}");
    }
    let limits = &job["limits"];
    assert_eq!((&limits["fuel"], &limits["timeout_ms"]), (&json!("unlimited"), &json!(9000)));
    let at = post(&fixture.host, "/v1/jobs?plugin=p&scheduled_at=2026-01-01T00:00:07Z", "").await?;
    assert_eq!(at.ok(202)?["scheduled_at"], "2026-01-01T00:00:07Z");
    Ok(())
}

async fn numeric_values_of_string_options_are_strings() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    fixture.host.push("2026", "bytes").await?;
    let query = "plugin=2026&queue=7&arg=1&tag=2&env.N=3&env.T=true";
    let job = post(&fixture.host, &format!("/v1/jobs?{query}"), "").await?.ok(202)?;
    assert_eq!((&job["plugin"], &job["queue"]), (&json!("2026@1.0.0"), &json!("7")));
    assert_eq!((&job["args"], &job["tags"]), (&json!(["1"]), &json!(["2"])));
    assert_eq!(job["env"], json!({ "N": "3", "T": "true" }));
    Ok(())
}

async fn invalid_options_in_the_query_are_reported() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (query, fields) in [
        ("queue=slow", &["plugin"][..]),
        ("plugin=p&priority=9&colour=red&env.1=x", &["priority", "env.1", "colour"]),
        ("plugin=p&plugin=q", &["plugin"]),
        ("plugin=p&limits.fuel=1&limits.fuel=2", &["limits.fuel"]),
        ("plugin=p&env.A=1&env.A=2", &["env.A"]),
        ("plugin=p&limits.fule=1&limits.fuel=x", &["limits.fuel", "limits.fule"]),
        ("plugin=p&limits=1", &["limits"]),
        ("plugin=p&payload=1", &["payload"]),
        ("plugin=p&args=x", &["args"]),
        ("plugin=p&wait=5s", &["wait"]),
        ("plugin=p&%FF=1", &["\u{fffd}"]),
        ("plugin=p&=1", &[""]),
    ] {
        let problem = post(&host, &format!("/v1/jobs?{query}"), "").await?.problem(422)?;
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let named: Vec<&Value> = errors.iter().map(|error| &error["field"]).collect();
        assert_eq!(named, fields, "{query}: {problem}");
    }
    let request = host.request(Method::POST, "/v1/jobs?plugin=p").header("content-type", "text");
    let problem = send(request).await?.problem(422)?;
    assert_eq!(problem["errors"][0]["field"], "content_type");
    Ok(())
}

async fn an_empty_body_is_an_empty_payload() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    send(fixture.host.request(Method::POST, "/v1/jobs?plugin=p")).await?.ok(202)?;
    let given = fixture.succeeds().await?.payload;
    ensure!(given.bytes.is_empty() && given.content_type.is_none(), "{given:?}");
    Ok(())
}

async fn a_raw_payload_over_its_limit_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::configured(|config| config.payload_bytes = 1000).await?;
    let path = "/v1/jobs?plugin=p";
    post(&host, path, "x".repeat(1000)).await?.ok(202)?;
    let problem = post(&host, path, "x".repeat(1001)).await?.problem(413)?;
    assert_eq!((&problem["code"], &problem["limit_bytes"]), (&json!("too_large"), &json!(1000)));
    Ok(())
}

async fn a_real_guest_reads_the_bytes_as_they_were_sent() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let request = host.request(Method::POST, "/v1/jobs?plugin=echo").header("prefer", "wait=60");
    let job = send(request.body(bytes.clone())).await?.ok(200)?;
    let output = get(&host, job["output_url"].as_str().unwrap_or_default()).await?;
    ensure!(output.body == bytes, "{} bytes came back", output.body.len());
    assert_eq!(output.header("content-type"), "application/octet-stream");
    assert_eq!(job["attempts"][0]["usage"]["payload_bytes"], 100_000);
    Ok(())
}
