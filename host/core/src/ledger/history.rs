//! The history: finalized jobs, counted by tenant.

use std::collections::BTreeSet;

use crate::capacity::HeldBytes;
use crate::job::JobId;
use crate::tenant::TenantName;

/// The counted size of a job in the history without its payload and output, in bytes: about its
/// rows and their entries in indexes.
pub(super) const ROW_BYTES: u64 = 1024;

/// The size of the history by tenant.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) held: HeldBytes,
    /// The tenants whose share changed since it was written.
    changed: BTreeSet<TenantName>,
    /// The approximate number of bytes that were written since the history was last measured.
    pub(super) grown_bytes: u64,
    /// Jobs that were removed to make room and whose logs are still there.
    pub(super) removed: Vec<JobId>,
}

impl History {
    /// The history of a store whose tenants hold `held`.
    pub(super) fn new(held: HeldBytes) -> Self {
        Self { held, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.held.bytes()
    }

    /// A job was finalized whose payload and output take `bytes`.
    pub(super) fn add(&mut self, tenant: &TenantName, bytes: u64) {
        self.held.add(tenant, bytes + ROW_BYTES);
        self.has_changed(tenant);
    }

    /// It is not in the history any more.
    pub(super) fn remove(&mut self, tenant: &TenantName, bytes: u64) {
        self.held.remove(tenant, bytes + ROW_BYTES);
        self.has_changed(tenant);
    }

    fn has_changed(&mut self, tenant: &TenantName) {
        if !self.changed.contains(tenant) {
            self.changed.insert(tenant.clone());
        }
    }

    /// The shares that changed since this was last called.
    pub(super) fn take_changed(&mut self) -> Vec<(TenantName, u64)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|tenant| (tenant.clone(), self.held.of(&tenant))).collect()
    }

    pub(super) fn take_removed(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.removed)
    }
}
