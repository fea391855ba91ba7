//! Cancelling a job: at once while it waits, by stopping its attempt while it runs.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_core::runtime::StopReason;
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Answer, Fixture, post, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        a_waiting_job_is_cancelled_at_once,
        a_running_job_is_told_to_stop_and_then_cancelled,
        a_finalized_job_cannot_be_cancelled,
        a_success_that_comes_first_wins,
        cancelling_makes_room,
        a_guest_that_spins_or_sleeps_is_stopped_and_its_log_kept,
    ]
}

async fn cancel(host: &TestHost, id: &str) -> anyhow::Result<Answer> {
    post(host, &format!("/v1/jobs/{id}/cancel"), "").await
}

async fn a_waiting_job_is_cancelled_at_once() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "delay_ms": 1000 })).await?;
    let job = cancel(&fixture.host, &id).await?.ok(200)?;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("cancelled"), &json!(0)));
    ensure!(!job["finalized_at"].is_null());
    assert_eq!(cancel(&fixture.host, &id).await?.ok(200)?, job, "again is the same");
    assert_eq!(fixture.host.finalized(&id).await?, job);
    fixture.clock.advance(std::time::Duration::from_secs(2));
    fixture.submit(json!({ "tags": ["next"] })).await?;
    assert_eq!(fixture.begins().await?.attempt.job.spec.tags, ["next"], "it never begins");
    Ok(())
}

async fn a_running_job_is_told_to_stop_and_then_cancelled() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    attempt.attempt.log.write(b"what it had written");
    let job = cancel(&fixture.host, &id).await?.ok(202)?;
    ensure!(!job["cancel_requested_at"].is_null(), "{job}");
    assert_eq!(soon(attempt.stop.wait()).await?, StopReason::Cancelled);
    let job = fixture.host.finalized(&id).await?;
    assert_eq!(
        (&job["state"], &job["attempts"][0]["outcome"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    assert_eq!(fixture.host.log(&id).await?, "what it had written");
    assert_eq!(cancel(&fixture.host, &id).await?.ok(200)?, job);
    Ok(())
}

async fn a_finalized_job_cannot_be_cancelled() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    let job = fixture.host.finalized(&id).await?;
    let mut problem = cancel(&fixture.host, &id).await?.problem(409)?;
    problem["detail"] = problem["detail"].as_str().unwrap_or_default().replace(&id, "[id]").into();
    assert_json_snapshot!(problem, @r#"
    {
      "code": "already_finalized",
      "detail": "job [id] is finalized: it was completed"
    }
    "#);
    assert_eq!(fixture.host.job(&id).await?, job, "it changed nothing");
    Ok(())
}

async fn a_success_that_comes_first_wins() -> anyhow::Result<()> {
    // A real guest ends at about the time it is cancelled: whichever is first, both responses agree.
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    for _ in 0..20 {
        let id = host.submit(json!({ "plugin": "echo", "payload": [1] })).await?;
        let answer = cancel(&host, &id).await?;
        let job = host.finalized(&id).await?;
        match (answer.status.as_u16(), job["state"].as_str()) {
            (200 | 202, Some("cancelled")) => ensure!(job.get("output").is_none(), "{job}"),
            (202 | 409, Some("completed")) => assert_eq!(job["output"], json!([1])),
            other => anyhow::bail!("{other:?}: {job}"),
        }
    }
    Ok(())
}

async fn cancelling_makes_room() -> anyhow::Result<()> {
    let fixture = Fixture::configured(|config| config.queue.parked_capacity = 1).await?;
    let later = "/v1/jobs?plugin=p&delay_ms=1000";
    let id = fixture.submit(json!({ "delay_ms": 1000 })).await?;
    assert_eq!(post(&fixture.host, later, "").await?.code(503)?, "parked_full");
    cancel(&fixture.host, &id).await?.ok(200)?;
    post(&fixture.host, later, "").await?.ok(202)?;
    Ok(())
}

async fn a_guest_that_spins_or_sleeps_is_stopped_and_its_log_kept() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    for (name, text, log) in [("spin", guests::SPIN, ""), ("sleep", guests::SLEEP, "started\n")] {
        host.push(name, guests::assemble(text)?).await?;
        let id = host.submit(json!({ "plugin": name })).await?;
        soon(async {
            while host.job(&id).await?["state"] != "running" || host.log(&id).await? != log {}
            anyhow::Ok(())
        })
        .await??;
        cancel(&host, &id).await?.ok(202)?;
        let job = host.finalized(&id).await?;
        assert_eq!((&job["state"], &job["output_url"]), (&json!("cancelled"), &Value::Null));
        assert_eq!(host.log(&id).await?, log);
    }
    Ok(())
}
