//! Disabling plugins, versions, bytes and tenants, and the audit log of it.

use anyhow::{Context as _, ensure};
use jobwright_core::runtime::StopReason;
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Fixture, get, post, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        disabling_stops_attempts_and_jobs_wait_until_enabled,
        disabling_can_cancel_all_jobs,
        disabled_plugins_accept_no_jobs,
        disabling_survives_a_restart,
        a_disabled_tenant_may_only_read,
        disabling_gives_guests_no_grace_period,
        disabling_ends_a_running_grace_period,
        administrative_actions_are_in_the_audit_log,
        the_audit_log_has_pages,
    ]
}

/// Every path that disables jobs of `p`.
async fn switches(host: &TestHost) -> anyhow::Result<[String; 4]> {
    let plugin = get(host, "/v1/plugins/p").await?.ok(200)?;
    let digest = plugin["versions"][0]["digest"].as_str().context("a digest")?.to_owned();
    let version = plugin["versions"][0]["version"].as_str().context("a version")?;
    Ok([
        "/v1/plugins/p".to_owned(),
        format!("/v1/plugins/p/versions/{version}"),
        format!("/v1/digests/{digest}"),
        "/v1/tenants/default".to_owned(),
    ])
}

async fn disabling_stops_attempts_and_jobs_wait_until_enabled() -> anyhow::Result<()> {
    for n in 0..4 {
        let fixture = Fixture::one_by_one().await?;
        let switch = &switches(&fixture.host).await?[n];
        let (first, second) = (fixture.submit(json!({})).await?, fixture.submit(json!({})).await?);
        let running = fixture.begins().await?;
        // An empty body is accepted in every form.
        let nothing = ["", "null", "{}", "\u{feff}"][n];
        let off = post(&fixture.host, &format!("{switch}/disable"), nothing).await?.ok(200)?;
        assert_eq!(off, json!({ "disabled": true, "cancelled_jobs": 0 }));
        assert_eq!(soon(running.stop.wait()).await?, StopReason::Disabled, "{switch}");
        // The job is released without counting the attempt, and does not start again.
        let back = async {
            while fixture.host.job(&first).await?["state"] != "available" {
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        };
        soon(back).await??;
        assert_eq!(fixture.host.job(&first).await?["failures"], 0);
        assert_eq!(fixture.host.job(&second).await?["state"], "available");
        ensure!(fixture.runtime.begun().await.is_none(), "a disabled job began");
        let on = post(&fixture.host, &format!("{switch}/enable"), "").await?.ok(200)?;
        assert_eq!(on, json!({ "disabled": false }));
        for _ in 0..2 {
            fixture.begins().await?.succeed();
        }
        fixture.host.finalized(&first).await?;
        fixture.host.finalized(&second).await?;
    }
    Ok(())
}

async fn disabling_can_cancel_all_jobs() -> anyhow::Result<()> {
    for n in 0..4 {
        let fixture = Fixture::one_by_one().await?;
        let switch = &switches(&fixture.host).await?[n];
        let (first, second) = (fixture.submit(json!({})).await?, fixture.submit(json!({})).await?);
        let _running = fixture.begins().await?;
        let body = json!({ "jobs": "cancel" });
        let off = post(&fixture.host, &format!("{switch}/disable"), body).await?.ok(200)?;
        assert_eq!(off["cancelled_jobs"], 2, "{switch}");
        for id in [first, second] {
            assert_eq!(fixture.host.finalized(&id).await?["state"], "cancelled");
        }
    }
    Ok(())
}

async fn disabled_plugins_accept_no_jobs() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    fixture.host.push("q", "other bytes").await?;
    let job = json!({ "plugin": "p" });
    let over = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(&over).await?;
    for switch in switches(&fixture.host).await?.iter().take(3) {
        post(&fixture.host, &format!("{switch}/disable"), "").await?.ok(200)?;
        assert_eq!(post(&fixture.host, "/v1/jobs", &job).await?.code(409)?, "disabled");
        let batch = post(&fixture.host, "/v1/jobs/batch", json!([job])).await?.ok(200)?;
        assert_eq!(batch[0]["error"]["code"], "disabled");
        let retry = post(&fixture.host, &format!("/v1/jobs/{over}/retry"), "").await?;
        assert_eq!(retry.code(409)?, "disabled");
        post(&fixture.host, "/v1/jobs", json!({ "plugin": "q" })).await?.ok(202)?;
        post(&fixture.host, &format!("{switch}/enable"), "").await?.ok(200)?;
    }
    post(&fixture.host, "/v1/jobs", &job).await?.ok(202)?;
    for (path, code) in [
        ("/v1/plugins/none/disable", "plugin_not_found"),
        ("/v1/plugins/p/versions/9.9.9/disable", "version_not_found"),
    ] {
        assert_eq!(post(&fixture.host, path, "").await?.code(404)?, code);
    }
    let wrong =
        post(&fixture.host, "/v1/plugins/p/disable", json!({ "jobs": "burn", "x": 1 })).await?;
    assert_eq!(wrong.problem(422)?["errors"].as_array().map_or(0, Vec::len), 2);
    Ok(())
}

async fn disabling_survives_a_restart() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let why = json!({ "reason": "it loops" });
    post(&host, "/v1/plugins/echo/disable", why).await?.ok(200)?;
    let host = TestHost::on(host.stop().await?, |_| {}).await?;
    assert_eq!(get(&host, "/v1/plugins/echo").await?.ok(200)?["disabled"], true);
    assert_eq!(post(&host, "/v1/jobs", json!({ "plugin": "echo" })).await?.code(409)?, "disabled");
    let listed = get(&host, "/v1/disabled").await?.ok(200)?;
    let entry = &listed["disabled"][0];
    assert_eq!(entry["plugin"], json!({ "tenant": "default", "plugin": "echo" }));
    assert_eq!((&entry["disabled_by"], &entry["reason"]), (&json!("anyone"), &json!("it loops")));
    ensure!(entry["disabled_at"].is_string(), "{listed}");
    assert_eq!(listed["disabled"].as_array().map(Vec::len), Some(1));
    post(&host, "/v1/plugins/echo/enable", "").await?.ok(200)?;
    post(&host, "/v1/jobs", json!({ "plugin": "echo" })).await?.ok(202)?;
    Ok(())
}

async fn a_disabled_tenant_may_only_read() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let make = async |token: Option<&str>, draft: Value| {
        let request = fixture.host.request(Method::POST, "/v1/keys").json(&draft);
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
        let made = send(request).await?.ok(201)?;
        anyhow::Ok(made["key"].as_str().context("a token")?.to_owned())
    };
    let admin = make(None, json!({ "scopes": ["admin"] })).await?;
    let scopes = json!(["plugins:write", "jobs:submit", "jobs:read"]);
    let theirs = make(Some(&admin), json!({ "tenant": "acme", "scopes": scopes })).await?;
    let ask = async |token: &str, method: Method, path: &str| {
        send(fixture.host.request(method, path).bearer_auth(token)).await
    };
    ask(&admin, Method::POST, "/v1/tenants/acme/disable").await?.ok(200)?;
    ask(&theirs, Method::GET, "/v1/jobs").await?.ok(200)?;
    let refused = ask(&theirs, Method::PUT, "/v1/plugins/p").await?;
    assert_eq!(refused.code(403)?, "disabled");
    ask(&admin, Method::POST, "/v1/tenants/acme/enable").await?.ok(200)?;
    let upload = fixture.host.request(Method::PUT, "/v1/plugins/p").bearer_auth(&theirs);
    send(upload.body("bytes")).await?.ok(201)?;
    Ok(())
}

/// Polls for cancellation all the time, and never ends.
const DEAF: &str = r#"(module
  (import "jobwright" "is_cancelled" (func $asked (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (loop $again (drop (call $asked)) (br $again))))"#;

/// A job whose guest polls for cancellation and ignores it.
async fn deaf(host: &TestHost) -> anyhow::Result<String> {
    host.push("deaf", guests::assemble(DEAF)?).await?;
    let limits = json!({ "grace_ms": 10_000, "timeout_ms": 600_000, "fuel": "unlimited" });
    let id = host.submit(json!({ "plugin": "deaf", "limits": limits })).await?;
    becomes(host, &id, "running").await?;
    Ok(id)
}

async fn becomes(host: &TestHost, id: &str, state: &str) -> anyhow::Result<()> {
    let becomes = async {
        while host.job(id).await?["state"] != state {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    soon(becomes).await?
}

async fn disabling_gives_guests_no_grace_period() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let id = deaf(&host).await?;
    let began = tokio::time::Instant::now();
    post(&host, "/v1/plugins/deaf/disable", "").await?.ok(200)?;
    becomes(&host, &id, "available").await?;
    ensure!(began.elapsed().as_secs() < 5, "it had its grace period: {:?}", began.elapsed());
    let attempt = &host.job(&id).await?["attempts"][0];
    assert_eq!(attempt["outcome"], "interrupted", "{attempt}");
    Ok(())
}

async fn disabling_ends_a_running_grace_period() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let id = deaf(&host).await?;
    let began = tokio::time::Instant::now();
    post(&host, &format!("/v1/jobs/{id}/cancel"), "").await?.ok(202)?;
    post(&host, "/v1/plugins/deaf/disable", "").await?.ok(200)?;
    assert_eq!(host.finalized(&id).await?["state"], "cancelled");
    ensure!(began.elapsed().as_secs() < 5, "it had its grace period: {:?}", began.elapsed());
    Ok(())
}

async fn administrative_actions_are_in_the_audit_log() -> anyhow::Result<()> {
    let fixture = Fixture::one_by_one().await?;
    let host = &fixture.host;
    let id = fixture.submit(json!({})).await?;
    for path in [
        &format!("/v1/jobs/{id}/cancel"),
        "/v1/plugins/p/disable",
        "/v1/plugins/p/enable",
        "/v1/queues/slow/pause",
    ] {
        send(host.request(Method::POST, path)).await?;
    }
    let patch = async |path: &str, body: Value| {
        send(host.request(Method::PATCH, path).json(&body)).await?.ok(200)
    };
    patch("/v1/plugins/p", json!({ "limits": { "fuel": 7 } })).await?;
    patch("/v1/tenants/acme", json!({ "limits": { "jobs": 7 } })).await?;
    let key = post(host, "/v1/keys", json!({ "scopes": ["admin"] })).await?.ok(201)?;
    let token = key["key"].as_str().context("a token")?;
    let request = host.request(Method::DELETE, "/v1/plugins/p").bearer_auth(token);
    send(request).await?;
    let log = send(host.request(Method::GET, "/v1/audit").bearer_auth(token)).await?;
    ensure!(!log.text()?.contains(token), "the log has a key");
    let log = log.ok(200)?;
    let entries = log["entries"].as_array().context("entries")?.iter().rev();
    let told: Vec<(&str, &str, &str)> = entries
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            (text("actor"), text("action"), text("target"))
        })
        .collect();
    let key = key["id"].as_str().unwrap_or_default();
    assert_eq!(
        told,
        [
            ("anyone", "plugin.upload", "p"),
            ("anyone", "job.cancel", id.as_str()),
            ("anyone", "plugin.disable", "p"),
            ("anyone", "plugin.enable", "p"),
            ("anyone", "queue.pause", "slow"),
            ("anyone", "plugin.configure", "p"),
            ("anyone", "tenant.configure", "acme"),
            ("anyone", "key.create", key),
            (key, "plugin.remove", "p"),
        ]
    );
    Ok(())
}

async fn the_audit_log_has_pages() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for action in ["pause", "resume", "pause", "resume"] {
        post(&fixture.host, &format!("/v1/queues/q/{action}"), "").await?.ok(200)?;
    }
    let (mut seen, mut cursor) = (vec![], String::new());
    loop {
        let page = get(&fixture.host, &format!("/v1/audit?limit=2{cursor}")).await?.ok(200)?;
        seen.extend(page["entries"].as_array().context("entries")?.iter().map(|e| e["id"].clone()));
        let Some(next) = page["next_cursor"].as_u64() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    assert_eq!(
        get(&fixture.host, "/v1/audit?limit=0").await?.problem(422)?["code"],
        "invalid_fields"
    );
    Ok(())
}
