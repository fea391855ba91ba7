//! Shared resources of requests: a tenant that takes as much as it can leaves a share to other tenants.
//! Bodies and administrative writes are tested in `sharing`, compiled code in `shares_of_code`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{join_all, select_all};
use jobwright_core::attempt::Attempt;
use jobwright_core::job::JobId;
use jobwright_core::plugin::{Digest, Inspection};
use jobwright_core::runtime::{Ended, Runtime, StopSignal, Unprepared, UnusablePlugin};
use jobwright_core::store::JobFilter;
use jobwright_core::tenant::TenantName;
use jobwright_tests::{ScriptedRuntime, TestHost, tests};
use libtest_mimic::Trial;
use reqwest::{Method, RequestBuilder};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::runtime::Handle;

use super::interposed::{Interposed, Latch, argument};
use super::wire::Wire;
use super::{Answer, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        a_request_is_in_flight_until_its_response_is_read,
        an_idle_connection_is_closed_for_a_new_one,
        waiting_requests_of_a_tenant_leave_permits_for_another,
        listings_of_a_tenant_leave_a_permit_for_another,
        reads_of_a_tenant_leave_permits_for_another,
        inspections_of_a_tenants_uploads_leave_a_permit_for_another,
    ]
}

/// Requests of another tenant while those of the first are delayed. By then all of the first have arrived.
pub(super) const MEANWHILE: usize = 40;

const GREEDY: &str = "greedy";
const MODEST: &str = "modest";

/// A request for a tenant, on a host without keys.
fn of(host: &TestHost, tenant: &str, method: Method, path: &str) -> RequestBuilder {
    host.request(method, path).header("jobwright-tenant", tenant)
}

async fn get(host: &TestHost, tenant: &str, path: &str) -> anyhow::Result<Answer> {
    send(of(host, tenant, Method::GET, path)).await
}

async fn upload(host: &TestHost, tenant: &str, bytes: impl Into<Vec<u8>>) -> anyhow::Result<()> {
    let path = "/v1/plugins/p?version=1.0.0";
    send(of(host, tenant, Method::PUT, path).body(bytes.into())).await?.ok(201).map(drop)
}

/// Submits a job of `p` that does not become due; returns its id.
async fn scheduled(host: &TestHost, tenant: &str) -> anyhow::Result<String> {
    let job = json!({ "plugin": "p", "delay_ms": 3_600_000 });
    submitted(of(host, tenant, Method::POST, "/v1/jobs").json(&job)).await
}

async fn submitted(request: RequestBuilder) -> anyhow::Result<String> {
    let job = send(request).await?.ok(202)?;
    Ok(job["id"].as_str().context("an id")?.to_owned())
}

/// Raises the limit of open files of this process, which has both ends of each connection.
fn open_many_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Sends all `requests` of one tenant, the first of which are delayed by `latch`, and many of another
/// tenant, which must be answered meanwhile.
async fn beside(
    latch: &Latch,
    requests: Vec<RequestBuilder>,
    another: impl Fn(usize) -> RequestBuilder,
) -> anyhow::Result<()> {
    let count = requests.len();
    let all = join_all(requests.into_iter().map(send));
    let others = async {
        latch.reached().await?;
        for n in 0..MEANWHILE {
            let answer = send(another(n)).await?;
            ensure!(answer.status.is_success(), "{answer:?}");
        }
        latch.open(2 * count);
        anyhow::Ok(())
    };
    let (answers, others) = tokio::join!(all, others);
    others?;
    for answer in answers {
        let answer = answer?;
        ensure!(answer.status.is_success(), "{answer:?}");
    }
    Ok(())
}

async fn a_request_is_in_flight_until_its_response_is_read() -> anyhow::Result<()> {
    const SHARE: usize = 768;
    open_many_files()?;
    let host = TestHost::replacing(Arc::new(ScriptedRuntime::default()), |_, _| Ok(())).await?;
    // More than the operating system buffers for a client that does not read.
    upload(&host, GREEDY, vec![b'x'; 24 << 20]).await?;
    let head = format!("HTTP/1.1\r\nhost: localhost\r\njobwright-tenant: {GREEDY}\r\n");
    let path = "/v1/plugins/p/versions/1.0.0/wasm";
    let mut unread = Wire::with(&host, format!("GET {path} {head}\r\n")).await?;
    let (status, length) = unread.head().await?;
    ensure!(status == 200, "{status}");
    let upload = format!("POST /v1/jobs {head}content-length: 2\r\nexpect: 100-continue\r\n\r\n");
    let mut wires = vec![];
    for _ in 1..SHARE {
        let mut wire = Wire::with(&host, &upload).await?;
        ensure!(wire.head().await?.0 == 100, "the host reads the body");
        wires.push(wire);
    }
    assert_eq!(get(&host, GREEDY, "/v1/jobs").await?.code(503)?, "busy");
    get(&host, MODEST, "/v1/jobs").await?.ok(200)?;
    unread.body(length).await?;
    soon(async {
        while get(&host, GREEDY, "/v1/jobs").await?.status != 200 {}
        anyhow::Ok(())
    })
    .await?
}

async fn an_idle_connection_is_closed_for_a_new_one() -> anyhow::Result<()> {
    const ALL: usize = 1024;
    open_many_files()?;
    let host = TestHost::start().await?;
    let mut silent = vec![];
    for _ in 0..ALL {
        silent.push(Wire::to(&host).await?);
    }
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut another = Wire::with(&host, request).await?;
    assert_eq!(another.answer().await?.0, 200);
    // At once, and not after the idle timeout.
    let given_up = tokio::time::timeout(Duration::from_secs(5), silent.remove(0).closed());
    given_up.await.context("the connection that was idle for longest is still open")?
}

async fn waiting_requests_of_a_tenant_leave_permits_for_another() -> anyhow::Result<()> {
    const SHARE: usize = 576;
    open_many_files()?;
    let runtime = ScriptedRuntime::default();
    let host = TestHost::replacing(Arc::new(runtime.clone()), |_, _| Ok(())).await?;
    upload(&host, GREEDY, "any bytes").await?;
    upload(&host, MODEST, "any bytes").await?;
    let id = scheduled(&host, GREEDY).await?;
    let head = format!(
        "GET /v1/jobs/{id}?wait=60s HTTP/1.1\r\nhost: localhost\r\njobwright-tenant: {GREEDY}\r\n\r\n"
    );
    let mut wires = vec![];
    for _ in 0..=SHARE {
        wires.push(Wire::with(&host, &head).await?);
    }
    let refused = select_all(wires.iter_mut().map(|wire| Box::pin(wire.problem())));
    assert_eq!(soon(refused).await?.0?, (503, "busy".to_owned()));
    let job = of(&host, MODEST, Method::POST, "/v1/jobs").json(&json!({ "plugin": "p" }));
    let id = submitted(job).await?;
    let running = soon(runtime.next()).await??;
    let path = format!("/v1/jobs/{id}?wait=60s");
    let waiting = get(&host, MODEST, &path);
    let (awaited, ()) = tokio::join!(waiting, async { running.succeed() });
    assert_eq!(awaited?.ok(200)?["state"], "completed");
    Ok(())
}

async fn listings_of_a_tenant_leave_a_permit_for_another() -> anyhow::Result<()> {
    let latch = Latch::new();
    let store = Interposed::held(&latch, |name, arguments| {
        let tenant = argument::<JobFilter>(arguments).and_then(|filter| filter.tenant.as_ref());
        name == "list" && tenant.is_some_and(|tenant| tenant.as_str() == GREEDY)
    });
    let host = with_store(store).await?;
    let id = scheduled(&host, GREEDY).await?;
    let short = format!("/v1/jobs/{}", &id[..30]);
    let paths = ["/v1/jobs", "/v1/jobs?limit=5", "/v1/plugins/p", &short];
    let greedy = paths.map(|path| of(&host, GREEDY, Method::GET, path));
    let another = |n: usize| of(&host, MODEST, Method::GET, paths[n % 3]);
    beside(&latch, greedy.into(), another).await?;
    assert_eq!(latch.most(), 1, "one of two permits is reserved for other tenants");
    Ok(())
}

async fn reads_of_a_tenant_leave_permits_for_another() -> anyhow::Result<()> {
    for (name, path) in
        [("get", ""), ("payload", "/payload"), ("output", "/output"), ("logs", "/logs")]
    {
        let (latch, held) = (Latch::new(), Arc::new(Mutex::new(None)));
        let of_job = held.clone();
        let store = Interposed::held(&latch, move |called, arguments| {
            let held: Option<JobId> = *of_job.lock().unwrap_or_else(PoisonError::into_inner);
            called == name && held.is_some() && argument(arguments) == held.as_ref()
        });
        let runtime = ScriptedRuntime::default();
        let host = with_store_and(store, runtime.clone()).await?;
        let mut ids = vec![];
        for tenant in [GREEDY, MODEST] {
            let job = of(&host, tenant, Method::POST, "/v1/jobs?plugin=p").body("any payload");
            ids.push(submitted(job).await?);
            soon(runtime.next()).await??.succeed();
            let path = format!("/v1/jobs/{}?wait=60s", ids[ids.len() - 1]);
            get(&host, tenant, &path).await?.ok(200)?;
        }
        *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(ids[0].parse()?);
        let [greedy, modest] = [&ids[0], &ids[1]].map(|id| format!("/v1/jobs/{id}{path}"));
        let requests = (0..6).map(|_| of(&host, GREEDY, Method::GET, &greedy)).collect();
        let another = |_| of(&host, MODEST, Method::GET, &modest);
        beside(&latch, requests, another).await?;
        assert_eq!(latch.most(), 2, "of four, {path}");
    }
    Ok(())
}

/// Delays the inspection of plugins whose bytes begin with the name of a tenant.
struct Inspecting {
    inner: ScriptedRuntime,
    latch: Arc<Latch>,
}

#[async_trait]
impl Runtime for Inspecting {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, UnusablePlugin> {
        if wasm.starts_with(GREEDY.as_bytes()) {
            Handle::current().block_on(self.latch.clone().pass());
        }
        self.inner.inspect(wasm)
    }
    async fn prepare(
        &self,
        tenant: &TenantName,
        digest: Digest,
        wasm: Bytes,
    ) -> Result<(), Unprepared> {
        self.inner.prepare(tenant, digest, wasm).await
    }
    async fn run(&self, attempt: Attempt, stop: StopSignal) -> Ended {
        self.inner.run(attempt, stop).await
    }
}

async fn inspections_of_a_tenants_uploads_leave_a_permit_for_another() -> anyhow::Result<()> {
    let latch = Latch::new();
    let runtime = Inspecting { inner: ScriptedRuntime::default(), latch: latch.clone() };
    let host = TestHost::replacing(Arc::new(runtime), |_, _| Ok(())).await?;
    let upload = |tenant: &str, n: usize| {
        let path = format!("/v1/plugins/p{n}?version=1.0.0");
        of(&host, tenant, Method::PUT, &path).body(format!("{tenant} {n}"))
    };
    let requests = (0..4).map(|n| upload(GREEDY, n)).collect();
    beside(&latch, requests, |n| upload(MODEST, n)).await?;
    assert_eq!(latch.most(), 1, "one of two permits is reserved for other tenants");
    Ok(())
}

async fn with_store(store: Arc<Interposed>) -> anyhow::Result<TestHost> {
    with_store_and(store, ScriptedRuntime::default()).await
}

/// A host whose jobs are in `store`, with the plugin `p` of both tenants.
async fn with_store_and(
    store: Arc<Interposed>,
    runtime: ScriptedRuntime,
) -> anyhow::Result<TestHost> {
    let host = TestHost::replacing(Arc::new(runtime), |parts, _| {
        parts.jobs.store = store;
        Ok(())
    })
    .await?;
    for tenant in [GREEDY, MODEST] {
        upload(&host, tenant, "any bytes").await?;
    }
    Ok(host)
}
