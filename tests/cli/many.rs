//! Many jobs with one command: from a file, and cancelled or retried by what they have in common.

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        jobs_of_a_file_are_submitted_and_what_is_refused_is_named_by_its_line,
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

async fn jobs_of_a_file_are_submitted_and_what_is_refused_is_named_by_its_line()
-> anyhow::Result<()> {
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

    shell.write("array.json", "[{\"plugin\":\"echo\"},{\"plugin\":\"echo\",\"x\":1}]")?;
    let output = shell.run("job submit --file array.json --json").await?;
    let entries: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((&entries[0]["status"], &entries[1]["status"]), (&json!(202), &json!(422)));
    assert_eq!((&entries[1]["line"], output.status.code()), (&json!(2), Some(65)));
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
    assert_eq!((&cancelled["more"], &cancelled["passed_by"]), (&json!(true), &json!(0)));
    assert_eq!(shell.text("job cancel --tag a --yes").await?, "cancelled 1 jobs\n");
    assert_eq!(shell.text("job cancel --tag a --yes").await?, "cancelled 0 jobs\n");
    assert_eq!(shell.json("job list --state scheduled").await?.as_array().map(Vec::len), Some(1));
    assert_eq!(shell.text("job cancel --all --yes").await?, "cancelled 1 jobs\n");
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
    /// A job of `plugin` that is over, however it ended.
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
    ensure!(output.status.code() == Some(64) && said.contains("1 jobs match"), "{said}");
    ensure!(said.contains("--yes") && said.contains("--dry-run"), "{said}");
    assert_eq!(shell.json("job list --state scheduled").await?.as_array().map(Vec::len), Some(1));
    Ok(())
}
