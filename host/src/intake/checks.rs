//! The checks of a submission, one function each.

use std::path::PathBuf;
use std::sync::Arc;

use jobwright_core::clock::Timestamp;
use jobwright_core::hold::JobLabels;
use jobwright_core::job::{JobId, JobSpec, NewJob};
use jobwright_core::limits::LimitPolicy;
use jobwright_core::plugin::{PluginRef, Selector};
use jobwright_core::store::Enqueued;
use jobwright_core::tenant::TenantName;

use super::draft::{Context, Due, JobDraft};
use super::floor::DiskFloor;
use super::installed::InstalledPlugins;
use super::pace::Paces;
use super::refused::Refused;
use super::submission::{Accepted, RequestKey, Submitter};
use crate::parts::{Parts, Subscribers};

/// The operator's settings for accepting jobs.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// The default limits and the ceilings.
    pub limits: LimitPolicy,
    /// The longest payload, in bytes.
    pub payload_bytes: u64,
    /// The data directory.
    pub data: PathBuf,
    /// The minimum free space of its file system, in bytes.
    pub free_bytes: u64,
}

/// See the module's text.
pub(super) struct Checks {
    pub(super) parts: Parts,
    pub(super) subscribers: Subscribers,
    settings: IntakeSettings,
    floor: DiskFloor,
    paces: Paces,
}

impl Checks {
    pub(super) fn new(parts: Parts, subscribers: Subscribers, settings: IntakeSettings) -> Self {
        let floor = DiskFloor::new(&settings.data, settings.free_bytes);
        Self { parts, subscribers, settings, floor, paces: Paces::default() }
    }

    /// The plugins of a tenant, for one submission.
    pub(super) fn plugins<'a>(&'a self, tenant: &'a TenantName) -> InstalledPlugins<'a> {
        InstalledPlugins::of(&self.parts, tenant)
    }

    /// The job that was accepted under this key before.
    pub(super) async fn repeated(
        &self,
        tenant: &TenantName,
        key: &RequestKey,
        now: Timestamp,
    ) -> Result<Option<Accepted>, Refused> {
        match self.parts.jobs.store.repeated(tenant, &key.dedup(now), now).await? {
            None => Ok(None),
            Some(Enqueued::Duplicate(first)) => Ok(Some(Accepted::Repeated(first))),
            Some(Enqueued::KeyReused) => Err(Refused::KeyReused),
            Some(Enqueued::QueueFull(full)) => Err(full.into()),
            Some(Enqueued::Inserted) => Err(Refused::Broken("nothing was inserted".to_owned())),
        }
    }

    /// The job of a draft, with the present digest of its plugin; refused if a field is invalid or
    /// the plugin is not installed.
    pub(super) async fn job(
        &self,
        by: &dyn Submitter,
        draft: JobDraft,
        plugins: &mut InstalledPlugins<'_>,
        now: Timestamp,
    ) -> Result<NewJob, Refused> {
        let IntakeSettings { limits: policy, payload_bytes, .. } = &self.settings;
        if draft.payload.bytes.len() as u64 > *payload_bytes {
            return Err(Refused::PayloadTooLarge { most_bytes: *payload_bytes });
        }
        let faults = draft.faults(policy, now);
        if !faults.is_empty() {
            return Err(Refused::Fields(faults));
        }
        let (tenant, by_administrator) = (by.tenant(), by.is_administrator());
        let plugin = plugins.get(&draft.plugin.name).await?;
        let found = plugin.resolve(&draft.plugin)?;
        let due = draft.options.due;
        let context = Context { tenant, by_administrator, policy };
        let (spec, payload) = draft.resolve(found, &context).map_err(Refused::Fields)?;
        self.enabled(&spec)?;
        // A time of the wall clock that has passed means now.
        let at = due.time(now);
        let on_wall = matches!(due, Due::At(_)) && at > self.parts.jobs.clock.wall();
        let scheduled_at = if on_wall { at } else { at.max(now) };
        let id = JobId::new(now);
        Ok(NewJob { id, spec: Arc::new(spec), payload, scheduled_at, on_wall, dedup: None })
    }

    /// Refuses a job that a hold covers.
    fn enabled(&self, spec: &JobSpec) -> Result<(), Refused> {
        match self.subscribers.controls.disabled(&JobLabels::from(spec)) {
            None => Ok(()),
            Some(disabled) => Err(Refused::Disabled(disabled)),
        }
    }

    /// Refuses a job whose plugin version was removed or is disabled.
    pub(super) async fn runnable(
        &self,
        spec: &JobSpec,
        plugins: &mut InstalledPlugins<'_>,
    ) -> Result<(), Refused> {
        let (name, selector) = (spec.plugin.clone(), Selector::Digest(spec.digest));
        plugins.get(&spec.plugin).await?.resolve(&PluginRef { name, selector })?;
        self.enabled(spec)
    }

    /// Refuses jobs while there is less free disk space than the floor.
    pub(super) fn disk(&self, now: Timestamp) -> Result<(), Refused> {
        self.floor.check(self.parts.jobs.store.spare_bytes(), now).map_err(Refused::DiskLow)
    }

    /// Like [`Self::disk`], for data other than jobs, such as a plugin.
    pub(super) fn disk_beside_jobs(&self, now: Timestamp) -> Result<(), Refused> {
        self.floor.check(0, now).map_err(Refused::DiskLow)
    }

    /// Refuses `jobs` of a tenant that submits more than its rate.
    pub(super) async fn pace(
        &self,
        tenant: &TenantName,
        jobs: usize,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let Some(rate) = self.parts.jobs.store.tenant(tenant).await?.jobs_per_second else {
            return Ok(());
        };
        let admitted = self.paces.admit(tenant, rate, jobs, now);
        admitted.map_err(|wait| Refused::TooFast { tenant: tenant.clone(), rate, wait })
    }
}
