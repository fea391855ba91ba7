//! `jobwright serve`: how it starts, or does not, and what it reports.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use jobwright_tests::fetch::Fetch;
use jobwright_tests::{guests, jobwright, tests};
use libtest_mimic::Trial;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_start_that_fails_leaves_no_new_directory,
        a_wrong_flag_is_reported_with_what_to_use,
        a_wrong_log_filter_is_an_error,
        a_host_listens_on_a_name_and_accepts_its_allowed_hosts,
        discarded_jobs_actions_and_refusals_are_lines_of_the_log,
        expired_jobs_are_lines_of_the_log,
        refused_entries_refused_keys_and_every_revocation_are_lines_of_the_log,
        requests_of_guests_to_refused_addresses_are_one_line_of_the_log,
    ]
}

async fn a_start_that_fails_leaves_no_new_directory() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("a/b/data");
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = taken.local_addr()?.to_string();
    let start = async || -> anyhow::Result<String> {
        let mut serve = jobwright(["serve", "--listen", &address, "--data"])?;
        let output = serve.arg(&data).output().await?;
        ensure!(!output.status.success(), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let said = start().await?;
    ensure!(said.contains("cannot listen on"), "{said}");
    ensure!(!folder.path().join("a").exists(), "it was made for nothing");
    std::fs::create_dir_all(&data)?;
    std::fs::write(data.join("mine"), "kept")?;
    start().await?;
    ensure!(data.join("mine").exists(), "what was there stays");
    Ok(())
}

async fn a_wrong_flag_is_reported_with_what_to_use() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "")?;
    let file = file.to_str().context("a path in UTF-8")?;
    for (flag, value, part) in [
        ("--data-dir", file, "file is not a directory"),
        ("--workers", "0", "use a whole number of at least 1"),
        ("--workers", "many", "use a whole number of at least 1"),
    ] {
        let output = jobwright(["serve", "--listen", "127.0.0.1:0", flag, value])?.output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(64) && said.contains(part), "{flag}: {said}");
    }
    Ok(())
}

async fn a_wrong_log_filter_is_an_error() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let start = async |flags: &[&str], variable: &str| -> anyhow::Result<String> {
        let mut serve = jobwright(["serve", "--listen", "127.0.0.1:0", "--data"])?;
        serve.arg(folder.path().join("data")).args(flags).env("JOBWRIGHT_LOG", variable);
        let output = serve.output().await?;
        ensure!(output.status.code() == Some(64), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (flags, variable) in
        [(&["--log", "inof"][..], "info"), (&["--log", "jobwright=loud"], "info"), (&[], "verbose")]
    {
        let said = start(flags, variable).await?;
        ensure!(said.contains("is not a log filter") && said.contains("debug"), "{said}");
    }
    ensure!(start(&["--log-format", "xml"], "info").await?.contains("`text` or `json`"));
    ensure!(!folder.path().join("data").exists());
    let mut list = jobwright(["plugin", "list"])?;
    let output = list.env("JOBWRIGHT_LOG", "inof").output().await?;
    assert_eq!(output.status.code(), Some(64));
    Ok(())
}

/// A host with a log in JSON.
struct Logging {
    _child: Child,
    url: String,
    log: Lines<BufReader<ChildStderr>>,
}

impl Logging {
    async fn start(data: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let mut serve = jobwright(["serve", "--json", "--log-format", "json", "--data"])?;
        serve.arg(data).args(flags).env_remove("JOBWRIGHT_LOG");
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        let line = lines.next_line().await?.context("it listens")?;
        let told: Value = serde_json::from_str(&line)?;
        let url = told["address"].as_str().context("an address")?.to_owned();
        let log = BufReader::new(child.stderr.take().context("piped")?).lines();
        Ok(Self { _child: child, url, log })
    }

    /// The next line about `event`.
    async fn event(&mut self, event: &str) -> anyhow::Result<Value> {
        loop {
            let line = self.log.next_line().await?.context("the log ended")?;
            let line: Value = serde_json::from_str(&line).context(line)?;
            if line["event"] == event {
                return Ok(line);
            }
        }
    }
}

async fn a_host_listens_on_a_name_and_accepts_its_allowed_hosts() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let names = "jobs.example, other.example,";
    let flags = ["--listen", "localhost:0", "--allowed-hosts", names];
    let host = Logging::start(&folder.path().join("data"), &flags).await?;
    ensure!(host.url.starts_with("http://127.0.0.1:"), "{}", host.url);
    for (name, status) in [
        ("jobs.example", StatusCode::OK),
        ("other.example:80", StatusCode::OK),
        ("evil.example", StatusCode::FORBIDDEN),
    ] {
        let request = Client::new().get(format!("{}/healthz", host.url)).header("host", name);
        assert_eq!(request.send().await?.status(), status, "{name}");
    }
    Ok(())
}

async fn expired_jobs_are_lines_of_the_log() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let flags = ["--listen", "127.0.0.1:0"];
    let mut host = Logging::start(&folder.path().join("data"), &flags).await?;
    let client = Client::new();
    let url = |path: &str| format!("{}{path}", host.url);
    let exit = guests::assemble(&guests::exit(0))?;
    client.put(url("/v1/plugins/exit")).body(exit).send().await?.error_for_status()?;
    client.post(url("/v1/queues/default/pause")).send().await?.error_for_status()?;
    let submit = client.post(url("/v1/jobs")).json(&json!({ "plugin": "exit", "ttl_ms": 1 }));
    let job: Value = submit.send().await?.error_for_status()?.json().await?;
    let line = host.event("job_expired").await?;
    assert_eq!((&line["job"], &line["code"]), (&job["id"], &json!("ttl")));
    Ok(())
}

async fn discarded_jobs_actions_and_refusals_are_lines_of_the_log() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let flags = ["--listen", "127.0.0.1:0", "--queue-parked-capacity", "1"];
    let mut host = Logging::start(&folder.path().join("data"), &flags).await?;
    let client = Client::new();
    let url = |path: &str| format!("{}{path}", host.url);
    let fail = guests::assemble(&guests::exit(65))?;
    client
        .put(url("/v1/plugins/fail?version=1.0.0"))
        .body(fail)
        .send()
        .await?
        .error_for_status()?;
    let submit = client.post(url("/v1/jobs")).json(&json!({ "plugin": "fail", "queue": "q" }));
    let job: Value = submit.send().await?.error_for_status()?.json().await?;
    let later = json!({ "plugin": "fail", "delay_ms": 3_600_000 });
    for _ in 0..3 {
        client.post(url("/v1/jobs")).json(&later).send().await?;
    }
    let action = host.event("admin_action").await?;
    assert_eq!((&action["action"], &action["on"]), (&json!("plugin.upload"), &json!("fail")));
    assert_eq!((&action["by"], &action["tenant"]), (&json!("anyone"), &json!("default")));
    let (mut discarded, mut refused) = (Value::Null, Value::Null);
    while discarded.is_null() || refused.is_null() {
        let line = host.log.next_line().await?.context("the log ended")?;
        let line: Value = serde_json::from_str(&line)?;
        match line["event"].as_str() {
            Some("job_discarded") => discarded = line,
            Some("refused") => {
                ensure!(refused.is_null(), "once a minute: {line}");
                refused = line;
            }
            _ => {}
        }
    }
    for (field, value) in [
        ("job", &job["id"]),
        ("plugin", &json!("fail@1.0.0")),
        ("queue", &json!("q")),
        ("attempt", &json!(1)),
        ("code", &json!("exit_code")),
        ("level", &json!("INFO")),
    ] {
        assert_eq!(&discarded[field], value, "{field}");
    }
    ensure!(discarded["message"].as_str().is_some_and(|text| !text.is_empty()), "{discarded}");
    assert_eq!((&refused["code"], &refused["count"]), (&json!("parked_full"), &json!(1)));
    Ok(())
}

async fn refused_entries_refused_keys_and_every_revocation_are_lines_of_the_log()
-> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let flags = ["--listen", "127.0.0.1:0", "--queue-parked-capacity", "1"];
    let mut host = Logging::start(&folder.path().join("data"), &flags).await?;
    let (client, url) = (Client::new(), host.url.clone());
    let url = |path: &str| format!("{url}/v1/{path}");
    let push = client.put(url("plugins/p?version=1.0.0")).body(guests::echo()?);
    push.send().await?.error_for_status()?;
    let later = json!({ "plugin": "p", "delay_ms": 3_600_000 });
    let batch = client.post(url("jobs/batch")).json(&json!([later, later]));
    batch.send().await?.error_for_status()?;
    let refused = host.event("refused").await?;
    assert_eq!((&refused["code"], refused.get("peer")), (&json!("parked_full"), None));

    let create = async |token: &str, key: Value| -> anyhow::Result<Value> {
        let made = client.post(url("keys")).bearer_auth(token).json(&key).send().await?;
        Ok(made.error_for_status()?.json().await?)
    };
    let admin = create("none", json!({ "scopes": ["admin"] })).await?;
    let token = admin["key"].as_str().context("a token")?;
    for _ in 0..2 {
        assert_eq!(client.get(url("jobs")).send().await?.status(), StatusCode::UNAUTHORIZED);
    }
    let refused = host.event("refused").await?;
    assert_eq!((&refused["code"], &refused["count"]), (&json!("unauthorized"), &json!(1)));
    ensure!(
        refused["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")),
        "{refused}"
    );

    let of_acme = create(token, json!({ "scopes": ["jobs:read"], "tenant": "acme" })).await?;
    let remove = client.delete(url("tenants/acme")).bearer_auth(token);
    remove.send().await?.error_for_status()?;
    let revoked = loop {
        let action = host.event("admin_action").await?;
        if action["action"] == "key.revoke" {
            break action;
        }
    };
    assert_eq!(revoked["on"], of_acme["id"]);
    Ok(())
}

async fn requests_of_guests_to_refused_addresses_are_one_line_of_the_log() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let flags = ["--listen", "127.0.0.1:0"];
    let mut host = Logging::start(&folder.path().join("data"), &flags).await?;
    let (client, url) = (Client::new(), host.url.clone());
    let url = |path: &str| format!("{url}/v1/{path}");
    let (authority, path) = ("localhost:9".to_owned(), "/".to_owned());
    let fetch = Fetch { authority, path, ..Fetch::default() };
    let push = client.put(url("plugins/p?version=1.0.0")).body(fetch.command()?);
    push.send().await?.error_for_status()?;
    let settings = json!({ "grants": { "http": [{ "origin": "http://localhost:9" }] } });
    let grant = client.patch(url("plugins/p")).json(&settings);
    grant.send().await?.error_for_status()?;
    for _ in 0..3 {
        let submit = client.post(url("jobs")).json(&json!({ "plugin": "p" }));
        let job: Value = submit.header("prefer", "wait=60").send().await?.json().await?;
        ensure!(!job["finalized_at"].is_null(), "{job}");
    }
    client.post(url("queues/q/pause")).send().await?.error_for_status()?;
    let mut refused = vec![];
    loop {
        let line = host.log.next_line().await?.context("the log ended")?;
        let line: Value = serde_json::from_str(&line)?;
        match line["event"].as_str() {
            Some("admin_action") if line["action"] == "queue.pause" => break,
            Some("refused") => refused.push(line),
            _ => {}
        }
    }
    ensure!(refused.len() == 1, "once a minute: {refused:?}");
    let line = &refused[0];
    for (field, value) in [("code", "denied_address"), ("tenant", "default"), ("host", "localhost")]
    {
        assert_eq!(line[field], value, "{line}");
    }
    ensure!(["127.0.0.1", "::1"].iter().any(|address| line["address"] == *address), "{line}");
    Ok(())
}
