//! `jobwright queue`.

use anyhow::ensure;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![a_queue_is_paused_shown_listed_and_resumed]
}

async fn a_queue_is_paused_shown_listed_and_resumed() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let paused = shell.text("queue pause slow --reason overload").await?;
    for part in ["slow", "paused", "paused at 2", "by: no API key", "reason: overload"] {
        ensure!(paused.contains(part), "{part}: {paused}");
    }
    shell.text("job submit echo --queue slow").await?;
    let shown = shell.json("queue show slow").await?;
    assert_eq!((&shown["depth"], &shown["pause"]["reason"]), (&json!(1), &json!("overload")));
    shell.text("job submit echo --queue slow --delay 1h").await?;
    let listed = shell.text("queue list").await?;
    let words: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(words[2][..7] == ["slow", "paused", "1", "0", "10000", "1", "100000"], "{listed}");
    let resumed = shell.json("queue resume slow").await?;
    ensure!(resumed["paused"] == false && resumed.get("pause").is_none(), "{resumed}");
    let bad = shell.run("queue pause NO").await?;
    assert_eq!(bad.status.code(), Some(64));
    Ok(())
}
