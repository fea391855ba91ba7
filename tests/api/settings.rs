//! The settings of a plugin: changed in part (RFC 7396), checked like what jobs ask for.

use insta::assert_json_snapshot;
use jobwright::registry::DiskRegistry;
use jobwright_core::plugin::PluginSettings;
use jobwright_core::tenant::TenantName;
use jobwright_core::{Grants, PluginRegistry as _};
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Stage, get, patch, put, send};

pub fn trials() -> Vec<Trial> {
    tests![
        settings_are_given_to_the_jobs_that_ask_for_nothing,
        null_unsets_and_what_is_not_named_stays,
        settings_that_cannot_be_are_refused_all_at_once,
        settings_that_are_no_object_are_refused,
        changes_at_the_same_time_are_all_kept,
        a_plugin_that_is_granted_determinism_has_deterministic_jobs_only,
        a_job_keeps_the_settings_that_it_was_accepted_with,
    ]
}

async fn settings_are_given_to_the_jobs_that_ask_for_nothing() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    let settings = json!({
        "limits": { "fuel": 1000, "timeout_ms": 2000 },
        "retry_on": ["failed", "fuel"],
        "output_type": "text/csv",
        "default_version": "1.0.0",
    });
    let plugin = patch(&host, "/v1/plugins/p", settings).await?.ok(200)?;
    assert_eq!(get(&host, "/v1/plugins/p").await?.ok(200)?, plugin);
    assert_json_snapshot!(plugin["settings"], @r#"
    {
      "default_version": "1.0.0",
      "limits": {
        "fuel": 1000,
        "timeout_ms": 2000
      },
      "output_type": "text/csv",
      "retry_on": [
        "failed",
        "fuel"
      ]
    }
    "#);
    let id = host.submit(json!({ "plugin": "p", "limits": { "fuel": 5 } })).await?;
    let limits = &host.job(&id).await?["limits"];
    assert_eq!((&limits["fuel"], &limits["timeout_ms"]), (&json!(5), &json!(2000)));
    Ok(())
}

async fn a_plugin_that_is_granted_determinism_has_deterministic_jobs_only() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("p", guests::echo()?).await?;
    let job = json!({ "plugin": "p" });
    let id = host.submit(job.clone()).await?;
    assert_eq!(host.finalized(&id).await?["deterministic"], false);
    let directory = host.stop().await?;
    let registry = DiskRegistry::open(&directory.path().join("plugins"), u64::MAX)?;
    let grants = Grants { deterministic: true, ..Grants::default() };
    registry
        .configure(
            &TenantName::default(),
            &"p".parse()?,
            PluginSettings { grants, ..Default::default() },
        )
        .await?;
    let host = TestHost::on(directory, |_| {}).await?;
    let job = host.run(job).await?;
    assert_eq!(job["deterministic"], true);
    assert_eq!(job["attempts"][0]["start"]["clock"], job["created_at"]);
    Ok(())
}

async fn null_unsets_and_what_is_not_named_stays() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    let changed = async |change: Value| -> anyhow::Result<Value> {
        let plugin = patch(&host, "/v1/plugins/p", change).await?.ok(200)?;
        Ok(plugin["settings"].clone())
    };
    changed(json!({ "limits": { "fuel": 7, "tables": 8 }, "output_type": "text/csv" })).await?;
    let settings = changed(json!({ "limits": { "fuel": null, "resources": 9 } })).await?;
    let expected = json!({ "limits": { "tables": 8, "resources": 9 }, "output_type": "text/csv" });
    assert_eq!(settings, expected);
    assert_eq!(changed(json!({})).await?, expected);
    assert_eq!(
        changed(json!({ "limits": null, "output_type": null })).await?,
        json!({ "limits": {} })
    );
    Ok(())
}

async fn settings_that_cannot_be_are_refused_all_at_once() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    let settings = json!({
        "limits": { "memory_bytes": 2_u64 << 30, "timeout_ms": 0 },
        "default_version": "9.0.0",
        "output_type": "line\nbreak",
    });
    assert_json_snapshot!(patch(&host, "/v1/plugins/p", settings).await?.problem(422)?, @r#"
    {
      "code": "invalid_fields",
      "detail": "limits.timeout_ms: time limit must be at least 1; limits.memory_bytes: memory limit 2 GiB exceeds the operator's maximum 1 GiB; default_version: p@9.0.0 is not installed; output_type: is not a media type such as text/plain",
      "errors": [
        {
          "field": "limits.timeout_ms",
          "message": "time limit must be at least 1"
        },
        {
          "field": "limits.memory_bytes",
          "message": "memory limit 2 GiB exceeds the operator's maximum 1 GiB"
        },
        {
          "field": "default_version",
          "message": "p@9.0.0 is not installed"
        },
        {
          "field": "output_type",
          "message": "is not a media type such as text/plain"
        }
      ]
    }
    "#);
    for wrong in [
        json!({ "colour": "red" }),
        json!({ "limits": { "fule": 5 } }),
        json!({ "limits": 5 }),
        json!({ "limits": { "fuel": -1 } }),
        json!({ "retry_on": ["sometimes"] }),
        json!({ "retry_on": "failed" }),
        json!({ "default_version": "latest" }),
        json!({ "output_type": "csv" }),
        json!({ "output_type": "" }),
        json!({ "output_type": format!("text/{}", "x".repeat(300)) }),
    ] {
        let answer = patch(&host, "/v1/plugins/p", wrong.to_string()).await?;
        assert_eq!(answer.code(422)?, "invalid_fields", "{wrong}");
    }
    for (field, twice) in [
        ("output_type", r#"{"output_type":"text/csv","output_type":"text/csv"}"#),
        ("limits.fuel", r#"{"limits":{"fuel":1,"fuel":1}}"#),
    ] {
        let problem = patch(&host, "/v1/plugins/p", twice).await?.problem(422)?;
        let errors = json!([{ "field": field, "message": "is there twice" }]);
        assert_eq!(problem["errors"], errors);
    }
    let untouched = get(&host, "/v1/plugins/p").await?.ok(200)?;
    assert_eq!(untouched["settings"], json!({ "limits": {} }));
    Ok(())
}

async fn settings_that_are_no_object_are_refused() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    for wrong in ["", "null", "[]", "7", "{\"limits\":", "\u{0}", &"[".repeat(1000)] {
        let answer = patch(&host, "/v1/plugins/p", wrong).await?;
        assert_eq!(answer.code(400)?, "invalid_json", "{wrong}");
    }
    let long = format!("{{\"output_type\":\"{}\"}}", "x".repeat(64 << 10));
    assert_eq!(patch(&host, "/v1/plugins/p", long).await?.code(413)?, "too_large");
    Ok(())
}

async fn changes_at_the_same_time_are_all_kept() -> anyhow::Result<()> {
    let Stage { host, .. } = Stage::new().await?;
    let fields =
        ["fuel", "timeout_ms", "memory_bytes", "output_bytes", "log_bytes", "tables", "resources"];
    let changes = fields.map(|field| {
        let change = json!({ "limits": { field: 1000 } });
        send(host.request(Method::PATCH, "/v1/plugins/p").json(&change))
    });
    for answer in futures_util::future::join_all(changes).await {
        answer?.ok(200)?;
    }
    let settings = &get(&host, "/v1/plugins/p").await?.ok(200)?["settings"];
    for field in fields {
        assert_eq!(settings["limits"][field], 1000, "{field} was lost: {settings}");
    }
    Ok(())
}

async fn a_job_keeps_the_settings_that_it_was_accepted_with() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({})).await?;
    let before = stage.host.job(&id).await?["limits"].clone();
    patch(&stage.host, "/v1/plugins/p", json!({ "limits": { "fuel": 7 } })).await?.ok(200)?;
    put(&stage.host, "/v1/plugins/p?version=2.0.0", "newer bytes").await?.ok(201)?;
    let job = stage.host.job(&id).await?;
    assert_eq!((&job["limits"], &job["plugin"]), (&before, &json!("p@1.0.0")));
    Ok(())
}
