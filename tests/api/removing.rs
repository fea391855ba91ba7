//! Removing a plugin, which jobs may need.

use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Stage, delete, get, patch, post, put};

pub fn trials() -> Vec<Trial> {
    tests![
        a_plugin_goes_when_no_unfinished_job_needs_it,
        a_version_goes_when_no_unfinished_job_needs_it,
        without_its_pinned_version_a_bare_name_means_the_latest,
        bytes_stay_as_long_as_some_version_has_them,
        a_job_of_a_removed_plugin_is_not_run_again,
        a_plugin_that_is_not_there_cannot_be_removed,
    ]
}

async fn a_plugin_goes_when_no_unfinished_job_needs_it() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let running = stage.submit(json!({})).await?;
    let attempt = stage.begins().await?;
    let scheduled = stage.submit(json!({ "delay_ms": 60_000 })).await?;

    let path = "/v1/plugins/p";
    let problem = delete(&stage.host, path).await?.problem(409)?;
    assert_eq!(problem["code"], "plugin_in_use");
    attempt.succeed();
    stage.host.finalized(&running).await?;
    assert_eq!(delete(&stage.host, path).await?.code(409)?, "plugin_in_use");
    post(&stage.host, &format!("/v1/jobs/{scheduled}/cancel"), "").await?.ok(200)?;

    let gone = delete(&stage.host, path).await?;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    assert_eq!(get(&stage.host, path).await?.code(404)?, "plugin_not_found");
    let answer = post(&stage.host, "/v1/jobs", json!({ "plugin": "p" })).await?;
    assert_eq!(answer.code(404)?, "plugin_not_found");
    // What it did stays known.
    assert_eq!(stage.host.job(&running).await?["state"], "completed");
    Ok(())
}

async fn a_version_goes_when_no_unfinished_job_needs_it() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    put(&stage.host, "/v1/plugins/p?version=2.0.0", "newer bytes").await?.ok(201)?;
    stage.host.submit(json!({ "plugin": "p@1" })).await?;
    let version = |v: &str| format!("/v1/plugins/p/versions/{v}");
    assert_eq!(delete(&stage.host, &version("1.0.0")).await?.code(409)?, "plugin_in_use");
    assert_eq!(delete(&stage.host, &version("2.0.0")).await?.status, 204);
    assert_eq!(get(&stage.host, &version("2.0.0")).await?.code(404)?, "version_not_found");
    let plugin = get(&stage.host, "/v1/plugins/p").await?.ok(200)?;
    assert_eq!(plugin["default_version"], "1.0.0");
    Ok(())
}

async fn without_its_pinned_version_a_bare_name_means_the_latest() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    put(&host, "/v1/plugins/p?version=2.0.0", "newer bytes").await?.ok(201)?;
    patch(&host, "/v1/plugins/p", json!({ "default_version": "1.0.0" })).await?.ok(200)?;
    assert_eq!(delete(&host, "/v1/plugins/p/versions/1.0.0").await?.status, 204);
    let plugin = get(&host, "/v1/plugins/p").await?.ok(200)?;
    assert_eq!(plugin["default_version"], "2.0.0");
    assert_eq!(plugin["settings"]["default_version"], Value::Null);
    // The last version takes the plugin with it.
    assert_eq!(delete(&host, "/v1/plugins/p/versions/2.0.0").await?.status, 204);
    assert_eq!(get(&host, "/v1/plugins/p").await?.code(404)?, "plugin_not_found");
    Ok(())
}

async fn bytes_stay_as_long_as_some_version_has_them() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    put(&host, "/v1/plugins/q?version=1.0.0", "the same bytes").await?.ok(201)?;
    put(&host, "/v1/plugins/r?version=7.0.0", "the same bytes").await?.ok(201)?;
    let files = || anyhow::Ok(std::fs::read_dir(host.directory().join("plugins/wasm"))?.count());
    assert_eq!(files()?, 2, "of three versions");
    assert_eq!(delete(&host, "/v1/plugins/q").await?.status, 204);
    let kept = get(&host, "/v1/plugins/r/versions/7.0.0/wasm").await?;
    assert_eq!(kept.text()?, "the same bytes");
    assert_eq!(delete(&host, "/v1/plugins/r").await?.status, 204);
    assert_eq!(files()?, 1);
    Ok(())
}

async fn a_job_of_a_removed_plugin_is_not_run_again() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({})).await?;
    stage.begins().await?.succeed();
    stage.host.finalized(&id).await?;
    assert_eq!(delete(&stage.host, "/v1/plugins/p").await?.status, 204);
    let answer = post(&stage.host, &format!("/v1/jobs/{id}/retry"), "").await?;
    assert_eq!(answer.code(404)?, "plugin_not_found");
    assert_eq!(stage.host.job(&id).await?["state"], "completed");
    Ok(())
}

async fn a_plugin_that_is_not_there_cannot_be_removed() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    assert_eq!(delete(&host, "/v1/plugins/none").await?.code(404)?, "plugin_not_found");
    let answer = delete(&host, "/v1/plugins/p/versions/9.0.0").await?;
    assert_eq!(answer.code(404)?, "version_not_found");
    Ok(())
}
