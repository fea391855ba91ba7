//! The HTTP interface as its clients see it: real requests to a real host. Where a test must decide
//! when attempts end and what time it is, it uses a [`Fixture`].

mod access;
mod auditing;
mod batch;
mod bounds;
mod browsers;
mod cancelling;
mod compiling;
mod creating;
mod disabling;
mod disconnects;
mod disk;
mod failing;
pub(crate) mod granting;
mod hostile;
pub(crate) mod interposed;
mod key_expiry;
mod keys;
mod listing;
mod logs;
mod outputs;
mod plugins;
mod problems;
mod queues;
mod raw;
mod readiness;
mod reading;
mod refusing;
mod removing;
mod retrying;
mod revoking;
mod scheduling;
mod secrets;
mod seeds;
mod settings;
mod shares;
mod shares_of_code;
mod sharing;
mod start_page;
mod starting;
mod tenants;
mod unavailable;
mod unread_responses;
mod unused;
mod uploads;
mod waiting;
mod wire;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use jobwright::Config;
use jobwright::store::memory::MemoryStore;
use jobwright_core::attempt::Attempt;
use jobwright_tests::{InFlight, ScriptedRuntime, TestClock, TestHost};
use libtest_mimic::Trial;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

/// Every test of this module.
pub fn trials() -> Vec<Trial> {
    [
        access::trials(),
        unread_responses::trials(),
        auditing::trials(),
        batch::trials(),
        bounds::trials(),
        browsers::trials(),
        cancelling::trials(),
        compiling::trials(),
        creating::trials(),
        disconnects::trials(),
        disk::trials(),
        failing::trials(),
        granting::trials(),
        hostile::trials(),
        keys::trials(),
        key_expiry::trials(),
        listing::trials(),
        logs::trials(),
        outputs::trials(),
        plugins::trials(),
        problems::trials(),
        queues::trials(),
        raw::trials(),
        reading::trials(),
        refusing::trials(),
        removing::trials(),
        retrying::trials(),
        revoking::trials(),
        scheduling::trials(),
        secrets::trials(),
        seeds::trials(),
        settings::trials(),
        shares::trials(),
        shares_of_code::trials(),
        sharing::trials(),
        starting::trials(),
        disabling::trials(),
        readiness::trials(),
        tenants::trials(),
        unavailable::trials(),
        unused::trials(),
        uploads::trials(),
        waiting::trials(),
        start_page::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The time limit for events that tests expect at once.
const SOON: Duration = Duration::from_secs(20);

/// How long leases hold on a [`Fixture`]: longer than tests move its clock while attempts run.
const LEASE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A host whose time and attempts the test controls, with the plugin `p`.
struct Fixture {
    host: TestHost,
    runtime: ScriptedRuntime,
    clock: TestClock,
}

impl Fixture {
    async fn new() -> anyhow::Result<Self> {
        Self::configured(|_| {}).await
    }

    async fn configured(change: impl Fn(&mut Config)) -> anyhow::Result<Self> {
        let (runtime, clock) = (ScriptedRuntime::default(), TestClock::default());
        let change = |config: &mut Config| {
            config.lease = LEASE;
            change(config);
        };
        let mut config = Config::default();
        change(&mut config);
        let store = Arc::new(MemoryStore::new(config.capacity()));
        let parts = (store, Arc::new(runtime.clone()), Arc::new(clock.clone()));
        let host = TestHost::of(parts.0, parts.1, parts.2, change).await?;
        host.push("p", "any bytes will do").await?;
        Ok(Self { host, runtime, clock })
    }

    /// A host that runs one attempt at a time, so that tests see in which order jobs begin.
    async fn one_by_one() -> anyhow::Result<Self> {
        Self::configured(|config| config.workers = NonZeroU32::MIN).await
    }

    /// A host with this capacity of each queue.
    async fn with_capacity(jobs: usize) -> anyhow::Result<Self> {
        Self::configured(|config| config.queue.capacity = jobs).await
    }

    /// Submits a job of `p`.
    async fn submit(&self, mut job: Value) -> anyhow::Result<String> {
        job["plugin"] = "p".into();
        self.host.submit(job).await
    }

    /// The next attempt that begins. If it is dropped, it counts as interrupted, and the job starts again.
    async fn begins(&self) -> anyhow::Result<InFlight> {
        soon(self.runtime.next()).await?
    }

    /// The next attempt, which succeeds.
    async fn succeeds(&self) -> anyhow::Result<Attempt> {
        let begun = self.begins().await?;
        let attempt = begun.attempt.clone();
        begun.succeed();
        Ok(attempt)
    }
}

/// Waits for an event that should happen at once.
async fn soon<T>(what: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(SOON, what).await.context("it did not happen in time")
}

/// A response with its whole body.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Sends a request, and reads the whole response.
async fn send(request: RequestBuilder) -> anyhow::Result<Answer> {
    let response = soon(request.send()).await??;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: soon(response.bytes()).await?? })
}

async fn get(host: &TestHost, path: &str) -> anyhow::Result<Answer> {
    send(host.request(Method::GET, path)).await
}

async fn delete(host: &TestHost, path: &str) -> anyhow::Result<Answer> {
    send(host.request(Method::DELETE, path)).await
}

async fn put(host: &TestHost, path: &str, body: impl Into<Vec<u8>>) -> anyhow::Result<Answer> {
    send(host.request(Method::PUT, path).body(body.into())).await
}

/// Posts a body unchanged.
async fn post(host: &TestHost, path: &str, body: impl ToString) -> anyhow::Result<Answer> {
    send(host.request(Method::POST, path).body(body.to_string())).await
}

async fn patch(host: &TestHost, path: &str, body: impl ToString) -> anyhow::Result<Answer> {
    send(host.request(Method::PATCH, path).body(body.to_string())).await
}

impl Answer {
    /// The value of a header; empty if it is absent.
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn text(&self) -> anyhow::Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }

    /// The JSON of a response that must have this status.
    fn ok(&self, status: u16) -> anyhow::Result<Value> {
        ensure!(self.status == status, "not {status}: {self:?}");
        self.json()
    }

    /// The members of a problem (RFC 9457) that must have this status, without the members that all
    /// problems have, which are checked here.
    fn problem(&self, status: u16) -> anyhow::Result<Value> {
        ensure!(self.status == status, "not {status}: {self:?}");
        ensure!(self.header("content-type") == "application/problem+json", "{self:?}");
        let mut problem = self.json()?;
        let members = problem.as_object_mut().context("a problem is an object")?;
        let mut common = |name| members.remove(name).unwrap_or_default();
        ensure!(common("type") == "about:blank" && common("status") == status, "{self:?}");
        ensure!(common("title") == self.status.canonical_reason().unwrap_or_default(), "{self:?}");
        let id = common("request_id");
        ensure!(!self.header("x-request-id").is_empty(), "{self:?}");
        ensure!(id == self.header("x-request-id"), "{self:?}");
        Ok(problem)
    }

    /// The code of a problem.
    fn code(&self, status: u16) -> anyhow::Result<String> {
        let problem = self.problem(status)?;
        Ok(problem["code"].as_str().context("a problem has a code")?.to_owned())
    }
}
