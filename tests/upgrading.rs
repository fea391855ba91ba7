//! Data directories of earlier versions: this version opens them, and continues their jobs.

mod data_5;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use jobwright::store::embedded::EmbeddedStore;
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::clock::Timestamp;
use jobwright_core::store::Retention;
use jobwright_core::{JobReads as _, JobStore as _};
use jobwright_tests::{HostProcess, tests};
use libtest_mimic::Trial;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

pub fn trials() -> Vec<Trial> {
    let mut trials = tests![
        a_data_directory_of_an_earlier_version_opens_and_its_jobs_continue,
        jobs_of_an_earlier_version_are_removed_after_their_retention,
    ];
    trials.extend(data_5::trials());
    trials
}

/// A stored directory, and the ids of the jobs that each of them has; `tests/kept/README.md` describes how
/// it was made.
struct Kept {
    archive: &'static str,
    /// The key of an administrator.
    key: &'static str,
    completed: &'static str,
    discarded: &'static str,
    cancelled: &'static str,
    retryable: &'static str,
    available: &'static str,
    running: &'static str,
    theirs: &'static str,
}

const DATA_4: Kept = Kept {
    archive: concat!(env!("CARGO_MANIFEST_DIR"), "/kept/data-4.tar.gz"),
    key: "jwk_PwKe1-plR_j2qCsGJYhALunDkxaKmAwJ3HUkDF_dQpg",
    completed: "01a22439-0389-7436-9562-4ab1f637e6ce",
    discarded: "01a22439-038d-76b9-9c16-1af7612e510e",
    cancelled: "01a22439-03e0-76f3-9de4-81b4af8a322a",
    retryable: "01a22439-039a-71c0-89c3-c34488c739ab",
    available: "01a22439-03c3-735f-8340-802a9fd68a58",
    running: "01a22439-0438-7230-ba78-2d0dc941bf86",
    theirs: "01a22439-041c-7375-9044-0d2f9871f09b",
};

const EACH: [&Kept; 2] = [&DATA_4, &data_5::DATA_5];

/// Nothing of the directory is pruned, however late the test runs.
const CONFIG: &str = "[retention]\ncompleted = \"36500d\"\ndiscarded = \"36500d\"\n";

impl Kept {
    /// Unpacks the directory as `data` in `folder`.
    fn unpack(&self, folder: &Path) -> anyhow::Result<()> {
        let mut tar = Command::new("tar");
        let unpacked = tar.arg("xzf").arg(self.archive).arg("-C").arg(folder).status()?;
        ensure!(unpacked.success(), "{unpacked}");
        Ok(())
    }
}

/// A host of this version on such a directory.
struct Upgraded {
    host: HostProcess,
    client: Client,
    key: &'static str,
    _folder: TempDir,
}

impl Upgraded {
    async fn start(kept: &Kept) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        kept.unpack(folder.path())?;
        let config = folder.path().join("config.toml");
        std::fs::write(&config, CONFIG)?;
        let config = config.to_str().context("a path in UTF-8")?;
        let host = HostProcess::start(&folder.path().join("data"), &["--config", config]).await?;
        Ok(Self { host, client: Client::new(), key: kept.key, _folder: folder })
    }

    fn request(&self, method: Method, path: &str, tenant: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}/v1/{path}", self.host.url()));
        request.bearer_auth(self.key).header("jobwright-tenant", tenant)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.text(path, "default").await?)?)
    }

    async fn text(&self, path: &str, tenant: &str) -> anyhow::Result<String> {
        let answer = self.request(Method::GET, path, tenant).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    async fn post(&self, path: &str, tenant: &str) -> anyhow::Result<()> {
        self.request(Method::POST, path, tenant).send().await?.error_for_status()?;
        Ok(())
    }

    /// The job, which must be completed within a minute.
    async fn completed(&self, id: &str) -> anyhow::Result<Value> {
        let job = self.get(&format!("jobs/{id}?wait=60s")).await?;
        ensure!(job["state"] == "completed", "{job}");
        Ok(job)
    }

    async fn output(&self, id: &str) -> anyhow::Result<String> {
        self.text(&format!("jobs/{id}/output"), "default").await
    }

    async fn log(&self, id: &str) -> anyhow::Result<String> {
        self.text(&format!("jobs/{id}/logs"), "default").await
    }
}

async fn a_data_directory_of_an_earlier_version_opens_and_its_jobs_continue() -> anyhow::Result<()>
{
    for kept in EACH {
        let host = Upgraded::start(kept).await?;
        shows_what_was_kept(&host, kept).await.context(kept.archive)?;
        goes_on(&host, kept).await.context(kept.archive)?;
    }
    Ok(())
}

async fn shows_what_was_kept(host: &Upgraded, kept: &Kept) -> anyhow::Result<()> {
    for (id, state) in [
        (kept.completed, "completed"),
        (kept.discarded, "discarded"),
        (kept.cancelled, "cancelled"),
    ] {
        assert_eq!(host.get(&format!("jobs/{id}")).await?["state"], state);
    }
    assert_eq!(host.output(kept.completed).await?, "done");
    ensure!(host.log(kept.discarded).await?.contains("bad date"));
    let theirs = host.text(&format!("jobs/{}/logs", kept.theirs), "acme").await?;
    ensure!(theirs.contains("done"), "{theirs}");
    assert_eq!(host.get("tenants/acme").await?["limits"]["jobs"], 7);
    assert_eq!(host.get("secrets").await?["secrets"][0]["name"], "KEY");
    Ok(())
}

/// Holds are still there; the attempt in flight was lost with its host.
async fn goes_on(host: &Upgraded, kept: &Kept) -> anyhow::Result<()> {
    assert_eq!(host.get("queues/held").await?["paused"], true);
    assert_eq!(host.get(&format!("jobs/{}", kept.available)).await?["attempt"], 0);
    assert_eq!(host.get(&format!("jobs/{}", kept.retryable)).await?["attempt"], 1);
    let running = host.get(&format!("jobs/{}", kept.running)).await?;
    assert_eq!(running["attempts"][0]["outcome"], "lost", "{running}");

    host.post("queues/held/resume", "default").await?;
    host.completed(kept.available).await?;
    host.post(&format!("jobs/{}/retry", kept.discarded), "default").await?;
    let again = host.get(&format!("jobs/{}?wait=60s", kept.discarded)).await?;
    assert_eq!((&again["state"], &again["attempt"]), (&json!("discarded"), &json!(2)), "{again}");
    Ok(())
}

async fn jobs_of_an_earlier_version_are_removed_after_their_retention() -> anyhow::Result<()> {
    // A time after every job of every directory.
    let now: Timestamp = "2026-12-01T00:00:00Z".parse()?;
    for kept in EACH {
        let folder = tempfile::tempdir()?;
        kept.unpack(folder.path())?;
        let limits = CapacityLimits::default();
        let store = EmbeddedStore::open(&folder.path().join("data"), limits, now)?;
        let is_there = async |id: &str| anyhow::Ok(store.get(id.parse()?).await?.is_some());
        let over = [kept.completed, kept.cancelled, kept.theirs, kept.discarded];

        let completed =
            Retention { completed_before: now, discarded_before: Timestamp::UNIX_EPOCH, now };
        store.prune(completed, 100).await?;
        for id in over {
            assert_eq!(is_there(id).await?, id == kept.discarded, "{id} in {}", kept.archive);
        }
        store.prune(Retention { discarded_before: now, ..completed }, 100).await?;
        ensure!(!is_there(kept.discarded).await?, "{}", kept.archive);
        for id in [kept.retryable, kept.available, kept.running] {
            ensure!(is_there(id).await?, "{id} in {}", kept.archive);
        }
    }
    Ok(())
}
