//! Queues: their counts, pausing them, and full queues.

use std::time::Duration;

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Fixture, get, post};

pub fn trials() -> Vec<Trial> {
    tests![
        a_queue_shows_its_counts,
        the_default_queue_always_exists,
        queues_are_listed_by_name,
        a_paused_queue_accepts_jobs_and_starts_none,
        a_pause_survives_a_restart,
        paused_queues_without_jobs_are_bounded,
        a_full_queue_reports_its_depth_and_when_to_retry,
        jobs_that_wait_for_a_retry_count_towards_the_parked_bound,
        a_full_queue_leaves_room_in_others,
        a_full_host_refuses_jobs_of_every_queue,
        payload_bytes_are_bounded_too,
        a_finalized_job_makes_room,
        invalid_queue_names_are_refused,
    ]
}

async fn a_queue_shows_its_counts() -> anyhow::Result<()> {
    let fixture = Fixture::one_by_one().await?;
    fixture.submit(json!({})).await?;
    let _running = fixture.begins().await?;
    fixture.submit(json!({})).await?;
    for _ in 0..2 {
        fixture.submit(json!({ "delay_ms": 60_000 })).await?;
    }
    fixture.clock.advance(Duration::from_millis(1500));
    assert_json_snapshot!(get(&fixture.host, "/v1/queues/default").await?.ok(200)?, @r#"
    {
      "capacity": 10000,
      "depth": 2,
      "name": "default",
      "oldest_age_ms": 1500,
      "parked": 2,
      "parked_capacity": 100000,
      "paused": false,
      "running": 1,
      "scheduled": 2
    }
    "#);
    Ok(())
}

async fn the_default_queue_always_exists() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::with_capacity(7).await?;
    let default = get(&host, "/v1/queues/default").await?.ok(200)?;
    assert_eq!((&default["depth"], &default["capacity"]), (&json!(0), &json!(7)));
    assert_eq!(get(&host, "/v1/queues").await?.ok(200)?, json!({ "queues": [default] }));
    // Any other queue exists from its first job on: until then it is empty, not unknown.
    let other = get(&host, "/v1/queues/other").await?.ok(200)?;
    assert_eq!((&other["name"], &other["capacity"]), (&json!("other"), &json!(7)));
    Ok(())
}

async fn queues_are_listed_by_name() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for queue in ["zebra", "ant", "moth"] {
        fixture.submit(json!({ "queue": queue })).await?;
    }
    let queues = get(&fixture.host, "/v1/queues").await?.ok(200)?;
    let names: Vec<&Value> =
        queues["queues"].as_array().into_iter().flatten().map(|q| &q["name"]).collect();
    assert_eq!(names, ["ant", "default", "moth", "zebra"]);
    Ok(())
}

async fn a_paused_queue_accepts_jobs_and_starts_none() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let paused = post(&fixture.host, "/v1/queues/slow/pause", "").await?.ok(200)?;
    assert_eq!((&paused["name"], &paused["paused"]), (&json!("slow"), &json!(true)));
    assert_eq!(post(&fixture.host, "/v1/queues/slow/pause", "").await?.ok(200)?, paused);
    fixture.submit(json!({ "queue": "slow" })).await?;
    let id = fixture.submit(json!({})).await?;
    assert_eq!(fixture.succeeds().await?.job.id.to_string(), id, "the other one goes on");
    ensure!(fixture.runtime.begun().await.is_none());
    assert_eq!(get(&fixture.host, "/v1/queues/slow").await?.ok(200)?["depth"], 1);
    let resumed = post(&fixture.host, "/v1/queues/slow/resume", "").await?.ok(200)?;
    assert_eq!(resumed["paused"], false);
    assert_eq!(fixture.succeeds().await?.job.spec.queue.as_str(), "slow");
    Ok(())
}

async fn a_pause_survives_a_restart() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    post(&host, "/v1/queues/slow/pause", "").await?.ok(200)?;
    let id = host.submit(json!({ "plugin": "echo", "queue": "slow" })).await?;
    let host = TestHost::on(host.stop().await?, |_| {}).await?;
    host.run(json!({ "plugin": "echo" })).await?;
    let slow = get(&host, "/v1/queues/slow").await?.ok(200)?;
    assert_eq!((&slow["paused"], &slow["depth"]), (&json!(true), &json!(1)));
    assert_eq!(host.job(&id).await?["attempt"], 0);
    post(&host, "/v1/queues/slow/resume", "").await?.ok(200)?;
    assert_eq!(host.finalized(&id).await?["state"], "completed");
    Ok(())
}

async fn a_full_queue_reports_its_depth_and_when_to_retry() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(2).await?;
    for _ in 0..2 {
        fixture.submit(json!({})).await?;
    }
    let answer = post(&fixture.host, "/v1/jobs", json!({ "plugin": "p" })).await?;
    assert_eq!(answer.header("retry-after"), "1");
    assert_json_snapshot!(answer.problem(503)?, @r#"
    {
      "capacity": 2,
      "code": "queue_full",
      "depth": 2,
      "detail": "queue `default` is full: it holds 2 jobs that are due or running, of at most 2; the operator raises it with --queue-capacity or `queue.capacity`",
      "full": "queue",
      "queue": "default"
    }
    "#);
    Ok(())
}

async fn jobs_that_wait_for_a_retry_count_towards_the_parked_bound() -> anyhow::Result<()> {
    let fixture = Fixture::configured(|config| {
        (config.queue.capacity, config.queue.parked_capacity) = (1, 2);
    })
    .await?;
    for _ in 0..2 {
        let id = fixture.submit(json!({})).await?;
        let error = AttemptError::new("exit_code", "an outage elsewhere");
        fixture.begins().await?.end(Outcome::Failed { error, retry: RetryHint::Backoff });
        while fixture.host.job(&id).await?["state"] != "retryable" {}
    }
    let delayed = json!({ "plugin": "p", "delay_ms": 1000 });
    let answer = post(&fixture.host, "/v1/jobs", &delayed).await?;
    assert_eq!(answer.header("retry-after"), "1");
    assert_json_snapshot!(answer.problem(503)?, @r#"
    {
      "capacity": 2,
      "code": "parked_full",
      "depth": 2,
      "detail": "queue `default` holds 2 jobs that are scheduled or wait for a retry, of at most 2; the operator raises it with --queue-parked-capacity or `queue.parked_capacity`",
      "full": "parked",
      "queue": "default"
    }
    "#);
    fixture.submit(json!({})).await?;
    let full = post(&fixture.host, "/v1/jobs?plugin=p", "").await?.problem(503)?;
    assert_eq!((&full["code"], &full["depth"]), (&json!("queue_full"), &json!(1)));
    let queue = get(&fixture.host, "/v1/queues/default").await?.ok(200)?;
    assert_eq!((&queue["depth"], &queue["parked"]), (&json!(1), &json!(2)), "the same numbers");
    Ok(())
}

async fn a_full_queue_leaves_room_in_others() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(1).await?;
    fixture.submit(json!({})).await?;
    assert_eq!(post(&fixture.host, "/v1/jobs?plugin=p", "").await?.code(503)?, "queue_full");
    post(&fixture.host, "/v1/jobs?plugin=p&queue=other", "").await?.ok(202)?;
    Ok(())
}

async fn a_full_host_refuses_jobs_of_every_queue() -> anyhow::Result<()> {
    let fixture = Fixture::configured(|config| config.queue.total = 1).await?;
    fixture.submit(json!({})).await?;
    let answer = post(&fixture.host, "/v1/jobs?plugin=p&queue=other", "").await?;
    assert_json_snapshot!(answer.problem(503)?, @r#"
    {
      "capacity": 1,
      "code": "queue_full",
      "depth": 1,
      "detail": "the host is full: it holds 1 unfinished jobs of at most 1; the operator raises it with `queue.total`",
      "full": "host"
    }
    "#);
    ensure!(!answer.header("retry-after").is_empty());
    Ok(())
}

async fn payload_bytes_are_bounded_too() -> anyhow::Result<()> {
    let fixture = Fixture::configured(|config| config.queue.payload_bytes = 1500).await?;
    post(&fixture.host, "/v1/jobs?plugin=p", "x".repeat(1000)).await?.ok(202)?;
    let answer = post(&fixture.host, "/v1/jobs?plugin=p", "x".repeat(1000)).await?;
    assert_json_snapshot!(answer.problem(503)?, @r#"
    {
      "capacity_bytes": 1500,
      "code": "queue_full",
      "depth_bytes": 1000,
      "detail": "the host is full: it holds 1000 bytes of payloads and arguments of at most 1.4 KiB; the operator raises it with `queue.payload_bytes`",
      "full": "bytes"
    }
    "#);
    post(&fixture.host, "/v1/jobs?plugin=p", "x".repeat(500)).await?.ok(202)?;
    Ok(())
}

async fn a_finalized_job_makes_room() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(1).await?;
    for _ in 0..3 {
        let id = fixture.submit(json!({})).await?;
        let attempt = fixture.begins().await?;
        assert_eq!(post(&fixture.host, "/v1/jobs?plugin=p", "").await?.code(503)?, "queue_full");
        attempt.succeed();
        fixture.host.finalized(&id).await?;
    }
    Ok(())
}

async fn invalid_queue_names_are_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for name in ["UPPER", "%2e%2e%2f", "a%20b", &"x".repeat(65)] {
        let path = format!("/v1/queues/{name}");
        assert_eq!(get(&host, &path).await?.code(400)?, "invalid_name", "{name}");
        let answer = post(&host, &format!("{path}/pause"), "").await?;
        assert_eq!(answer.code(400)?, "invalid_name", "{name}");
    }
    Ok(())
}

/// Paused queues are stored without a time limit, and a client can invent any number of names.
async fn paused_queues_without_jobs_are_bounded() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let pause = async |n: usize| post(&fixture.host, &format!("/v1/queues/q{n}/pause"), "").await;
    // `default` is there already.
    for n in 1..1000 {
        pause(n).await?.ok(200)?;
    }
    assert_eq!(pause(1000).await?.problem(409)?["code"], "too_many_queues");
    pause(1).await?.ok(200)?;
    fixture.submit(json!({ "queue": "q1000" })).await?;
    pause(1000).await?.ok(200)?;
    Ok(())
}
