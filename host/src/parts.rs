//! The parts of a host, declared once: the effects behind the traits of core, and the subscribers of the
//! store's committed changes that all of the host shares.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::access::AccessStore;
use jobwright_core::clock::{Clock, after};
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::Runtime;
use jobwright_core::secret::SecretStore;
use jobwright_core::services::CapabilityProvider;
use jobwright_core::store::{Store, StoreError};

use crate::controls::ControlsView;
use crate::events::WakeUps;

/// The parts that keep and run jobs: all that the dispatcher can reach. Clones share them.
#[derive(Clone)]
pub struct JobParts {
    /// The store of jobs.
    pub store: Arc<dyn Store>,
    /// Inspects and compiles plugins, and runs attempts.
    pub runtime: Arc<dyn Runtime>,
    /// Resolves the grants of plugins, and removes the stored values of removed plugins.
    pub grantor: Arc<dyn CapabilityProvider>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// The parts that a host is composed of. Clones share them.
#[derive(Clone)]
pub struct Parts {
    /// The parts that keep and run jobs.
    pub jobs: JobParts,
    /// The registry of plugins.
    pub registry: Arc<dyn PluginRegistry>,
    /// The store of API keys and of the audit log.
    pub access: Arc<dyn AccessStore>,
    /// The store of secrets.
    pub secrets: Arc<dyn SecretStore>,
}

/// The subscribers of committed changes that more than one part of the host uses. Clones share them.
#[derive(Clone, Default)]
pub struct Subscribers {
    /// The holds of administrators.
    pub controls: Arc<ControlsView>,
    /// Wakes the claim loop, and requests that wait.
    pub wake_ups: Arc<WakeUps>,
}

/// The timeout of a read of shared data, such as plugins and grants, for which an attempt keeps its slot and a
/// submission its lock: several times what a database takes that works.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of `read`, or that it took longer than [`READ_TIMEOUT`].
///
/// # Errors
/// As `read`; [`StoreError::Unavailable`] after the timeout.
pub(crate) async fn in_time<T>(
    clock: &dyn Clock,
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::select! {
        biased;
        read = read => read,
        () = clock.sleep_until(after(clock.now(), READ_TIMEOUT)) => {
            let reason = format!("no answer within {} s", READ_TIMEOUT.as_secs());
            Err(StoreError::Unavailable { reason })
        }
    }
}

impl Subscribers {
    /// Subscribes to the changes of `store`.
    ///
    /// # Errors
    /// If the present holds cannot be read.
    pub async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        let controls = ControlsView::of(store).await?;
        // After the controls: what is woken by a hold finds it there.
        Ok(Self { controls, wake_ups: WakeUps::by(&store.changes()) })
    }
}
