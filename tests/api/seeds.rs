//! Seeds of random numbers: which keys may read them, and which jobs get the same ones again.

use anyhow::{Context as _, ensure};
use jobwright_core::plugin::Digest;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::access::{ask, fixture, key};
use super::{Fixture, get, post};

pub fn trials() -> Vec<Trial> {
    tests![
        seeds_are_shown_only_to_keys_that_may_replay,
        seeds_of_attempts_and_hosts_differ_and_cannot_be_computed,
        attempts_at_a_deterministic_job_have_one_seed_that_cannot_be_computed,
        a_job_is_deterministic_only_if_its_plugin_is_granted_that,
    ]
}

/// Runs a job of `p` until it is finalized, and returns its id.
async fn ran(fixture: &Fixture, by: Option<&str>, job: Value) -> anyhow::Result<String> {
    let job = ask(&fixture.host, by, Method::POST, "/v1/jobs", job).await?.ok(202)?;
    fixture.succeeds().await?;
    let id = job["id"].as_str().context("an id")?.to_owned();
    ask(&fixture.host, by, Method::GET, &format!("/v1/jobs/{id}?wait=20s"), Value::Null).await?;
    Ok(id)
}

async fn seeds_are_shown_only_to_keys_that_may_replay() -> anyhow::Result<()> {
    let (fixture, admin) = fixture().await?;
    let host = &fixture.host;
    let id = ran(&fixture, Some(&admin), json!({ "plugin": "p" })).await?;
    let reader = json!({ "scopes": ["jobs:read", "jobs:submit", "plugins:write"] });
    let reader = key(host, Some(&admin), reader).await?;
    let replayer = key(host, Some(&admin), json!({ "scopes": ["jobs:replay"] })).await?;
    let seeds = format!("/v1/jobs/{id}/seeds");
    for token in [&admin, &replayer] {
        let answer = ask(host, Some(token), Method::GET, &seeds, Value::Null).await?.ok(200)?;
        let seed = answer["seeds"][0]["seed"].as_str().context("a seed")?;
        ensure!(answer["seeds"][0]["attempt"] == 1 && seed.len() == 64, "{answer}");
        for path in [format!("/v1/jobs/{id}"), "/v1/jobs".to_owned()] {
            for reader in [&admin, &reader] {
                let shown = ask(host, Some(reader), Method::GET, &path, Value::Null).await?;
                let shown = shown.ok(200)?;
                ensure!(!shown.to_string().contains(seed), "{shown}");
                let job = if shown["jobs"].is_array() { &shown["jobs"][0] } else { &shown };
                let start = &job["attempts"][0]["start"];
                ensure!(start["clock"].is_string() && start["seed"].is_null(), "{shown}");
            }
        }
    }
    let refused = ask(host, Some(&reader), Method::GET, &seeds, Value::Null).await?;
    assert_eq!(refused.code(403)?, "scope_missing");
    Ok(())
}

/// The seeds of a job's attempts, as hex.
async fn seeds(fixture: &Fixture, id: &str) -> anyhow::Result<Vec<String>> {
    let answer = get(&fixture.host, &format!("/v1/jobs/{id}/seeds")).await?.ok(200)?;
    let seeds = answer["seeds"].as_array().context("seeds")?;
    Ok(seeds.iter().map(|seed| seed["seed"].as_str().unwrap_or_default().to_owned()).collect())
}

async fn seeds_of_attempts_and_hosts_differ_and_cannot_be_computed() -> anyhow::Result<()> {
    let (one, two) = (Fixture::new().await?, Fixture::new().await?);
    let mut all = vec![];
    for fixture in [&one, &two] {
        let id = ran(fixture, None, json!({ "plugin": "p" })).await?;
        let other = ran(fixture, None, json!({ "plugin": "p" })).await?;
        for id in [id, other] {
            all.push(of_id(&id)?);
            all.extend(seeds(fixture, &id).await?);
        }
    }
    let count = all.len();
    ensure!(count == 8, "{all:?}");
    all.sort_unstable();
    all.dedup();
    ensure!(all.len() == count, "{all:?}");
    Ok(())
}

/// A seed that could be computed from a job's id.
fn of_id(id: &str) -> anyhow::Result<String> {
    let id: jobwright_core::JobId = id.parse()?;
    Ok(Digest::of(id.as_bytes()).hex())
}

async fn attempts_at_a_deterministic_job_have_one_seed_that_cannot_be_computed()
-> anyhow::Result<()> {
    let (one, two) = (Fixture::new().await?, Fixture::new().await?);
    let mut all = vec![];
    for fixture in [&one, &two] {
        let job = json!({ "plugin": "p", "deterministic": true });
        let id = ran(fixture, None, job).await?;
        post(&fixture.host, &format!("/v1/jobs/{id}/retry"), "").await?.ok(202)?;
        fixture.succeeds().await?;
        get(&fixture.host, &format!("/v1/jobs/{id}?wait=20s")).await?;
        let found = seeds(fixture, &id).await?;
        ensure!(found.len() == 2 && found[0] == found[1], "{found:?}");
        all.extend([of_id(&id)?, found[0].clone()]);
    }
    ensure!(all[0] != all[1] && all[2] != all[3] && all[1] != all[3], "{all:?}");
    Ok(())
}

async fn a_job_is_deterministic_only_if_its_plugin_is_granted_that() -> anyhow::Result<()> {
    let (fixture, admin) = fixture().await?;
    let host = &fixture.host;
    let scopes = json!({ "scopes": ["jobs:submit", "jobs:read", "plugins:write"] });
    let submitter = key(host, Some(&admin), scopes).await?;
    let submit = async |token: &str, asks: bool| {
        let job = json!({ "plugin": "p", "deterministic": asks, "delay_ms": 3_600_000 });
        ask(host, Some(token), Method::POST, "/v1/jobs", job).await
    };
    let grant = async |grants: Value| {
        let body = json!({ "grants": grants });
        ask(host, Some(&admin), Method::PATCH, "/v1/plugins/p", body).await?.ok(200)
    };
    let refused = submit(&submitter, true).await?.problem(422)?;
    assert_eq!(refused["errors"][0]["field"], "deterministic");
    ensure!(refused["detail"].to_string().contains("optional"), "{refused}");
    let batch = json!([{ "plugin": "p", "deterministic": true }]);
    let answers = ask(host, Some(&submitter), Method::POST, "/v1/jobs/batch", batch).await?;
    assert_eq!(answers.ok(200)?[0]["status"], 422);
    assert_eq!(submit(&submitter, false).await?.ok(202)?["deterministic"], false);
    // An administrator, who could set the grant, does not need it.
    assert_eq!(submit(&admin, true).await?.ok(202)?["deterministic"], true);
    assert_eq!(submit(&admin, false).await?.ok(202)?["deterministic"], false);
    for (granted, asks, is) in [
        (json!("optional"), true, true),
        (json!("optional"), false, false),
        (json!(true), true, true),
        (json!(true), false, true),
    ] {
        let shown = grant(json!({ "deterministic": granted })).await?;
        assert_eq!(shown["settings"]["grants"]["deterministic"], granted);
        let job = submit(&submitter, asks).await?.ok(202)?;
        assert_eq!(job["deterministic"], is, "{granted} {asks}");
    }
    grant(json!({ "deterministic": null })).await?;
    submit(&submitter, true).await?.problem(422)?;
    let wrong = json!({ "grants": { "deterministic": "maybe" } });
    let wrong = patch_as(&fixture, &admin, wrong).await?;
    assert_eq!(wrong["errors"][0]["field"], "grants.deterministic");
    Ok(())
}

async fn patch_as(fixture: &Fixture, token: &str, body: Value) -> anyhow::Result<Value> {
    ask(&fixture.host, Some(token), Method::PATCH, "/v1/plugins/p", body).await?.problem(422)
}
