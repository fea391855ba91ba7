//! Data directories of earlier versions: this version opens them, and goes on with what they hold.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, tests};
use libtest_mimic::Trial;
use reqwest::{Client, Method};
use serde_json::{Value, json};

pub fn trials() -> Vec<Trial> {
    tests![a_data_directory_of_an_earlier_version_goes_on]
}

/// The directory, and the ids of the jobs in it; `tests/kept/README.md` says how it came to be.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kept/data-4.tar.gz");
const KEY: &str = "jwk_PwKe1-plR_j2qCsGJYhALunDkxaKmAwJ3HUkDF_dQpg";
const COMPLETED: &str = "01a22439-0389-7436-9562-4ab1f637e6ce";
const DISCARDED: &str = "01a22439-038d-76b9-9c16-1af7612e510e";
const RETRYABLE: &str = "01a22439-039a-71c0-89c3-c34488c739ab";
const AVAILABLE: &str = "01a22439-03c3-735f-8340-802a9fd68a58";
const CANCELLED: &str = "01a22439-03e0-76f3-9de4-81b4af8a322a";
const RUNNING: &str = "01a22439-0438-7230-ba78-2d0dc941bf86";
const THEIRS: &str = "01a22439-041c-7375-9044-0d2f9871f09b";

/// Whatever the year of the test is, nothing of the directory is pruned.
const CONFIG: &str = "[retention]\ncompleted = \"36500d\"\ndiscarded = \"36500d\"\n";

struct Upgraded {
    host: HostProcess,
    client: Client,
}

impl Upgraded {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let unpacked = Command::new("tar").arg("xzf").arg(KEPT).arg("-C").arg(folder).status()?;
        ensure!(unpacked.success(), "{unpacked}");
        let config = folder.join("config.toml");
        std::fs::write(&config, CONFIG)?;
        let config = config.to_str().context("a path in UTF-8")?;
        let host = HostProcess::start(&folder.join("data"), &["--config", config]).await?;
        Ok(Self { host, client: Client::new() })
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        tenant: &str,
    ) -> anyhow::Result<reqwest::Response> {
        let request = self.client.request(method, format!("{}/v1/{path}", self.host.url()));
        let request = request.bearer_auth(KEY).header("jobwright-tenant", tenant);
        Ok(request.send().await?.error_for_status()?)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.answer(Method::GET, path, "default").await?.json().await?)
    }

    async fn text(&self, path: &str, tenant: &str) -> anyhow::Result<String> {
        Ok(self.answer(Method::GET, path, tenant).await?.text().await?)
    }
}

async fn a_data_directory_of_an_earlier_version_goes_on() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let host = Upgraded::start(folder.path()).await?;
    for (id, state) in
        [(COMPLETED, "completed"), (DISCARDED, "discarded"), (CANCELLED, "cancelled")]
    {
        assert_eq!(host.get(&format!("jobs/{id}")).await?["state"], state);
    }
    assert_eq!(host.text(&format!("jobs/{COMPLETED}/output"), "default").await?, "done");
    ensure!(host.text(&format!("jobs/{DISCARDED}/logs"), "default").await?.contains("bad date"));
    ensure!(host.text(&format!("jobs/{THEIRS}/logs"), "acme").await?.contains("done"));

    // What was paused and disabled still is; the attempt in flight was lost with its host.
    assert_eq!(host.get("queues/held").await?["paused"], true);
    assert_eq!(host.get(&format!("jobs/{AVAILABLE}")).await?["attempt"], 0);
    assert_eq!(host.get(&format!("jobs/{RETRYABLE}")).await?["attempt"], 1);
    let running = host.get(&format!("jobs/{RUNNING}")).await?;
    assert_eq!(running["attempts"][0]["outcome"], "lost", "{running}");
    assert_eq!(host.get("tenants/acme").await?["limits"], json!({ "jobs": 7 }));
    assert_eq!(host.get("secrets").await?["secrets"][0]["name"], "KEY");

    host.answer(Method::POST, "queues/held/resume", "default").await?;
    let waited = host.get(&format!("jobs/{AVAILABLE}?wait=60s")).await?;
    assert_eq!(waited["state"], "completed", "{waited}");
    host.answer(Method::POST, &format!("jobs/{DISCARDED}/retry"), "default").await?;
    let again = host.get(&format!("jobs/{DISCARDED}?wait=60s")).await?;
    assert_eq!((&again["state"], &again["attempt"]), (&json!("discarded"), &json!(2)), "{again}");
    Ok(())
}
