//! Waiting: `Prefer: wait=N` when a job is created, `?wait=` when it is read.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Answer, SOON, Stage, get, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        a_create_that_waits_is_answered_with_the_finalized_job,
        a_create_whose_time_passes_is_answered_with_the_job_as_it_is,
        a_create_that_waits_gets_the_room_that_comes,
        a_create_that_waits_in_vain_for_room_is_refused,
        a_read_that_waits_is_answered_at_the_end,
        a_read_whose_time_passes_is_answered_with_the_job_as_it_is,
        who_does_not_wait_is_answered_at_once,
        a_client_that_goes_away_takes_no_job_with_it,
        a_wait_that_is_none_is_refused,
        who_waits_leaves_connections_to_others,
    ]
}

/// Some more than may wait at one time, which are 768.
const WAITERS: usize = 800;

/// The delay of a job that does not begin, however far a test moves the clock.
const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;

impl Stage {
    /// Creates a job, and waits so many seconds.
    fn create(&self, wait: &str) -> impl Future<Output = anyhow::Result<Answer>> + use<> {
        let request = self.host.request(Method::POST, "/v1/jobs").header("prefer", wait);
        send(request.json(&json!({ "plugin": "p", "payload": [7] })))
    }

    /// Moves the clock until something is done that waits on it.
    async fn time_passes<T>(&self, until: impl Future<Output = T>) -> anyhow::Result<T> {
        let ticking = async {
            loop {
                self.clock.advance(Duration::from_millis(500));
                tokio::task::yield_now().await;
            }
        };
        soon(async {
            tokio::select! {
                done = until => done,
                never = ticking => never,
            }
        })
        .await
    }
}

/// A host in a process of its own, because it and its clients need many files.
async fn who_waits_leaves_connections_to_others() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let host = HostProcess::start(data.path(), &[]).await?;
    let http = reqwest::Client::new();
    let plugin = format!("{}/v1/plugins/echo", host.url());
    http.put(plugin).body(guests::echo()?).send().await?.error_for_status()?;
    let job = json!({ "plugin": "echo", "delay_ms": 3_600_000 });
    let job = http.post(format!("{}/v1/jobs", host.url())).json(&job).send().await?;
    let job: Value = job.error_for_status()?.json().await?;
    let path = format!("/v1/jobs/{}", job["id"].as_str().context("an id")?);
    let request = format!("GET {path}?wait=300s HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let wait = async || {
        let address = host.url().trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        anyhow::Ok(stream)
    };
    let mut waiting = vec![];
    for _ in 0..WAITERS {
        waiting.push(wait().await?);
    }
    // One more than may wait is told so, and all who do not wait are served.
    let full = async {
        loop {
            let answer = http.get(format!("{}{path}?wait=1s", host.url())).send().await?;
            if answer.status() == 503 {
                return anyhow::Ok(answer);
            }
            // It had a place itself, for which another one was turned away.
            waiting.push(wait().await?);
        }
    };
    // Hundreds of connections take their time on a busy machine.
    let problem = tokio::time::timeout(5 * SOON, full).await??;
    ensure!(problem.headers().contains_key("retry-after"), "{problem:?}");
    // Who waits for a new job's end is told at once that it was accepted.
    let create = http.post(format!("{}/v1/jobs", host.url())).header("prefer", "wait=30");
    let accepted = soon(create.json(&json!({ "plugin": "echo" })).send()).await??;
    ensure!(matches!(accepted.status().as_u16(), 200 | 202), "{accepted:?}");
    for path in ["/healthz", &path, "/v1/queues"] {
        let answer = soon(http.get(format!("{}{path}", host.url())).send()).await??;
        ensure!(answer.status() == 200, "{path}: {answer:?}");
    }
    // And there are files for all.
    let id = host.id().context("it runs")?;
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits"))?;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).context("limits")?;
    let values: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    ensure!(values[0] == values[1], "{files}");
    Ok(())
}

async fn a_create_that_waits_is_answered_with_the_finalized_job() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let waiting = tokio::spawn(stage.create("respond-async, wait=60"));
    stage.begins().await?.succeed();
    let answer = soon(waiting).await???;
    let job = answer.ok(200)?;
    assert_eq!((&job["state"], &job["output"]), (&json!("completed"), &json!([7])));
    assert_eq!(answer.header("preference-applied"), "wait=60");
    assert_eq!(answer.header("location"), format!("/v1/jobs/{}", job["id"].as_str().unwrap_or("")));
    Ok(())
}

async fn a_create_whose_time_passes_is_answered_with_the_job_as_it_is() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let waiting = tokio::spawn(stage.create("wait=10"));
    let attempt = stage.begins().await?;
    stage.clock.advance(Duration::from_secs(9));
    ensure!(!waiting.is_finished());
    stage.clock.advance(Duration::from_secs(1));
    let answer = soon(waiting).await???;
    let job = answer.ok(202)?;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("running"), &json!(1)));
    assert_eq!(answer.header("preference-applied"), "wait=10");
    attempt.succeed();
    let job = stage.host.finalized(job["id"].as_str().unwrap_or_default()).await?;
    assert_eq!(job["state"], "completed");
    Ok(())
}

async fn a_create_that_waits_gets_the_room_that_comes() -> anyhow::Result<()> {
    let stage = Stage::with_capacity(1).await?;
    stage.submit(json!({})).await?;
    let first = stage.begins().await?;
    let waiting = tokio::spawn(stage.create("wait=300"));
    // Refused, so the queue is full still; the other one may be waiting by now, or come later.
    assert_eq!(stage.create("return=minimal").await?.code(503)?, "queue_full");
    first.succeed();
    stage.begins().await?.succeed();
    assert_eq!(soon(waiting).await???.ok(200)?["state"], "completed");
    Ok(())
}

async fn a_create_that_waits_in_vain_for_room_is_refused() -> anyhow::Result<()> {
    let stage = Stage::with_capacity(1).await?;
    stage.submit(json!({})).await?;
    let _running = stage.begins().await?;
    let answer = stage.time_passes(stage.create("wait=30")).await??;
    assert_eq!(answer.code(503)?, "queue_full");
    ensure!(!answer.header("retry-after").is_empty());
    Ok(())
}

async fn a_read_that_waits_is_answered_at_the_end() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({})).await?;
    let attempt = stage.begins().await?;
    let path = format!("/v1/jobs/{id}");
    let waits = [
        stage.host.request(Method::GET, &format!("{path}?wait=30s")),
        stage.host.request(Method::GET, &format!("{path}?wait=300")),
        stage.host.request(Method::GET, &path).header("prefer", "wait=30"),
    ];
    let waiting = waits.map(|request| tokio::spawn(send(request)));
    attempt.succeed();
    for (answer, applied) in waiting.into_iter().zip(["wait=30", "wait=300", "wait=30"]) {
        let answer = soon(answer).await???;
        assert_eq!(answer.ok(200)?["state"], "completed");
        assert_eq!(answer.header("preference-applied"), applied);
    }
    // What the address says goes before what the header prefers.
    let both =
        stage.host.request(Method::GET, &format!("{path}?wait=1s")).header("prefer", "wait=30");
    assert_eq!(send(both).await?.header("preference-applied"), "wait=1");
    Ok(())
}

async fn a_read_whose_time_passes_is_answered_with_the_job_as_it_is() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({ "delay_ms": YEAR_MS })).await?;
    for wait in ["1m30s", "90", "300s", "99999999999"] {
        let path = format!("/v1/jobs/{id}?wait={wait}");
        let job = stage.time_passes(get(&stage.host, &path)).await??.ok(200)?;
        assert_eq!((&job["state"], &job["finalized_at"]), (&json!("scheduled"), &Value::Null));
    }
    Ok(())
}

async fn who_does_not_wait_is_answered_at_once() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    for prefer in ["wait=0", "wait", "wait=-1", "wait=x", "return=minimal", ""] {
        let answer = stage.create(prefer).await?;
        let applied = if prefer == "wait=0" { "wait=0" } else { "" };
        assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, applied));
        let id = answer.json()?["id"].as_str().unwrap_or_default().to_owned();
        let job = get(&stage.host, &format!("/v1/jobs/{id}?wait=0")).await?.ok(200)?;
        assert_eq!(job["finalized_at"], Value::Null);
    }
    Ok(())
}

async fn a_client_that_goes_away_takes_no_job_with_it() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let waiting = tokio::spawn(stage.create("wait=300"));
    let attempt = stage.begins().await?;
    waiting.abort();
    let id = attempt.attempt.job.id.to_string();
    attempt.succeed();
    assert_eq!(stage.host.finalized(&id).await?["state"], "completed");
    Ok(())
}

async fn a_wait_that_is_none_is_refused() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({})).await?;
    for wait in ["", "soon", "-1s", "1w2"] {
        let answer = get(&stage.host, &format!("/v1/jobs/{id}?wait={wait}")).await?;
        assert_eq!(answer.code(400)?, "invalid_wait", "{wait}");
    }
    let answer = get(&stage.host, &format!("/v1/jobs/{id}?wait=1s&wait=2s")).await?;
    assert_eq!(answer.code(400)?, "invalid_query");
    Ok(())
}
