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
                // It is there, and does not like the source.
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
pub(super) struct Stage {
    shim: Arc<Shim>,
    pub(super) data: TempDir,
    faults: TempDir,
    pub(super) http: Client,
    /// Where each job is that was acknowledged.
    pub(super) ledger: Mutex<Vec<String>>,
}

impl Stage {
    pub(super) fn new(shim: Arc<Shim>) -> anyhow::Result<Arc<Self>> {
        let faults = TempDir::new()?;
        std::fs::create_dir(faults.path().join("synced"))?;
        let (data, http, ledger) = (TempDir::new()?, Client::new(), Mutex::default());
        Ok(Arc::new(Self { shim, data, faults, http, ledger }))
    }

    /// What puts the shim between a process and its files.
    pub(super) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        let shim = self.shim.0.path().join("shim.so");
        [("LD_PRELOAD", shim), ("JOBWRIGHT_FAULTS", self.faults.path().to_owned())]
    }

    /// Starts a host.
    pub(super) async fn start(&self) -> anyhow::Result<HostProcess> {
        HostProcess::start_within(self.data.path(), &[], &self.environment()).await
    }

    /// As [`Stage::start`], with a plugin that jobs can name.
    pub(super) async fn start_first(&self) -> anyhow::Result<HostProcess> {
        let host = self.start().await?;
        let url = format!("{}/v1/plugins/echo", host.url());
        self.http.put(url).body(guests::echo()?).send().await?.error_for_status()?;
        Ok(host)
    }

    /// The disk fails so from now on.
    pub(super) fn raise(&self, fault: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.faults.path().join(fault), "")?)
    }

    /// It does not any more.
    pub(super) fn lower(&self, fault: &str) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.faults.path().join(fault))?)
    }

    /// How often it has failed so.
    pub(super) fn made(&self, fault: &str) -> u64 {
        let path = self.faults.path().join(format!("{fault}.made"));
        std::fs::metadata(path).map_or(0, |made| made.len())
    }

    /// A database file as it was when it was synced last.
    pub(super) fn synced(&self, file: &str) -> PathBuf {
        self.faults.path().join("synced").join(file)
    }

    pub(super) async fn post(&self, host: &HostProcess, job: &Value) -> reqwest::Result<Response> {
        self.http.post(format!("{}/v1/jobs", host.url())).json(job).send().await
    }

    /// Submits a job; what is acknowledged is remembered.
    pub(super) async fn submit(&self, url: &str) -> anyhow::Result<StatusCode> {
        let job = json!({ "plugin": "echo", "payload": "x".repeat(1000) });
        let answer = self.http.post(format!("{url}/v1/jobs")).json(&job).send().await?;
        if answer.status() == StatusCode::ACCEPTED {
            // The head has arrived, so the job is on disk, whether or not the rest arrives.
            let place = answer.headers().get("location").context("it says where the job is")?;
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

    /// Submits jobs from several clients until they are told otherwise than 202, or nothing.
    pub(super) fn submit_until_refused(
        self: &Arc<Self>,
        url: &str,
    ) -> Vec<tokio::task::JoinHandle<Option<StatusCode>>> {
        let client = || {
            let (stage, url) = (self.clone(), url.to_owned());
            tokio::spawn(async move {
                loop {
                    match stage.submit(&url).await {
                        Ok(StatusCode::ACCEPTED) => {}
                        Ok(other) => return Some(other),
                        Err(_) => return None,
                    }
                }
            })
        };
        (0..4).map(|_| client()).collect()
    }

    /// Whether the host says that it takes jobs, with what it says.
    pub(super) async fn ready(&self, host: &HostProcess) -> anyhow::Result<(bool, Value)> {
        let answer = self.http.get(format!("{}/readyz", host.url())).send().await?;
        Ok((answer.status() == StatusCode::OK, answer.json().await?))
    }

    /// Every acknowledged job is there.
    pub(super) async fn all_are_there(&self, host: &HostProcess) -> anyhow::Result<usize> {
        let places = self.places();
        for place in &places {
            let answer = self.http.get(format!("{}{place}", host.url())).send().await?;
            let status = answer.status();
            ensure!(status == StatusCode::OK, "{place} was acknowledged: {status}");
        }
        Ok(places.len())
    }

    /// Every acknowledged job is run to its end.
    pub(super) async fn all_are_completed(&self, host: &HostProcess) -> anyhow::Result<usize> {
        let places = self.places();
        for place in &places {
            let answer = self.http.get(format!("{}{place}?wait=60s", host.url())).send().await?;
            let job: Value = answer.error_for_status()?.json().await?;
            // One that ran at each of three deaths is given up, which is an end as well.
            let over = job["state"] == "completed" || job["state"] == "discarded";
            ensure!(over, "{job}");
        }
        Ok(places.len())
    }
}
