//! Shared memory, permits and locks: a tenant leaves a share to others. Shares of the disk are tested in
//! the conformance suite, and the sizes of all shares next to their table.

use anyhow::Context as _;
use futures_util::future::select_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use insta::assert_json_snapshot;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::access::ask;
use super::revoking::GatedHost;
use super::wire::Wire;
use super::{Fixture, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        unfinished_bodies_of_a_tenant_leave_memory_for_another,
        administrative_writes_of_a_tenant_do_not_delay_jobs_or_writes_of_another,
        a_removal_does_not_delay_submissions_of_other_plugins_or_tenants,
        retries_and_disabling_of_a_plugin_do_not_block_each_other,
        bodies_of_waiting_submissions_stay_in_the_memory_budget,
        a_tenant_at_its_share_of_connections_gets_that_reason,
    ]
}

const SCOPES: [&str; 3] = ["plugins:write", "jobs:submit", "jobs:read"];

/// A host with two tenants, each with a key and the plugin `p`. Returns the id of the first key, and both
/// tokens.
async fn two() -> anyhow::Result<(GatedHost, String, [String; 2])> {
    let gated = GatedHost::new().await?;
    let (id, greedy) = gated.drafted(json!({ "tenant": "greedy", "scopes": SCOPES })).await?;
    let (_, modest) = gated.drafted(json!({ "tenant": "modest", "scopes": SCOPES })).await?;
    for token in [&greedy, &modest] {
        for name in ["p", "q"] {
            let path = format!("/v1/plugins/{name}?version=1.0.0");
            let upload = gated.host.request(Method::PUT, &path).bearer_auth(token);
            send(upload.body("any bytes")).await?.ok(201)?;
        }
    }
    Ok((gated, id, [greedy, modest]))
}

async fn submit(gated: &GatedHost, token: &str, plugin: &str) -> anyhow::Result<Value> {
    let job = json!({ "plugin": plugin, "delay_ms": 3_600_000 });
    ask(&gated.host, Some(token), Method::POST, "/v1/jobs", job).await?.ok(202)
}

async fn unfinished_bodies_of_a_tenant_leave_memory_for_another() -> anyhow::Result<()> {
    const MIB: usize = 1 << 20;
    let (gated, _, [greedy, modest]) = two().await?;
    let head = format!(
        "POST /v1/jobs?plugin=p HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {greedy}\r\n\
         content-length: {MIB}\r\n\r\n"
    );
    // More than half of 256 MiB, so that some are refused.
    let mut wires = vec![];
    for _ in 0..140 {
        let mut wire = Wire::with(&gated.host, &head).await?;
        wire.send(vec![b'x'; MIB - 1]).await?;
        wires.push(wire);
    }
    let refused = select_all(wires.iter_mut().map(|wire| Box::pin(wire.problem())));
    assert_eq!(soon(refused).await?.0?, (503, "busy".to_owned()));
    submit(&gated, &modest, "p").await?;
    Ok(())
}

async fn administrative_writes_of_a_tenant_do_not_delay_jobs_or_writes_of_another()
-> anyhow::Result<()> {
    let (gated, id, [greedy, modest]) = two().await?;
    *gated.gate.actor.lock().await = Some(id);
    let change = async |token: &str, path: &str, n: usize| {
        let body = json!({ "output_type": format!("text/x{n}") });
        ask(&gated.host, Some(token), Method::PATCH, path, body).await
    };
    let mut writes = FuturesUnordered::new();
    for n in 0..40 {
        let change = &change;
        let greedy = &greedy;
        let path = if n % 2 == 0 { "/v1/plugins/p" } else { "/v1/plugins/q" };
        writes.push(async move { change(greedy, path, n).await });
    }
    let others = async {
        gated.gate.reached().await?;
        for n in 0..20 {
            submit(&gated, &modest, "p").await?;
            change(&modest, "/v1/plugins/p", n).await?.ok(200)?;
        }
        // Jobs of the first tenant continue, too.
        submit(&gated, &greedy, "p").await?;
        gated.gate.open.add_permits(40);
        anyhow::Ok(())
    };
    let all = async {
        while let Some(answer) = writes.next().await {
            answer?.ok(200)?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(others, all)?;
    Ok(())
}

async fn a_removal_does_not_delay_submissions_of_other_plugins_or_tenants() -> anyhow::Result<()> {
    let (gated, id, [greedy, modest]) = two().await?;
    *gated.gate.actor.lock().await = Some(id);
    let removing = ask(&gated.host, Some(&greedy), Method::DELETE, "/v1/plugins/p", Value::Null);
    let others = async {
        gated.gate.reached().await?;
        submit(&gated, &modest, "p").await?;
        submit(&gated, &greedy, "q").await?;
        // A submission of the plugin itself waits, and then does not find it.
        let job = json!({ "plugin": "p" });
        let late = ask(&gated.host, Some(&greedy), Method::POST, "/v1/jobs", job);
        let opening = async {
            gated.gate.open.add_permits(1);
            anyhow::Ok(())
        };
        anyhow::Ok(tokio::try_join!(late, opening)?.0)
    };
    let (answer, late) = tokio::try_join!(removing, others)?;
    assert_eq!(answer.status, 204);
    assert_eq!(late.code(404)?, "plugin_not_found");
    Ok(())
}

async fn retries_and_disabling_of_a_plugin_do_not_block_each_other() -> anyhow::Result<()> {
    let gated = GatedHost::new().await?;
    let scopes = json!({ "scopes": ["plugins:write", "jobs:submit"] });
    let (id, switching) = gated.drafted(scopes.clone()).await?;
    let (_, retrying) = gated.drafted(scopes).await?;
    let job = submit(&gated, &retrying, "p").await?;
    let job = format!("/v1/jobs/{}", job["id"].as_str().context("an id")?);
    gated.admin(Method::POST, &format!("{job}/cancel"), Value::Null).await?.ok(200)?;
    // They have all permits of the tenant, and wait for the submissions that have begun.
    *gated.gate.actor.lock().await = Some(id);
    let post = async |token: &str, path: String| {
        ask(&gated.host, Some(token), Method::POST, &path, Value::Null).await
    };
    let plugin = post(&switching, "/v1/plugins/p/disable".to_owned());
    let version = post(&switching, "/v1/plugins/p/versions/1.0.0/disable".to_owned());
    let retry = async {
        for _ in 0..2 {
            gated.gate.reached().await?;
        }
        // It has begun, and waits for a permit.
        let looked = gated.gate.looked_up(&retrying);
        let retry = post(&retrying, format!("{job}/retry"));
        let opening = async {
            soon(gated.gate.is_looked_up(&retrying, looked + LOOKS_OF_A_RETRY)).await??;
            gated.gate.open.add_permits(2);
            anyhow::Ok(())
        };
        anyhow::Ok(tokio::try_join!(retry, opening)?.0)
    };
    let all = Box::pin(async { tokio::try_join!(plugin, version, retry) });
    let (plugin, version, retry) = soon(all).await??;
    for answer in [plugin.ok(200)?, version.ok(200)?] {
        assert_eq!(answer["disabled"], true);
    }
    assert_eq!(retry.ok(202)?["state"], "available");
    Ok(())
}

/// How often a key is looked up until a retry waits for its permit: twice before the request, and once
/// before the action.
const LOOKS_OF_A_RETRY: usize = 3;

async fn bodies_of_waiting_submissions_stay_in_the_memory_budget() -> anyhow::Result<()> {
    const MIB: usize = 1 << 20;
    let fixture = Fixture::with_capacity(1).await?;
    fixture.submit(json!({})).await?;
    let _running = fixture.begins().await?;
    let head = format!(
        "POST /v1/jobs?plugin=p HTTP/1.1\r\nhost: localhost\r\nprefer: wait=60\r\n\
         content-length: {MIB}\r\n\r\n"
    );
    let mut wires = vec![];
    for _ in 0..140 {
        let mut wire = Wire::with(&fixture.host, &head).await?;
        wire.send(vec![b'x'; MIB]).await?;
        wires.push(wire);
    }
    let refused = select_all(wires.iter_mut().map(|wire| Box::pin(wire.problem())));
    assert_eq!(soon(refused).await?.0?, (503, "busy".to_owned()));
    Ok(())
}

async fn a_tenant_at_its_share_of_connections_gets_that_reason() -> anyhow::Result<()> {
    let fixture = Fixture::configured(|config| config.queue.total = 16).await?;
    let submit = async |tenant: &str| {
        let job = json!({ "plugin": "p", "delay_ms": 3_600_000 });
        let request = fixture.host.request(Method::POST, "/v1/jobs").json(&job);
        send(request.header("jobwright-tenant", tenant)).await
    };
    for _ in 0..14 {
        submit("default").await?.ok(202)?;
    }
    let refused = submit("default").await?;
    // It is not a limit of the tenant: a permit may become free at any time.
    assert_eq!(refused.header("retry-after"), "1");
    assert_json_snapshot!(refused.problem(503)?, @r#"
    {
      "capacity": 14,
      "code": "queue_full",
      "depth": 14,
      "detail": "tenant `default` holds its share of the host's capacity: 14 unfinished jobs of at most 14; the operator raises it with `queue.total`",
      "full": "share",
      "tenant": "default"
    }
    "#);
    let upload = fixture.host.request(Method::PUT, "/v1/plugins/p?version=1.0.0");
    send(upload.header("jobwright-tenant", "other").body("bytes")).await?.ok(201)?;
    submit("other").await?.ok(202)?;
    Ok(())
}
