//! The state of the HTTP interface: what handlers use, and the budgets that requests share.

use std::ops::Deref;
use std::sync::Arc;

use jobwright_core::access::AccessStore;
use jobwright_core::clock::Clock;
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::Runtime;
use jobwright_core::secret::SecretStore;
use jobwright_core::services::CapabilityProvider;
use jobwright_core::store::Store;
use tokio::sync::{Mutex, watch};

use super::http::body::Bodies;
use super::http::response_budget::Responses;
use super::settings::ApiSettings;
use crate::controls::ControlsView;
use crate::events::WakeUps;
use crate::intake::{self, Intake, IntakeSettings};
use crate::shares::{Shares, table};
use crate::telemetry::Refusals;

/// The state of the HTTP interface. Clones share it, for the price of one counter: each layer of the router clones
/// it for each request.
#[derive(Clone)]
pub struct App(Arc<AppState>);

impl Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

/// What handlers use.
pub struct AppState {
    /// The store of jobs.
    pub store: Arc<dyn Store>,
    /// The registry of plugins.
    pub registry: Arc<dyn PluginRegistry>,
    /// Inspects and compiles uploads.
    pub runtime: Arc<dyn Runtime>,
    /// The store of keys and of the audit log.
    pub access: Arc<dyn AccessStore>,
    /// The store of secrets.
    pub secrets: Arc<dyn SecretStore>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Removes the stored values of removed plugins.
    pub grantor: Arc<dyn CapabilityProvider>,
    /// Wakes requests that wait for jobs.
    pub wake_ups: Arc<WakeUps>,
    /// What administrators disabled.
    pub controls: Arc<ControlsView>,
    /// Whether the host is stopping.
    pub stopping: watch::Receiver<bool>,
    /// The configuration.
    pub settings: ApiSettings,
    /// Accepts jobs.
    pub(super) intake: Intake,
    pub(super) budgets: Budgets,
    pub(super) refusals: Refusals,
    /// Locked for the whole of each change of keys and tenants, which depends on the others that exist.
    pub(super) administration: Mutex<()>,
}

/// The budgets that requests of all tenants share: see [`table`].
#[derive(Debug)]
pub(super) struct Budgets {
    pub(super) bodies: Bodies,
    /// Separate from `bodies`, so that long uploads do not block jobs.
    pub(super) uploads: Bodies,
    pub(super) responses: Responses,
    pub(super) requests: Shares,
    pub(super) listings: Shares,
    pub(super) reads: Shares,
    pub(super) changes: Shares,
    pub(super) inspections: Shares,
}

impl Budgets {
    fn new(settings: &ApiSettings) -> Self {
        Self {
            bodies: Bodies::new(&table::BODIES, settings.job_bytes()),
            uploads: Bodies::new(&table::UPLOADS, settings.plugin_bytes),
            responses: Responses::new(settings.limits.ceiling.output_bytes),
            requests: Shares::new(&table::REQUESTS),
            listings: Shares::new(&table::LISTINGS),
            reads: Shares::new(&table::READS),
            changes: Shares::new(&table::CHANGES),
            inspections: Shares::new(&table::INSPECTIONS),
        }
    }
}

/// What the interface is built from.
pub struct Parts {
    /// The store of jobs.
    pub store: Arc<dyn Store>,
    /// The registry of plugins.
    pub registry: Arc<dyn PluginRegistry>,
    /// Inspects and compiles uploads.
    pub runtime: Arc<dyn Runtime>,
    /// The store of keys and of the audit log.
    pub access: Arc<dyn AccessStore>,
    /// The store of secrets.
    pub secrets: Arc<dyn SecretStore>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Removes the stored values of removed plugins.
    pub grantor: Arc<dyn CapabilityProvider>,
    /// Wakes requests that wait for jobs.
    pub wake_ups: Arc<WakeUps>,
    /// What administrators disabled.
    pub controls: Arc<ControlsView>,
    /// Whether the host is stopping.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    /// The interface to `parts`.
    #[must_use]
    pub fn new(parts: Parts, settings: ApiSettings) -> Self {
        let intake = intake(&parts, &settings);
        Self(Arc::new(AppState {
            store: parts.store,
            registry: parts.registry,
            runtime: parts.runtime,
            access: parts.access,
            secrets: parts.secrets,
            clock: parts.clock,
            grantor: parts.grantor,
            wake_ups: parts.wake_ups,
            controls: parts.controls,
            stopping: parts.stopping,
            intake,
            budgets: Budgets::new(&settings),
            refusals: Refusals::default(),
            administration: Mutex::default(),
            settings,
        }))
    }
}

fn intake(parts: &Parts, settings: &ApiSettings) -> Intake {
    let of = intake::Parts {
        store: parts.store.clone(),
        registry: parts.registry.clone(),
        clock: parts.clock.clone(),
        controls: parts.controls.clone(),
        wake_ups: parts.wake_ups.clone(),
    };
    let ApiSettings { limits, payload_bytes, free_bytes, .. } = *settings;
    let data = settings.data.clone();
    Intake::new(of, IntakeSettings { limits, payload_bytes, data, free_bytes })
}
