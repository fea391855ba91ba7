//! The entries of the audit log, and its bounds.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jobwright_tests::{InFlight, ScriptedRuntime, TestClock, TestHost, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::access::{ask, key};
use super::interposed::{Interposed, Latch};
use super::{Fixture, delete, get, patch, post, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        requests_that_change_nothing_have_no_audit_entry,
        an_audit_entry_has_the_changed_settings_only,
        the_audit_entry_of_a_key_has_its_expiry,
        failed_actions_have_an_audit_entry_too,
        an_entry_has_what_was_decided_about_a_cancel_or_a_retry,
        an_entry_claims_no_cancel_of_a_job_that_finished_first,
        an_entry_is_completed_if_its_client_disconnects,
        a_tenant_displaces_only_its_own_audit_entries,
    ]
}

/// The log, oldest entry first: number, action and detail of each entry.
async fn log(host: &TestHost, token: Option<&str>) -> anyhow::Result<Vec<(u64, String, Value)>> {
    let page = ask(host, token, Method::GET, "/v1/audit?limit=1000", Value::Null).await?.ok(200)?;
    let entries = page["entries"].as_array().context("entries")?.iter().rev();
    let told = |entry: &Value| {
        let action = entry["action"].as_str().unwrap_or_default().to_owned();
        (entry["id"].as_u64().unwrap_or_default(), action, entry["detail"].clone())
    };
    Ok(entries.map(told).collect())
}

async fn requests_that_change_nothing_have_no_audit_entry() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let host = &fixture.host;
    let digest = get(host, "/v1/plugins/p").await?.ok(200)?["versions"][0]["digest"].clone();
    let digest = digest.as_str().context("a digest")?;
    let [done, cancelled, running, due] =
        [json!({}), json!({ "delay_ms": 9 }), json!({}), json!({ "queue": "off" })];
    let done = fixture.submit(done).await?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(&done).await?;
    let cancelled = fixture.submit(cancelled).await?;
    post(host, &format!("/v1/jobs/{cancelled}/cancel"), "").await?.ok(200)?;
    let running = fixture.submit(running).await?;
    let _attempt = fixture.begins().await?;
    post(host, "/v1/queues/off/pause", "").await?.ok(200)?;
    let due = fixture.submit(due).await?;
    post(host, "/v1/plugins/p/disable", "").await?.ok(200)?;
    patch(host, "/v1/plugins/p", json!({ "limits": { "fuel": 7 } })).await?.ok(200)?;
    patch(host, "/v1/tenants/a", json!({ "limits": { "jobs": 7 } })).await?.ok(200)?;
    let before = log(host, None).await?;

    for (path, status) in [
        ("/v1/queues/off/pause", 200),
        ("/v1/queues/q/resume", 200),
        ("/v1/plugins/p/disable", 200),
        ("/v1/tenants/a/enable", 200),
        (&format!("/v1/digests/{digest}/enable"), 200),
        (&format!("/v1/jobs/{done}/cancel"), 409),
        (&format!("/v1/jobs/{cancelled}/cancel"), 200),
    ] {
        assert_eq!(post(host, path, "").await?.status, status, "{path}");
    }
    for body in [json!({}), json!({ "limits": { "fuel": 7 } })] {
        patch(host, "/v1/plugins/p", body).await?.ok(200)?;
    }
    for body in [json!({}), json!({ "limits": { "jobs": 7, "running": null } })] {
        patch(host, "/v1/tenants/a", body).await?.ok(200)?;
    }
    patch(host, "/v1/tenants/b", json!({ "limits": null })).await?.ok(200)?;
    assert_eq!(delete(host, "/v1/plugins/none").await?.code(404)?, "plugin_not_found");
    assert_eq!(log(host, None).await?, before);

    post(host, "/v1/plugins/p/enable", "").await?.ok(200)?;
    let again = fixture.begins().await?;
    assert_eq!(again.attempt.job.id.to_string(), running);
    let before = log(host, None).await?;
    let retry = async |id: &str| post(host, &format!("/v1/jobs/{id}/retry"), "").await;
    assert_eq!(retry(&running).await?.code(409)?, "already_running");
    retry(&due).await?.ok(202)?;
    assert_eq!(log(host, None).await?, before);
    // A repeated request, while the attempt stops or afterwards, has no further entry.
    for _ in 0..2 {
        let asked = post(host, &format!("/v1/jobs/{running}/cancel"), "").await?;
        ensure!(asked.status.is_success(), "{asked:?}");
    }
    assert_eq!(log(host, None).await?.len(), before.len() + 1);
    Ok(())
}

async fn an_audit_entry_has_the_changed_settings_only() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let env = json!({ "A": "x".repeat(1000) });
    for (body, told) in [
        (json!({ "grants": { "env": env } }), json!({ "grants": { "env": env } })),
        (json!({ "limits": { "fuel": 7 } }), json!({ "limits": { "fuel": 7 } })),
        (
            json!({ "limits": { "fuel": 7, "timeout_ms": 9 } }),
            json!({ "limits": { "timeout_ms": 9 } }),
        ),
        (
            json!({ "grants": null, "output_type": "text/plain" }),
            json!({ "grants": null, "output_type": "text/plain" }),
        ),
    ] {
        patch(&host, "/v1/plugins/p", &body).await?.ok(200)?;
        let (_, action, detail) = log(&host, None).await?.pop().context("an entry")?;
        assert_eq!((action.as_str(), detail), ("plugin.configure", told), "{body}");
    }
    patch(&host, "/v1/tenants/a", json!({ "limits": { "jobs": 7, "running": 1 } })).await?;
    patch(&host, "/v1/tenants/a", json!({ "limits": { "jobs": null } })).await?.ok(200)?;
    let (_, _, detail) = log(&host, None).await?.pop().context("an entry")?;
    assert_eq!(detail, json!({ "jobs": null }));
    Ok(())
}

async fn the_audit_entry_of_a_key_has_its_expiry() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let admin = key(&host, None, json!({ "scopes": ["admin"] })).await?;
    let draft = json!({ "scopes": ["jobs:read"], "expires_in_s": 60 });
    let made = ask(&host, Some(&admin), Method::POST, "/v1/keys", draft).await?.ok(201)?;
    let told = log(&host, Some(&admin)).await?.pop().context("an entry")?;
    assert_eq!(told.1, "key.create");
    assert_eq!(told.2["expires_at"], made["expires_at"]);
    Ok(())
}

/// Entries are written before the action, so that no action is without one.
async fn failed_actions_have_an_audit_entry_too() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(1).await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(&id).await?;
    fixture.submit(json!({})).await?;
    let retry = post(&fixture.host, &format!("/v1/jobs/{id}/retry"), "").await?;
    assert_eq!(retry.code(503)?, "queue_full");
    let (_, action, detail) = log(&fixture.host, None).await?.pop().context("an entry")?;
    assert_eq!((action.as_str(), detail), ("job.retry", json!({ "decision": "queue_full" })));
    Ok(())
}

async fn an_entry_has_what_was_decided_about_a_cancel_or_a_retry() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let running = fixture.submit(json!({})).await?;
    let _attempt = fixture.begins().await?;
    let waiting = fixture.submit(json!({ "delay_ms": 9 })).await?;
    for (id, action, decision) in [
        (&waiting, "cancel", "cancelled"),
        (&running, "cancel", "stopping"),
        (&waiting, "retry", "due"),
    ] {
        post(&fixture.host, &format!("/v1/jobs/{id}/{action}"), "").await?;
        let (_, recorded, detail) = log(&fixture.host, None).await?.pop().context("an entry")?;
        let expected = (format!("job.{action}"), json!({ "decision": decision }));
        assert_eq!((recorded, detail), expected);
    }
    Ok(())
}

/// A host whose store delays calls of the method `held`, with the id of a running job and its attempt.
async fn held_at(
    latch: &Arc<Latch>,
    held: &'static str,
) -> anyhow::Result<(TestHost, String, InFlight)> {
    let store = Interposed::held(latch, move |name, _| name == held);
    let (runtime, clock) = (ScriptedRuntime::default(), Arc::new(TestClock::default()));
    let host = TestHost::of(store, Arc::new(runtime.clone()), clock, |_| {}).await?;
    host.push("p", "bytes").await?;
    let id = host.submit(json!({ "plugin": "p" })).await?;
    let attempt = soon(runtime.next()).await??;
    Ok((host, id, attempt))
}

async fn an_entry_claims_no_cancel_of_a_job_that_finished_first() -> anyhow::Result<()> {
    let latch = Latch::new();
    let (host, id, attempt) = held_at(&latch, "request_cancel").await?;
    let path = format!("/v1/jobs/{id}/cancel");
    let finishing = async {
        latch.reached().await?;
        let (_, _, detail) = log(&host, None).await?.pop().context("an entry")?;
        assert_eq!(detail, json!({}), "nothing is decided yet");
        attempt.succeed();
        host.finalized(&id).await?;
        latch.open(1);
        anyhow::Ok(())
    };
    let (answer, ()) = tokio::try_join!(post(&host, &path, ""), finishing)?;
    assert_eq!(answer.code(409)?, "already_finalized");
    let (_, action, detail) = log(&host, None).await?.pop().context("an entry")?;
    assert_eq!(
        (action.as_str(), detail),
        ("job.cancel", json!({ "decision": "already_finalized" }))
    );
    Ok(())
}

async fn an_entry_is_completed_if_its_client_disconnects() -> anyhow::Result<()> {
    let latch = Latch::new();
    let (host, id, _attempt) = held_at(&latch, "request_cancel").await?;
    let path = format!("/v1/jobs/{id}/cancel");
    tokio::select! {
        answer = post(&host, &path, "") => anyhow::bail!("{answer:?}"),
        reached = latch.reached() => reached?,
    }
    latch.open(1);
    soon(async {
        while log(&host, None).await?.pop().context("an entry")?.2
            != json!({ "decision": "stopping" })
        {}
        anyhow::Ok(())
    })
    .await?
}

async fn a_tenant_displaces_only_its_own_audit_entries() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let admin = key(&host, None, json!({ "scopes": ["admin"] })).await?;
    let submitter = async |tenant: &str| {
        key(&host, Some(&admin), json!({ "tenant": tenant, "scopes": ["jobs:submit"] })).await
    };
    let (busy, other) = (submitter("busy").await?, submitter("other").await?);
    let pause = async |host: &TestHost, token: &str, queue: &str| {
        let path = format!("/v1/queues/{queue}/pause");
        ask(host, Some(token), Method::POST, &path, Value::Null).await?.ok(200)
    };
    pause(&host, &other, "a").await?;
    pause(&host, &busy, "a").await?;
    let directory = host.stop().await?;
    // The log of the tenant is filled to its bound.
    Connection::open(directory.path().join("access.db"))?.execute(
        "WITH RECURSIVE n (place) AS (VALUES (2) UNION ALL SELECT place + 1 FROM n LIMIT 99999)
         INSERT INTO audit (entry, share, place)
         SELECT entry, share, n.place FROM n, audit WHERE share = 'busy'",
        [],
    )?;
    let host = TestHost::on(directory, |_| {}).await?;
    pause(&host, &busy, "b").await?;
    pause(&host, &admin, "c").await?;
    let request = host.request(Method::GET, "/v1/audit?cursor=7").bearer_auth(&admin);
    let oldest = send(request).await?.ok(200)?;
    let ids: Vec<&Value> =
        oldest["entries"].as_array().context("entries")?.iter().map(|e| &e["id"]).collect();
    assert_eq!(ids, [6, 4, 3, 2, 1], "but the fifth, its first");
    Ok(())
}
