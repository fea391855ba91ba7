//! Clients that request large responses and never read them: the memory that the host uses for all of
//! them is bounded.

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::soon;

pub fn trials() -> Vec<Trial> {
    tests![unread_plugin_downloads_take_no_memory, unread_outputs_take_bounded_memory,]
}

const MIB: u64 = 1 << 20;

/// Clients that read the first line of a response, and nothing after it.
const CLIENTS: usize = 60;

/// A host in a process of its own, so that its memory can be measured.
struct Crowded {
    host: HostProcess,
    _data: tempfile::TempDir,
}

impl Crowded {
    async fn start() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        Ok(Self { host: HostProcess::start(data.path(), &[]).await?, _data: data })
    }

    async fn push(&self, name: &str, wasm: Vec<u8>) -> anyhow::Result<()> {
        let url = format!("{}/v1/plugins/{name}?version=1.0.0", self.host.url());
        reqwest::Client::new().put(url).body(wasm).send().await?.error_for_status()?;
        Ok(())
    }

    /// Many clients request `path` at the same time. Returns the first lines of the responses, and the
    /// peak growth of the host's memory meanwhile.
    async fn asked_for(&self, path: &str) -> anyhow::Result<(Vec<String>, u64)> {
        let before = self.host.peak_bytes()?;
        let mut waiting = vec![];
        for _ in 0..CLIENTS {
            let address = self.host.url().trim_start_matches("http://");
            let mut stream = TcpStream::connect(address).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            // A receive buffer of some kilobytes, so that hardly anything is read.
            waiting.push(BufReader::with_capacity(64, stream));
        }
        let mut lines = vec![];
        for client in &mut waiting {
            let mut line = String::new();
            soon(client.read_line(&mut line)).await??;
            lines.push(line.trim().to_owned());
        }
        Ok((lines, self.host.peak_bytes()?.saturating_sub(before)))
    }
}

/// A plugin of about `mib` MiB that has hardly any code to compile.
fn large(mib: usize) -> anyhow::Result<Vec<u8>> {
    let filler = "x".repeat(mib << 20);
    guests::assemble(&format!(r#"(module (func (export "_start")) (@custom "filler" "{filler}"))"#))
}

async fn unread_plugin_downloads_take_no_memory() -> anyhow::Result<()> {
    let crowded = Crowded::start().await?;
    crowded.push("large", large(30)?).await?;
    let (lines, grown) = crowded.asked_for("/v1/plugins/large/versions/1.0.0/wasm").await?;
    ensure!(lines.iter().all(|line| line == "HTTP/1.1 200 OK"), "{lines:?}");
    ensure!(grown < 60 * MIB, "{} MiB for {CLIENTS} clients", grown / MIB);
    Ok(())
}

/// Writes 16 MiB to its output.
const FLOOD: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\00\00\01\00")
  (func (export "_start") (local $left i32)
    (local.set $left (i32.const 256))
    (loop $more
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#;

async fn unread_outputs_take_bounded_memory() -> anyhow::Result<()> {
    let crowded = Crowded::start().await?;
    crowded.push("flood", guests::assemble(FLOOD)?).await?;
    let job = json!({ "plugin": "flood", "limits": { "output_bytes": 16 * MIB } });
    let url = format!("{}/v1/jobs", crowded.host.url());
    let asked = reqwest::Client::new().post(url).header("prefer", "wait=60").json(&job);
    let job: Value = asked.send().await?.error_for_status()?.json().await?;
    ensure!(job["output_bytes"] == 16 * MIB, "{job}");
    let path = job["output_url"].as_str().context("it has an output")?;
    let (lines, grown) = crowded.asked_for(path).await?;
    let served = lines.iter().filter(|line| *line == "HTTP/1.1 200 OK").count();
    let refused = lines.iter().filter(|line| *line == "HTTP/1.1 503 Service Unavailable").count();
    ensure!(served == 8 && served + refused == CLIENTS, "{lines:?}");
    // Another tenant gets a response meanwhile.
    let other = reqwest::Client::new().get(format!("{}/v1/jobs?limit=1", crowded.host.url()));
    soon(other.header("jobwright-tenant", "other").send()).await??.error_for_status()?;
    // The tenant's share of the budget of all responses, and the memory for reading the latest output.
    ensure!(grown < 450 * MIB, "{} MiB for {CLIENTS} clients", grown / MIB);
    Ok(())
}
