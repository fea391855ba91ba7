//! A store that fails: nothing is accepted, nothing that was accepted is lost, and it shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use async_trait::async_trait;
use insta::assert_json_snapshot;
use jobwright::store::memory::MemoryStore;
use jobwright_core::attempt::Lease;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::{Job, JobId, NewJob, Payload};
use jobwright_core::lifecycle::CancelRequest;
use jobwright_core::log::LogSnapshot;
use jobwright_core::outcome::Output;
use jobwright_core::plugin::{Digest, PluginName, Version};
use jobwright_core::queue::QueueCounts;
use jobwright_core::report::Told;
use jobwright_core::store::{
    AttemptLog, Claim, Claimed, Enqueued, Finish, Finished, JobFilter, JobPage, JobStore, Page,
    Redriven, Renewal, Retention, StoreError,
};
use jobwright_core::tenant::{TenantLimits, TenantName};
use jobwright_tests::{ScriptedRuntime, TestClock, TestHost, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::{get, post};

pub fn trials() -> Vec<Trial> {
    tests![
        a_store_that_takes_nothing_is_told_as_such,
        what_is_wrong_inside_is_for_the_log,
        a_store_that_recovers_takes_jobs_again,
    ]
}

/// A store in memory that a test can break.
struct Breakable {
    inner: MemoryStore,
    broken: AtomicBool,
    error: StoreError,
}

impl Breakable {
    fn check(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::Relaxed) { Err(self.error.clone()) } else { Ok(()) }
    }
}

/// Forwards to the store in memory, unless broken.
macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl JobStore for Breakable {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, StoreError> {
                self.check()?;
                self.inner.$name($($arg),*).await
            })*
            async fn answered(
                &self,
                key: &str,
                fingerprint: Digest,
                now: Timestamp,
            ) -> Result<Option<Enqueued>, StoreError> {
                self.check()?;
                self.inner.answered(key, fingerprint, now).await
            }
            async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError> {
                self.check()?;
                self.inner.tenant(name).await
            }
            fn uses(
                &self,
                tenant: &TenantName,
                plugin: &PluginName,
                version: Option<&Version>,
            ) -> usize {
                self.inner.uses(tenant, plugin, version)
            }
            fn spare_bytes(&self) -> u64 {
                self.inner.spare_bytes()
            }
            fn ready(&self) -> Result<(), StoreError> {
                self.check()
            }
        }
    };
}

forward! {
    enqueue(jobs: Vec<NewJob>, now: Timestamp) -> Vec<Enqueued>;
    claim(want: Claim, now: Timestamp) -> Claimed;
    renew(leases: Vec<Lease>, expires_at: Timestamp, now: Timestamp) -> Vec<Renewal>;
    alive(now: Timestamp) -> ();
    finish(finish: Finish, now: Timestamp) -> Finished;
    request_cancel(id: JobId, now: Timestamp) -> Option<CancelRequest>;
    redrive(id: JobId, now: Timestamp) -> Option<Redriven>;
    reclaim_expired(now: Timestamp, most: usize) -> Vec<JobId>;
    get(id: JobId) -> Option<Job>;
    payload(id: JobId) -> Option<Payload>;
    output(id: JobId) -> Option<Output>;
    save_log(id: JobId, attempt: u32, log: LogSnapshot) -> ();
    save_told(lease: Lease, told: Told) -> ();
    logs(id: JobId) -> Vec<AttemptLog>;
    list(filter: JobFilter, page: Page, now: Timestamp) -> JobPage;
    counts(now: Timestamp) -> Vec<QueueCounts>;
    set_held(hold: Hold, note: Option<HoldNote>) -> ();
    holds() -> BTreeMap<Hold, HoldNote>;
    cancel_covered(hold: Hold, now: Timestamp, most: usize) -> Vec<(JobId, CancelRequest)>;
    set_tenant(tenant: TenantName, limits: TenantLimits) -> ();
    tenants() -> Vec<(TenantName, TenantLimits)>;
    prune(retention: Retention, most: usize) -> usize;
}

async fn host(error: StoreError) -> anyhow::Result<(TestHost, Arc<Breakable>)> {
    let inner = MemoryStore::new(Default::default());
    let store = Arc::new(Breakable { inner, broken: false.into(), error });
    let (runtime, clock) = (ScriptedRuntime::default(), TestClock::default());
    let host = TestHost::of(store.clone(), Arc::new(runtime), Arc::new(clock), |_| {}).await?;
    host.push("p", "bytes").await?;
    Ok((host, store))
}

fn full_disk() -> StoreError {
    StoreError::Unavailable { reason: "the disk is full".to_owned() }
}

async fn a_store_that_takes_nothing_is_told_as_such() -> anyhow::Result<()> {
    let (host, store) = host(full_disk()).await?;
    let job = json!({ "plugin": "p" });
    let id = host.submit(job.clone()).await?;
    store.broken.store(true, Ordering::Relaxed);

    let answer = post(&host, "/v1/jobs", &job).await?;
    assert_eq!(answer.header("retry-after"), "10");
    assert_json_snapshot!(answer.problem(503)?, @r#"
    {
      "code": "store_unavailable",
      "detail": "the job store takes nothing at the moment; /readyz and the host's log say why"
    }
    "#);
    for (path, body) in [
        ("/v1/jobs/batch".to_owned(), json!([job])),
        (format!("/v1/jobs/{id}/cancel"), json!(null)),
        (format!("/v1/jobs/{id}/retry"), json!(null)),
        ("/v1/queues/default/pause".to_owned(), json!(null)),
    ] {
        assert_eq!(post(&host, &path, body).await?.code(503)?, "store_unavailable", "{path}");
    }
    for path in [format!("/v1/jobs/{id}?wait=5s"), "/v1/jobs".to_owned(), "/v1/queues".to_owned()] {
        assert_eq!(get(&host, &path).await?.code(503)?, "store_unavailable", "{path}");
    }
    let ready = get(&host, "/readyz").await?.ok(503)?;
    assert_json_snapshot!(ready, @r#"
    {
      "code": "store_unavailable",
      "reason": "the job store is unavailable: the disk is full",
      "status": "not_ready"
    }
    "#);
    get(&host, "/healthz").await?.ok(200)?;
    get(&host, "/v1/plugins/p").await?.ok(200)?;
    let gone = super::delete(&host, "/v1/plugins/p").await?;
    assert_eq!(gone.code(409)?, "plugin_in_use", "what unfinished jobs need is known all the same");
    Ok(())
}

async fn what_is_wrong_inside_is_for_the_log() -> anyhow::Result<()> {
    let secret = "row 7 holds `secret`";
    let (host, store) = host(StoreError::Corrupt { what: secret.to_owned() }).await?;
    store.broken.store(true, Ordering::Relaxed);
    let answer = get(&host, "/v1/jobs").await?;
    assert_json_snapshot!(answer.problem(500)?, @r#"
    {
      "code": "internal",
      "detail": "the host failed; its log says why"
    }
    "#);
    ensure!(!answer.text()?.contains("secret"), "the cause is for the log: {answer:?}");
    Ok(())
}

async fn a_store_that_recovers_takes_jobs_again() -> anyhow::Result<()> {
    let (host, store) = host(full_disk()).await?;
    let id = host.submit(json!({ "plugin": "p", "delay_ms": 1000 })).await?;
    store.broken.store(true, Ordering::Relaxed);
    assert_eq!(post(&host, "/v1/jobs?plugin=p", "").await?.status, 503);
    store.broken.store(false, Ordering::Relaxed);
    get(&host, "/readyz").await?.ok(200)?;
    post(&host, "/v1/jobs?plugin=p", "").await?.ok(202)?;
    assert_eq!(host.job(&id).await?["state"], "scheduled");
    Ok(())
}
