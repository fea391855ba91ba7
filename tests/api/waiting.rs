//! Waiting for jobs: `Prefer: wait=N` when a job is created, `?wait=` when it is read.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Answer, Fixture, SOON, get, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        a_create_that_waits_is_answered_with_the_finalized_job,
        a_create_whose_wait_times_out_is_answered_with_the_current_job,
        a_create_that_waits_gets_the_next_free_place,
        a_create_that_finds_no_room_in_time_is_refused,
        a_read_that_waits_is_answered_when_the_job_is_finalized,
        a_read_whose_wait_times_out_is_answered_with_the_current_job,
        a_request_that_does_not_wait_is_answered_at_once,
        a_client_that_disconnects_does_not_affect_its_job,
        an_invalid_wait_is_refused,
        waiting_clients_leave_connections_for_others,
    ]
}

/// More than the 768 requests that may wait at one time.
const WAITERS: usize = 800;

/// The delay of a job that must not begin, however far a test moves the clock.
const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;

impl Fixture {
    /// Creates a job with `Prefer: wait`.
    fn create(&self, wait: &str) -> impl Future<Output = anyhow::Result<Answer>> + use<> {
        let request = self.host.request(Method::POST, "/v1/jobs").header("prefer", wait);
        send(request.json(&json!({ "plugin": "p", "payload": [7] })))
    }

    /// Moves the clock until `until` is done.
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

/// The host has a process of its own, because it and its clients need many open files.
async fn waiting_clients_leave_connections_for_others() -> anyhow::Result<()> {
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
    // One more waiting request is refused, and requests that do not wait are answered.
    let full = async {
        loop {
            let answer = http.get(format!("{}{path}?wait=1s", host.url())).send().await?;
            if answer.status() == 503 {
                return anyhow::Ok(answer);
            }
            // It had a connection itself, for which another one was refused.
            waiting.push(wait().await?);
        }
    };
    // Hundreds of connections take a while on a busy machine.
    let problem = tokio::time::timeout(5 * SOON, full).await??;
    ensure!(problem.headers().contains_key("retry-after"), "{problem:?}");
    // A create that would wait is answered at once: the job is accepted. While the host still reads the requests above,
    // the tenant has too many at a time.
    let create = async {
        loop {
            let create = http.post(format!("{}/v1/jobs", host.url())).header("prefer", "wait=30");
            let answer = create.json(&json!({ "plugin": "echo" })).send().await?;
            if answer.status() != 503 {
                return anyhow::Ok(answer);
            }
        }
    };
    let accepted = soon(create).await??;
    ensure!(matches!(accepted.status().as_u16(), 200 | 202), "{accepted:?}");
    for path in ["/healthz", &path, "/v1/queues"] {
        let answer = soon(http.get(format!("{}{path}", host.url())).send()).await??;
        ensure!(answer.status() == 200, "{path}: {answer:?}");
    }
    // The limit of open files is high enough for all.
    let id = host.id().context("it runs")?;
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits"))?;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).context("limits")?;
    let values: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    ensure!(values[0] == values[1], "{files}");
    Ok(())
}

async fn a_create_that_waits_is_answered_with_the_finalized_job() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let waiting = tokio::spawn(fixture.create("respond-async, wait=60"));
    fixture.begins().await?.succeed();
    let answer = soon(waiting).await???;
    let job = answer.ok(200)?;
    assert_eq!((&job["state"], &job["output"]), (&json!("completed"), &json!([7])));
    assert_eq!(answer.header("preference-applied"), "wait=60");
    assert_eq!(answer.header("location"), format!("/v1/jobs/{}", job["id"].as_str().unwrap_or("")));
    Ok(())
}

async fn a_create_whose_wait_times_out_is_answered_with_the_current_job() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let waiting = tokio::spawn(fixture.create("wait=10"));
    let attempt = fixture.begins().await?;
    fixture.clock.advance(Duration::from_secs(9));
    ensure!(!waiting.is_finished());
    fixture.clock.advance(Duration::from_secs(1));
    let answer = soon(waiting).await???;
    let job = answer.ok(202)?;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("running"), &json!(1)));
    assert_eq!(answer.header("preference-applied"), "wait=10");
    attempt.succeed();
    let job = fixture.host.finalized(job["id"].as_str().unwrap_or_default()).await?;
    assert_eq!(job["state"], "completed");
    Ok(())
}

async fn a_create_that_waits_gets_the_next_free_place() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(1).await?;
    fixture.submit(json!({})).await?;
    let first = fixture.begins().await?;
    let waiting = tokio::spawn(fixture.create("wait=300"));
    // Refused, so the queue is still full; the other request may already wait, or arrive later.
    assert_eq!(fixture.create("return=minimal").await?.code(503)?, "queue_full");
    first.succeed();
    fixture.begins().await?.succeed();
    assert_eq!(soon(waiting).await???.ok(200)?["state"], "completed");
    Ok(())
}

async fn a_create_that_finds_no_room_in_time_is_refused() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(1).await?;
    fixture.submit(json!({})).await?;
    let _running = fixture.begins().await?;
    let answer = fixture.time_passes(fixture.create("wait=30")).await??;
    assert_eq!(answer.code(503)?, "queue_full");
    ensure!(!answer.header("retry-after").is_empty());
    Ok(())
}

async fn a_read_that_waits_is_answered_when_the_job_is_finalized() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    let path = format!("/v1/jobs/{id}");
    let waits = [
        fixture.host.request(Method::GET, &format!("{path}?wait=30s")),
        fixture.host.request(Method::GET, &format!("{path}?wait=300")),
        fixture.host.request(Method::GET, &path).header("prefer", "wait=30"),
    ];
    let waiting = waits.map(|request| tokio::spawn(send(request)));
    attempt.succeed();
    for (answer, applied) in waiting.into_iter().zip(["wait=30", "wait=300", "wait=30"]) {
        let answer = soon(answer).await???;
        assert_eq!(answer.ok(200)?["state"], "completed");
        assert_eq!(answer.header("preference-applied"), applied);
    }
    // The query takes precedence over the header.
    let both =
        fixture.host.request(Method::GET, &format!("{path}?wait=1s")).header("prefer", "wait=30");
    assert_eq!(send(both).await?.header("preference-applied"), "wait=1");
    Ok(())
}

async fn a_read_whose_wait_times_out_is_answered_with_the_current_job() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "delay_ms": YEAR_MS })).await?;
    for wait in ["1m30s", "90", "300s", "99999999999"] {
        let path = format!("/v1/jobs/{id}?wait={wait}");
        let job = fixture.time_passes(get(&fixture.host, &path)).await??.ok(200)?;
        assert_eq!((&job["state"], &job["finalized_at"]), (&json!("scheduled"), &Value::Null));
    }
    Ok(())
}

async fn a_request_that_does_not_wait_is_answered_at_once() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for prefer in ["wait=0", "wait", "wait=-1", "wait=x", "return=minimal", ""] {
        let answer = fixture.create(prefer).await?;
        let applied = if prefer == "wait=0" { "wait=0" } else { "" };
        assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, applied));
        let id = answer.json()?["id"].as_str().unwrap_or_default().to_owned();
        let job = get(&fixture.host, &format!("/v1/jobs/{id}?wait=0")).await?.ok(200)?;
        assert_eq!(job["finalized_at"], Value::Null);
    }
    Ok(())
}

async fn a_client_that_disconnects_does_not_affect_its_job() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let waiting = tokio::spawn(fixture.create("wait=300"));
    let attempt = fixture.begins().await?;
    waiting.abort();
    let id = attempt.attempt.job.id.to_string();
    attempt.succeed();
    assert_eq!(fixture.host.finalized(&id).await?["state"], "completed");
    Ok(())
}

async fn an_invalid_wait_is_refused() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    for wait in ["", "soon", "-1s", "1w2"] {
        let answer = get(&fixture.host, &format!("/v1/jobs/{id}?wait={wait}")).await?;
        assert_eq!(answer.code(400)?, "invalid_wait", "{wait}");
    }
    let answer = get(&fixture.host, &format!("/v1/jobs/{id}?wait=1s&wait=2s")).await?;
    assert_eq!(answer.code(400)?, "invalid_query");
    Ok(())
}
