//! Removing plugins and versions that jobs may use.

use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Fixture, delete, get, patch, post, put};

pub fn trials() -> Vec<Trial> {
    tests![
        a_plugin_can_be_removed_when_no_unfinished_job_uses_it,
        a_version_can_be_removed_when_no_unfinished_job_uses_it,
        without_its_pinned_version_a_bare_name_means_the_latest,
        plugin_bytes_are_kept_while_any_version_has_them,
        a_job_of_a_removed_plugin_cannot_be_retried,
        an_unknown_plugin_cannot_be_removed,
    ]
}

async fn a_plugin_can_be_removed_when_no_unfinished_job_uses_it() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let running = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    let scheduled = fixture.submit(json!({ "delay_ms": 60_000 })).await?;

    let path = "/v1/plugins/p";
    let problem = delete(&fixture.host, path).await?.problem(409)?;
    assert_eq!(problem["code"], "plugin_in_use");
    attempt.succeed();
    fixture.host.finalized(&running).await?;
    assert_eq!(delete(&fixture.host, path).await?.code(409)?, "plugin_in_use");
    post(&fixture.host, &format!("/v1/jobs/{scheduled}/cancel"), "").await?.ok(200)?;

    let gone = delete(&fixture.host, path).await?;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    assert_eq!(get(&fixture.host, path).await?.code(404)?, "plugin_not_found");
    let answer = post(&fixture.host, "/v1/jobs", json!({ "plugin": "p" })).await?;
    assert_eq!(answer.code(404)?, "plugin_not_found");
    // Its finalized jobs are still there.
    assert_eq!(fixture.host.job(&running).await?["state"], "completed");
    Ok(())
}

async fn a_version_can_be_removed_when_no_unfinished_job_uses_it() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    put(&fixture.host, "/v1/plugins/p?version=2.0.0", "newer bytes").await?.ok(201)?;
    fixture.host.submit(json!({ "plugin": "p@1" })).await?;
    let version = |v: &str| format!("/v1/plugins/p/versions/{v}");
    assert_eq!(delete(&fixture.host, &version("1.0.0")).await?.code(409)?, "plugin_in_use");
    assert_eq!(delete(&fixture.host, &version("2.0.0")).await?.status, 204);
    assert_eq!(get(&fixture.host, &version("2.0.0")).await?.code(404)?, "version_not_found");
    let plugin = get(&fixture.host, "/v1/plugins/p").await?.ok(200)?;
    assert_eq!(plugin["default_version"], "1.0.0");
    Ok(())
}

async fn without_its_pinned_version_a_bare_name_means_the_latest() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    put(&host, "/v1/plugins/p?version=2.0.0", "newer bytes").await?.ok(201)?;
    patch(&host, "/v1/plugins/p", json!({ "default_version": "1.0.0" })).await?.ok(200)?;
    assert_eq!(delete(&host, "/v1/plugins/p/versions/1.0.0").await?.status, 204);
    let plugin = get(&host, "/v1/plugins/p").await?.ok(200)?;
    assert_eq!(plugin["default_version"], "2.0.0");
    assert_eq!(plugin["settings"]["default_version"], Value::Null);
    // Removing the last version removes the plugin.
    assert_eq!(delete(&host, "/v1/plugins/p/versions/2.0.0").await?.status, 204);
    assert_eq!(get(&host, "/v1/plugins/p").await?.code(404)?, "plugin_not_found");
    Ok(())
}

async fn plugin_bytes_are_kept_while_any_version_has_them() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
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

async fn a_job_of_a_removed_plugin_cannot_be_retried() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(&id).await?;
    assert_eq!(delete(&fixture.host, "/v1/plugins/p").await?.status, 204);
    let answer = post(&fixture.host, &format!("/v1/jobs/{id}/retry"), "").await?;
    assert_eq!(answer.code(404)?, "plugin_not_found");
    assert_eq!(fixture.host.job(&id).await?["state"], "completed");
    Ok(())
}

async fn an_unknown_plugin_cannot_be_removed() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    assert_eq!(delete(&host, "/v1/plugins/none").await?.code(404)?, "plugin_not_found");
    let answer = delete(&host, "/v1/plugins/p/versions/9.0.0").await?;
    assert_eq!(answer.code(404)?, "version_not_found");
    Ok(())
}
