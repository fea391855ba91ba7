//! Details for callers with a key, and names of keys in the audit log.

use anyhow::{Context as _, ensure};
use jobwright_core::plugin::Digest;
use jobwright_tests::{TestHost, tests, write_private};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::access::{ask, key};
use super::{get, send};

pub fn trials() -> Vec<Trial> {
    tests![
        a_host_that_is_not_ready_gives_the_reason_to_callers_with_a_key,
        each_key_of_the_file_has_its_own_name_in_the_audit_log,
    ]
}

async fn a_host_that_is_not_ready_gives_the_reason_to_callers_with_a_key() -> anyhow::Result<()> {
    // A floor above the free space of any disk.
    let host = TestHost::configured(|config| config.disk.free_bytes = u64::MAX).await?;
    let open = get(&host, "/readyz").await?.ok(503)?;
    ensure!(open["reason"].to_string().contains("of free space"), "{open}");
    let admin = key(&host, None, json!({ "scopes": ["admin"] })).await?;
    let writer = key(&host, Some(&admin), json!({ "scopes": ["plugins:write"] })).await?;
    for (token, told) in [(None, false), (Some(&writer), false), (Some(&admin), true)] {
        let token = token.map(String::as_str);
        let ready = ask(&host, token, Method::GET, "/readyz", Value::Null).await?.ok(503)?;
        assert_eq!(ready["code"], "disk_low");
        assert_eq!(ready["reason"].to_string().contains("of free space"), told, "{ready}");
    }
    Ok(())
}

async fn each_key_of_the_file_has_its_own_name_in_the_audit_log() -> anyhow::Result<()> {
    const KEYS: [&str; 2] = ["0123456789abcdef-one", "0123456789abcdef-two"];
    let host = TestHost::start().await?;
    let directory = host.stop().await?;
    let file = directory.path().join("keys.txt");
    write_private(&file, &KEYS.join("\n"))?;
    let host = TestHost::on(directory, |config| config.api_keys = Some(file)).await?;
    for token in KEYS {
        let path = "/v1/queues/default/pause";
        send(host.request(Method::POST, path).bearer_auth(token)).await?.ok(200)?;
        let path = "/v1/queues/default/resume";
        send(host.request(Method::POST, path).bearer_auth(token)).await?.ok(200)?;
    }
    let log = ask(&host, Some(KEYS[0]), Method::GET, "/v1/audit", Value::Null).await?.ok(200)?;
    let entries = log["entries"].as_array().context("entries")?;
    let actors: Vec<_> = entries.iter().rev().filter_map(|it| it["actor"].as_str()).collect();
    let names = KEYS.map(|key| format!("file:{}", &Digest::of(key.as_bytes()).hex()[..8]));
    assert_eq!(actors, [&names[0], &names[0], &names[1], &names[1]]);
    Ok(())
}
