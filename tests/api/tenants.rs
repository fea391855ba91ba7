//! What one tenant, or somebody who has lost his key, cannot do to others.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Stage, delete, get, patch, post, put, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        what_the_operator_switched_off_only_he_switches_on,
        the_operators_switches_and_a_tenants_have_room_of_their_own,
        switching_on_and_off_at_once_leaves_one_answer,
        a_batch_under_way_is_cancelled_with_what_waits,
        a_key_that_is_revoked_while_its_request_comes_does_nothing,
        a_key_that_is_revoked_while_it_waits_is_told_nothing,
        another_rate_begins_anew,
        a_retry_counts_as_a_submission,
        a_plugin_goes_with_all_versions_of_the_same_bytes,
        the_same_bytes_count_once,
    ]
}

/// A stage with an administrator's key, and one of the tenant `acme` that may do the rest.
struct Shared {
    stage: Stage,
    admin: String,
    acme: (String, String),
}

impl Shared {
    async fn new() -> anyhow::Result<Self> {
        let stage = Stage::new().await?;
        let made = post(&stage.host, "/v1/keys", json!({ "scopes": ["admin"] })).await?.ok(201)?;
        let admin = text(&made["key"])?;
        let scopes = ["plugins:write", "jobs:submit", "jobs:read"];
        let draft = json!({ "tenant": "acme", "scopes": scopes });
        let request = stage.host.request(Method::POST, "/v1/keys").bearer_auth(&admin);
        let made = send(request.json(&draft)).await?.ok(201)?;
        let acme = (text(&made["key"])?, text(&made["id"])?);
        let plugin = stage.host.request(Method::PUT, "/v1/plugins/p").bearer_auth(&acme.0);
        send(plugin.body("bytes of acme")).await?.ok(201)?;
        Ok(Self { stage, admin, acme })
    }

    async fn acme(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Answer> {
        let request = self.stage.host.request(method, path).bearer_auth(&self.acme.0);
        send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// The operator, for acme.
    async fn operator(&self, path: &str) -> anyhow::Result<Answer> {
        let request = self.stage.host.request(Method::POST, path).bearer_auth(&self.admin);
        send(request.header("jobwright-tenant", "acme")).await
    }

    async fn revoke(&self) -> anyhow::Result<()> {
        let path = format!("/v1/keys/{}", self.acme.1);
        let request = self.stage.host.request(Method::DELETE, &path).bearer_auth(&self.admin);
        send(request).await?.ok(200)?;
        Ok(())
    }
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().context("a text")?.to_owned())
}

async fn what_the_operator_switched_off_only_he_switches_on() -> anyhow::Result<()> {
    let shared = Shared::new().await?;
    for path in ["/v1/plugins/p", "/v1/plugins/p/versions/0.0.1"] {
        let version = shared.acme(Method::GET, "/v1/plugins/p", Value::Null).await?.ok(200)?;
        let path = path.replace("0.0.1", &text(&version["versions"][0]["version"])?);
        let (off, on) = (format!("{path}/disable"), format!("{path}/enable"));
        shared.operator(&off).await?.ok(200)?;
        let answer = shared.acme(Method::POST, &on, Value::Null).await?;
        assert_eq!(answer.code(403)?, "disabled_by_operator");
        // What a tenant switches off and on beside that is its own.
        shared.acme(Method::POST, &off, Value::Null).await?.ok(200)?;
        let job = json!({ "plugin": "p" });
        let refused = shared.acme(Method::POST, "/v1/jobs", job.clone()).await?;
        assert_eq!(refused.code(409)?, "disabled");
        shared.operator(&on).await?.ok(200)?;
        shared.acme(Method::POST, "/v1/jobs", job).await?.ok(202)?;
    }
    Ok(())
}

async fn the_operators_switches_and_a_tenants_have_room_of_their_own() -> anyhow::Result<()> {
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

async fn switching_on_and_off_at_once_leaves_one_answer() -> anyhow::Result<()> {
    // On a real store, whose answers take their time.
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

async fn a_batch_under_way_is_cancelled_with_what_waits() -> anyhow::Result<()> {
    for _ in 0..10 {
        let stage = Stage::one_by_one().await?;
        let batch = Value::Array(vec![json!({ "plugin": "p" }); 300]);
        let off = async {
            tokio::task::yield_now().await;
            post(&stage.host, "/v1/plugins/p/disable", json!({ "jobs": "cancel" })).await?.ok(200)
        };
        let (accepted, _) = tokio::try_join!(post(&stage.host, "/v1/jobs/batch", batch), off)?;
        accepted.ok(200)?;
        let waits = get(&stage.host, "/v1/queues/default").await?.ok(200)?;
        assert_eq!(waits["depth"], 0, "{waits}");
    }
    Ok(())
}

/// Begins a request, lets `meanwhile` happen, and ends it; answers the status.
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
    // The host asks for the body when it has let the request in.
    let mut asked = [0; 25];
    soon(stream.read_exact(&mut asked)).await??;
    ensure!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
    meanwhile.await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await??;
    Ok(answer.get(9..12).context("a status")?.parse()?)
}

async fn a_key_that_is_revoked_while_its_request_comes_does_nothing() -> anyhow::Result<()> {
    for (line, body) in [
        ("POST /v1/jobs", r#"{"plugin":"p"}"#),
        ("POST /v1/jobs/batch", r#"[{"plugin":"p"}]"#),
        ("PUT /v1/plugins/q", "other bytes"),
        ("PATCH /v1/plugins/p", "{}"),
    ] {
        let shared = Shared::new().await?;
        let head = format!("{line} HTTP/1.1\r\nauthorization: Bearer {}\r\n", shared.acme.0);
        let host = &shared.stage.host;
        assert_eq!(slowly(host, (&head, body), shared.revoke()).await?, 401, "{line}");
    }
    // And nobody without a key makes one when there is one by then.
    let stage = Stage::new().await?;
    let first = async {
        post(&stage.host, "/v1/keys", json!({ "scopes": ["admin"] })).await?.ok(201)?;
        Ok(())
    };
    let head = "POST /v1/keys HTTP/1.1\r\n";
    assert_eq!(slowly(&stage.host, (head, r#"{"scopes":["admin"]}"#), first).await?, 401);
    Ok(())
}

async fn a_key_that_is_revoked_while_it_waits_is_told_nothing() -> anyhow::Result<()> {
    let shared = Shared::new().await?;
    let job = shared.acme(Method::POST, "/v1/jobs", json!({ "plugin": "p" })).await?.ok(202)?;
    let running = shared.stage.begins().await?;
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

async fn another_rate_begins_anew() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let rate = async |jobs: u32| {
        let limits = json!({ "limits": { "jobs_per_second": jobs } });
        patch(&stage.host, "/v1/tenants/default", limits).await?.ok(200)
    };
    let submit = async || post(&stage.host, "/v1/jobs", json!({ "plugin": "p" })).await;
    rate(5).await?;
    let batch = Value::Array(vec![json!({ "plugin": "p" }); 500]);
    post(&stage.host, "/v1/jobs/batch", batch).await?.ok(200)?;
    assert_eq!(submit().await?.code(429)?, "too_fast");
    rate(1000).await?;
    submit().await?.ok(202)?;
    Ok(())
}

async fn a_retry_counts_as_a_submission() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({})).await?;
    stage.begins().await?.succeed();
    stage.host.finalized(&id).await?;
    let limits = json!({ "limits": { "jobs_per_second": 1 } });
    patch(&stage.host, "/v1/tenants/default", limits).await?.ok(200)?;
    let retry = async || post(&stage.host, &format!("/v1/jobs/{id}/retry"), "").await;
    retry().await?.ok(202)?;
    stage.begins().await?.succeed();
    stage.host.finalized(&id).await?;
    assert_eq!(retry().await?.code(429)?, "too_fast");
    stage.clock.advance(Duration::from_secs(1));
    retry().await?.ok(202)?;
    Ok(())
}

async fn a_plugin_goes_with_all_versions_of_the_same_bytes() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    for version in ["1.0.0", "2.0.0"] {
        put(&stage.host, &format!("/v1/plugins/q?version={version}"), "the same").await?.ok(201)?;
    }
    assert_eq!(delete(&stage.host, "/v1/plugins/q").await?.status, 204);
    assert_eq!(get(&stage.host, "/v1/plugins/q").await?.code(404)?, "plugin_not_found");
    Ok(())
}

async fn the_same_bytes_count_once() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let limits = json!({ "limits": { "plugin_bytes": 30 } });
    patch(&stage.host, "/v1/tenants/default", limits).await?.ok(200)?;
    // Beside the 17 bytes of `p`.
    for (name, version) in [("q", "1.0.0"), ("q", "2.0.0"), ("r", "1.0.0")] {
        let path = format!("/v1/plugins/{name}?version={version}");
        put(&stage.host, &path, "thirteen long").await?.ok(201)?;
    }
    let more = put(&stage.host, "/v1/plugins/s", "one").await?;
    assert_eq!(more.code(507)?, "registry_full");
    Ok(())
}
