//! Locks between submissions of jobs and changes of the plugins that these jobs need.
//!
//! Each plugin of each tenant has its own lock, which exists only while a request uses it. A removal first
//! sets a flag, then waits for the submissions that have begun: from then on the store's counts of
//! unfinished jobs tell whether the plugin is in use. Later submissions wait until the removal has ended. A
//! removal holds no lock that submissions share while it reads or syncs a disk.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jobwright_core::hold::Hold;
use jobwright_core::plugin::PluginName;
use jobwright_core::tenant::TenantName;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard, OwnedRwLockReadGuard, RwLock};

/// The number of locks at which unused ones are dropped: some more than there are connections.
const SWEEP: usize = 2048;

type Key = (TenantName, PluginName);

/// The locks that are in use.
#[derive(Debug, Default)]
pub struct PluginLocks(Mutex<HashMap<Key, Weak<Gate>>>);

/// The locks of one plugin of one tenant.
#[derive(Debug, Default)]
pub struct Gate {
    /// Held by a request that configures or removes the plugin.
    changing: AsyncMutex<()>,
    /// Whether the plugin, or a version of it, is being removed.
    removing: AtomicBool,
    /// Read-locked while a job is accepted, from resolving its plugin until it is stored;
    /// write-locked only to wait for these readers.
    accepting: Arc<RwLock<()>>,
}

/// Keeps plugins from being removed until dropped.
#[derive(Debug)]
pub struct Accepting {
    /// The guards, with their gates, which must outlive them.
    _guards: Vec<(OwnedRwLockReadGuard<()>, Arc<Gate>)>,
}

/// A removal in progress: until this is dropped, jobs that need the plugin are not accepted.
#[derive(Debug)]
pub struct Removing<'a>(&'a Gate);

impl PluginLocks {
    /// The locks of a plugin.
    pub fn gate(&self, tenant: &TenantName, plugin: &PluginName) -> Arc<Gate> {
        let mut gates = self.lock();
        let key = (tenant.clone(), plugin.clone());
        if let Some(gate) = gates.get(&key).and_then(Weak::upgrade) {
            return gate;
        }
        if gates.len() >= SWEEP {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        let gate = Arc::new(Gate::default());
        gates.insert(key, Arc::downgrade(&gate));
        gate
    }

    /// Waits until none of these plugins is being removed, and excludes removals until the result
    /// is dropped.
    pub async fn accepting(
        &self,
        tenant: &TenantName,
        plugins: BTreeSet<&PluginName>,
    ) -> Accepting {
        let mut guards = Vec::with_capacity(plugins.len());
        // In the order of their names, so that requests for several plugins cannot deadlock.
        for plugin in plugins {
            let gate = self.gate(tenant, plugin);
            guards.push((gate.accept().await, gate));
        }
        Accepting { _guards: guards }
    }

    /// Waits for submissions that have begun and whose jobs `hold` covers.
    pub async fn drained(&self, hold: &Hold) {
        let gates: Vec<Arc<Gate>> = {
            let all = self.lock();
            let covered = all.iter().filter(|((of, name), _)| may_cover(hold, of, name));
            covered.filter_map(|(_, gate)| gate.upgrade()).collect()
        };
        for gate in gates {
            drop(gate.accepting.write().await);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Gate>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Excludes other requests that configure or remove the plugin.
    pub async fn change(&self) -> AsyncGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Begins a removal. The caller has [`change`](Self::change).
    pub async fn remove(&self) -> Removing<'_> {
        self.removing.store(true, Ordering::SeqCst);
        let removing = Removing(self);
        // Submissions that did not see the flag have stored their jobs when this returns.
        drop(self.accepting.write().await);
        removing
    }

    async fn accept(&self) -> OwnedRwLockReadGuard<()> {
        loop {
            let accepting = self.accepting.clone().read_owned().await;
            if !self.removing.load(Ordering::SeqCst) {
                return accepting;
            }
            drop(accepting);
            // The flag stays set until the removal has ended.
            drop(self.changing.lock().await);
        }
    }
}

impl Drop for Removing<'_> {
    fn drop(&mut self) {
        self.0.removing.store(false, Ordering::SeqCst);
    }
}

/// Whether `hold` can cover jobs of a plugin.
fn may_cover(hold: &Hold, of: &TenantName, name: &PluginName) -> bool {
    match hold {
        Hold::Operator(hold) => may_cover(hold, of, name),
        Hold::Plugin { tenant, plugin } | Hold::Version { tenant, plugin, .. } => {
            (tenant, plugin) == (of, name)
        }
        Hold::Tenant(tenant) | Hold::Queue { tenant, .. } => tenant == of,
        Hold::Digest(_) => true,
    }
}

#[cfg(test)]
mod tests;
