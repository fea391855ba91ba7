//! Many jobs with one command: submitted from a file, and cancelled or retried by a filter.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        jobs_of_a_file_are_submitted_and_refusals_name_the_line,
        ids_are_printed_even_if_a_later_request_fails,
        jobs_without_room_are_sent_again,
        a_stopped_upload_reports_what_was_accepted,
        jobs_that_match_are_cancelled_after_a_dry_run,
        jobs_that_failed_are_retried_and_others_are_not,
        without_a_terminal_many_jobs_need_a_yes,
    ]
}

impl Shell {
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.folder.path().join(name), text)?)
    }
}

async fn jobs_of_a_file_are_submitted_and_refusals_name_the_line() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let line = |n: usize| format!("{}\n", json!({ "plugin": "echo", "payload": n }));
    let lines: String = (0..1005).map(line).collect();
    shell.write("jobs.ndjson", &lines)?;
    let ids = shell.text("job submit --file jobs.ndjson").await?;
    assert_eq!(ids.lines().count(), 1005);
    let last = ids.lines().last().context("an id")?;
    shell.text(&format!("job wait {last}")).await?;
    assert_eq!(shell.text(&format!("job output {last}")).await?, "1004");

    shell.write("mixed.ndjson", &format!("{}\n{{\"plugin\":\"none\"}}\n{}", line(1), line(2)))?;
    let output = shell.run("job submit --file mixed.ndjson").await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(String::from_utf8(output.stdout)?.lines().count(), 2);
    ensure!(said.contains("line 3: ") && said.contains("(plugin_not_found)"), "{said}");
    ensure!(said.contains("the host accepted 2 of 3 jobs"), "{said}");
    assert_eq!(output.status.code(), Some(1));

    shell
        .write("array.json", "[{\n  \"plugin\":\"echo\"},\r\n{\"plugin\":\"echo\",\n\"x\":1}\n]")?;
    let output = shell.run("job submit --file array.json --json").await?;
    let entries: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((&entries[0]["status"], &entries[1]["status"]), (&json!(202), &json!(422)));
    assert_eq!((&entries[1]["line"], output.status.code()), (&json!(2), Some(65)));
    Ok(())
}

async fn ids_are_printed_even_if_a_later_request_fails() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let job = json!({ "plugin": "echo" });
    // More than a host accepts in one request, which must not affect the jobs before it.
    let huge = json!({ "plugin": "echo", "payload": "x".repeat(17 << 20) });
    shell.write("jobs.ndjson", &format!("{job}\n{job}\n\n{huge}\n{job}\n"))?;
    let output = shell.run("job submit --file jobs.ndjson").await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(65), "{said}");
    ensure!(said.contains("accepted 2 of 4 jobs; the first job without a response is in line 4"));
    ensure!(said.contains("(too_large)"), "{said}");
    let ids = String::from_utf8(output.stdout)?;
    assert_eq!(ids.lines().count(), 2);
    for id in ids.lines() {
        shell.text(&format!("job wait {id}")).await?;
    }
    let output = shell.run("job submit --file jobs.ndjson --json").await?;
    let entries: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((&entries[1]["line"], &entries[1]["status"]), (&json!(2), &json!(202)));
    assert_eq!((entries.as_array().map(Vec::len), output.status.code()), (Some(2), Some(65)));
    Ok(())
}

async fn jobs_without_room_are_sent_again() -> anyhow::Result<()> {
    let shell = Shell::configured(|config| config.queue.capacity = 2).await?;
    shell.text("plugin push echo.wasm").await?;
    let lines: String = (0..7).map(|_| format!("{}\n", json!({ "plugin": "echo" }))).collect();
    shell.write("jobs.ndjson", &lines)?;
    let ids = shell.text("job submit --file jobs.ndjson").await?;
    assert_eq!(ids.lines().count(), 7);
    Ok(())
}

async fn a_stopped_upload_reports_what_was_accepted() -> anyhow::Result<()> {
    let shell = Shell::configured(|config| config.queue.capacity = 1).await?;
    shell.text("plugin push sleep.wasm").await?;
    let job = json!({ "plugin": "sleep" });
    shell.write("jobs.ndjson", &format!("{job}\n{job}\n"))?;
    let mut command = shell.command("job submit --file jobs.ndjson")?;
    let mut upload = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut ids = BufReader::new(upload.stdout.take().context("piped")?).lines();
    // There is no room for the second job while the first one runs.
    let id = ids.next_line().await?.context("an id")?;
    let process = upload.id().context("it runs")?.to_string();
    ensure!(Command::new("kill").args(["-TERM", &process]).status().await?.success());
    let ended = upload.wait_with_output().await?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130));
    ensure!(said.contains("accepted 1 of 2 jobs; the first job without a response is in line 2"));
    ensure!(said.contains("the host has no room for 1 job: retrying for up to "), "{said}");
    shell.text(&format!("job cancel {id}")).await?;
    Ok(())
}

async fn jobs_that_match_are_cancelled_after_a_dry_run() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    for tag in ["a", "a", "b"] {
        shell.text(&format!("job submit echo --delay 1h --tag {tag}")).await?;
    }
    let dry = shell.json("job cancel --tag a --dry-run").await?;
    assert_eq!(dry.as_array().map(Vec::len), Some(2));
    let cancelled = shell.json("job cancel --tag a --yes --limit 1").await?;
    assert_eq!((&cancelled["more"], &cancelled["skipped"]), (&json!(true), &json!(0)));
    assert_eq!(shell.text("job cancel --tag a --yes").await?, "cancelled 1 job\n");
    assert_eq!(shell.text("job cancel --tag a --yes").await?, "cancelled 0 jobs\n");
    assert_eq!(shell.json("job list --state scheduled").await?.as_array().map(Vec::len), Some(1));
    assert_eq!(shell.text("job cancel --all --yes").await?, "cancelled 1 job\n");
    Ok(())
}

async fn jobs_that_failed_are_retried_and_others_are_not() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push fail.wasm").await?;
    shell.text("plugin push echo.wasm").await?;
    let failed = shell.finalized_or_not("fail").await?;
    let done = shell.finalized_or_not("echo").await?;
    assert_eq!(shell.json("job retry --all --yes").await?["retried"], json!([failed]));
    shell.host.finalized(&failed).await?;
    assert_eq!(shell.host.job(&failed).await?["attempt"], 2);
    assert_eq!(shell.host.job(&done).await?["attempt"], 1);
    assert_eq!(shell.json("job retry --state completed --yes").await?["retried"], json!([done]));
    Ok(())
}

impl Shell {
    /// A finalized job of `plugin`.
    async fn finalized_or_not(&self, plugin: &str) -> anyhow::Result<String> {
        let id = self.text(&format!("job submit {plugin}")).await?;
        self.host.finalized(id.trim()).await?;
        Ok(id.trim().to_owned())
    }
}

async fn without_a_terminal_many_jobs_need_a_yes() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    shell.text("job submit echo --delay 1h").await?;
    let output = shell.run("job cancel --queue default").await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(64) && said.contains("matches 1 job:"), "{said}");
    ensure!(said.contains("--yes") && said.contains("--dry-run"), "{said}");
    assert_eq!(shell.json("job list --state scheduled").await?.as_array().map(Vec::len), Some(1));
    Ok(())
}
