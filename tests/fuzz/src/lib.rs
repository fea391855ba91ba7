//! The host's API and its runtime, for arbitrary bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use jobwright::api::http::auth::ApiKeys;
use jobwright::api::http::browser::AllowedHosts;
use jobwright::api::{self, ApiSettings, App};
use jobwright::registry::DiskRegistry;
use jobwright::runtime::{Allocator, InProcessRuntime, RuntimeConfig};
use jobwright::services::secrets::SecretFile;
use jobwright::store::access::SqliteAccess;
use jobwright::store::memory::MemoryStore;
use jobwright::{JobParts, Parts, Subscribers};
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, JobSpec, Payload};
use jobwright_core::limits::{Fuel, LimitPolicy};
use jobwright_core::plugin::Inspection;
use jobwright_core::registry::Upload;
use jobwright_core::report::ProgressReporter;
use jobwright_core::runtime::{Ended, Stop};
use jobwright_core::{
    Attempt, Capabilities, Digest, Lifecycle, Limits, LogBuffer, PluginRegistry as _, Runtime as _,
    Start, TenantName,
};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// A host without a socket and without workers.
pub struct Host {
    executor: tokio::runtime::Runtime,
    runtime: Arc<InProcessRuntime>,
    registry: Arc<DiskRegistry>,
    router: Router,
    _folder: TempDir,
}

impl Host {
    /// An empty one.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let registry = Arc::new(DiskRegistry::open(folder.path(), 64 << 20)?);
        let config = RuntimeConfig {
            slots: 1,
            guest_threads: 1,
            allocator: Allocator::OnDemand,
            ..RuntimeConfig::default()
        };
        let runtime = Arc::new(InProcessRuntime::new(config, registry.clone())?);
        let (_, stopping) = tokio::sync::watch::channel(false);
        let app = App::new(
            Parts {
                jobs: JobParts {
                    store: Arc::new(MemoryStore::new(Default::default())),
                    runtime: runtime.clone(),
                    grantor: Arc::new(jobwright_core::services::NoCapabilities),
                    clock: Arc::new(jobwright::SystemClock::default()),
                },
                registry: registry.clone(),
                access: Arc::new(SqliteAccess::open(folder.path())?),
                secrets: Arc::new(SecretFile::open(folder.path())?),
            },
            Subscribers::default(),
            stopping,
            ApiSettings {
                limits: LimitPolicy::default(),
                capacity: Default::default(),
                payload_bytes: 1 << 20,
                plugin_bytes: 1 << 20,
                data: folder.path().to_owned(),
                free_bytes: 0,
                keys: ApiKeys::default(),
                allowed_hosts: AllowedHosts::new(&[]),
            },
        );
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { executor, runtime, registry, router: api::router(app), _folder: folder })
    }

    /// Handles a request; an internal error of the host is a fault.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> StatusCode {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .body(Body::from(body.to_vec()));
        // Not a valid path.
        let Ok(request) = request else { return StatusCode::BAD_REQUEST };
        let answer = self.executor.block_on(self.router.clone().oneshot(request));
        let status = answer.unwrap_or_else(|never| match never {}).status();
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{method} {path}");
        status
    }

    /// Installs a plugin in WebAssembly text.
    pub fn install(&self, name: &str, text: &str) -> anyhow::Result<Digest> {
        let wasm: Bytes = wat::parse_str(text)?.into();
        let inspection: Inspection = self.runtime.inspect(&wasm)?;
        let digest = Digest::of(&wasm);
        let (tenant, tenant_bytes) = (TenantName::default(), None);
        let upload =
            Upload { tenant, tenant_bytes, name: name.parse()?, version: None, wasm, inspection };
        self.executor.block_on(self.registry.publish(upload, Timestamp::UNIX_EPOCH))?;
        Ok(digest)
    }

    /// Runs an attempt at a job of the plugin `digest`, under small limits.
    pub fn run(&self, digest: Digest, payload: &[u8]) -> anyhow::Result<Ended> {
        let limits = Limits {
            fuel: Fuel::Units(20_000_000),
            timeout_ms: 5_000,
            memory_bytes: 4 << 20,
            ..Limits::DEFAULT
        };
        let spec = JobSpec {
            max_attempts: 1,
            limits,
            env: BTreeMap::from([("name".to_owned(), "value".to_owned())]),
            deterministic: true,
            ..JobSpec::new("calls".parse()?, "1.0.0".parse()?, digest)
        };
        let created_at = Timestamp::UNIX_EPOCH;
        let mut lifecycle = Lifecycle::new(created_at);
        lifecycle.claim(created_at);
        let (attempts, output, progress) = (vec![], None, None);
        let id = JobId::new(created_at);
        let spec = Arc::new(spec);
        let job = Job { id, spec, created_at, lifecycle, attempts, output, progress };
        let attempt = Attempt {
            job,
            limits,
            payload: Payload { content_type: None, bytes: Bytes::copy_from_slice(payload) },
            log: Arc::new(LogBuffer::new(limits.log_bytes)),
            report: Arc::new(ProgressReporter::new(None, limits.checkpoint_bytes)),
            granted: Capabilities::default(),
            start: Start::of_job(id, created_at),
        };
        let (_stop, signal) = Stop::new();
        Ok(self.executor.block_on(self.runtime.run(attempt, signal)))
    }
}
