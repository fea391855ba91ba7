//! Reading plugins, and which version a reference selects.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_core::plugin::Digest;
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Fixture, get, patch, put, send};

pub fn trials() -> Vec<Trial> {
    tests![
        a_plugin_shows_its_versions_and_settings,
        the_bytes_come_back_as_a_download_with_their_digest,
        plugins_are_listed_by_name_page_by_page,
        unknown_plugins_and_versions_are_not_found,
        a_reference_selects_its_version,
        an_unknown_reference_is_refused_with_the_existing_versions,
        plugins_and_their_settings_survive_a_restart,
        remains_of_an_interrupted_upload_are_removed_at_the_next_start,
    ]
}

async fn a_plugin_shows_its_versions_and_settings() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    put(&host, "/v1/plugins/p?version=1.1.0", "newer bytes").await?.ok(201)?;
    let plugin = get(&host, "/v1/plugins/p").await?.ok(200)?;
    assert_json_snapshot!(plugin, { ".versions[].digest" => "[digest]" }, @r#"
    {
      "default_version": "1.1.0",
      "disabled": false,
      "lost_jobs": [],
      "name": "p",
      "settings": {
        "limits": {}
      },
      "versions": [
        {
          "abi": "wasi-command-p1",
          "created_at": "2026-01-01T00:00:00Z",
          "digest": "[digest]",
          "disabled": false,
          "entrypoints": [],
          "exports": [],
          "grants": [],
          "imports": [],
          "minimum_memory_bytes": 0,
          "name": "p",
          "size_bytes": 17,
          "version": "1.0.0"
        },
        {
          "abi": "wasi-command-p1",
          "created_at": "2026-01-01T00:00:00Z",
          "digest": "[digest]",
          "disabled": false,
          "entrypoints": [],
          "exports": [],
          "grants": [],
          "imports": [],
          "minimum_memory_bytes": 0,
          "name": "p",
          "size_bytes": 11,
          "version": "1.1.0"
        }
      ]
    }
    "#);
    assert_eq!(get(&host, "/v1/plugins/p/versions/1.1.0").await?.ok(200)?, plugin["versions"][1]);
    Ok(())
}

async fn the_bytes_come_back_as_a_download_with_their_digest() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let path = "/v1/plugins/p/versions/1.0.0/wasm";
    let wasm = get(&host, path).await?;
    assert_eq!((wasm.status.as_u16(), wasm.text()?), (200, "any bytes will do"));
    assert_eq!(wasm.header("content-type"), "application/wasm");
    assert_eq!(wasm.header("content-disposition"), "attachment; filename=\"p-1.0.0.wasm\"");
    assert_eq!(
        wasm.header("content-digest"),
        "sha-256=:1I6LCsbTToGto6WiMeLXpb32VsVS+bj7Iv3Z5cd1KZE=:"
    );
    let head = send(host.request(Method::HEAD, path)).await?;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "17"));
    ensure!(head.body.is_empty());
    Ok(())
}

async fn plugins_are_listed_by_name_page_by_page() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for number in 0..120 {
        host.push(&format!("n{number:03}"), "bytes").await?;
    }
    let names = |page: &Value| -> Vec<String> {
        let plugins = page["plugins"].as_array().cloned().unwrap_or_default();
        plugins.iter().filter_map(|p| p["name"].as_str().map(str::to_owned)).collect()
    };
    let first = get(&host, "/v1/plugins").await?.ok(200)?;
    assert_eq!(names(&first).len(), 100);
    let next = first["next_cursor"].as_str().unwrap_or_default();
    let second = get(&host, &format!("/v1/plugins?cursor={next}")).await?.ok(200)?;
    assert_eq!(second["next_cursor"], Value::Null);
    let all = [names(&first), names(&second)].concat();
    let expected: Vec<String> =
        (0..120).map(|n| format!("n{n:03}")).chain(["p".to_owned()]).collect();
    assert_eq!(all, expected);
    assert_eq!(get(&host, "/v1/plugins?cursor=NO").await?.code(400)?, "invalid_name");
    assert_eq!(get(&host, "/v1/plugins?page=2").await?.code(400)?, "invalid_query");
    Ok(())
}

async fn unknown_plugins_and_versions_are_not_found() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (path, code) in [
        ("/v1/plugins/none", "plugin_not_found"),
        ("/v1/plugins/none/versions/1.0.0", "plugin_not_found"),
        ("/v1/plugins/p/versions/9.0.0", "version_not_found"),
        ("/v1/plugins/p/versions/9.0.0/wasm", "version_not_found"),
    ] {
        assert_eq!(get(&host, path).await?.code(404)?, code, "{path}");
    }
    assert_eq!(get(&host, "/v1/plugins/p/versions/one").await?.code(400)?, "invalid_version");
    let answer = patch(&host, "/v1/plugins/none", "{}").await?;
    assert_eq!(answer.code(404)?, "plugin_not_found");
    Ok(())
}

async fn a_reference_selects_its_version() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for version in ["1.0.0", "1.10.0", "1.2.3", "2.1.0-rc.1", "0.9.0"] {
        put(&host, &format!("/v1/plugins/q?version={version}"), version).await?.ok(201)?;
    }
    let digest = format!("q@{}", Digest::of(b"1.2.3"));
    let resolved = async |reference: &str| -> anyhow::Result<Value> {
        let id = host.submit(json!({ "plugin": reference })).await?;
        Ok(host.job(&id).await?["plugin"].clone())
    };
    for (reference, version) in [
        ("q", "q@0.9.0"), // the one uploaded last
        ("q@1", "q@1.10.0"),
        ("q@1.2", "q@1.2.3"),
        ("q@1.0.0", "q@1.0.0"),
        ("q@2.1.0-rc.1", "q@2.1.0-rc.1"),
        (&digest, "q@1.2.3"),
    ] {
        assert_eq!(resolved(reference).await?, version, "{reference}");
    }
    let pin = json!({ "default_version": "1.0.0" });
    patch(&host, "/v1/plugins/q", pin).await?.ok(200)?;
    put(&host, "/v1/plugins/q?version=3.0.0", "3.0.0").await?.ok(201)?;
    assert_eq!(resolved("q").await?, "q@1.0.0", "it is pinned");
    Ok(())
}

async fn an_unknown_reference_is_refused_with_the_existing_versions() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let submit = async |reference: &str| {
        super::post(&host, "/v1/jobs", json!({ "plugin": reference })).await
    };
    assert_json_snapshot!(submit("none").await?.problem(404)?, @r#"
    {
      "code": "plugin_not_found",
      "detail": "plugin `none` is not installed"
    }
    "#);
    assert_json_snapshot!(submit("p@2").await?.problem(404)?, @r#"
    {
      "code": "version_not_found",
      "detail": "plugin `p@2` is not installed; there is 1.0.0"
    }
    "#);
    for reference in ["", "P", "p@", "p@latest", "p@1.x", "p@01", "p@sha256:12", "p@1@2", "../p"] {
        let problem = submit(reference).await?.problem(422)?;
        assert_eq!(problem["errors"][0]["field"], "plugin", "{reference}");
    }
    Ok(())
}

async fn plugins_and_their_settings_survive_a_restart() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let settings = json!({ "output_type": "text/csv", "limits": { "timeout_ms": 5000 } });
    let before = patch(&host, "/v1/plugins/echo", settings).await?.ok(200)?;
    let host = TestHost::on(host.stop().await?, |_| {}).await?;
    assert_eq!(get(&host, "/v1/plugins/echo").await?.ok(200)?, before);
    let job = host.run(json!({ "plugin": "echo", "payload_base64": "YSxi" })).await?;
    assert_eq!(job["output_type"], "text/csv");
    let output =
        get(&host, &format!("/v1/jobs/{}/output", job["id"].as_str().unwrap_or(""))).await?;
    assert_eq!(output.text()?, "a,b");
    Ok(())
}

async fn remains_of_an_interrupted_upload_are_removed_at_the_next_start() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let directory = host.stop().await?;
    let plugins = directory.path().join("plugins");
    // Bytes that the index does not name, and two incompletely written files.
    let orphan = format!("wasm/{}.wasm", Digest::of(b"never named").hex());
    let left = [orphan.as_str(), "wasm/.tmpA1b2C3", "index/.tmpD4e5F6"];
    for file in left {
        std::fs::write(plugins.join(file), "never named")?;
    }
    let host = TestHost::on(directory.clone(), |_| {}).await?;
    for file in left {
        ensure!(!plugins.join(file).exists(), "{file} is still there");
    }
    let job = host.run(json!({ "plugin": "echo", "payload": [1] })).await?;
    assert_eq!(job["output"], json!([1]), "what was complete is still there");
    Ok(())
}
