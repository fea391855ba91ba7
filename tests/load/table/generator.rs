//! The load of single POSTs: `wrk` where it is installed, else connections on one thread of the tests.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use crate::load::percentile;

/// Connections, each of which sends a request when the one before is answered.
const CONNECTIONS: usize = 64;

/// The job of all measurements.
pub(super) const JOB: &str = r#"{"plugin":"noop","payload":{"order":42,"note":"a small job"}}"#;

/// How a load went.
pub(super) struct Load {
    pub(super) accepted: u64,
    pub(super) p99: Duration,
    pub(super) longest: Duration,
}

/// The generator of the load.
pub(super) fn name() -> &'static str {
    if has_wrk() {
        "wrk -t1 -c64 (its p99 also counts requests that a slow one held up)"
    } else {
        "64 connections on a thread of the tests (install wrk for comparable figures)"
    }
}

fn has_wrk() -> bool {
    // It prints its version and fails.
    let mut command = std::process::Command::new("wrk");
    command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Submits jobs for `span`. A response that is not a success is an error.
pub(super) async fn submit(url: &str, span: Duration) -> anyhow::Result<Load> {
    if has_wrk() {
        return wrk(url, span).await;
    }
    let address = url.trim_start_matches("http://").to_owned();
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(connections(address, span))
    })
    .await?
}

/// What `wrk` sends, and how it reports: its own report rounds.
const SCRIPT: &str = r#"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[JOB]]
done = function(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("result %d %d %d %d\n", summary.requests, failed,
    latency:percentile(99), latency.max))
end
"#;

async fn wrk(url: &str, span: Duration) -> anyhow::Result<Load> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("submit.lua");
    std::fs::write(&script, SCRIPT.replace("JOB", JOB))?;
    let seconds = span.as_secs().max(1);
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--timeout", "30s"])
        .args([Path::new("-s"), &script])
        .arg(format!("{url}/v1/jobs"))
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("result "));
    let result = result.with_context(|| format!("wrk failed: {text}"))?;
    let numbers: Vec<u64> = result.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, failed, p99, longest] = numbers[..] else {
        anyhow::bail!("wrk reported `{result}`");
    };
    ensure!(failed == 0, "{failed} of {requests} requests failed: {text}");
    let [p99, longest] = [p99, longest].map(Duration::from_micros);
    Ok(Load { accepted: requests, p99, longest })
}

async fn connections(address: String, span: Duration) -> anyhow::Result<Load> {
    let connections: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(connection(address.clone(), span))).collect();
    let mut times = vec![];
    for connection in connections {
        times.extend(connection.await??);
    }
    times.sort_unstable();
    let [p99, longest] = [99, 100].map(|percent| percentile(&times, percent));
    Ok(Load { accepted: times.len() as u64, p99, longest })
}

/// How long each request took.
async fn connection(address: String, span: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut client = Client::connect(&address, "", JOB).await?;
    let mut times = vec![];
    let start = Instant::now();
    while start.elapsed() < span {
        times.push(client.send("202").await?);
    }
    Ok(times)
}

/// A connection that submits the same job again and again, and costs little.
pub(super) struct Client {
    stream: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Client {
    /// Connects to submit `job`, with additional header lines.
    pub(super) async fn connect(address: &str, headers: &str, job: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let length = job.len();
        let request = format!(
            "POST /v1/jobs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             {headers}content-length: {length}\r\n\r\n{job}"
        );
        Ok(Self { stream, request, answer: Vec::with_capacity(8192) })
    }

    /// Submits the job, and returns how long the response took, whose status must be `expected`.
    pub(super) async fn send(&mut self, expected: &str) -> anyhow::Result<Duration> {
        use tokio::io::AsyncWriteExt as _;
        let start = Instant::now();
        self.stream.write_all(self.request.as_bytes()).await?;
        self.read().await?;
        let took = start.elapsed();
        let text = || String::from_utf8_lossy(&self.answer);
        ensure!(self.answer.get(9..12) == Some(expected.as_bytes()), "{}", text());
        Ok(took)
    }

    /// Reads one whole response, whose head has its length.
    async fn read(&mut self) -> anyhow::Result<()> {
        use tokio::io::AsyncReadExt as _;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the host closed the connection");
            let end = self.answer.windows(4).position(|end| end == b"\r\n\r\n");
            let Some(head) = end else { continue };
            let text = std::str::from_utf8(&self.answer[..head])?;
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("an answer has a length")?.trim().parse()?;
            if self.answer.len() >= head + 4 + length {
                return Ok(());
            }
        }
    }
}
