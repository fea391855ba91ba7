//! Hosts are not trusted: their responses cannot control the terminal or exhaust memory.

use std::process::Output;

use anyhow::{Context as _, ensure};
use jobwright_tests::{Server, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        responses_of_a_host_cannot_control_the_terminal,
        an_endless_response_is_given_up,
        a_response_about_another_job_is_refused,
        limits_above_the_default_ceilings_are_lowered_with_a_note,
    ]
}

const ID: &str = "00dc6acf-ac00-7000-8000-000000000000";

/// Clears the screen.
const CLEARS: &str = "\u{1b}[2J";

impl Shell {
    /// Runs `line` against another host.
    async fn against(&self, host: &Server, line: &str) -> anyhow::Result<Output> {
        let url = format!("http://{}", host.address());
        Ok(self.command(line)?.env("JOBWRIGHT_HOST", url).output().await?)
    }
}

fn answer(status: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

async fn responses_of_a_host_cannot_control_the_terminal() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let problem = json!({ "status": 409, "detail": CLEARS, "code": CLEARS });
    let refusing = Server::answering(move |_| answer("409 Conflict", &problem)).await?;
    let said = json!({ "id": CLEARS, "state": CLEARS, "name": CLEARS, "version": CLEARS,
        "abi": CLEARS, "digest": CLEARS, "latest": CLEARS });
    let telling = Server::answering(move |_| answer("200 OK", &said)).await?;
    for line in [
        "plugin push echo.wasm",
        "plugin rm echo",
        "job submit echo",
        &format!("job show {ID}"),
        &format!("job cancel {ID}"),
    ] {
        for host in [&refusing, &telling] {
            let Output { stdout, stderr, .. } = shell.against(host, line).await?;
            let shown = [stdout, stderr].concat();
            ensure!(!shown.contains(&0x1b), "{line}: {}", String::from_utf8_lossy(&shown));
        }
        ensure!(!refusing.seen().is_empty() && !telling.seen().is_empty());
    }
    Ok(())
}

async fn an_endless_response_is_given_up() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let endless = Server::serving(|mut stream, _| async move {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while sent.is_ok() {
            sent = stream.write_all(&[b' '; 64 << 10]).await;
        }
    })
    .await?;
    for (line, most) in
        [(format!("replay {ID}"), "64 MiB"), (format!("job output {ID}"), "256 MiB")]
    {
        let output = shell.against(&endless, &line).await?;
        let shown = String::from_utf8_lossy(&output.stderr);
        let expected = format!("the host's response is longer than {most}");
        ensure!(output.status.code() == Some(1) && shown.contains(&expected), "{line}: {shown}");
    }
    Ok(())
}

async fn a_response_about_another_job_is_refused() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let job = shell.finished(&guests::echo()?, "").await?;
    let liar = Server::answering(move |_| answer("200 OK", &job)).await?;
    let output = shell.against(&liar, &format!("replay {ID}")).await?;
    let shown = String::from_utf8_lossy(&output.stderr);
    let expected = format!("the host's response to a request for job {ID} is job ");
    ensure!(output.status.code() == Some(1) && shown.contains(&expected), "{shown}");
    Ok(())
}

async fn limits_above_the_default_ceilings_are_lowered_with_a_note() -> anyhow::Result<()> {
    let shell = Shell::configured(|config| config.ceilings.log_bytes = Some(2 << 20)).await?;
    let job = shell.finished(&guests::echo()?, "--log-limit 2MiB").await?;
    let id = job["id"].as_str().context("a job has an id")?;
    let output = shell.run(&format!("replay {id}")).await?;
    let shown = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown}");
    ensure!(shown.contains("note: the attempt had limits above the default ceilings"), "{shown}");
    Ok(())
}

impl Shell {
    /// A finalized job of `wasm`.
    async fn finished(&self, wasm: &[u8], options: &str) -> anyhow::Result<Value> {
        std::fs::write(self.folder.path().join("one.wasm"), wasm)?;
        self.text("plugin push one.wasm").await?;
        let id = self.text(format!("job submit one --data hello {options}").trim()).await?;
        self.host.finalized(id.trim()).await
    }
}
