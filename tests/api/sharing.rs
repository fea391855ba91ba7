//! What one tenant takes leaves some to the next: of the host's memory, turns and locks. What is kept on
//! disk is in the conformance suite; the sizes of all shares are tested where their table is.

use anyhow::{Context as _, ensure};
use futures_util::future::select_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::access::ask;
use super::revoking::Lab;
use super::wire::Wire;
use super::{send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        bodies_that_one_tenant_does_not_finish_leave_room_to_another,
        administrative_writes_of_one_tenant_hold_up_neither_jobs_nor_writes_of_another,
        a_removal_holds_up_no_submission_of_another_plugin_or_tenant,
    ]
}

const SCOPES: [&str; 3] = ["plugins:write", "jobs:submit", "jobs:read"];

/// A host with two tenants, each with a key and the plugin `p`: the key's id of the first, and both tokens.
async fn two() -> anyhow::Result<(Lab, String, [String; 2])> {
    let lab = Lab::new().await?;
    let (id, greedy) = lab.drafted(json!({ "tenant": "greedy", "scopes": SCOPES })).await?;
    let (_, modest) = lab.drafted(json!({ "tenant": "modest", "scopes": SCOPES })).await?;
    for token in [&greedy, &modest] {
        for name in ["p", "q"] {
            let path = format!("/v1/plugins/{name}?version=1.0.0");
            let upload = lab.host.request(Method::PUT, &path).bearer_auth(token);
            send(upload.body("any bytes")).await?.ok(201)?;
        }
    }
    Ok((lab, id, [greedy, modest]))
}

async fn submit(lab: &Lab, token: &str, plugin: &str) -> anyhow::Result<Value> {
    let job = json!({ "plugin": plugin, "delay_ms": 3_600_000 });
    ask(&lab.host, Some(token), Method::POST, "/v1/jobs", job).await?.ok(202)
}

async fn bodies_that_one_tenant_does_not_finish_leave_room_to_another() -> anyhow::Result<()> {
    const MIB: usize = 1 << 20;
    let (lab, _, [greedy, modest]) = two().await?;
    let head = format!(
        "POST /v1/jobs?plugin=p HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {greedy}\r\n\
         content-length: {MIB}\r\n\r\n"
    );
    // More than half of 256 MiB, so that some are refused.
    let mut wires = vec![];
    for _ in 0..140 {
        let mut wire = Wire::with(&lab.host, &head).await?;
        wire.send(vec![b'x'; MIB - 1]).await?;
        wires.push(wire);
    }
    let refused = select_all(wires.iter_mut().map(|wire| Box::pin(wire.problem())));
    assert_eq!(soon(refused).await?.0?, (503, "busy".to_owned()));
    submit(&lab, &modest, "p").await?;
    Ok(())
}

async fn administrative_writes_of_one_tenant_hold_up_neither_jobs_nor_writes_of_another()
-> anyhow::Result<()> {
    let (lab, id, [greedy, modest]) = two().await?;
    *lab.gate.actor.lock().await = Some(id);
    let change = async |token: &str, path: &str, n: usize| {
        let body = json!({ "output_type": format!("text/x{n}") });
        ask(&lab.host, Some(token), Method::PATCH, path, body).await
    };
    let mut writes = FuturesUnordered::new();
    for n in 0..40 {
        let change = &change;
        let greedy = &greedy;
        let path = if n % 2 == 0 { "/v1/plugins/p" } else { "/v1/plugins/q" };
        writes.push(async move { change(greedy, path, n).await });
    }
    let others = async {
        soon(lab.gate.reached.notified()).await?;
        for n in 0..20 {
            submit(&lab, &modest, "p").await?;
            change(&modest, "/v1/plugins/p", n).await?.ok(200)?;
        }
        // Its own jobs go on, too.
        submit(&lab, &greedy, "p").await?;
        lab.gate.open.add_permits(40);
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

async fn a_removal_holds_up_no_submission_of_another_plugin_or_tenant() -> anyhow::Result<()> {
    let (lab, id, [greedy, modest]) = two().await?;
    *lab.gate.actor.lock().await = Some(id);
    let removing = ask(&lab.host, Some(&greedy), Method::DELETE, "/v1/plugins/p", Value::Null);
    let others = async {
        soon(lab.gate.reached.notified()).await?;
        submit(&lab, &modest, "p").await?;
        submit(&lab, &greedy, "q").await?;
        // One that comes before the plugin has gone keeps it.
        let kept = submit(&lab, &greedy, "p").await?;
        lab.gate.open.add_permits(1);
        anyhow::Ok(kept)
    };
    let (answer, kept) = tokio::try_join!(removing, others)?;
    let problem = answer.problem(409)?;
    assert_eq!(problem["code"], "plugin_in_use");
    let detail = problem["detail"].as_str().context("a detail")?;
    ensure!(detail.starts_with("1 unfinished job still needs p:"), "{detail}");
    let path = format!("/v1/jobs/{}", kept["id"].as_str().context("an id")?);
    ask(&lab.host, Some(&greedy), Method::GET, &path, Value::Null).await?.ok(200)?;
    Ok(())
}
