//! Isolation of tenants, and keys that were revoked.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Fixture, delete, get, patch, post, put, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        only_an_administrator_enables_what_an_administrator_disabled,
        holds_of_the_administrator_and_of_a_tenant_are_bounded_separately,
        concurrent_enabling_and_disabling_leaves_a_consistent_state,
        disabling_also_cancels_a_batch_in_flight,
        a_key_revoked_while_its_request_arrives_changes_nothing,
        a_key_revoked_while_its_request_waits_gets_no_data,
        a_changed_rate_limit_starts_afresh,
        a_retry_counts_as_a_submission,
        removing_a_plugin_removes_all_versions_of_the_same_bytes,
        the_same_bytes_count_once,
    ]
}

/// A fixture with an administrator's key, and a key of the tenant `acme` with all other scopes.
struct Shared {
    fixture: Fixture,
    admin: String,
    acme: (String, String),
}

impl Shared {
    async fn new() -> anyhow::Result<Self> {
        let fixture = Fixture::new().await?;
        let made =
            post(&fixture.host, "/v1/keys", json!({ "scopes": ["admin"] })).await?.ok(201)?;
        let admin = text(&made["key"])?;
        let scopes = ["plugins:write", "jobs:submit", "jobs:read"];
        let draft = json!({ "tenant": "acme", "scopes": scopes });
        let request = fixture.host.request(Method::POST, "/v1/keys").bearer_auth(&admin);
        let made = send(request.json(&draft)).await?.ok(201)?;
        let acme = (text(&made["key"])?, text(&made["id"])?);
        let plugin = fixture.host.request(Method::PUT, "/v1/plugins/p").bearer_auth(&acme.0);
        send(plugin.body("bytes of acme")).await?.ok(201)?;
        Ok(Self { fixture, admin, acme })
    }

    async fn acme(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Answer> {
        let request = self.fixture.host.request(method, path).bearer_auth(&self.acme.0);
        send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// A request of the administrator for `acme`.
    async fn operator(&self, path: &str) -> anyhow::Result<Answer> {
        let request = self.fixture.host.request(Method::POST, path).bearer_auth(&self.admin);
        send(request.header("jobwright-tenant", "acme")).await
    }

    async fn revoke(&self) -> anyhow::Result<()> {
        let path = format!("/v1/keys/{}", self.acme.1);
        let request = self.fixture.host.request(Method::DELETE, &path).bearer_auth(&self.admin);
        send(request).await?.ok(200)?;
        Ok(())
    }
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().context("a string")?.to_owned())
}

async fn only_an_administrator_enables_what_an_administrator_disabled() -> anyhow::Result<()> {
    let shared = Shared::new().await?;
    for path in ["/v1/plugins/p", "/v1/plugins/p/versions/0.0.1"] {
        let version = shared.acme(Method::GET, "/v1/plugins/p", Value::Null).await?.ok(200)?;
        let path = path.replace("0.0.1", &text(&version["versions"][0]["version"])?);
        let (off, on) = (format!("{path}/disable"), format!("{path}/enable"));
        shared.operator(&off).await?.ok(200)?;
        let answer = shared.acme(Method::POST, &on, Value::Null).await?;
        assert_eq!(answer.code(403)?, "disabled_by_operator");
        // A tenant can disable and enable everything else of its own.
        shared.acme(Method::POST, &off, Value::Null).await?.ok(200)?;
        let job = json!({ "plugin": "p" });
        let refused = shared.acme(Method::POST, "/v1/jobs", job.clone()).await?;
        assert_eq!(refused.code(409)?, "disabled");
        shared.operator(&on).await?.ok(200)?;
        shared.acme(Method::POST, "/v1/jobs", job).await?.ok(202)?;
    }
    Ok(())
}

async fn holds_of_the_administrator_and_of_a_tenant_are_bounded_separately() -> anyhow::Result<()> {
    let shared = Shared::new().await?;
    let digest = |n: usize| format!("/v1/digests/sha256:{n:064x}/disable");
    for n in 0..1000 {
        shared.operator(&digest(n)).await?.ok(200)?;
    }
    assert_eq!(shared.operator(&digest(1000)).await?.code(409)?, "too_many_disabled");
    shared.operator(&digest(7)).await?.ok(200)?;
    shared.acme(Method::POST, "/v1/plugins/p/disable", Value::Null).await?.ok(200)?;
    Ok(())
}

async fn concurrent_enabling_and_disabling_leaves_a_consistent_state() -> anyhow::Result<()> {
    // On the embedded store, whose calls take some time.
    let host = &TestHost::start().await?;
    host.push("p", guests::echo()?).await?;
    for _ in 0..60 {
        let switch = async |to: &str| {
            post(host, &format!("/v1/plugins/p/{to}"), "").await?.ok(200)?;
            anyhow::Ok(())
        };
        let all = ["disable", "enable"].repeat(6).into_iter().map(switch);
        futures_util::future::try_join_all(all).await?;
        let listed = get(host, "/v1/disabled").await?.ok(200)?;
        let shown = get(host, "/v1/plugins/p").await?.ok(200)?["disabled"].clone();
        let off = listed["disabled"].as_array().is_some_and(|listed| !listed.is_empty());
        assert_eq!(shown, off, "{listed}");
    }
    Ok(())
}

async fn disabling_also_cancels_a_batch_in_flight() -> anyhow::Result<()> {
    for _ in 0..10 {
        let fixture = Fixture::one_by_one().await?;
        let batch = Value::Array(vec![json!({ "plugin": "p" }); 300]);
        let off = async {
            tokio::task::yield_now().await;
            post(&fixture.host, "/v1/plugins/p/disable", json!({ "jobs": "cancel" })).await?.ok(200)
        };
        let (accepted, _) = tokio::try_join!(post(&fixture.host, "/v1/jobs/batch", batch), off)?;
        accepted.ok(200)?;
        let waits = get(&fixture.host, "/v1/queues/default").await?.ok(200)?;
        assert_eq!(waits["depth"], 0, "{waits}");
    }
    Ok(())
}

/// Begins a request, runs `meanwhile`, and ends the request; returns the status.
async fn slowly(
    host: &TestHost,
    (head, body): (&str, &str),
    meanwhile: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(host.address()).await?;
    let length = body.len();
    let head = format!(
        "{head}host: localhost\r\ncontent-length: {length}\r\nconnection: close\r\nexpect: \
         100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    // The host sends `100 Continue` when it has admitted the request.
    let mut asked = [0; 25];
    soon(stream.read_exact(&mut asked)).await??;
    ensure!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
    meanwhile.await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await??;
    Ok(answer.get(9..12).context("a status")?.parse()?)
}

async fn a_key_revoked_while_its_request_arrives_changes_nothing() -> anyhow::Result<()> {
    for (line, body) in [
        ("POST /v1/jobs", r#"{"plugin":"p"}"#),
        ("POST /v1/jobs/batch", r#"[{"plugin":"p"}]"#),
        ("PUT /v1/plugins/q", "other bytes"),
        ("PATCH /v1/plugins/p", "{}"),
    ] {
        let shared = Shared::new().await?;
        let head = format!("{line} HTTP/1.1\r\nauthorization: Bearer {}\r\n", shared.acme.0);
        let host = &shared.fixture.host;
        assert_eq!(slowly(host, (&head, body), shared.revoke()).await?, 401, "{line}");
    }
    // A request without a key does not create a key if another was created meanwhile.
    let fixture = Fixture::new().await?;
    let first = async {
        post(&fixture.host, "/v1/keys", json!({ "scopes": ["admin"] })).await?.ok(201)?;
        Ok(())
    };
    let head = "POST /v1/keys HTTP/1.1\r\n";
    assert_eq!(slowly(&fixture.host, (head, r#"{"scopes":["admin"]}"#), first).await?, 401);
    Ok(())
}

async fn a_key_revoked_while_its_request_waits_gets_no_data() -> anyhow::Result<()> {
    let shared = Shared::new().await?;
    let job = shared.acme(Method::POST, "/v1/jobs", json!({ "plugin": "p" })).await?.ok(202)?;
    let running = shared.fixture.begins().await?;
    let path = format!("/v1/jobs/{}?wait=60s", text(&job["id"])?);
    let waits = shared.acme(Method::GET, &path, Value::Null);
    let ends = async {
        shared.revoke().await?;
        running.succeed();
        Ok(())
    };
    let (told, ()) = tokio::try_join!(waits, ends)?;
    assert_eq!(told.code(401)?, "unauthorized");
    Ok(())
}

async fn a_changed_rate_limit_starts_afresh() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let rate = async |jobs: u32| {
        let limits = json!({ "limits": { "jobs_per_second": jobs } });
        patch(&fixture.host, "/v1/tenants/default", limits).await?.ok(200)
    };
    let submit = async || post(&fixture.host, "/v1/jobs", json!({ "plugin": "p" })).await;
    rate(5).await?;
    let batch = Value::Array(vec![json!({ "plugin": "p" }); 500]);
    post(&fixture.host, "/v1/jobs/batch", batch).await?.ok(200)?;
    assert_eq!(submit().await?.code(429)?, "too_fast");
    rate(1000).await?;
    submit().await?.ok(202)?;
    Ok(())
}

async fn a_retry_counts_as_a_submission() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(&id).await?;
    let limits = json!({ "limits": { "jobs_per_second": 1 } });
    patch(&fixture.host, "/v1/tenants/default", limits).await?.ok(200)?;
    let retry = async || post(&fixture.host, &format!("/v1/jobs/{id}/retry"), "").await;
    retry().await?.ok(202)?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(&id).await?;
    assert_eq!(retry().await?.code(429)?, "too_fast");
    fixture.clock.advance(Duration::from_secs(1));
    retry().await?.ok(202)?;
    Ok(())
}

async fn removing_a_plugin_removes_all_versions_of_the_same_bytes() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for version in ["1.0.0", "2.0.0"] {
        put(&fixture.host, &format!("/v1/plugins/q?version={version}"), "the same")
            .await?
            .ok(201)?;
    }
    assert_eq!(delete(&fixture.host, "/v1/plugins/q").await?.status, 204);
    assert_eq!(get(&fixture.host, "/v1/plugins/q").await?.code(404)?, "plugin_not_found");
    Ok(())
}

async fn the_same_bytes_count_once() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let limits = json!({ "limits": { "plugin_bytes": 30 } });
    patch(&fixture.host, "/v1/tenants/default", limits).await?.ok(200)?;
    // In addition to the 17 bytes of `p`.
    for (name, version) in [("q", "1.0.0"), ("q", "2.0.0"), ("r", "1.0.0")] {
        let path = format!("/v1/plugins/{name}?version={version}");
        put(&fixture.host, &path, "thirteen long").await?.ok(201)?;
    }
    let more = put(&fixture.host, "/v1/plugins/s", "one").await?;
    assert_eq!(more.code(507)?, "registry_full");
    Ok(())
}
