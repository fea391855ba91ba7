//! Listing jobs: newest first, filtered, page by page.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Fixture, get, post, put};

pub fn trials() -> Vec<Trial> {
    tests![
        the_newest_come_first,
        every_state_can_be_listed,
        jobs_are_listed_by_plugin_queue_and_tag,
        pages_follow_each_other_without_gap_or_repetition,
        filtered_pages_reach_the_end,
        invalid_parameters_of_a_listing_are_reported,
        outputs_are_not_in_listings,
    ]
}

/// The ids of the jobs that a listing shows.
async fn ids(host: &TestHost, query: &str) -> anyhow::Result<Vec<String>> {
    let page = get(host, &format!("/v1/jobs?{query}")).await?.ok(200)?;
    let jobs = page["jobs"].as_array().context("jobs")?;
    Ok(jobs.iter().filter_map(|job| job["id"].as_str().map(str::to_owned)).collect())
}

async fn the_newest_come_first() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let mut submitted = Vec::new();
    for _ in 0..60 {
        submitted.push(fixture.submit(json!({})).await?);
    }
    submitted.reverse();
    assert_eq!(ids(&fixture.host, "").await?, submitted[..50], "50 unless asked otherwise");
    assert_eq!(ids(&fixture.host, "limit=200").await?, submitted);
    Ok(())
}

async fn every_state_can_be_listed() -> anyhow::Result<()> {
    let fixture = Fixture::one_by_one().await?;
    let completed = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    let failed = |retry| Outcome::Failed { error: AttemptError::new("x", "y"), retry };
    let discarded = fixture.submit(json!({})).await?;
    fixture.begins().await?.end(failed(RetryHint::Never));
    let retryable = fixture.submit(json!({})).await?;
    fixture.begins().await?.end(failed(RetryHint::After(Duration::from_secs(3600))));
    let running = fixture.submit(json!({})).await?;
    let _attempt = fixture.begins().await?;
    let available = fixture.submit(json!({})).await?;
    let scheduled = fixture.submit(json!({ "delay_ms": 5000 })).await?;
    let cancelled = fixture.submit(json!({})).await?;
    post(&fixture.host, &format!("/v1/jobs/{cancelled}/cancel"), "").await?.ok(200)?;
    for (state, id) in [
        ("completed", completed),
        ("discarded", discarded),
        ("retryable", retryable),
        ("running", running),
        ("available", available),
        ("scheduled", scheduled),
        ("cancelled", cancelled),
    ] {
        assert_eq!(fixture.host.job(&id).await?["state"], state);
        assert_eq!(ids(&fixture.host, &format!("state={state}")).await?, [id], "{state}");
    }
    Ok(())
}

async fn jobs_are_listed_by_plugin_queue_and_tag() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    put(&host, "/v1/plugins/p?version=2.0.0", "newer bytes").await?.ok(201)?;
    host.push("q", "other bytes").await?;
    let old = host.submit(json!({ "plugin": "p@1", "tags": ["blue", "a b&c"] })).await?;
    let new = host.submit(json!({ "plugin": "p", "queue": "slow" })).await?;
    let other = host.submit(json!({ "plugin": "q", "queue": "slow", "tags": ["blue"] })).await?;
    for (query, expected) in [
        ("plugin=p", vec![&new, &old]),
        ("plugin=p@1.0.0", vec![&old]),
        ("plugin=p@3.0.0", vec![]),
        ("plugin=none", vec![]),
        ("queue=slow", vec![&other, &new]),
        ("queue=none", vec![]),
        ("tag=blue", vec![&other, &old]),
        ("tag=a+b%26c", vec![&old]),
        ("tag=BLUE", vec![]),
        ("tag=blue&queue=slow", vec![&other]),
        ("plugin=p&queue=slow&state=running", vec![&new]),
        ("plugin=p&state=completed", vec![]),
    ] {
        assert_eq!(ids(&host, query).await?.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    Ok(())
}

/// The ids of all pages, and how many pages there were.
async fn pages(host: &TestHost, query: &str) -> anyhow::Result<(Vec<String>, usize)> {
    let (mut all, mut count, mut cursor) = (vec![], 0, String::new());
    loop {
        let page = get(host, &format!("/v1/jobs?{query}{cursor}")).await?.ok(200)?;
        let jobs = page["jobs"].as_array().context("jobs")?;
        all.extend(jobs.iter().filter_map(|job| job["id"].as_str().map(str::to_owned)));
        count += 1;
        ensure!(count < 1000, "the pages do not end");
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok((all, count)),
        }
    }
}

async fn pages_follow_each_other_without_gap_or_repetition() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let mut submitted = Vec::new();
    for _ in 0..6 {
        submitted.insert(0, fixture.submit(json!({})).await?);
    }
    assert_eq!(pages(&fixture.host, "limit=4").await?, (submitted.clone(), 2));
    assert_eq!(
        pages(&fixture.host, "limit=3").await?,
        (submitted.clone(), 2),
        "no empty last page"
    );
    // A job that is created meanwhile is newer than every following page.
    let first = get(&fixture.host, "/v1/jobs?limit=2").await?.ok(200)?;
    fixture.submit(json!({})).await?;
    let cursor = first["next_cursor"].as_str().context("a cursor")?;
    let next = ids(&fixture.host, &format!("limit=2&cursor={cursor}")).await?;
    assert_eq!(next, submitted[2..4]);
    Ok(())
}

async fn filtered_pages_reach_the_end() -> anyhow::Result<()> {
    // On the embedded store, among finalized jobs: it examines a bounded number of them for a page.
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let job = |n: usize| {
        let tag = if n.is_multiple_of(7) { "rare" } else { "common" };
        json!({ "plugin": "echo", "tags": [tag] })
    };
    let batch: Vec<Value> = (0..100).map(job).collect();
    let answers = post(&host, "/v1/jobs/batch", json!(batch)).await?.ok(200)?;
    for answer in answers.as_array().into_iter().flatten() {
        host.finalized(answer["id"].as_str().context("an id")?).await?;
    }
    let (rare, _) = pages(&host, "tag=rare&limit=2").await?;
    let ids = answers.as_array().into_iter().flatten().filter_map(|answer| answer["id"].as_str());
    let mut expected: Vec<&str> = ids.step_by(7).collect();
    expected.reverse();
    assert_eq!(rare, expected);
    Ok(())
}

async fn invalid_parameters_of_a_listing_are_reported() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=7", "cursor"),
        ("cursor=", "cursor"),
        ("plugin=P", "plugin"),
        ("plugin=p@1", "plugin"),
        ("queue=", "queue"),
    ] {
        let problem = get(&host, &format!("/v1/jobs?{query}")).await?.problem(422)?;
        assert_eq!(problem["errors"][0]["field"], field, "{query}: {problem}");
    }
    for query in ["limit=x", "limit=-1", "state=over", "page=2", "state=running&state=running"] {
        let answer = get(&host, &format!("/v1/jobs?{query}")).await?;
        assert_eq!(answer.code(400)?, "invalid_query", "{query}");
    }
    // The cursor of a removed job still marks a place in the order.
    assert!(ids(&host, "cursor=019b7000-0000-7000-8000-000000000000").await?.is_empty());
    Ok(())
}

async fn outputs_are_not_in_listings() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "payload": [1] })).await?;
    fixture.begins().await?.succeed();
    let job = fixture.host.finalized(&id).await?;
    let mut listed = get(&fixture.host, "/v1/jobs").await?.ok(200)?["jobs"][0].clone();
    ensure!(listed.get("output").is_none(), "{listed}");
    listed["output"] = json!([1]);
    assert_eq!(listed, job, "all else is the same");
    Ok(())
}
