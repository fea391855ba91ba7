//! `jobwright key`, `tenant`, `disabled` and `audit`: commands of administrators.

use std::process::Output;

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        the_flag_tenant_does_not_change_which_tenant_a_command_names,
        a_key_belongs_to_the_tenant_of_for_not_to_that_of_tenant,
        a_key_that_would_expire_at_once_is_not_created,
        disabled_resources_are_listed,
        disabled_plugins_are_shown_with_actor_time_and_reason,
        a_tenant_is_removed_when_it_has_nothing_left,
        a_plugin_is_shown_with_its_disabled_versions,
        a_tenant_is_shown_and_bounded,
        a_change_of_a_tenant_needs_a_limit,
        the_audit_log_is_read_page_by_page,
        a_list_of_keys_shows_which_are_revoked,
        an_empty_variable_is_treated_as_unset,
    ]
}

impl Shell {
    /// Runs a command with these variables in its environment.
    async fn with(&self, line: &str, env: &[(&str, &str)]) -> anyhow::Result<Output> {
        Ok(self.command(line)?.envs(env.iter().copied()).output().await?)
    }
}

/// The words of the lines of a table, without its header.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

async fn the_flag_tenant_does_not_change_which_tenant_a_command_names() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("tenant disable bee --tenant acme").await?;
    shell.text("tenant set ant --jobs 7").await?;
    shell.text("tenant enable bee").await?;
    let log = shell.json("audit").await?;
    let told: Vec<_> = log
        .as_array()
        .context("entries")?
        .iter()
        .map(|entry| (entry["target"].as_str(), entry["tenant"].as_str()))
        .collect();
    let default = Some("default");
    let expected = [(Some("bee"), default), (Some("ant"), default), (Some("bee"), Some("acme"))];
    assert_eq!(told, expected);
    Ok(())
}

async fn a_key_belongs_to_the_tenant_of_for_not_to_that_of_tenant() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let tenant = ("JOBWRIGHT_TENANT", "acme");
    let made = async |line: &str, env: &[(&str, &str)]| {
        let output = shell.with(line, env).await?;
        let key: Value = serde_json::from_slice(&output.stdout)?;
        let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
        anyhow::Ok((text("key"), text("tenant")))
    };
    let (admin, whose) = made("key create --scope admin --json", &[tenant]).await?;
    assert_eq!(whose, "default");
    let key = ("JOBWRIGHT_API_KEY", admin.as_str());
    let line = "key create --scope jobs:read --for bee --json";
    assert_eq!(made(line, &[tenant, key]).await?.1, "bee");
    Ok(())
}

async fn a_key_that_would_expire_at_once_is_not_created() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let output = shell.run("key create --scope admin --days 0").await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(64) && said.contains("--days"), "{said}");
    Ok(())
}

async fn disabled_resources_are_listed() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let pushed = shell.json("plugin push echo.wasm --version 1.0.0").await?;
    let digest = pushed["digest"].as_str().context("a digest")?;
    ensure!(shell.json("disabled").await? == json!([]));
    shell.text("plugin disable echo").await?;
    shell.text("plugin disable echo@1.0.0").await?;
    shell.text(&format!("plugin disable echo@{digest}")).await?;
    shell.text("tenant disable acme").await?;
    let shown = shell.text("disabled").await?;
    let named: Vec<_> = rows(&shown).into_iter().map(|words| words[..6].to_vec()).collect();
    assert_eq!(
        named,
        [
            vec!["tenant", "acme", "-", "no", "API", "key"],
            vec!["plugin", "echo", "default", "no", "API", "key"],
            vec!["version", "echo@1.0.0", "default", "no", "API", "key"],
            vec!["digest", digest, "-", "no", "API", "key"],
        ]
    );
    assert_eq!(shell.json("disabled").await?[0]["tenant"], "acme");
    Ok(())
}

async fn disabled_plugins_are_shown_with_actor_time_and_reason() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let disabled = async || anyhow::Ok(shell.json("disabled").await?[0].clone());
    shell.text("plugin disable echo --reason loops").await?;
    let first = disabled().await?;
    assert_eq!((&first["reason"], &first["disabled_by"]), (&json!("loops"), &json!("anyone")));
    ensure!(first["disabled_at"].is_string(), "{first}");
    // Without a reason, the first entry stays.
    shell.text("plugin disable echo").await?;
    assert_eq!(disabled().await?, first);
    shell.text("plugin disable echo --reason \u{e4}nother").await?;
    assert_eq!(disabled().await?["reason"], "änother");
    ensure!(shell.text("disabled").await?.contains("änother"));
    let log = shell.json("audit --limit 1").await?;
    assert_eq!(log[0]["detail"]["reason"], "änother");
    let long = "x".repeat(501);
    let refused = shell.run(&format!("plugin disable echo --reason {long}")).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(65) && said.contains("500 bytes"), "{said}");
    Ok(())
}

async fn a_tenant_is_removed_when_it_has_nothing_left() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let says = async |line: &str, part: &str| -> anyhow::Result<()> {
        let output = shell.run(line).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains(part), "{line}: {said}");
        Ok(())
    };
    shell.text("tenant set acme --jobs 7").await?;
    shell.text("plugin push echo.wasm --tenant acme").await?;
    let id = shell.text("job submit echo --delay 1h --tenant acme").await?;
    shell.text("queue pause slow --tenant acme").await?;
    says("tenant rm acme", "has the plugin `echo`").await?;
    says("tenant rm default", "cannot be removed").await?;
    says("plugin rm echo --tenant acme", "still needs echo").await?;
    shell.text(&format!("job cancel {} --tenant acme", id.trim())).await?;
    shell.text("plugin rm echo --tenant acme").await?;
    assert_eq!(shell.text("tenant rm acme").await?, "removed tenant acme\n");
    let left = shell.json("tenant list").await?;
    ensure!(left.as_array().is_some_and(|left| left.len() == 1), "{left}");
    let queues = shell.json("queue list --tenant acme").await?;
    ensure!(queues.as_array().is_some_and(|left| left.len() == 1), "{queues}");
    Ok(())
}

async fn a_plugin_is_shown_with_its_disabled_versions() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm --version 1.0.0").await?;
    shell.text("plugin push log.wasm --name echo --version 2.0.0").await?;
    let list = async || shell.text("plugin list").await;
    assert_eq!(rows(&list().await?), [["echo", "enabled", "2.0.0", "2"]]);
    assert_eq!(shell.text("plugin disable echo@1.0.0").await?, "disabled echo@1.0.0\n");
    assert_eq!(rows(&list().await?), [vec!["echo", "enabled", "2.0.0", "2,", "1", "disabled"]]);
    let shown = shell.text("plugin show echo").await?;
    ensure!(shown.contains("state     enabled\n"), "{shown}");
    let state = |version: &str| -> Option<&str> {
        shown.lines().find(|line| line.starts_with(version))?.split_whitespace().nth(1)
    };
    assert_eq!((state("1.0.0"), state("2.0.0")), (Some("disabled"), Some("enabled")));
    let disabled = shell.text("plugin disable echo --cancel").await?;
    assert_eq!(disabled, "disabled echo, cancelled 0 jobs\n");
    ensure!(shell.text("plugin show echo").await?.contains("state     disabled\n"));
    assert_eq!(rows(&list().await?)[0][..2], ["echo", "disabled"]);
    assert_eq!(shell.text("plugin enable echo").await?, "enabled echo\n");
    Ok(())
}

async fn a_tenant_is_shown_and_bounded() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let set = shell.text("tenant set acme --jobs 7 --running 2").await?;
    assert_eq!(rows(&set), [["acme", "enabled", "{\"jobs\":7,\"running\":2}"]]);
    shell.text("tenant disable acme").await?;
    shell.text("tenant set acme --jobs none").await?;
    let shown = shell.text("tenant show acme").await?;
    assert_eq!(rows(&shown), [["acme", "disabled", "{\"running\":2}"]]);
    let tenant = json!({ "name": "acme", "disabled": true, "limits": { "running": 2 } });
    assert_eq!(shell.json("tenant show acme").await?, tenant);
    Ok(())
}

async fn a_change_of_a_tenant_needs_a_limit() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let output = shell.run("tenant set acme").await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(64), "{said}");
    for limit in ["--jobs", "--payload-bytes", "--running", "--jobs-per-second", "--plugin-bytes"] {
        ensure!(said.contains(limit), "{limit}: {said}");
    }
    Ok(())
}

async fn the_audit_log_is_read_page_by_page() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    for jobs in 1..=5 {
        shell.text(&format!("tenant set acme --jobs {jobs}")).await?;
    }
    let ids = |table: &str| -> Vec<String> {
        rows(table).iter().map(|words| words[0].to_owned()).collect()
    };
    assert_eq!(ids(&shell.text("audit --limit 2").await?), ["5", "4"]);
    assert_eq!(ids(&shell.text("audit --limit 2 --before 4").await?), ["3", "2"]);
    let last = shell.json("audit --before 2").await?;
    assert_eq!((&last[0]["id"], last.as_array().map(Vec::len)), (&json!(1), Some(1)));
    Ok(())
}

async fn a_list_of_keys_shows_which_are_revoked() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let admin = shell.text("key create --scope admin").await?;
    let key = [("JOBWRIGHT_API_KEY", admin.trim())];
    let made = shell.with("key create --scope jobs:read --days 1 --json", &key).await?;
    let made: Value = serde_json::from_slice(&made.stdout)?;
    let id = made["id"].as_str().context("an id")?;
    let state = async || {
        let listed = shell.with("key list", &key).await?;
        let listed = String::from_utf8(listed.stdout)?;
        let line = listed.lines().find(|line| line.starts_with(id)).context("the key")?;
        anyhow::Ok(line.split_whitespace().nth(2).map(str::to_owned))
    };
    assert_eq!(state().await?.as_deref(), Some("valid"));
    shell.with(&format!("key revoke {id}"), &key).await?;
    assert_eq!(state().await?.as_deref(), Some("revoked"));
    Ok(())
}

async fn an_empty_variable_is_treated_as_unset() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let flag = ("JOBWRIGHT_INSECURE_HTTP", "1");
    let empty = ["JOBWRIGHT_TENANT", "JOBWRIGHT_PROXY", "JOBWRIGHT_API_KEY"].map(|name| (name, ""));
    let listed = shell.with("plugin list", &[&empty[..], &[flag]].concat()).await?;
    ensure!(listed.status.success(), "{listed:?}");
    let made = shell.text("key create --scope admin --description first").await?;
    let key = ("JOBWRIGHT_API_KEY", made.trim());
    // The name of the flag in earlier versions.
    let made = shell.with("key create --scope admin --name second", &[key]).await?;
    ensure!(made.status.success(), "{made:?}");
    let keys = shell.with("key list --json", &[key]).await?;
    let keys: Value = serde_json::from_slice(&keys.stdout)?;
    assert_eq!((&keys[0]["name"], &keys[1]["name"]), (&json!("first"), &json!("second")));
    Ok(())
}
