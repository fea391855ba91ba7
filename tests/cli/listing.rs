//! `jobwright job list`, and its short ids, which all commands accept.

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::StatusCode;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_list_fits_80_columns_and_shows_errors_and_ages,
        a_short_id_works_wherever_an_id_is_taken,
        an_ambiguous_prefix_is_refused_with_the_matching_ids,
    ]
}

async fn a_list_fits_80_columns_and_shows_errors_and_ages() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push fail.wasm --name a-plugin-of-a-rather-long-name").await?;
    let id = shell.text("job submit a-plugin-of-a-rather-long-name --queue a-long-queue").await?;
    shell.host.finalized(id.trim()).await?;
    let list = shell.text("job list").await?;
    ensure!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    let (header, row) = list.split_once('\n').context("two lines")?;
    let titles: Vec<&str> = header.split_whitespace().collect();
    assert_eq!(titles, ["ID", "PLUGIN", "QUEUE", "STATE", "ATTEMPT", "AGE", "ERROR"]);
    ensure!(row.starts_with(&id[..18]) && !row.contains(&id[..19]), "{row}");
    ensure!(row.contains("discarded") && row.contains("exit"), "{row}");
    ensure!(!row.contains('\u{1b}'), "colours are for terminals: {row:?}");
    Ok(())
}

async fn a_short_id_works_wherever_an_id_is_taken() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let id = shell.finalized("echo", b"hello").await?;
    let list = shell.text("job list").await?;
    let row = list.lines().nth(1).context("a row")?;
    let short = row.split_whitespace().next().context("an id")?;
    ensure!(id.starts_with(short) && short.len() < id.len(), "{short}");
    assert_eq!(shell.json(&format!("job show {short}")).await?["id"], id.as_str());
    assert_eq!(shell.json(&format!("job wait {short}")).await?["id"], id.as_str());
    assert_eq!(shell.text(&format!("job output {short}")).await?, "hello");
    assert_eq!(shell.text(&format!("job logs {short}")).await?, "");
    ensure!(shell.run(&format!("replay {short}")).await?.status.success());
    assert_eq!(shell.json(&format!("job retry {short}")).await?["id"], id.as_str());
    shell.host.finalized(&id).await?;
    for part in ["", "/payload", "/output", "/logs"] {
        let answer = shell.host.get(&format!("/v1/jobs/{short}{part}")).await?;
        assert_eq!(answer.status(), StatusCode::OK, "{part}");
    }
    let other = shell.run(&format!("job show {short} --tenant other")).await?;
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    ensure!(said.contains("(job_not_found)"), "{said}");
    Ok(())
}

async fn an_ambiguous_prefix_is_refused_with_the_matching_ids() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(shell.text("job submit echo --delay 1h").await?.trim().to_owned());
    }
    let shared = &ids[0][..8];
    // The prefix changes with time, so they may not all have the same.
    let same: Vec<&String> = ids.iter().filter(|id| id.starts_with(shared)).collect();
    if same.len() > 1 {
        let output = shell.run(&format!("job cancel {shared}")).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains("(ambiguous_job_id)"), "{said}");
        ensure!(same.iter().all(|id| said.contains(id.as_str())), "{said}");
    }
    let unknown = shell.run("job show 00000000-0000").await?;
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    ensure!(said.contains("no job has an id that begins with `00000000-0000`"), "{said}");
    Ok(())
}
