//! Clients that disconnect while the host works on their request: the work is finished, and its locks and
//! permits are kept until then.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::job::Job;
use jobwright_core::log::LogBuffer;
use jobwright_core::plugin::PluginName;
use jobwright_core::services::{Capabilities, CapabilityProvider};
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use jobwright_tests::{ScriptedRuntime, TestHost, tests};
use libtest_mimic::Trial;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::interposed::{Interposed, InterposedRegistry, Latch};
use super::shares::MEANWHILE;
use super::{Answer, delete, get, patch, post, put, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        a_removal_continues_when_its_client_disconnects,
        a_plugin_stays_until_the_job_of_a_disconnected_client_is_stored,
        a_listing_keeps_its_permit_until_it_has_ended,
        responses_that_wait_for_a_listing_do_not_delay_changes,
        a_plugin_removed_during_the_wait_is_not_shown,
    ]
}

/// Sends a request, and disconnects when the host has begun to work on it.
async fn leave(request: RequestBuilder, latch: &Latch) -> anyhow::Result<()> {
    let sending = tokio::spawn(send(request));
    latch.reached().await?;
    sending.abort();
    let _ = sending.await;
    Ok(())
}

/// The response to a request that waits for the delayed call. The call continues when the host has had time
/// to notice that its client disconnected.
async fn after(
    host: &TestHost,
    latch: &Latch,
    request: impl Future<Output = anyhow::Result<Answer>>,
) -> anyhow::Result<Answer> {
    let others = async {
        for _ in 0..MEANWHILE {
            get(host, "/healthz").await?.ok(200)?;
        }
        latch.open(10);
        anyhow::Ok(())
    };
    Ok(tokio::try_join!(request, others)?.0)
}

/// Records calls of `forget`.
#[derive(Default)]
struct Forgetful(Notify);

#[async_trait]
impl CapabilityProvider for Forgetful {
    async fn open(&self, _: &Job, log: &Arc<LogBuffer>) -> Result<Capabilities, StoreError> {
        Ok(Capabilities::nothing(log))
    }
    async fn forget(&self, _: &TenantName, _: &PluginName) {
        self.0.notify_one();
    }
}

async fn a_removal_continues_when_its_client_disconnects() -> anyhow::Result<()> {
    let (latch, grantor) = (Latch::new(), Arc::new(Forgetful::default()));
    let host = TestHost::replacing(Arc::new(ScriptedRuntime::default()), |parts, _| {
        let is_held = Box::new(|name: &str, _: Option<&_>| name == "remove");
        let (inner, latch) = (parts.registry.clone(), latch.clone());
        parts.registry = Arc::new(InterposedRegistry { inner, latch, is_held });
        parts.jobs.grantor = grantor.clone();
        Ok(())
    })
    .await?;
    host.push("p", "any bytes").await?;
    leave(host.request(Method::DELETE, "/v1/plugins/p"), &latch).await?;
    let submission = post(&host, "/v1/jobs", json!({ "plugin": "p" }));
    let answer = after(&host, &latch, submission).await?;
    assert_eq!(answer.code(404)?, "plugin_not_found", "it is not accepted and then lost");
    soon(grantor.0.notified()).await
}

/// A host with the plugins `p` and `q` whose store delays all calls of one name; the name can be changed.
struct Held {
    host: TestHost,
    runtime: ScriptedRuntime,
    latch: Arc<Latch>,
    name: Arc<Mutex<&'static str>>,
}

impl Held {
    async fn new(name: &'static str) -> anyhow::Result<Self> {
        let (latch, name) = (Latch::new(), Arc::new(Mutex::new(name)));
        let held = name.clone();
        let store = Interposed::held(&latch, move |called, _| {
            called == *held.lock().unwrap_or_else(PoisonError::into_inner)
        });
        let runtime = ScriptedRuntime::default();
        let host = TestHost::replacing(Arc::new(runtime.clone()), |parts, _| {
            parts.jobs.store = store;
            Ok(())
        })
        .await?;
        for plugin in ["p", "q"] {
            host.push(plugin, "any bytes").await?;
        }
        Ok(Self { host, runtime, latch, name })
    }

    fn hold(&self, name: &'static str) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

async fn a_plugin_stays_until_the_job_of_a_disconnected_client_is_stored() -> anyhow::Result<()> {
    for is_retry in [false, true] {
        let Held { host, latch, .. } = &held_after_a_job(is_retry).await?;
        let request = match is_retry {
            false => {
                let job = json!({ "plugin": "p", "delay_ms": 3_600_000 });
                let submit = host.request(Method::POST, "/v1/jobs").json(&job);
                submit.header("idempotency-key", "once")
            }
            true => {
                let jobs = get(host, "/v1/jobs").await?.ok(200)?;
                let id = jobs["jobs"][0]["id"].as_str().context("an id")?.to_owned();
                host.request(Method::POST, &format!("/v1/jobs/{id}/retry"))
            }
        };
        leave(request, latch).await?;
        let removal = after(host, latch, delete(host, "/v1/plugins/p")).await?;
        assert_eq!(removal.code(409)?, "plugin_in_use", "{is_retry}");
    }
    Ok(())
}

/// A host that delays `enqueue`; or, with a finalized job, `redrive`.
async fn held_after_a_job(is_retry: bool) -> anyhow::Result<Held> {
    let held = Held::new("").await?;
    if is_retry {
        let id = held.host.submit(json!({ "plugin": "p" })).await?;
        soon(held.runtime.next()).await??.succeed();
        held.host.finalized(&id).await?;
    }
    held.hold(if is_retry { "redrive" } else { "enqueue" });
    Ok(held)
}

async fn a_listing_keeps_its_permit_until_it_has_ended() -> anyhow::Result<()> {
    let Held { host, latch, .. } = &Held::new("list").await?;
    for _ in 0..5 {
        let listing = host.request(Method::GET, "/v1/jobs");
        if latch.all() == 0 {
            leave(listing, latch).await?;
        } else {
            let sending = tokio::spawn(send(listing));
            get(host, "/healthz").await?.ok(200)?;
            sending.abort();
        }
    }
    after(host, latch, get(host, "/v1/jobs")).await?.ok(200)?;
    assert_eq!(latch.most(), 1, "the tenant's turn");
    Ok(())
}

async fn responses_that_wait_for_a_listing_do_not_delay_changes() -> anyhow::Result<()> {
    let Held { host, latch, .. } = &Held::new("list").await?;
    let change = |path| patch(host, path, json!({ "output_type": "text/x" }));
    let changes = async { tokio::try_join!(change("/v1/plugins/p"), change("/v1/plugins/q")) };
    let others = async {
        latch.reached().await?;
        // Both changes are done; only their responses wait.
        soon(async {
            loop {
                let log = get(host, "/v1/audit").await?.ok(200)?;
                let entries = log["entries"].as_array().cloned().unwrap_or_default();
                let changes = entries.iter().filter(|it| it["action"] == "plugin.configure");
                if changes.count() == 2 {
                    return anyhow::Ok(());
                }
            }
        })
        .await??;
        for turn in ["disable", "enable"] {
            post(host, &format!("/v1/plugins/p/{turn}"), Value::Null).await?.ok(200)?;
        }
        let version = "/v1/plugins/p/versions/2.0.0";
        put(host, "/v1/plugins/p?version=2.0.0", "other bytes").await?.ok(201)?;
        assert_eq!(delete(host, version).await?.status, 204);
        latch.open(10);
        anyhow::Ok(())
    };
    let ((first, second), ()) = tokio::try_join!(changes, others)?;
    assert_eq!(first.ok(200)?["settings"]["output_type"], "text/x");
    assert_eq!(second.ok(200)?["settings"]["output_type"], "text/x");
    Ok(())
}

async fn a_plugin_removed_during_the_wait_is_not_shown() -> anyhow::Result<()> {
    let Held { host, latch, .. } = &Held::new("list").await?;
    let others = async {
        latch.reached().await?;
        assert_eq!(delete(host, "/v1/plugins/p").await?.status, 204);
        latch.open(1);
        anyhow::Ok(())
    };
    let (shown, ()) = tokio::try_join!(get(host, "/v1/plugins/p"), others)?;
    assert_eq!(shown.code(404)?, "plugin_not_found");
    Ok(())
}
