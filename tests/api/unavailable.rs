//! A registry and keys in a database that is out of reach, or slow: requests get the proper answer, nothing
//! is done on a guess, and other tenants do not wait.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jobwright::SystemClock;
use jobwright::store::access::SqliteAccess;
use jobwright_core::access::{AccessStore, Act, ApiKey, AuditEntry};
use jobwright_core::clock::{Clock, Timestamp};
use jobwright_core::plugin::{Digest, Plugin, PluginName, PluginSettings, Version};
use jobwright_core::registry::{PluginRegistry, Published, RegistryError, Upload};
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use jobwright_tests::{ScriptedRuntime, TestClock, TestHost, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::interposed::Latch;
use super::{Answer, get, post, send};

pub fn trials() -> Vec<Trial> {
    tests![
        requests_that_need_plugins_get_503_while_the_registry_is_out_of_reach,
        a_removal_that_fails_removes_no_plugin,
        a_slow_registry_delays_only_the_tenants_that_wait_for_it,
        a_submission_whose_registry_does_not_answer_is_refused_after_a_timeout,
        jobs_of_one_request_read_each_plugin_once,
        no_route_answers_while_keys_are_out_of_reach,
        keys_that_get_out_of_reach_during_a_request_end_it,
    ]
}

fn out_of_reach() -> StoreError {
    StoreError::Unavailable { reason: "no connection".to_owned() }
}

/// Called before each call, with the tenant of the plugins.
type Before = dyn Fn(&TenantName) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync;

/// A registry in a database, as far as its errors and delays go.
struct SharedRegistry {
    inner: Arc<dyn PluginRegistry>,
    before: Box<Before>,
    reads: AtomicUsize,
}

#[async_trait]
impl PluginRegistry for SharedRegistry {
    async fn publish(&self, upload: Upload, now: Timestamp) -> Result<Published, RegistryError> {
        (self.before)(&upload.tenant).await?;
        self.inner.publish(upload, now).await
    }
    async fn get(
        &self,
        tenant: &TenantName,
        name: &PluginName,
    ) -> Result<Option<Arc<Plugin>>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        (self.before)(tenant).await?;
        self.inner.get(tenant, name).await
    }
    async fn list(
        &self,
        tenant: &TenantName,
        after: Option<&PluginName>,
        most: usize,
    ) -> Result<Vec<Arc<Plugin>>, StoreError> {
        (self.before)(tenant).await?;
        self.inner.list(tenant, after, most).await
    }
    async fn configure(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        settings: PluginSettings,
    ) -> Result<Option<Plugin>, RegistryError> {
        (self.before)(tenant).await?;
        self.inner.configure(tenant, name, settings).await
    }
    async fn remove(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        version: Option<&Version>,
    ) -> Result<bool, RegistryError> {
        (self.before)(tenant).await?;
        self.inner.remove(tenant, name, version).await
    }
    async fn wasm(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        self.inner.wasm(digest).await
    }
    async fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, RegistryError> {
        self.inner.open(digest).await
    }
}

/// A host with such a registry, and the plugins `p` and `q` of the tenants `default` and `other`.
async fn host(
    before: impl Fn(&TenantName) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync + 'static,
) -> anyhow::Result<(TestHost, Arc<SharedRegistry>)> {
    host_at(Arc::new(SystemClock::default()), before).await
}

/// The same with this clock.
async fn host_at(
    clock: Arc<dyn Clock>,
    before: impl Fn(&TenantName) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync + 'static,
) -> anyhow::Result<(TestHost, Arc<SharedRegistry>)> {
    let mut registry = None;
    let host = TestHost::replacing(Arc::new(ScriptedRuntime::default()), |parts, _| {
        parts.jobs.clock = clock;
        let (inner, reads) = (parts.registry.clone(), AtomicUsize::new(0));
        let shared = Arc::new(SharedRegistry { inner, before: Box::new(before), reads });
        parts.registry = shared.clone();
        registry = Some(shared);
        Ok(())
    })
    .await?;
    let registry = registry.context("it was replaced")?;
    for (tenant, name) in [("default", "p"), ("default", "q"), ("other", "p")] {
        let path = format!("/v1/plugins/{name}?version=1.0.0");
        of(&host, tenant, Method::PUT, &path, "any bytes").await?.ok(201)?;
    }
    Ok((host, registry))
}

/// A host whose registry fails while the flag is set.
async fn failing() -> anyhow::Result<(TestHost, Arc<AtomicBool>)> {
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = is_broken.clone();
    let (host, _) = host(move |_| {
        let answer = if broken.load(Ordering::SeqCst) { Err(out_of_reach()) } else { Ok(()) };
        Box::pin(async { answer })
    })
    .await?;
    Ok((host, is_broken))
}

/// A request for a tenant.
async fn of(
    host: &TestHost,
    tenant: &str,
    method: Method,
    path: &str,
    body: impl ToString,
) -> anyhow::Result<Answer> {
    let request = host.request(method, path).header("jobwright-tenant", tenant);
    send(request.body(body.to_string())).await
}

async fn requests_that_need_plugins_get_503_while_the_registry_is_out_of_reach()
-> anyhow::Result<()> {
    let (host, broken) = failing().await?;
    let job = json!({ "plugin": "p" });
    broken.store(true, Ordering::SeqCst);
    for (method, path, body) in [
        ("POST", "/v1/jobs", job.clone()),
        ("POST", "/v1/jobs/batch", json!([job, job])),
        ("GET", "/v1/plugins", Value::Null),
        ("GET", "/v1/plugins/p", Value::Null),
        ("PUT", "/v1/plugins/new", json!("other bytes")),
        ("PATCH", "/v1/plugins/p", json!({ "output_type": "text/x" })),
        ("DELETE", "/v1/plugins/p", Value::Null),
        ("POST", "/v1/plugins/p/disable", json!({})),
        ("GET", "/v1/plugins/p/versions/1.0.0", Value::Null),
        ("GET", "/v1/plugins/p/versions/1.0.0/wasm", Value::Null),
        ("DELETE", "/v1/plugins/p/versions/1.0.0", Value::Null),
        ("POST", "/v1/plugins/p/versions/1.0.0/disable", json!({})),
        ("DELETE", "/v1/tenants/other", Value::Null),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = of(&host, "default", method.parse()?, path, body).await?;
        assert_eq!(answer.code(503)?, "store_unavailable", "{method} {path}");
        assert_eq!(answer.header("retry-after"), "10", "{method} {path}");
        ensure!(!answer.text()?.contains("no connection"), "the cause is for the log: {answer:?}");
    }
    broken.store(false, Ordering::SeqCst);
    assert_eq!(get(&host, "/v1/jobs").await?.ok(200)?["jobs"], json!([]), "no job was accepted");
    let plugin = get(&host, "/v1/plugins/p").await?.ok(200)?;
    assert_eq!(
        (&plugin["disabled"], &plugin["settings"]["output_type"]),
        (&json!(false), &Value::Null)
    );
    post(&host, "/v1/jobs", &job).await?.ok(202)?;
    Ok(())
}

async fn a_removal_that_fails_removes_no_plugin() -> anyhow::Result<()> {
    let (host, broken) = failing().await?;
    broken.store(true, Ordering::SeqCst);
    assert_eq!(super::delete(&host, "/v1/plugins/q").await?.code(503)?, "store_unavailable");
    broken.store(false, Ordering::SeqCst);
    get(&host, "/v1/plugins/q").await?.ok(200)?;
    assert_eq!(super::delete(&host, "/v1/plugins/q").await?.status, 204, "its lock is free again");
    Ok(())
}

async fn a_slow_registry_delays_only_the_tenants_that_wait_for_it() -> anyhow::Result<()> {
    let (latch, is_slow) = (Latch::new(), Arc::new(AtomicBool::new(false)));
    let (held, slow) = (latch.clone(), is_slow.clone());
    let (host, _) = host(move |tenant| {
        let waits = slow.load(Ordering::SeqCst) && tenant.is_default();
        let passing = waits.then(|| held.clone().pass());
        Box::pin(async move {
            if let Some(passing) = passing {
                passing.await;
            }
            Ok(())
        })
    })
    .await?;
    is_slow.store(true, Ordering::SeqCst);
    let job = json!({ "plugin": "p", "delay_ms": 3_600_000 });
    let slow = of(&host, "default", Method::POST, "/v1/jobs", &job);
    let others = async {
        latch.reached().await?;
        of(&host, "other", Method::POST, "/v1/jobs", &job).await?.ok(202)?;
        of(&host, "other", Method::GET, "/v1/plugins", "").await?.ok(200)?;
        let settings = json!({ "output_type": "text/x" });
        of(&host, "other", Method::PATCH, "/v1/plugins/p", settings).await?.ok(200)?;
        let disable = "/v1/plugins/p/disable";
        of(&host, "other", Method::POST, disable, json!({ "jobs": "cancel" })).await?.ok(200)?;
        assert_eq!(of(&host, "other", Method::DELETE, "/v1/plugins/p", "").await?.status, 204);
        latch.open(1);
        anyhow::Ok(())
    };
    let (slow, ()) = tokio::try_join!(slow, others)?;
    slow.ok(202)?;
    Ok(())
}

async fn a_submission_whose_registry_does_not_answer_is_refused_after_a_timeout()
-> anyhow::Result<()> {
    let (clock, hangs) = (TestClock::default(), Arc::new(AtomicBool::new(false)));
    let (asked, is_hung) = (Arc::new(Notify::new()), hangs.clone());
    let reading = asked.clone();
    let (host, _) = host_at(Arc::new(clock.clone()), move |_| {
        if is_hung.load(Ordering::SeqCst) {
            reading.notify_one();
            return Box::pin(std::future::pending());
        }
        Box::pin(async { Ok(()) })
    })
    .await?;
    hangs.store(true, Ordering::SeqCst);
    let submission = post(&host, "/v1/jobs", json!({ "plugin": "p" }));
    let time_passes = async {
        asked.notified().await;
        clock.advance(Duration::from_secs(10));
        Ok(())
    };
    let (answer, ()) = tokio::try_join!(submission, time_passes)?;
    assert_eq!(answer.code(503)?, "store_unavailable");
    hangs.store(false, Ordering::SeqCst);
    post(&host, "/v1/jobs", json!({ "plugin": "p", "delay_ms": 3_600_000 })).await?.ok(202)?;
    Ok(())
}

async fn jobs_of_one_request_read_each_plugin_once() -> anyhow::Result<()> {
    let (host, registry) = host(|_| Box::pin(async { Ok(()) })).await?;
    let before = registry.reads.load(Ordering::SeqCst);
    let mut jobs = vec![json!({ "plugin": "p@1.0.0", "delay_ms": 3_600_000 }); 500];
    jobs.extend(vec![json!({ "plugin": "q", "delay_ms": 3_600_000 }); 500]);
    jobs[1]["plugin"] = "p@9".into();
    let answers = post(&host, "/v1/jobs/batch", json!(jobs)).await?.ok(200)?;
    assert_eq!(registry.reads.load(Ordering::SeqCst) - before, 2);
    assert_eq!(answers[1]["error"]["code"], "version_not_found");
    let accepted = answers.as_array().context("answers")?.iter();
    assert_eq!(accepted.filter(|answer| answer["status"] == 202).count(), 999);
    Ok(())
}

/// Keys in a database that can get out of reach after some more lookups.
struct SharedKeys {
    inner: SqliteAccess,
    /// How many lookups succeed.
    left: AtomicUsize,
}

impl SharedKeys {
    fn look_up(&self) -> Result<(), StoreError> {
        let one_less = |left: usize| left.checked_sub(1);
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        left.map(drop).map_err(|_| out_of_reach())
    }
}

#[async_trait]
impl AccessStore for SharedKeys {
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.look_up()?;
        self.inner.keys().await
    }
    fn has_keys(&self) -> Result<bool, StoreError> {
        self.look_up()?;
        self.inner.has_keys()
    }
    fn bearer(&self, token: &Digest) -> Result<Option<Arc<ApiKey>>, StoreError> {
        self.look_up()?;
        self.inner.bearer(token)
    }
    async fn add_key(&self, key: ApiKey, token: Digest) -> Result<(), StoreError> {
        self.inner.add_key(key, token).await
    }
    async fn revoke_key(&self, id: &str, act: Act) -> Result<Option<ApiKey>, StoreError> {
        self.inner.revoke_key(id, act).await
    }
    async fn forget_key(&self, id: &str) -> Result<(), StoreError> {
        self.inner.forget_key(id).await
    }
    async fn record(&self, act: Act) -> Result<Option<u64>, StoreError> {
        self.inner.record(act).await
    }
    async fn complete(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.inner.complete(entry).await
    }
    async fn audit(&self, before: Option<u64>, most: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.inner.audit(before, most).await
    }
}

/// A host with such keys, the plugin `p` and an administrator, whose token is returned.
async fn keyed() -> anyhow::Result<(TestHost, Arc<SharedKeys>, String)> {
    let mut keys = None;
    let host = TestHost::accessed(Arc::new(ScriptedRuntime::default()), |inner| {
        let left = AtomicUsize::new(usize::MAX);
        keys.insert(Arc::new(SharedKeys { inner, left })).clone()
    })
    .await?;
    host.push("p", "any bytes").await?;
    let made = post(&host, "/v1/keys", json!({ "scopes": ["admin"] })).await?.ok(201)?;
    let token = made["key"].as_str().context("a token")?.to_owned();
    Ok((host, keys.context("they were created")?, token))
}

async fn no_route_answers_while_keys_are_out_of_reach() -> anyhow::Result<()> {
    let (host, keys, token) = keyed().await?;
    keys.left.store(0, Ordering::SeqCst);
    for route in jobwright::api::routes() {
        for by in [None, Some(&token)] {
            let request = host.request(route.method.clone(), &format!("/v1{}", route.path));
            let request = by.into_iter().fold(request, |request, by| request.bearer_auth(by));
            assert_eq!(send(request).await?.code(503)?, "store_unavailable", "{route:?}");
        }
    }
    get(&host, "/healthz").await?.ok(200)?;
    keys.left.store(usize::MAX, Ordering::SeqCst);
    send(host.request(Method::GET, "/v1/keys").bearer_auth(&token)).await?.ok(200)?;
    Ok(())
}

async fn keys_that_get_out_of_reach_during_a_request_end_it() -> anyhow::Result<()> {
    let (host, keys, token) = keyed().await?;
    for (method, path, body) in [
        (Method::GET, "/v1/plugins/p", Value::Null),
        (Method::POST, "/v1/jobs", json!({ "plugin": "p", "delay_ms": 3_600_000 })),
        (Method::PATCH, "/v1/plugins/p", json!({ "output_type": "text/x" })),
        (Method::POST, "/v1/keys", json!({ "scopes": ["jobs:read"] })),
    ] {
        let mut succeeded = 0;
        loop {
            keys.left.store(succeeded, Ordering::SeqCst);
            let request = host.request(method.clone(), path).bearer_auth(&token);
            let request = if body.is_null() { request } else { request.json(&body) };
            let answer = send(request).await?;
            if answer.status.is_success() {
                break;
            }
            assert_eq!(answer.code(503)?, "store_unavailable", "{path} after {succeeded}");
            succeeded += 1;
        }
        ensure!(succeeded >= 2, "{path}: a key is checked before and after: {succeeded}");
    }
    Ok(())
}
