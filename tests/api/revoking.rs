//! Keys that are revoked during a request: the request changes nothing more and gets no data.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use jobwright::api::Route;
use jobwright::store::access::SqliteAccess;
use jobwright_core::access::{AccessStore, Act, ApiKey, AuditEntry};
use jobwright_core::plugin::Digest;
use jobwright_core::store::StoreError;
use jobwright_tests::{ScriptedRuntime, TestHost, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, watch};

use super::access::ask;
use super::interposed::{Interposed, Latch};
use super::wire::Wire;
use super::{Answer, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        no_route_acts_for_a_key_that_was_revoked_before_the_action,
        a_submission_whose_key_is_revoked_while_it_is_sent_is_refused,
        a_revoked_key_gets_no_response_it_waited_for,
        an_upload_is_not_published_if_its_key_is_revoked_while_compiling,
        a_request_that_revokes_its_own_key_is_answered,
        cancelling_many_jobs_stops_when_the_key_is_revoked,
    ]
}

/// Keys and audit log that delay the actions of one key.
pub(super) struct Gate {
    inner: SqliteAccess,
    pub(super) actor: Mutex<Option<String>>,
    reached: Semaphore,
    pub(super) open: Semaphore,
    /// How often each key was looked up.
    looked_up: watch::Sender<BTreeMap<Digest, usize>>,
}

impl Gate {
    async fn pass(&self, act: &Act) {
        if self.actor.lock().await.as_ref() == Some(&act.entry.actor) {
            self.reached.add_permits(1);
            // Never closed.
            let _ = self.open.acquire().await.map(|permit| permit.forget());
        }
    }

    /// Returns when another action waits.
    pub(super) async fn reached(&self) -> anyhow::Result<()> {
        soon(self.reached.acquire()).await??.forget();
        Ok(())
    }

    /// How often the key with this token was looked up.
    pub(super) fn looked_up(&self, token: &str) -> usize {
        self.looked_up.borrow().get(&Digest::of(token.as_bytes())).copied().unwrap_or(0)
    }

    /// Returns when the key was looked up `often` times.
    pub(super) async fn is_looked_up(&self, token: &str, often: usize) -> anyhow::Result<()> {
        let (mut looks, token) = (self.looked_up.subscribe(), Digest::of(token.as_bytes()));
        looks.wait_for(|looks| looks.get(&token).is_some_and(|times| *times >= often)).await?;
        Ok(())
    }
}

#[async_trait]
impl AccessStore for Gate {
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.inner.keys().await
    }
    fn has_keys(&self) -> Result<bool, StoreError> {
        self.inner.has_keys()
    }
    fn bearer(&self, token: &Digest) -> Result<Option<Arc<ApiKey>>, StoreError> {
        self.looked_up.send_modify(|looks| *looks.entry(*token).or_default() += 1);
        self.inner.bearer(token)
    }
    async fn add_key(&self, key: ApiKey, token: Digest) -> Result<(), StoreError> {
        self.inner.add_key(key, token).await
    }
    async fn revoke_key(&self, id: &str, act: Act) -> Result<Option<ApiKey>, StoreError> {
        self.pass(&act).await;
        self.inner.revoke_key(id, act).await
    }
    async fn forget_key(&self, id: &str) -> Result<(), StoreError> {
        self.inner.forget_key(id).await
    }
    async fn record(&self, act: Act) -> Result<Option<u64>, StoreError> {
        self.pass(&act).await;
        self.inner.record(act).await
    }
    async fn complete(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.inner.complete(entry).await
    }
    async fn audit(&self, before: Option<u64>, most: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.inner.audit(before, most).await
    }
}

/// A host with an administrator and the plugin `p`.
pub(super) struct GatedHost {
    pub(super) host: TestHost,
    pub(super) gate: Arc<Gate>,
    runtime: ScriptedRuntime,
    admin: String,
}

impl GatedHost {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let (runtime, mut gate) = (ScriptedRuntime::default(), None);
        let host = TestHost::accessed(Arc::new(runtime.clone()), |inner| {
            let (actor, looked_up) = (Mutex::default(), watch::Sender::default());
            let (reached, open) = (Semaphore::new(0), Semaphore::new(0));
            gate.insert(Arc::new(Gate { inner, actor, reached, open, looked_up })).clone()
        })
        .await?;
        host.push("p", "any bytes will do").await?;
        let made = ask(&host, None, Method::POST, "/v1/keys", json!({ "scopes": ["admin"] }));
        let admin = made.await?.ok(201)?["key"].as_str().context("a token")?.to_owned();
        Ok(Self { host, gate: gate.context("the gate was created")?, runtime, admin })
    }

    pub(super) async fn admin(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> anyhow::Result<Answer> {
        ask(&self.host, Some(&self.admin), method, path, body).await
    }

    /// A key with the scope of a route: its id and its token.
    async fn key(&self, scope: &str) -> anyhow::Result<(String, String)> {
        self.drafted(json!({ "scopes": [scope] })).await
    }

    /// A key: its id and its token.
    pub(super) async fn drafted(&self, draft: Value) -> anyhow::Result<(String, String)> {
        let made = self.admin(Method::POST, "/v1/keys", draft).await?.ok(201)?;
        let text =
            |field: &str| made[field].as_str().map(str::to_owned).context("the field is a string");
        Ok((text("id")?, text("key")?))
    }

    async fn revoke(&self, id: &str) -> anyhow::Result<()> {
        let path = format!("/v1/keys/{id}");
        self.admin(Method::DELETE, &path, Value::Null).await?.ok(200).map(drop)
    }

    /// A path and a body with which a request to `route` would have an effect now.
    async fn doing(&self, route: &Route) -> anyhow::Result<(String, Value)> {
        let digest = format!("sha256:{}", "0".repeat(64));
        let mut name = "p".to_owned();
        if route.path.starts_with("/queues") || route.path.starts_with("/tenants") {
            name = "other".to_owned();
        }
        let mut id = self.key("jobs:read").await?.0;
        if route.path.starts_with("/jobs") {
            let draft = json!({ "plugin": "p", "delay_ms": 3_600_000 });
            let job = self.admin(Method::POST, "/v1/jobs", draft).await?.ok(202)?;
            id = job["id"].as_str().context("an id")?.to_owned();
            if route.path.ends_with("retry") {
                let path = format!("/v1/jobs/{id}/cancel");
                self.admin(Method::POST, &path, Value::Null).await?.ok(200)?;
            }
        }
        if route.method == Method::DELETE && route.path.starts_with("/plugins") {
            name = "unused".to_owned();
            let path = format!("/v1/plugins/{name}?version=1.0.0");
            let upload = self.host.request(Method::PUT, &path).bearer_auth(&self.admin);
            send(upload.body("other bytes")).await?;
        }
        let path = route.path.replace("{name}", &name).replace("{version}", "1.0.0");
        let path = format!("/v1{}", path.replace("{id}", &id).replace("{digest}", &digest));
        let before = [("/enable", "/disable"), ("/resume", "/pause")];
        for (this, other) in before {
            if let Some(thing) = path.strip_suffix(this) {
                // Only an administrator can enable what an administrator disabled.
                let (_, token) = self.key(&route.scope.to_string()).await?;
                let path = format!("{thing}{other}");
                let done = ask(&self.host, Some(&token), Method::POST, &path, json!({}));
                done.await?.ok(200)?;
            }
        }
        let body = match (route.method.as_str(), route.path) {
            ("PUT", "/secrets/{name}") => {
                json!({ "value": "a long value", "origins": ["https://a.example"] })
            }
            ("POST", "/keys") => json!({ "scopes": ["jobs:read"] }),
            ("PATCH", "/tenants/{name}") => json!({ "limits": { "jobs": 1 } }),
            ("PATCH", _) => json!({ "output_type": "text/x" }),
            ("DELETE", _) => Value::Null,
            _ => json!({}),
        };
        Ok((path, body))
    }
}

async fn no_route_acts_for_a_key_that_was_revoked_before_the_action() -> anyhow::Result<()> {
    let gated = GatedHost::new().await?;
    let mut routes = jobwright::api::routes();
    // Submissions have no audit entry; another test covers them.
    routes.retain(|route| !route.method.is_safe() && !route.path.ends_with("jobs"));
    routes.retain(|route| route.path != "/jobs/batch");
    // Changes of keys and tenants exclude each other: a revocation waits for a change that has begun.
    routes.retain(|route| !route.path.starts_with("/keys") && route.path != "/tenants/{name}");
    ensure!(routes.len() >= 18, "{}", routes.len());
    for route in routes {
        let (path, body) = gated.doing(&route).await?;
        let (id, token) = gated.key(&route.scope.to_string()).await?;
        *gated.gate.actor.lock().await = Some(id.clone());
        let request = async {
            let asked = ask(&gated.host, Some(&token), route.method.clone(), &path, body).await;
            asked.with_context(|| format!("{route:?}"))
        };
        let revoking = async {
            gated.gate.reached().await.with_context(|| format!("{route:?}"))?;
            gated.revoke(&id).await?;
            gated.gate.open.add_permits(1);
            anyhow::Ok(())
        };
        let (answer, ()) = tokio::try_join!(request, revoking)?;
        assert_eq!(answer.code(401)?, "unauthorized", "{route:?}");
        *gated.gate.actor.lock().await = None;
        if route.path.ends_with("/enable") || route.path.ends_with("/resume") {
            // It was disabled, and was not enabled.
            gated.admin(Method::POST, &path, json!({})).await?.ok(200)?;
        }
        let log = gated.admin(Method::GET, "/v1/audit?limit=1000", Value::Null).await?.ok(200)?;
        let entries = log["entries"].as_array().context("entries")?;
        let acted = entries.iter().find(|entry| entry["actor"] == *id);
        ensure!(acted.is_none(), "{route:?}: {acted:?}");
    }
    // The action was not executed.
    let plugins = gated.admin(Method::GET, "/v1/plugins", Value::Null).await?.ok(200)?;
    assert_eq!(plugins["plugins"].as_array().map_or(0, Vec::len), 2, "{plugins}");
    assert_eq!(plugins["plugins"][0]["settings"]["output_type"], Value::Null);
    let secrets = gated.admin(Method::GET, "/v1/secrets", Value::Null).await?.ok(200)?;
    assert_eq!(secrets["secrets"], json!([]));
    Ok(())
}

async fn a_submission_whose_key_is_revoked_while_it_is_sent_is_refused() -> anyhow::Result<()> {
    let gated = GatedHost::new().await?;
    for (path, body) in [
        ("/v1/jobs", r#"{"plugin":"p","delay_ms":3600000}"#),
        ("/v1/jobs?plugin=p&delay_ms=3600000", "payload"),
        ("/v1/jobs/batch", r#"[{"plugin":"p","delay_ms":3600000}]"#),
    ] {
        let (id, token) = gated.key("jobs:submit").await?;
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-length: {length}\r\n\r\n"
        );
        let mut wire = Wire::with(&gated.host, format!("{head}{}", &body[..3])).await?;
        gated.revoke(&id).await?;
        wire.send(&body[3..]).await?;
        assert_eq!(wire.problem().await?, (401, "unauthorized".to_owned()), "{path}");
    }
    let jobs = gated.admin(Method::GET, "/v1/jobs", Value::Null).await?.ok(200)?;
    assert_eq!(jobs["jobs"], json!([]));
    Ok(())
}

async fn a_revoked_key_gets_no_response_it_waited_for() -> anyhow::Result<()> {
    let gated = GatedHost::new().await?;
    for waits_for_submission in [true, false] {
        let (id, token) = gated.key("admin").await?;
        let submit = gated.host.request(Method::POST, "/v1/jobs").json(&json!({ "plugin": "p" }));
        let waiting = async {
            if waits_for_submission {
                return send(submit.bearer_auth(&token).header("prefer", "wait=60")).await;
            }
            let job = send(submit.bearer_auth(&gated.admin)).await?.ok(202)?;
            let path = format!("/v1/jobs/{}?wait=60s", job["id"].as_str().context("an id")?);
            ask(&gated.host, Some(&token), Method::GET, &path, Value::Null).await
        };
        let ending = async {
            let attempt = soon(gated.runtime.next()).await??;
            gated.revoke(&id).await?;
            attempt.succeed();
            anyhow::Ok(())
        };
        let (answer, ()) = tokio::try_join!(waiting, ending)?;
        assert_eq!(answer.code(401)?, "unauthorized", "{waits_for_submission}");
    }
    Ok(())
}

async fn an_upload_is_not_published_if_its_key_is_revoked_while_compiling() -> anyhow::Result<()> {
    let gated = GatedHost::new().await?;
    let (id, token) = gated.key("plugins:write").await?;
    let compiler = gated.runtime.hold_compiler().await;
    let upload = gated.host.request(Method::PUT, "/v1/plugins/late").bearer_auth(&token);
    let revoking = async {
        soon(gated.runtime.compiler_asked()).await?;
        gated.revoke(&id).await?;
        drop(compiler);
        anyhow::Ok(())
    };
    let (answer, ()) = tokio::try_join!(send(upload.body("late bytes")), revoking)?;
    assert_eq!(answer.code(401)?, "unauthorized");
    let late = gated.admin(Method::GET, "/v1/plugins/late", Value::Null).await?;
    assert_eq!(late.code(404)?, "plugin_not_found");
    Ok(())
}

async fn a_request_that_revokes_its_own_key_is_answered() -> anyhow::Result<()> {
    let gated = GatedHost::new().await?;
    let (id, token) = gated.key("admin").await?;
    let path = format!("/v1/keys/{id}");
    let revoked = ask(&gated.host, Some(&token), Method::DELETE, &path, Value::Null).await?;
    assert_eq!(revoked.ok(200)?["state"], "revoked");
    let again = ask(&gated.host, Some(&token), Method::GET, "/v1/keys", Value::Null).await?;
    assert_eq!(again.code(401)?, "unauthorized");
    Ok(())
}

async fn cancelling_many_jobs_stops_when_the_key_is_revoked() -> anyhow::Result<()> {
    let latch = Latch::new();
    let store = Interposed::held(&latch, |name, _| name == "cancel_covered");
    let host = TestHost::replacing(Arc::new(ScriptedRuntime::default()), |parts, _| {
        parts.jobs.store = store;
        Ok(())
    })
    .await?;
    host.push("p", "any bytes").await?;
    let make = async |by: Option<&str>, scope: &str| {
        let draft = json!({ "scopes": [scope] });
        let made = ask(&host, by, Method::POST, "/v1/keys", draft).await?.ok(201)?;
        let text =
            |field: &str| made[field].as_str().map(str::to_owned).context("the field is a string");
        anyhow::Ok((text("id")?, text("key")?))
    };
    let (_, admin) = make(None, "admin").await?;
    let (id, token) = make(Some(&admin), "plugins:write").await?;
    let batch = json!(vec![json!({ "plugin": "p", "delay_ms": 3_600_000 }); 600]);
    ask(&host, Some(&admin), Method::POST, "/v1/jobs/batch", batch).await?.ok(200)?;
    let path = "/v1/plugins/p/disable";
    let disabling = ask(&host, Some(&token), Method::POST, path, json!({ "jobs": "cancel" }));
    let revoking = async {
        latch.reached().await?;
        let path = format!("/v1/keys/{id}");
        ask(&host, Some(&admin), Method::DELETE, &path, Value::Null).await?.ok(200)?;
        latch.open(10);
        anyhow::Ok(())
    };
    let (answer, ()) = tokio::try_join!(disabling, revoking)?;
    assert_eq!(answer.code(401)?, "unauthorized");
    // The step in progress is completed, and no further one begins.
    let queue = ask(&host, Some(&admin), Method::GET, "/v1/queues/default", Value::Null).await?;
    assert_eq!((latch.all(), &queue.ok(200)?["parked"]), (1, &json!(100)));
    Ok(())
}
