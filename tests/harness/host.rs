//! A real host in this process, on a port and a directory of its own.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jobwright::registry::DiskRegistry;
use jobwright::runtime::{InProcessRuntime, RuntimeConfig};
use jobwright::services::secrets::SecretFile;
use jobwright::store::access::SqliteAccess;
use jobwright::store::memory::MemoryStore;
use jobwright::{Config, Host, JobParts, Parts, SystemClock};
use jobwright_core::services::{CapabilityProvider, NoCapabilities};
use jobwright_core::{AccessStore, Clock, Runtime, Store};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A real host, with its port and directory. Stopped by [`TestHost::stop`], abandoned when dropped.
pub struct TestHost {
    address: SocketAddr,
    http: reqwest::Client,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    directory: Arc<TempDir>,
}

impl TestHost {
    /// A host with the default configuration.
    pub async fn start() -> anyhow::Result<Self> {
        Self::configured(|_| {}).await
    }

    /// A host with another configuration.
    pub async fn configured(change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        Self::on(Arc::new(tempfile::tempdir()?), change).await
    }

    /// A host on the directory that another one used.
    pub async fn on(
        directory: Arc<TempDir>,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        let config = config(directory.path(), change);
        Self::running(jobwright::build(config).await?, directory)
    }

    /// A host whose parts, except the plugin registry, are provided by the test.
    pub async fn of(
        store: Arc<dyn Store>,
        runtime: Arc<dyn Runtime>,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        let directory = Arc::new(tempfile::tempdir()?);
        let registry = Arc::new(DiskRegistry::open(&directory.path().join("plugins"), u64::MAX)?);
        let config = config(directory.path(), change);
        let grantor = Arc::new(NoCapabilities);
        let access = Arc::new(SqliteAccess::open(directory.path())?);
        let secrets = Arc::new(SecretFile::open(directory.path())?);
        let jobs = JobParts { store, runtime, grantor, clock };
        let parts = Parts { jobs, registry, access, secrets };
        Self::running(jobwright::assemble(config, parts).await?, directory)
    }

    /// A host that runs real plugins with the grants that `grantor` returns. Its jobs are in memory.
    pub async fn granting(grantor: Arc<dyn CapabilityProvider>) -> anyhow::Result<Self> {
        let directory = Arc::new(tempfile::tempdir()?);
        let registry = Arc::new(DiskRegistry::open(&directory.path().join("plugins"), u64::MAX)?);
        let runtime = RuntimeConfig { slots: 8, guest_threads: 2, ..RuntimeConfig::default() };
        let runtime = Arc::new(InProcessRuntime::new(runtime, registry.clone())?);
        let config = config(directory.path(), |config| config.workers = NonZeroU32::MIN);
        let store = Arc::new(MemoryStore::new(config.capacity()));
        let access = Arc::new(SqliteAccess::open(directory.path())?);
        let (secrets, clock) =
            (Arc::new(SecretFile::open(directory.path())?), Arc::new(SystemClock::default()));
        let jobs = JobParts { store, runtime, grantor, clock };
        let parts = Parts { jobs, registry, access, secrets };
        Self::running(jobwright::assemble(config, parts).await?, directory)
    }

    /// A host whose keys and audit log are wrapped by `access`; its jobs are in memory.
    pub async fn accessed(
        runtime: Arc<dyn Runtime>,
        access: impl FnOnce(SqliteAccess) -> Arc<dyn AccessStore>,
    ) -> anyhow::Result<Self> {
        Self::replacing(runtime, |parts, directory| {
            parts.access = access(SqliteAccess::open(directory)?);
            Ok(())
        })
        .await
    }

    /// A host whose parts are built in its directory, after which `replace` may replace some of them; its
    /// jobs are in memory.
    pub async fn replacing(
        runtime: Arc<dyn Runtime>,
        replace: impl FnOnce(&mut Parts, &Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let directory = Arc::new(tempfile::tempdir()?);
        let registry = Arc::new(DiskRegistry::open(&directory.path().join("plugins"), u64::MAX)?);
        let config = config(directory.path(), |_| {});
        let store = Arc::new(MemoryStore::new(config.capacity()));
        let access = Arc::new(SqliteAccess::open(directory.path())?);
        let (secrets, clock) =
            (Arc::new(SecretFile::open(directory.path())?), Arc::new(SystemClock::default()));
        let grantor = Arc::new(NoCapabilities);
        let jobs = JobParts { store, runtime, grantor, clock };
        let mut parts = Parts { jobs, registry, access, secrets };
        replace(&mut parts, directory.path())?;
        Self::running(jobwright::assemble(config, parts).await?, directory)
    }

    fn running(host: Host, directory: Arc<TempDir>) -> anyhow::Result<Self> {
        let address = host.address()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(host.run(async { drop(stopped.await) }));
        Ok(Self { address, http: reqwest::Client::new(), stop, running, directory })
    }

    /// Shuts the host down gracefully; returns the directory it used.
    pub async fn stop(self) -> anyhow::Result<Arc<TempDir>> {
        let _ = self.stop.send(());
        self.running.await?;
        Ok(self.directory)
    }

    /// The directory it uses.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request to it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// Reads a resource.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        Ok(self.request(Method::GET, path).send().await?)
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Response> {
        Ok(self.request(Method::POST, path).json(&body).send().await?)
    }

    /// Uploads version 1.0.0 of a plugin.
    pub async fn push(&self, name: &str, wasm: impl Into<Vec<u8>>) -> anyhow::Result<Value> {
        let path = format!("/v1/plugins/{name}?version=1.0.0");
        expect(
            StatusCode::CREATED,
            self.request(Method::PUT, &path).body(wasm.into()).send().await?,
        )
        .await
    }

    /// Submits a job that must be accepted; returns its id.
    pub async fn submit(&self, job: Value) -> anyhow::Result<String> {
        let job = expect(StatusCode::ACCEPTED, self.post("/v1/jobs", job).await?).await?;
        Ok(job["id"].as_str().context("a job has an id")?.to_owned())
    }

    /// Waits until the job is finalized.
    pub async fn finalized(&self, id: &str) -> anyhow::Result<Value> {
        let response = self.get(&format!("/v1/jobs/{id}?wait=60s")).await?;
        let job = expect(StatusCode::OK, response).await?;
        ensure!(!job["finalized_at"].is_null(), "not finalized within a minute: {job}");
        Ok(job)
    }

    /// Submits a job and waits until it is finalized.
    pub async fn run(&self, job: Value) -> anyhow::Result<Value> {
        let id = self.submit(job).await?;
        self.finalized(&id).await
    }

    /// A job as it is now.
    pub async fn job(&self, id: &str) -> anyhow::Result<Value> {
        expect(StatusCode::OK, self.get(&format!("/v1/jobs/{id}")).await?).await
    }

    /// The log of a job's latest attempt.
    pub async fn log(&self, id: &str) -> anyhow::Result<String> {
        Ok(self.get(&format!("/v1/jobs/{id}/logs")).await?.error_for_status()?.text().await?)
    }
}

/// The JSON of a response that must have this status.
pub(crate) async fn expect(status: StatusCode, response: Response) -> anyhow::Result<Value> {
    let found = response.status();
    let body = response.text().await?;
    ensure!(found == status, "{found} instead of {status}: {body}");
    serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))
}

fn config(directory: &Path, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data: directory.to_owned(),
        ..Config::default()
    };
    change(&mut config);
    config
}
