//! The state of the HTTP interface: what handlers use, and the budgets that requests share.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use super::http::body::Bodies;
use super::http::response_budget::Responses;
use super::settings::ApiSettings;
use crate::intake::{Intake, IntakeSettings};
use crate::parts::{Parts, Subscribers};
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
    /// The parts of the host.
    pub parts: Parts,
    /// What follows the changes of the store.
    pub subscribers: Subscribers,
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

impl App {
    /// The interface to `parts`. `stopping` becomes true when the host stops.
    #[must_use]
    pub fn new(
        parts: Parts,
        subscribers: Subscribers,
        stopping: watch::Receiver<bool>,
        settings: ApiSettings,
    ) -> Self {
        let intake = IntakeSettings {
            limits: settings.limits,
            payload_bytes: settings.payload_bytes,
            data: settings.data.clone(),
            free_bytes: settings.free_bytes,
        };
        Self(Arc::new(AppState {
            intake: Intake::new(parts.clone(), subscribers.clone(), intake),
            parts,
            subscribers,
            stopping,
            budgets: Budgets::new(&settings),
            refusals: Refusals::default(),
            administration: Mutex::default(),
            settings,
        }))
    }
}
