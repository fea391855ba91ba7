//! The shim, and a host behind it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use jobwright_tests::{HostProcess, guests};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The shim, compiled for this machine.
pub(super) struct Shim(TempDir);

impl Shim {
    pub(super) fn compile() -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/shim.c");
        let target = directory.path().join("shim.so");
        for compiler in [&["cc"][..], &["python3", "-m", "ziglang", "cc"]] {
            let mut command = Command::new(compiler[0]);
            command.args(&compiler[1..]).args(["-shared", "-fPIC", "-O1", "-o"]);
            match command.arg(&target).arg(&source).arg("-ldl").output() {
                Ok(done) if done.status.success() => return Ok(Self(directory)),
                // A compiler was found, but it rejects the source.
                Ok(done) if compiler.len() == 1 => {
                    bail!("{}", String::from_utf8_lossy(&done.stderr));
                }
                _ => {}
            }
        }
        bail!("no C compiler: neither cc nor python3 -m ziglang")
    }
}

/// Hosts on one data directory, one after the other, with a disk that fails on demand.
pub(super) struct Fixture {
    shim: Arc<Shim>,
    pub(super) data: TempDir,
    faults: TempDir,
    pub(super) http: Client,
    /// The paths of all acknowledged jobs.
    pub(super) ledger: Mutex<Vec<String>>,
}

impl Fixture {
    pub(super) fn new(shim: Arc<Shim>) -> anyhow::Result<Arc<Self>> {
        let faults = TempDir::new()?;
        std::fs::create_dir(faults.path().join("synced"))?;
        let (data, http, ledger) = (TempDir::new()?, Client::new(), Mutex::default());
        Ok(Arc::new(Self { shim, data, faults, http, ledger }))
    }

    /// The variables that load the shim into a process.
    pub(super) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        let shim = self.shim.0.path().join("shim.so");
        [("LD_PRELOAD", shim), ("JOBWRIGHT_FAULTS", self.faults.path().to_owned())]
    }

    /// Starts a host.
    pub(super) async fn start(&self) -> anyhow::Result<HostProcess> {
        HostProcess::start_within(self.data.path(), &[], &self.environment()).await
    }

    /// As [`Fixture::start`], with a plugin that jobs can name.
    pub(super) async fn start_first(&self) -> anyhow::Result<HostProcess> {
        let host = self.start().await?;
        let url = format!("{}/v1/plugins/echo", host.url());
        self.http.put(url).body(guests::echo()?).send().await?.error_for_status()?;
        Ok(host)
    }

    /// Starts a fault of the disk.
    pub(super) fn raise(&self, fault: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.faults.path().join(fault), "")?)
    }

    /// Ends a fault of the disk.
    pub(super) fn lower(&self, fault: &str) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.faults.path().join(fault))?)
    }

    /// How often the disk has failed in this way.
    pub(super) fn made(&self, fault: &str) -> u64 {
        let path = self.faults.path().join(format!("{fault}.made"));
        std::fs::metadata(path).map_or(0, |made| made.len())
    }

    /// A copy of a database file as of its last sync.
    pub(super) fn synced(&self, file: &str) -> PathBuf {
        self.faults.path().join("synced").join(file)
    }

    pub(super) async fn post(&self, host: &HostProcess, job: &Value) -> reqwest::Result<Response> {
        self.http.post(format!("{}/v1/jobs", host.url())).json(job).send().await
    }

    /// Submits a job, and records it if it was acknowledged.
    pub(super) async fn submit(&self, url: &str) -> anyhow::Result<StatusCode> {
        let job = json!({ "plugin": "echo", "payload": "x".repeat(1000) });
        let answer = self.http.post(format!("{url}/v1/jobs")).json(&job).send().await?;
        if answer.status() == StatusCode::ACCEPTED {
            // The head has arrived, so the job is on disk, whether or not the rest arrives.
            let place = answer.headers().get("location").context("the response has a location")?;
            self.acknowledged(place.to_str()?.to_owned());
        }
        Ok(answer.status())
    }

    pub(super) fn acknowledged(&self, place: String) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    fn places(&self) -> Vec<String> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Submits jobs from several clients until they get another status than 202, or no response.
    pub(super) fn submit_until_refused(
        self: &Arc<Self>,
        url: &str,
    ) -> Vec<tokio::task::JoinHandle<Option<StatusCode>>> {
        let client = || {
            let (fixture, url) = (self.clone(), url.to_owned());
            tokio::spawn(async move {
                loop {
                    match fixture.submit(&url).await {
                        Ok(StatusCode::ACCEPTED) => {}
                        Ok(other) => return Some(other),
                        Err(_) => return None,
                    }
                }
            })
        };
        (0..4).map(|_| client()).collect()
    }

    /// Whether the host is ready, with the body of its response.
    pub(super) async fn ready(&self, host: &HostProcess) -> anyhow::Result<(bool, Value)> {
        let answer = self.http.get(format!("{}/readyz", host.url())).send().await?;
        Ok((answer.status() == StatusCode::OK, answer.json().await?))
    }

    /// Checks that every acknowledged job is there.
    pub(super) async fn all_are_there(&self, host: &HostProcess) -> anyhow::Result<usize> {
        let places = self.places();
        for place in &places {
            let answer = self.http.get(format!("{}{place}", host.url())).send().await?;
            let status = answer.status();
            ensure!(status == StatusCode::OK, "{place} was acknowledged: {status}");
        }
        Ok(places.len())
    }

    /// Checks that every acknowledged job is finalized.
    pub(super) async fn all_are_completed(&self, host: &HostProcess) -> anyhow::Result<usize> {
        let places = self.places();
        for place in &places {
            let answer = self.http.get(format!("{}{place}?wait=60s", host.url())).send().await?;
            let job: Value = answer.error_for_status()?.json().await?;
            // A job that was lost three times is discarded, which is final as well.
            let over = job["state"] == "completed" || job["state"] == "discarded";
            ensure!(over, "{job}");
        }
        Ok(places.len())
    }
}
