//! Shared resources of compiled code: a tenant whose plugins take long to compile does not delay the
//! jobs of other tenants.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jobwright::runtime::{InProcessRuntime, RuntimeConfig};
use jobwright_core::plugin::Digest;
use jobwright_tests::{ScriptedRuntime, TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::interposed::{InterposedRegistry, Latch};
use super::{send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        compilations_of_a_tenant_leave_a_permit_for_another,
        attempts_that_wait_for_their_code_leave_slots_for_other_tenants,
        waiting_for_code_does_not_depend_on_permits_of_another_tenant,
    ]
}

/// A host with eight slots, which compiles the code of `slow` when the latch is opened.
struct Slow {
    host: TestHost,
    latch: Arc<Latch>,
}

/// A plugin with different bytes for each name.
fn plugin(name: &str) -> anyhow::Result<Vec<u8>> {
    guests::assemble(&format!(
        r#"(module (memory (export "memory") 1) (func (export "_start")) (data (i32.const 0) "{name}"))"#
    ))
}

impl Slow {
    async fn new(slow: &[&str]) -> anyhow::Result<Self> {
        let digests: anyhow::Result<BTreeSet<Digest>> =
            slow.iter().map(|name| Ok(Digest::of(&plugin(name)?))).collect();
        let (digests, latch) = (digests?, Latch::new());
        let held = latch.clone();
        let host = TestHost::replacing(Arc::new(ScriptedRuntime::default()), |parts, _| {
            let is_held = move |name: &str, digest: Option<&Digest>| {
                // The bytes are read when the compilation has its permit.
                name == "wasm" && digest.is_some_and(|digest| digests.contains(digest))
            };
            let (inner, is_held) = (parts.registry.clone(), Box::new(is_held));
            parts.registry = Arc::new(InterposedRegistry { inner, latch: held, is_held });
            let config = RuntimeConfig { slots: 8, guest_threads: 2, ..RuntimeConfig::default() };
            parts.jobs.runtime = Arc::new(InProcessRuntime::new(config, parts.registry.clone())?);
            Ok(())
        })
        .await?;
        Ok(Self { host, latch })
    }

    /// Uploads a plugin of a tenant, and submits a job with unlimited fuel, for which the plugin must be
    /// compiled again; returns the path of the job.
    async fn begin(&self, tenant: &str, name: &str) -> anyhow::Result<String> {
        let path = format!("/v1/plugins/{name}?version=1.0.0");
        let upload = self.host.request(Method::PUT, &path).header("jobwright-tenant", tenant);
        send(upload.body(plugin(name)?)).await?.ok(201)?;
        let job = json!({ "plugin": name, "limits": { "fuel": "unlimited" } });
        let submit = self.host.request(Method::POST, "/v1/jobs").json(&job);
        let job = send(submit.header("jobwright-tenant", tenant)).await?.ok(202)?;
        Ok(format!("/v1/jobs/{}", job["id"].as_str().context("an id")?))
    }

    async fn job(&self, tenant: &str, path: &str) -> anyhow::Result<Value> {
        let request = self.host.request(Method::GET, path).header("jobwright-tenant", tenant);
        send(request).await?.ok(200)
    }

    async fn completes(&self, tenant: &str, path: &str) -> anyhow::Result<()> {
        let job = self.job(tenant, &format!("{path}?wait=60s")).await?;
        ensure!(job["state"] == "completed", "{job}");
        Ok(())
    }
}

async fn compilations_of_a_tenant_leave_a_permit_for_another() -> anyhow::Result<()> {
    let names = ["slow1", "slow2", "slow3"];
    let slow = Slow::new(&names).await?;
    for name in names {
        slow.begin("greedy", name).await?;
    }
    slow.latch.reached().await?;
    for n in 0..10 {
        let job = slow.begin("modest", &format!("fast{n}")).await?;
        slow.completes("modest", &job).await?;
    }
    assert_eq!(slow.latch.most(), 1, "one of two permits is reserved for other tenants");
    Ok(())
}

async fn attempts_that_wait_for_their_code_leave_slots_for_other_tenants() -> anyhow::Result<()> {
    let names = ["slow1", "slow2", "slow3"];
    let slow = Slow::new(&names).await?;
    let mut jobs = vec![];
    for name in names {
        jobs.push(slow.begin("greedy", name).await?);
    }
    // One continues to wait; the others release their slots.
    let given_back = async {
        let mut refused = BTreeSet::new();
        while refused.len() < 2 {
            for path in &jobs {
                let job = slow.job("greedy", path).await?;
                let attempts = job["attempts"].as_array().cloned().unwrap_or_default();
                let is_refused = |it: &Value| it["error"]["code"] == "plugin_unavailable";
                if attempts.iter().any(is_refused) {
                    refused.insert(path);
                }
            }
        }
        anyhow::Ok(refused)
    };
    let refused = soon(given_back).await??;
    let waiting = jobs.iter().find(|path| !refused.contains(path)).context("one waits")?;
    slow.latch.open(names.len());
    slow.completes("greedy", waiting).await
}

async fn waiting_for_code_does_not_depend_on_permits_of_another_tenant() -> anyhow::Result<()> {
    let slow = Slow::new(&["slow1"]).await?;
    slow.begin("greedy", "slow1").await?;
    slow.latch.reached().await?;
    slow.begin("greedy", "shared").await?;
    let job = slow.begin("modest", "shared").await?;
    slow.completes("modest", &job).await
}
