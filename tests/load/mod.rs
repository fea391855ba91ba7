//! Measurements, ignored unless asked for, because a busy machine fails them:
//! `cargo test --release -p jobwright-tests -- --ignored --nocapture load`.

mod routes;
mod sharing;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, components, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub fn trials() -> Vec<Trial> {
    let mut measurements = tests![
        six_thousand_jobs_a_second_are_accepted_durably_and_run_to_the_end,
        the_interface_answers_while_every_worker_spins,
        a_cancelled_job_stops_within_fifty_milliseconds,
        the_interface_answers_while_every_process_spins,
        a_cancelled_job_in_another_process_stops_within_fifty_milliseconds,
    ];
    measurements.extend(routes::trials());
    measurements.extend(sharing::trials());
    measurements.into_iter().map(|trial| trial.with_ignored_flag(true)).collect()
}

/// Connections of the load generator.
const CONNECTIONS: usize = 64;

/// Attempts in flight of a host that is told nothing else.
const SLOTS: usize = 64;

/// How long it submits.
const LOAD: Duration = Duration::from_secs(10);

/// What is demanded of two cores with a sync of 4 ms, load generator included.
const JOBS_PER_SECOND: f64 = 6_000.0;

async fn six_thousand_jobs_a_second_are_accepted_durably_and_run_to_the_end() -> anyhow::Result<()>
{
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), &["--queue-capacity", "100000"]).await?;
    push(&host, "echo", guests::echo()?).await?;
    let start = Instant::now();
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(submit_for(address(&host), LOAD))).collect();
    let (mut accepted, mut refused) = (0, 0);
    for client in clients {
        let (yes, no) = client.await??;
        accepted += yes;
        refused += no;
    }
    let submitted = start.elapsed();
    until_idle(&host).await?;
    let total = start.elapsed();
    let rate = f64::from(accepted) / total.as_secs_f64();
    println!(
        "{accepted} jobs accepted in {submitted:.1?} ({refused} refused), all run after {total:.1?}: \
         {rate:.0} jobs/s"
    );
    ensure!(rate >= JOBS_PER_SECOND, "{rate:.0} jobs/s");
    Ok(())
}

/// Submits one job after the other on one connection; answers how many were accepted and refused.
async fn submit_for(address: String, span: Duration) -> anyhow::Result<(u32, u32)> {
    let body = r#"{"plugin":"echo","payload":{"order":42,"note":"a small job"}}"#;
    let request = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let (mut accepted, mut refused) = (0, 0);
    let mut buffer = Vec::with_capacity(8192);
    let start = Instant::now();
    while start.elapsed() < span {
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream, &mut buffer).await?;
        match buffer.get(9..12) {
            Some(b"202") => accepted += 1,
            Some(b"503") => refused += 1,
            _ => anyhow::bail!("{}", String::from_utf8_lossy(&buffer)),
        }
    }
    Ok((accepted, refused))
}

/// Reads one whole answer, whose head tells its length.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    loop {
        ensure!(stream.read_buf(buffer).await? > 0, "the host closed the connection");
        let Some(head) = buffer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head])?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("an answer has a length")?.trim().parse()?;
        if buffer.len() >= head + 4 + length {
            return Ok(());
        }
    }
}

async fn the_interface_answers_while_every_worker_spins() -> anyhow::Result<()> {
    the_interface_answers(&[]).await
}

async fn the_interface_answers_while_every_process_spins() -> anyhow::Result<()> {
    the_interface_answers(ISOLATED).await
}

/// Of a host with a process for each attempt.
const ISOLATED: &[&str] = &["--isolation", "process"];

async fn the_interface_answers(flags: &[&str]) -> anyhow::Result<()> {
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), flags).await?;
    push(&host, "spin", guests::assemble(guests::SPIN)?).await?;
    let http = reqwest::Client::new();
    let (jobs, health) = (format!("{}/v1/jobs", host.url()), format!("{}/healthz", host.url()));
    for _ in 0..SLOTS {
        let job = json!({ "plugin": "spin", "limits": { "timeout_ms": 600_000 } });
        http.post(&jobs).json(&job).send().await?.error_for_status()?;
    }
    while queue(&host, &http).await?["running"] != SLOTS {
        tokio::task::yield_now().await;
    }
    let (mut reads, mut writes) = (vec![], vec![]);
    for _ in 0..300 {
        let start = Instant::now();
        http.get(&health).send().await?.error_for_status()?;
        reads.push(start.elapsed());
        let start = Instant::now();
        http.post(&jobs).json(&json!({ "plugin": "spin" })).send().await?.error_for_status()?;
        writes.push(start.elapsed());
    }
    println!("with 64 guests spinning: GET /healthz {}", spread(&mut reads));
    println!("with 64 guests spinning: POST /v1/jobs {}", spread(&mut writes));
    for times in [&reads, &writes] {
        ensure!(percentile(times, 99) < Duration::from_millis(100), "too slow");
    }
    Ok(())
}

/// Calls the host again and again, a millisecond and more in each call, which nothing interrupts.
const ASK: &str = r#"(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "_start")
    (loop $again (drop (call $random (i32.const 0) (i32.const 1048576))) (br $again))))"#;

/// Waits in the host for what never comes.
const WAIT: &str = "(call $sleep (i64.const -1))";

async fn a_cancelled_job_stops_within_fifty_milliseconds() -> anyhow::Result<()> {
    a_cancelled_job_stops(&[]).await
}

async fn a_cancelled_job_in_another_process_stops_within_fifty_milliseconds() -> anyhow::Result<()>
{
    a_cancelled_job_stops(ISOLATED).await
}

async fn a_cancelled_job_stops(flags: &[&str]) -> anyhow::Result<()> {
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), flags).await?;
    let http = reqwest::Client::new();
    let guests = [
        ("spin", guests::assemble(guests::SPIN)?),
        ("sleep", guests::assemble(guests::SLEEP)?),
        ("wait", components::command("", WAIT)?),
        ("ask", guests::assemble(ASK)?),
    ];
    for (name, guest) in &guests {
        push(&host, name, guest.clone()).await?;
    }
    let jobs = format!("{}/v1/jobs", host.url());
    let begin = async |name: &str| {
        let job =
            json!({ "plugin": name, "limits": { "timeout_ms": 600_000, "fuel": "unlimited" } });
        let job: Value =
            http.post(&jobs).json(&job).send().await?.error_for_status()?.json().await?;
        let url = format!("{jobs}/{}", job["id"].as_str().context("no id")?);
        while http.get(&url).send().await?.json::<Value>().await?["state"] != "running" {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(url)
    };
    // All slots spin but the one of the job that is cancelled.
    for _ in 1..SLOTS {
        begin("spin").await?;
    }
    for (name, _) in &guests {
        let mut times = vec![];
        for _ in 0..100 {
            let url = begin(name).await?;
            let start = Instant::now();
            http.post(format!("{url}/cancel")).send().await?.error_for_status()?;
            let job = http.get(format!("{url}?wait=10s")).send().await?.json::<Value>().await?;
            times.push(start.elapsed());
            ensure!(job["state"] == "cancelled", "{job}");
        }
        println!("request to cancel until the job is over, {name}: {}", spread(&mut times));
        ensure!(percentile(&times, 99) < Duration::from_millis(50), "too slow");
    }
    Ok(())
}

fn address(host: &HostProcess) -> String {
    host.url().trim_start_matches("http://").to_owned()
}

async fn push(host: &HostProcess, name: &str, wasm: Vec<u8>) -> anyhow::Result<()> {
    let url = format!("{}/v1/plugins/{name}", host.url());
    reqwest::Client::new().put(url).body(wasm).send().await?.error_for_status()?;
    Ok(())
}

/// What the queue says of itself.
async fn queue(host: &HostProcess, http: &reqwest::Client) -> anyhow::Result<Value> {
    Ok(http.get(format!("{}/v1/queues/default", host.url())).send().await?.json().await?)
}

async fn until_idle(host: &HostProcess) -> anyhow::Result<()> {
    let http = reqwest::Client::new();
    loop {
        let queue = queue(host, &http).await?;
        if (&queue["depth"], &queue["running"]) == (&json!(0), &json!(0)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let [p50, p99, most] = [50, 99, 100].map(|p| percentile(times, p));
    format!("p50 {p50:.1?}, p99 {p99:.1?}, slowest {most:.1?}")
}

/// Of sorted times.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or_default()
}
