//! `jobwright plugin set` and `jobwright secret`.

use std::process::Stdio;

use anyhow::ensure;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        grants_are_set_from_a_file_or_as_they_stand,
        a_secret_is_read_from_stdin_listed_and_removed,
        every_setting_of_a_plugin_is_set_and_unset,
        exit_codes_are_changed_and_unset,
        a_grant_that_the_plugin_cannot_use_causes_a_warning,
    ]
}

async fn grants_are_set_from_a_file_or_as_they_stand() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let grants = json!({ "http": [{ "origin": "https://api.example.com" }], "secrets": ["KEY"] });
    std::fs::write(shell.folder.path().join("grants.json"), grants.to_string())?;
    let plugin = shell.json("plugin set echo --grants grants.json").await?;
    ensure!(plugin["settings"]["grants"] == grants, "{plugin}");
    let said = shell.text("plugin set echo --grants {\"secrets\":null}").await?;
    let grants = "grants          {\"http\":[{\"origin\":\"https://api.example.com\"}]}\n";
    ensure!(said == format!("set echo:\n{grants}"), "{said}");
    let said = shell.text("plugin set echo --grants null").await?;
    ensure!(said == "set echo:\n", "{said}");
    for (line, code, part) in [
        ("plugin set echo --grants missing.json", 66, "cannot read the grants in missing.json"),
        ("plugin set echo --grants {", 65, "the grants are not JSON"),
        ("plugin set echo --grants {\"htp\":1}", 65, "grants.htp: is not a grant"),
    ] {
        let output = shell.run(line).await?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && message.contains(part), "{line}: {message}");
    }
    Ok(())
}

async fn a_secret_is_read_from_stdin_listed_and_removed() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let set = async |name: &str, value: &str| -> anyhow::Result<(Option<i32>, String)> {
        let line = format!("secret set {name} --origin https://api.example.com");
        let mut command = shell.command(&line)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn()?;
        let mut stdin = running.stdin.take().expect("it is piped");
        stdin.write_all(value.as_bytes()).await?;
        drop(stdin);
        let output = running.wait_with_output().await?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    };
    ensure!(set("KEY", "s3cr3t-v4lue\n").await? == (Some(0), "set KEY\n".to_owned()));
    let (code, said) = set("KEY", "short\n").await?;
    ensure!(code == Some(65) && said.contains("this one has 5"), "{said}");
    let (code, said) = set("KEY", &"s3cr3t".repeat(2000)).await?;
    ensure!(code == Some(65) && !said.contains("s3cr3t"), "{said}");
    let listed = shell.text("secret list").await?;
    ensure!(listed.contains("KEY") && listed.contains("https://api.example.com"), "{listed}");
    ensure!(!listed.contains("s3cr3t"), "{listed}");
    ensure!(shell.text("secret rm KEY").await? == "removed KEY\n");
    ensure!(shell.json("secret list").await? == json!([]));
    Ok(())
}

async fn every_setting_of_a_plugin_is_set_and_unset() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm --version 1.0.0").await?;
    let limits = "--fuel unlimited --timeout 5s --memory 32MiB --output-limit 2KiB --log-limit 1KiB \
                  --checkpoint-limit 3KiB --tables 7 --resources 8 --grace 2s";
    let set = format!(
        "plugin set echo {limits} --retry-on failed,time --backoff exponential:1s,3 --backoff-max 1h \
         --output-type text/csv --default-version 1.0.0"
    );
    let plugin = shell.json(&set).await?;
    let expected = json!({
        "limits": {
            "fuel": "unlimited", "timeout_ms": 5000, "memory_bytes": 32 << 20,
            "output_bytes": 2048, "log_bytes": 1024, "checkpoint_bytes": 3072, "tables": 7,
            "resources": 8, "grace_ms": 2000,
        },
        "retry_on": ["failed", "time"],
        "backoff": {
            "kind": "exponential", "first_ms": 1000, "factor": 3.0, "jitter_percent": 20,
            "max_ms": 3_600_000,
        },
        "output_type": "text/csv", "default_version": "1.0.0",
    });
    ensure!(plugin["settings"] == expected, "{plugin}");
    let line = "plugin set echo --fuel none --settings {\"output_type\":\"text/plain\"}";
    let settings = shell.json(line).await?["settings"].clone();
    ensure!(settings["limits"].get("fuel").is_none(), "{settings}");
    ensure!(settings["limits"]["grace_ms"] == 2000, "{settings}");
    ensure!(settings["output_type"] == "text/plain", "{settings}");
    let line =
        "plugin set echo --retry-on none --backoff none --output-type none --default-version none";
    let settings = shell.json(line).await?["settings"].clone();
    ensure!(settings.as_object().is_some_and(|left| left.len() == 1), "{settings}");
    Ok(())
}

async fn exit_codes_are_changed_and_unset() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    for (given, codes) in [
        (
            "--exit-codes succeed=0,10 --exit-codes retry=20",
            json!({ "succeed": [0, 10], "retry": [20] }),
        ),
        ("--exit-codes fail=10 --exit-codes retry=", json!({ "fail": [10] })),
        ("--inject-env true", json!({ "fail": [10] })),
        ("--exit-codes none", json!(null)),
    ] {
        let plugin = shell.json(&format!("plugin set echo {given}")).await?;
        ensure!(plugin["settings"]["exit_codes"] == codes, "{given}: {plugin}");
    }
    Ok(())
}

async fn a_grant_that_the_plugin_cannot_use_causes_a_warning() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let http = "{\"http\":[{\"origin\":\"https://a.example.com\"}]}";
    for flag in [format!("--grants {http}"), format!("--settings {{\"grants\":{http}}}")] {
        let output = shell.run(&format!("plugin set echo {flag}")).await?;
        let warned = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{warned}");
        ensure!(warned.contains("(wasi-command-p1) cannot use the grant `http`"), "{warned}");
    }
    let output =
        shell.run("plugin set echo --grants {\"http\":null,\"env\":{\"A\":\"b\"}}").await?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    Ok(())
}
