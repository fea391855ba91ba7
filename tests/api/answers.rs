//! Clients that ask for much and read nothing: the host holds no more for all of them than it has
//! room for.

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::soon;

pub fn trials() -> Vec<Trial> {
    tests![
        plugins_that_nobody_reads_take_no_memory,
        outputs_that_nobody_reads_take_no_more_memory_than_there_is_room_for,
    ]
}

const MIB: u64 = 1 << 20;

/// Clients that read the first line of what they asked for, and nothing after it.
const CLIENTS: usize = 60;

/// A host in a process of its own, whose memory is all that is measured.
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

    /// The first lines of the answers to many who ask for `path` at the same time, and what the
    /// host's memory grew by meanwhile, at its peak.
    async fn asked_for(&self, path: &str) -> anyhow::Result<(Vec<String>, u64)> {
        let before = self.peak()?;
        let mut waiting = vec![];
        for _ in 0..CLIENTS {
            let address = self.host.url().trim_start_matches("http://");
            let mut stream = TcpStream::connect(address).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            // With a buffer of some kilobytes, so that hardly anything is taken.
            waiting.push(BufReader::with_capacity(64, stream));
        }
        let mut lines = vec![];
        for client in &mut waiting {
            let mut line = String::new();
            soon(client.read_line(&mut line)).await??;
            lines.push(line.trim().to_owned());
        }
        Ok((lines, self.peak()? - before))
    }

    /// The most memory that the host ever had.
    fn peak(&self) -> anyhow::Result<u64> {
        let id = self.host.id().context("it runs")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()).context("it has a peak")?;
        Ok(kib.parse::<u64>()? << 10)
    }
}

/// A plugin of about so many MiB, of which nothing has to be compiled.
fn large(mib: usize) -> anyhow::Result<Vec<u8>> {
    let filler = "x".repeat(mib << 20);
    guests::assemble(&format!(r#"(module (func (export "_start")) (@custom "filler" "{filler}"))"#))
}

async fn plugins_that_nobody_reads_take_no_memory() -> anyhow::Result<()> {
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

async fn outputs_that_nobody_reads_take_no_more_memory_than_there_is_room_for() -> anyhow::Result<()>
{
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
    // Another tenant is answered meanwhile.
    let other = reqwest::Client::new().get(format!("{}/v1/jobs?limit=1", crowded.host.url()));
    soon(other.header("jobwright-tenant", "other").send()).await??.error_for_status()?;
    // The tenant's share of the room of all answers, and what reading the latest of them takes.
    ensure!(grown < 450 * MIB, "{} MiB for {CLIENTS} clients", grown / MIB);
    Ok(())
}
