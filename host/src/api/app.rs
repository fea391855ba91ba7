//! What requests are answered from, and the budgets that they share.

use std::sync::Arc;

use jobwright_core::access::AccessStore;
use jobwright_core::clock::Clock;
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::Runtime;
use jobwright_core::secret::SecretStore;
use jobwright_core::services::CapabilityProvider;
use jobwright_core::store::Store;
use tokio::sync::{Mutex, watch};

use super::http::answers::Answers;
use super::http::body::Bodies;
use super::settings::ApiSettings;
use crate::controls::ControlsView;
use crate::events::WakeUps;
use crate::intake::{self, Intake, IntakeSettings};
use crate::shares::{Shares, table};
use crate::telemetry::Refusals;

/// What requests are answered from.
#[derive(Clone)]
pub struct App {
    /// Where jobs are.
    pub store: Arc<dyn Store>,
    /// Where plugins are.
    pub registry: Arc<dyn PluginRegistry>,
    /// What says whether bytes are a plugin.
    pub runtime: Arc<dyn Runtime>,
    /// Where keys and the audit log are.
    pub access: Arc<dyn AccessStore>,
    /// Where secrets are.
    pub secrets: Arc<dyn SecretStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What has kept values for plugins.
    pub grantor: Arc<dyn CapabilityProvider>,
    /// What wakes requests that wait.
    pub wake_ups: Arc<WakeUps>,
    /// What administrators disabled.
    pub controls: Arc<ControlsView>,
    /// Whether the host was told to stop.
    pub stopping: watch::Receiver<bool>,
    /// What an operator decided.
    pub settings: Arc<ApiSettings>,
    /// What accepts jobs.
    pub(super) intake: Arc<Intake>,
    pub(super) gates: Arc<Gates>,
}

/// What keeps requests from getting in each other's way.
#[derive(Debug)]
pub(super) struct Gates {
    pub(super) bodies: Bodies,
    /// Apart, so that uploads, which are long and take their time, never keep jobs out.
    pub(super) plugins: Bodies,
    pub(super) answers: Answers,
    pub(super) requests: Shares,
    pub(super) listings: Shares,
    pub(super) reads: Shares,
    pub(super) changes: Shares,
    pub(super) inspections: Shares,
    pub(super) refusals: Refusals,
    /// Held over each change of keys and tenants, from looking at what there is.
    pub(super) administration: Mutex<()>,
}

/// What the interface works with.
pub struct Parts {
    /// Where jobs are.
    pub store: Arc<dyn Store>,
    /// Where plugins are.
    pub registry: Arc<dyn PluginRegistry>,
    /// What says whether bytes are a plugin.
    pub runtime: Arc<dyn Runtime>,
    /// Where keys and the audit log are.
    pub access: Arc<dyn AccessStore>,
    /// Where secrets are.
    pub secrets: Arc<dyn SecretStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What has kept values for plugins.
    pub grantor: Arc<dyn CapabilityProvider>,
    /// What wakes requests that wait.
    pub wake_ups: Arc<WakeUps>,
    /// What administrators disabled.
    pub controls: Arc<ControlsView>,
    /// Whether the host was told to stop.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    /// The interface to these parts.
    #[must_use]
    pub fn new(parts: Parts, settings: ApiSettings) -> Self {
        let intake = Arc::new(intake(&parts, &settings));
        Self {
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
            gates: Arc::new(Gates {
                bodies: Bodies::new(&table::BODIES, settings.job_bytes()),
                plugins: Bodies::new(&table::UPLOADS, settings.plugin_bytes),
                answers: Answers::new(settings.limits.ceiling.output_bytes),
                requests: Shares::new(&table::REQUESTS),
                listings: Shares::new(&table::LISTINGS),
                reads: Shares::new(&table::READS),
                changes: Shares::new(&table::CHANGES),
                inspections: Shares::new(&table::INSPECTIONS),
                refusals: Refusals::default(),
                administration: Mutex::default(),
            }),
            settings: Arc::new(settings),
        }
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
