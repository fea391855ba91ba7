//! The settings of a plugin: merge patches (RFC 7396), checked like the options of jobs.

use insta::assert_json_snapshot;
use jobwright::registry::DiskRegistry;
use jobwright_core::grant::Determinism;
use jobwright_core::plugin::PluginSettings;
use jobwright_core::tenant::TenantName;
use jobwright_core::{Grants, PluginRegistry as _};
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Fixture, get, patch, put, send};

pub fn trials() -> Vec<Trial> {
    tests![
        settings_are_the_defaults_of_jobs,
        a_backoff_is_replaced_as_a_whole_and_a_job_overrides_it,
        null_unsets_a_setting_and_absent_ones_stay,
        all_invalid_settings_are_reported_at_once,
        settings_that_are_not_an_object_are_refused,
        concurrent_changes_are_all_kept,
        a_plugin_granted_determinism_always_has_deterministic_jobs,
        a_job_keeps_the_settings_that_it_was_accepted_with,
        exit_codes_are_set_in_part_and_checked,
        the_hosts_variables_are_left_out_by_a_setting_or_a_field,
    ]
}

async fn settings_are_the_defaults_of_jobs() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let settings = json!({
        "limits": { "fuel": 1000, "timeout_ms": 2000 },
        "retry_on": ["failed", "fuel"],
        "backoff": { "kind": "exponential", "first_ms": 2000, "max_ms": 60_000 },
        "output_type": "text/csv",
        "default_version": "1.0.0",
    });
    let plugin = patch(&host, "/v1/plugins/p", settings).await?.ok(200)?;
    assert_eq!(get(&host, "/v1/plugins/p").await?.ok(200)?, plugin);
    assert_json_snapshot!(plugin["settings"], @r#"
    {
      "backoff": {
        "factor": 2.0,
        "first_ms": 2000,
        "jitter_percent": 20,
        "kind": "exponential",
        "max_ms": 60000
      },
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

async fn a_backoff_is_replaced_as_a_whole_and_a_job_overrides_it() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let set = async |backoff: Value| -> anyhow::Result<Value> {
        let change = json!({ "backoff": backoff });
        Ok(patch(&host, "/v1/plugins/p", change).await?.ok(200)?["settings"]["backoff"].clone())
    };
    let of_job = async |job: Value| -> anyhow::Result<Value> {
        let id = host.submit(job).await?;
        Ok(host.job(&id).await?["backoff"].clone())
    };
    set(json!({ "kind": "fixed", "wait_ms": 5000, "max_ms": 1000 })).await?;
    let list = json!({ "kind": "list", "waits_ms": [1, 2.0e3], "jitter_percent": 0 });
    let stored = json!({ "kind": "list", "waits_ms": [1, 2000], "jitter_percent": 0 });
    assert_eq!(set(list).await?, stored);
    assert_eq!(of_job(json!({ "plugin": "p" })).await?, stored);
    let own = json!({ "kind": "fixed", "wait_ms": 7, "jitter_percent": 20 });
    assert_eq!(of_job(json!({ "plugin": "p", "backoff": own })).await?, own);
    assert_eq!(of_job(json!({ "plugin": "p", "backoff": null })).await?, stored);
    assert_eq!(set(json!(null)).await?, Value::Null);
    let default = json!({ "kind": "polynomial", "jitter_percent": 20 });
    assert_eq!(of_job(json!({ "plugin": "p" })).await?, default);
    Ok(())
}

async fn a_plugin_granted_determinism_always_has_deterministic_jobs() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("p", guests::echo()?).await?;
    let job = json!({ "plugin": "p" });
    let id = host.submit(job.clone()).await?;
    assert_eq!(host.finalized(&id).await?["deterministic"], false);
    let directory = host.stop().await?;
    let registry = DiskRegistry::open(&directory.path().join("plugins"), u64::MAX)?;
    let grants = Grants { deterministic: Determinism::Always, ..Grants::default() };
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

async fn null_unsets_a_setting_and_absent_ones_stay() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
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

async fn all_invalid_settings_are_reported_at_once() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let settings = json!({
        "limits": { "memory_bytes": 2_u64 << 30, "timeout_ms": 0 },
        "default_version": "9.0.0",
        "output_type": "line\nbreak",
    });
    assert_json_snapshot!(patch(&host, "/v1/plugins/p", settings).await?.problem(422)?, @r#"
    {
      "code": "invalid_fields",
      "detail": "limits.timeout_ms: time limit must be at least 1; limits.memory_bytes: memory limit 2 GiB (--memory) exceeds the operator's maximum 1 GiB, which `ceilings.memory_bytes` in the host's configuration sets; default_version: p@9.0.0 is not installed; output_type: is not a media type such as text/plain",
      "errors": [
        {
          "field": "limits.timeout_ms",
          "message": "time limit must be at least 1"
        },
        {
          "field": "limits.memory_bytes",
          "message": "memory limit 2 GiB (--memory) exceeds the operator's maximum 1 GiB, which `ceilings.memory_bytes` in the host's configuration sets"
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
        json!({ "backoff": { "kind": "linear" } }),
        json!({ "backoff": { "kind": "list", "waits_ms": [1], "jitter_percent": 300 } }),
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

async fn settings_that_are_not_an_object_are_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for wrong in ["", "null", "[]", "7", "{\"limits\":", "\u{0}", &"[".repeat(1000)] {
        let answer = patch(&host, "/v1/plugins/p", wrong).await?;
        assert_eq!(answer.code(400)?, "invalid_json", "{wrong}");
    }
    let long = format!("{{\"output_type\":\"{}\"}}", "x".repeat(64 << 10));
    assert_eq!(patch(&host, "/v1/plugins/p", long).await?.code(413)?, "too_large");
    Ok(())
}

async fn concurrent_changes_are_all_kept() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
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
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    let before = fixture.host.job(&id).await?["limits"].clone();
    patch(&fixture.host, "/v1/plugins/p", json!({ "limits": { "fuel": 7 } })).await?.ok(200)?;
    put(&fixture.host, "/v1/plugins/p?version=2.0.0", "newer bytes").await?.ok(201)?;
    let job = fixture.host.job(&id).await?;
    assert_eq!((&job["limits"], &job["plugin"]), (&before, &json!("p@1.0.0")));
    Ok(())
}

async fn exit_codes_are_set_in_part_and_checked() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let set =
        async |codes: Value| patch(&host, "/v1/plugins/p", json!({ "exit_codes": codes })).await;
    set(json!({ "succeed": [0, 10, "20-29"], "fail": [1] })).await?.ok(200)?;
    let plugin = set(json!({ "snooze": [75.0], "fail": null })).await?.ok(200)?;
    let codes = json!({ "succeed": [0, 10, "20-29"], "snooze": [75] });
    assert_eq!(plugin["settings"]["exit_codes"], codes);
    let id = host.submit(json!({ "plugin": "p" })).await?;
    for (wrong, field, words) in [
        (json!({ "retry": [25] }), "exit_codes", "exit code 25 is in both `succeed` and `retry`"),
        (json!({ "retry": [256] }), "exit_codes.retry", "exit codes from 0 to 255"),
        (json!({ "retry": ["9-1"] }), "exit_codes.retry", "such as"),
        (json!({ "pass": [1] }), "exit_codes.pass", "succeed, retry, fail"),
        (json!([1]), "exit_codes", "is not an object"),
    ] {
        let problem = set(wrong).await?.problem(422)?;
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        let message = problem["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{problem}");
    }
    let plugin = set(Value::Null).await?.ok(200)?;
    assert_eq!(plugin["settings"]["exit_codes"], Value::Null);
    // A job that was accepted before keeps the earlier settings.
    assert_eq!(host.job(&id).await?["exit_codes"], codes);
    Ok(())
}

async fn the_hosts_variables_are_left_out_by_a_setting_or_a_field() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let injects = async |job: Value| {
        fixture.submit(job).await?;
        let attempt = fixture.begins().await?;
        let injects = attempt.attempt.job.spec.inject_env;
        attempt.succeed();
        anyhow::Ok(injects)
    };
    assert!(injects(json!({})).await?);
    assert!(!injects(json!({ "inject_env": false })).await?);
    patch(&fixture.host, "/v1/plugins/p", json!({ "inject_env": false })).await?.ok(200)?;
    assert!(!injects(json!({})).await?);
    assert!(injects(json!({ "inject_env": true })).await?);
    patch(&fixture.host, "/v1/plugins/p", json!({ "inject_env": null })).await?.ok(200)?;
    assert!(injects(json!({})).await?);
    Ok(())
}
