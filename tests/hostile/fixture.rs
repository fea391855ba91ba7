//! One host for the whole suite, in a process of its own, so that its memory can be measured and a crash is
//! noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright::config::Isolation;
use jobwright_tests::{DEADLINE, HostProcess, guests};
use libtest_mimic::Trial;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::leftovers::Resident;

/// The configuration of the host. Few slots, so that guests reuse them; two compilations at a time, so
/// that a compile bomb does not delay others; and a compile time limit that bombs reach soon, while all
/// other plugins stay far below.
const CONFIG: &str = r#"
workers = 8
guest_threads = 4
[compile]
timeout = "8s"
[ceilings]
memory_bytes = 268435456
[queue]
capacity = 1000
"#;

/// The largest memory that the host allows.
pub(super) const LARGEST: u64 = 256 << 20;

/// The bound for a response that needs no work. On a busy machine the host waits for a processor, but not
/// for the end of a guest.
const RESPONSIVE: Duration = Duration::from_secs(3);

/// The interval between requests.
const BETWEEN: Duration = Duration::from_millis(50);

/// The output of the ordinary job: the sum of the numbers below a million.
const SUM: &[u8] = &499_999_500_000_u64.to_le_bytes();

/// An ordinary job that runs at the same time as each hostile one: it computes for some tens of
/// milliseconds, then outputs [`SUM`].
const VICTIM: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\08\00\00\00")
  (func (export "_start") (local $n i64) (local $sum i64)
    (loop $again
      (local.set $sum (i64.add (local.get $sum) (local.get $n)))
      (local.set $n (i64.add (local.get $n) (i64.const 1)))
      (br_if $again (i64.lt_u (local.get $n) (i64.const 1000000))))
    (i64.store (i32.const 16) (local.get $sum))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// The shared host; it is stopped with the last test that uses it.
pub(super) struct Fixture {
    /// A runtime of the fixture, because the host outlives the runtime of each test.
    runtime: Runtime,
    isolation: Isolation,
    host: OnceCell<Host>,
    /// The number of uploaded plugins, from which names are made.
    plugins: AtomicUsize,
    slowest_micros: AtomicU64,
    /// Locked by uploads that use the whole compile time: two at a time would leave no permit for others.
    pub(super) bombs: Mutex<()>,
}

/// The host, and its memory before the first case.
pub(super) struct Host {
    pub(super) process: HostProcess,
    http: reqwest::Client,
    pub(super) before: Resident,
    directory: TempDir,
}

impl Fixture {
    pub(super) fn new(isolation: Isolation) -> anyhow::Result<Self> {
        let (host, plugins, slowest_micros, bombs) = <_>::default();
        Ok(Self { runtime: Runtime::new()?, isolation, host, plugins, slowest_micros, bombs })
    }

    /// A test that runs `body` and checks that the host survives it.
    pub(super) fn trial<F>(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Trial
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let fixture = self.clone();
        let prefix = match self.isolation {
            Isolation::None => "hostile",
            Isolation::Process => "hostile::isolated",
        };
        Trial::test(format!("{prefix}::{name}"), move || {
            let body = async {
                tokio::time::timeout(DEADLINE, body(fixture.clone())).await??;
                fixture.host().await?.lives().await
            };
            fixture.runtime.block_on(body).map_err(|error| format!("{error:#}").into())
        })
    }

    /// The host, after the warm-up.
    pub(super) async fn host(&self) -> anyhow::Result<&Host> {
        self.host.get_or_try_init(|| Host::start(self)).await
    }

    /// An unused plugin name.
    pub(super) fn name(&self) -> String {
        format!("guest-{}", self.plugins.fetch_add(1, Ordering::Relaxed))
    }

    /// The longest response time of the API so far.
    pub(super) fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_micros.load(Ordering::Relaxed))
    }

    /// Runs `attack` while an ordinary job runs and succeeds and the API responds; returns its result.
    pub(super) async fn beside_a_victim<T>(
        &self,
        attack: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let host = self.host().await?;
        let attacked = tokio::sync::Notify::new();
        let attack = async {
            let answer = attack.await;
            attacked.notify_one();
            answer
        };
        let (answer, victim, interface) =
            tokio::join!(attack, host.victim(), self.answers(host, attacked.notified()));
        victim.context("the victim")?;
        interface?;
        answer
    }

    /// Sends requests to the API until `end`.
    async fn answers(&self, host: &Host, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (mut end, mut next) = (std::pin::pin!(end), tokio::time::interval(BETWEEN));
        next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                _ = next.tick() => {}
            }
            let asked = Instant::now();
            let answer = tokio::time::timeout(RESPONSIVE, host.get("/healthz")).await;
            let answer = answer.map_err(|_| {
                anyhow::anyhow!("the interface did not answer within {RESPONSIVE:?}")
            })??;
            ensure!(answer.status() == StatusCode::OK, "/healthz: {}", answer.status());
            let took = u64::try_from(asked.elapsed().as_micros())?;
            self.slowest_micros.fetch_max(took, Ordering::Relaxed);
        }
    }
}

impl Host {
    /// Starts the host and warms it up.
    async fn start(fixture: &Fixture) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("jobwright.toml");
        std::fs::write(&config, CONFIG)?;
        let config = config.to_str().context("the path is text")?;
        let data = directory.path().join("data");
        let isolation = match fixture.isolation {
            Isolation::None => "none",
            Isolation::Process => "process",
        };
        let flags = ["--config", config, "--isolation", isolation];
        let process = HostProcess::start(&data, &flags).await?;
        let (http, before) = (reqwest::Client::new(), Resident::default());
        let mut host = Self { process, http, before, directory };
        host.accepts("victim", guests::assemble(VICTIM)?).await?;
        super::leftovers::warm_up(fixture, &host).await?;
        host.before = host.resident()?;
        Ok(host)
    }

    /// The data directory.
    pub(super) fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    /// Its address, as a URL.
    pub(super) fn url(&self) -> &str {
        self.process.url()
    }

    /// The memory of the process.
    pub(super) fn resident(&self) -> anyhow::Result<Resident> {
        Resident::of(self.process.id().context("the host has ended")?)
    }

    /// Fails if the process has ended or is not ready.
    pub(super) async fn lives(&self) -> anyhow::Result<()> {
        self.resident().context("the host has ended")?;
        let answer = tokio::time::timeout(RESPONSIVE, self.get("/readyz")).await??;
        ensure!(answer.status() == StatusCode::OK, "/readyz: {}", answer.status());
        Ok(())
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.process.url()))
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Response> {
        Ok(self.request(Method::GET, path).send().await?)
    }

    /// Uploads a plugin; returns status and body of the response.
    pub(super) async fn upload(
        &self,
        name: &str,
        wasm: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let request = self.request(Method::PUT, &format!("/v1/plugins/{name}?version=1.0.0"));
        answer(request.body(wasm).send().await?).await
    }

    /// Uploads a plugin that must be accepted.
    pub(super) async fn accepts(&self, name: &str, wasm: Vec<u8>) -> anyhow::Result<Value> {
        let (status, answer) = self.upload(name, wasm).await?;
        ensure!(status == StatusCode::CREATED, "{status}: {answer}");
        Ok(answer)
    }

    /// Submits a job with one attempt; returns its id.
    pub(super) async fn submit(&self, mut job: Value) -> anyhow::Result<String> {
        job["max_attempts"] = 1.into();
        let request = self.request(Method::POST, "/v1/jobs").json(&job);
        let (status, job) = answer(request.send().await?).await?;
        ensure!(status == StatusCode::ACCEPTED, "{status}: {job}");
        Ok(job["id"].as_str().context("a job has an id")?.to_owned())
    }

    /// Waits until the job is finalized.
    pub(super) async fn finalized(&self, id: &str) -> anyhow::Result<Value> {
        let (status, job) = answer(self.get(&format!("/v1/jobs/{id}?wait=60s")).await?).await?;
        ensure!(status == StatusCode::OK && !job["finalized_at"].is_null(), "{status}: {job}");
        Ok(job)
    }

    pub(super) async fn run(&self, job: Value) -> anyhow::Result<Value> {
        self.finalized(&self.submit(job).await?).await
    }

    /// The log of a job's latest attempt so far.
    pub(super) async fn log(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.get(&format!("/v1/jobs/{id}/logs")).await?;
        Ok(answer.error_for_status()?.bytes().await?.to_vec())
    }

    async fn victim(&self) -> anyhow::Result<()> {
        let job = self.run(json!({ "plugin": "victim" })).await?;
        ensure!(job["state"] == "completed", "{job}");
        let url = job["output_url"].as_str().context("no output")?;
        let output = self.get(url).await?.bytes().await?;
        ensure!(output == SUM, "{output:?}");
        Ok(())
    }
}

async fn answer(response: Response) -> anyhow::Result<(StatusCode, Value)> {
    let (status, text) = (response.status(), response.text().await?);
    Ok((status, serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?))
}
