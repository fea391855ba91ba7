//! Wrappers of drivers by which a test can delay a call, make it fail, or count it. As with real drivers, a
//! call is completed even if its caller is dropped.

use std::any::Any;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jobwright::store::memory::MemoryStore;
use jobwright_core::attempt::Lease;
use jobwright_core::capacity::QueueFull;
use jobwright_core::change::{ChangeStream, ResumeToken};
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote, VersionedHolds};
use jobwright_core::host::HostId;
use jobwright_core::job::{CancelRequest, Dedup, Job, JobId, NewJob, Payload};
use jobwright_core::log::LogSnapshot;
use jobwright_core::outcome::Output;
use jobwright_core::plugin::{Digest, Plugin, PluginName, PluginSettings, Version};
use jobwright_core::queue::QueueCounts;
use jobwright_core::registry::{PluginRegistry, Published, RegistryError, Upload};
use jobwright_core::report::ProgressUpdate;
use jobwright_core::store::{
    AttemptLog, AttemptTraces, ChangedSince, Claim, Claimed, Controls, Enqueued, Finish, Finished,
    JobFilter, JobPage, JobReads, JobStore, Page, Redriven, Renewal, Retention, StoreError,
};
use jobwright_core::tenant::{TenantLimits, TenantName};
use tokio::sync::Semaphore;

use super::soon;

/// Called before each call, with its name and arguments.
type Before<E> = dyn Fn(&str, &[&dyn Any]) -> BoxFuture<'static, Result<(), E>> + Send + Sync;

/// Delays its callers until the test lets them continue.
#[derive(Debug)]
pub(crate) struct Latch {
    reached: Semaphore,
    open: Semaphore,
    passing: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

impl Latch {
    pub(crate) fn new() -> Arc<Self> {
        let (reached, open) = (Semaphore::new(0), Semaphore::new(0));
        let [passing, most, all] = std::array::from_fn(|_| AtomicUsize::new(0));
        Arc::new(Self { reached, open, passing, most, all })
    }

    /// Waits until the test lets the caller continue.
    pub(crate) async fn pass(self: Arc<Self>) {
        self.all.fetch_add(1, Ordering::SeqCst);
        let passing = 1 + self.passing.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(passing, Ordering::SeqCst);
        self.reached.add_permits(1);
        // Never closed.
        let _ = self.open.acquire().await.map(|permit| permit.forget());
        self.passing.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns when another caller waits.
    pub(crate) async fn reached(&self) -> anyhow::Result<()> {
        soon(self.reached.acquire()).await.context("no call came")??.forget();
        Ok(())
    }

    /// Lets `many` callers continue.
    pub(crate) fn open(&self, many: usize) {
        self.open.add_permits(many);
    }

    /// The maximum number of callers that waited at one time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The number of callers so far.
    pub(crate) fn all(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }
}

/// The argument of this type, if there is one.
pub(crate) fn argument<'a, T: 'static>(arguments: &[&'a dyn Any]) -> Option<&'a T> {
    arguments.iter().find_map(|argument| argument.downcast_ref())
}

/// A store in memory, whose calls pass through a function of the test.
pub(crate) struct Interposed {
    inner: Arc<MemoryStore>,
    before: Box<Before<StoreError>>,
}

impl Interposed {
    pub(crate) fn new(
        before: impl Fn(&str, &[&dyn Any]) -> BoxFuture<'static, Result<(), StoreError>>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        let inner = Arc::new(MemoryStore::new(Default::default()));
        Arc::new(Self { inner, before: Box::new(before) })
    }

    /// A store in which `latch` delays the calls for which `is_held` returns true.
    pub(crate) fn held(
        latch: &Arc<Latch>,
        is_held: impl Fn(&str, &[&dyn Any]) -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        let latch = latch.clone();
        Self::new(move |name, arguments| {
            let passing = is_held(name, arguments).then(|| latch.clone().pass());
            Box::pin(async move {
                if let Some(passing) = passing {
                    passing.await;
                }
                Ok(())
            })
        })
    }
}

fn broken(error: tokio::task::JoinError) -> StoreError {
    StoreError::Unavailable { reason: error.to_string() }
}

/// Forwards the methods of a trait to the store in memory; those whose form differs are written out.
macro_rules! forward {
    ($trait:ident { $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* } { $($others:tt)* }) => {
        #[async_trait]
        impl $trait for Interposed {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, StoreError> {
                let before = (self.before)(stringify!($name), &[$(&$arg),*]);
                let inner = self.inner.clone();
                let call = async move {
                    before.await?;
                    inner.$name($($arg),*).await
                };
                tokio::spawn(call).await.map_err(broken)?
            })*
            $($others)*
        }
    };
}

forward! {
    JobStore {
        enqueue(jobs: Vec<NewJob>, now: Timestamp) -> Vec<Enqueued>;
        claim(want: Claim, now: Timestamp) -> Claimed;
        renew(leases: Vec<Lease>, expires_at: Timestamp, now: Timestamp) -> Vec<Renewal>;
        alive(host: HostId, now: Timestamp) -> ();
        finish(finish: std::sync::Arc<Finish>, now: Timestamp) -> Finished;
        request_cancel(id: JobId, now: Timestamp) -> Option<CancelRequest>;
        cancel_covered(hold: Hold, now: Timestamp, most: usize) -> Vec<(JobId, CancelRequest)>;
        redrive(id: JobId, now: Timestamp) -> Option<Redriven>;
        reclaim_expired(now: Timestamp, most: usize) -> Vec<JobId>;
        prune(retention: Retention, most: usize) -> usize;
    }
    {
        fn changes(&self) -> Arc<ChangeStream> {
            self.inner.changes()
        }
        async fn uses(
            &self,
            tenant: &TenantName,
            plugin: &PluginName,
            version: Option<&Version>,
        ) -> Result<usize, StoreError> {
            let before = (self.before)("uses", &[tenant]);
            before.await?;
            self.inner.uses(tenant, plugin, version).await
        }
        fn spare_bytes(&self) -> u64 {
            self.inner.spare_bytes()
        }
        fn full(&self) -> Option<QueueFull> {
            self.inner.full()
        }
        fn ready(&self) -> Result<(), StoreError> {
            use futures_util::FutureExt as _;
            (self.before)("ready", &[]).now_or_never().unwrap_or(Ok(()))
        }
    }
}

forward! {
    JobReads {
        get(id: JobId) -> Option<Job>;
        payload(id: JobId) -> Option<Payload>;
        output(id: JobId) -> Option<Output>;
        logs(id: JobId) -> Vec<AttemptLog>;
        list(filter: JobFilter, page: Page, now: Timestamp) -> JobPage;
        counts(now: Timestamp) -> Vec<QueueCounts>;
    }
    {
        async fn repeated(
            &self,
            tenant: &TenantName,
            dedup: &Dedup,
            now: Timestamp,
        ) -> Result<Option<Enqueued>, StoreError> {
            let before = (self.before)("repeated", &[]);
            before.await?;
            self.inner.repeated(tenant, dedup, now).await
        }
        async fn changed_since(
            &self,
            seen: &ResumeToken,
            most: usize,
        ) -> Result<ChangedSince, StoreError> {
            let before = (self.before)("changed_since", &[]);
            before.await?;
            self.inner.changed_since(seen, most).await
        }
    }
}

forward! {
    Controls {
        set_held(hold: Hold, note: Option<HoldNote>) -> ();
        versioned_holds() -> VersionedHolds;
        set_tenant(tenant: TenantName, limits: TenantLimits) -> ();
        tenants() -> Vec<(TenantName, TenantLimits)>;
    }
    {
        async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError> {
            let before = (self.before)("tenant", &[name]);
            before.await?;
            self.inner.tenant(name).await
        }
    }
}

forward! {
    AttemptTraces {
        save_log(id: JobId, attempt: u32, log: LogSnapshot) -> ();
        save_progress(lease: Lease, told: ProgressUpdate) -> ();
    }
    {}
}

/// A registry in which `latch` delays the changes and reads for which `is_held` returns true.
pub(crate) struct InterposedRegistry {
    pub(crate) inner: Arc<dyn PluginRegistry>,
    pub(crate) latch: Arc<Latch>,
    pub(crate) is_held: Box<IsHeld>,
}

type IsHeld = dyn Fn(&str, Option<&Digest>) -> bool + Send + Sync;

impl InterposedRegistry {
    async fn call<A: Send + 'static>(
        &self,
        (name, digest): (&str, Option<&Digest>),
        call: impl Future<Output = Result<A, RegistryError>> + Send + 'static,
    ) -> Result<A, RegistryError> {
        let passing = (self.is_held)(name, digest).then(|| self.latch.clone().pass());
        let call = async move {
            if let Some(passing) = passing {
                passing.await;
            }
            call.await
        };
        let broken = |error: tokio::task::JoinError| RegistryError::Io {
            action: "go on".to_owned(),
            source: error.into(),
        };
        tokio::spawn(call).await.map_err(broken)?
    }
}

#[async_trait]
impl PluginRegistry for InterposedRegistry {
    async fn publish(&self, upload: Upload, now: Timestamp) -> Result<Published, RegistryError> {
        self.inner.publish(upload, now).await
    }
    async fn get(
        &self,
        tenant: &TenantName,
        name: &PluginName,
    ) -> Result<Option<Arc<Plugin>>, StoreError> {
        self.inner.get(tenant, name).await
    }
    async fn list(
        &self,
        tenant: &TenantName,
        after: Option<&PluginName>,
        most: usize,
    ) -> Result<Vec<Arc<Plugin>>, StoreError> {
        self.inner.list(tenant, after, most).await
    }
    async fn configure(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        settings: PluginSettings,
    ) -> Result<Option<Plugin>, RegistryError> {
        let (inner, tenant, name) = (self.inner.clone(), tenant.clone(), name.clone());
        let call = async move { inner.configure(&tenant, &name, settings).await };
        self.call(("configure", None), call).await
    }
    async fn remove(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        version: Option<&Version>,
    ) -> Result<bool, RegistryError> {
        let (inner, tenant, name) = (self.inner.clone(), tenant.clone(), name.clone());
        let version = version.cloned();
        let call = async move { inner.remove(&tenant, &name, version.as_ref()).await };
        self.call(("remove", None), call).await
    }
    async fn wasm(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        let (inner, digest) = (self.inner.clone(), *digest);
        self.call(("wasm", Some(&digest)), async move { inner.wasm(&digest).await }).await
    }
    async fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, RegistryError> {
        self.inner.open(digest).await
    }
}
