//! What keeps plugins that are being removed or set up, and the submissions that need them, apart.
//!
//! A lock for each tenant and plugin, known only while a request uses it, so that no tenant waits for
//! another and no plugin for another. A removal announces itself first, then waits for the submissions
//! that had begun: from then on the store's counts of unfinished jobs tell whether the plugin is in use.
//! Submissions that come later wait until the removal is over. No lock that submissions share is held
//! while a disk is read or synced by a removal.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jobwright_core::hold::Hold;
use jobwright_core::plugin::PluginName;
use jobwright_core::tenant::TenantName;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard, OwnedRwLockReadGuard, RwLock};

/// Locks that nobody uses any more are forgotten when there are so many: some more than there are
/// connections.
const SWEEP: usize = 2048;

type Key = (TenantName, PluginName);

/// The locks that are in use.
#[derive(Debug, Default)]
pub(super) struct Intake(Mutex<HashMap<Key, Weak<Gate>>>);

/// What one plugin of one tenant is locked by.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Held by those that set it up or remove it, one after the other.
    changing: AsyncMutex<()>,
    /// Whether it, or a version of it, is about to go.
    removing: AtomicBool,
    /// Shared while a job is accepted, from looking at its plugin to its being stored; alone for no
    /// longer than it takes to get it.
    accepting: Arc<RwLock<()>>,
}

/// Keeps plugins from being removed until dropped.
#[derive(Debug)]
pub(super) struct Accepting {
    /// With their gates, which are forgotten when nobody has them.
    _guards: Vec<(OwnedRwLockReadGuard<()>, Arc<Gate>)>,
}

/// While this is there, jobs that need the plugin are not accepted.
#[derive(Debug)]
pub(super) struct Removing<'a>(&'a Gate);

impl Intake {
    /// The locks of a plugin.
    pub(super) fn gate(&self, tenant: &TenantName, plugin: &PluginName) -> Arc<Gate> {
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

    /// Waits until none of these plugins is being removed, and keeps it so.
    pub(super) async fn accepting(
        &self,
        tenant: &TenantName,
        plugins: BTreeSet<&PluginName>,
    ) -> Accepting {
        let mut guards = Vec::with_capacity(plugins.len());
        // In the order of their names, so that requests for several of them never wait in a circle.
        for plugin in plugins {
            let gate = self.gate(tenant, plugin);
            guards.push((gate.accept().await, gate));
        }
        Accepting { _guards: guards }
    }

    /// Waits for the submissions of what `hold` covers that have begun already.
    pub(super) async fn drained(&self, hold: &Hold) {
        let gates: Vec<Arc<Gate>> = {
            let all = self.lock();
            let covered = all.iter().filter(|(key, _)| may_cover(hold, key));
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
    /// Lets nobody else set the plugin up or remove it.
    pub(super) async fn change(&self) -> AsyncGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Begins a removal. The caller has [`change`](Self::change).
    pub(super) async fn remove(&self) -> Removing<'_> {
        self.removing.store(true, Ordering::SeqCst);
        let removing = Removing(self);
        // Those that did not see it have their place in the queue when this is passed.
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
            // The removal has it to its end.
            drop(self.changing.lock().await);
        }
    }
}

impl Drop for Removing<'_> {
    fn drop(&mut self) {
        self.0.removing.store(false, Ordering::SeqCst);
    }
}

/// Whether jobs of a plugin can be of what is held.
fn may_cover(hold: &Hold, (of, name): &Key) -> bool {
    match hold {
        Hold::Operator(hold) => may_cover(hold, &(of.clone(), name.clone())),
        Hold::Plugin { tenant, plugin } | Hold::Version { tenant, plugin, .. } => {
            (tenant, plugin) == (of, name)
        }
        Hold::Tenant(tenant) | Hold::Queue { tenant, .. } => tenant == of,
        Hold::Digest(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn names(plugin: &str) -> (TenantName, PluginName) {
        (TenantName::default(), plugin.parse().expect("a name"))
    }

    #[tokio::test]
    async fn a_removal_waits_for_the_submissions_before_it_and_those_after_it_wait_for_it() {
        let (intake, (tenant, p)) = (Intake::default(), names("p"));
        let before = intake.accepting(&tenant, [&p].into()).await;
        let gate = intake.gate(&tenant, &p);
        let alone = gate.change().await;
        let mut removal = Box::pin(gate.remove());
        assert!((&mut removal).now_or_never().is_none(), "a submission is under way");
        let mut after = Box::pin(intake.accepting(&tenant, [&p].into()));
        assert!((&mut after).now_or_never().is_none());
        drop(before);
        let removing = (&mut removal).now_or_never().expect("there is none any more");
        assert!((&mut after).now_or_never().is_none(), "it is being removed");
        drop((removing, alone));
        assert!(after.now_or_never().is_some());
    }

    #[tokio::test]
    async fn another_plugin_and_the_same_name_of_another_tenant_are_not_held_up() {
        let (intake, (tenant, p), (_, q)) = (Intake::default(), names("p"), names("q"));
        let gate = intake.gate(&tenant, &p);
        let (_alone, _removing) = (gate.change().await, gate.remove().await);
        assert!(intake.accepting(&tenant, [&q].into()).now_or_never().is_some());
        let other = "other".parse().expect("a name");
        assert!(intake.accepting(&other, [&p].into()).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_switched_off_waits_only_for_what_it_covers() {
        let (intake, (tenant, p), (_, q)) = (Intake::default(), names("p"), names("q"));
        let accepting = intake.accepting(&tenant, [&p].into()).await;
        let hold =
            |plugin: &PluginName| Hold::Plugin { tenant: tenant.clone(), plugin: plugin.clone() };
        assert!(intake.drained(&hold(&q)).now_or_never().is_some());
        let (hold, tenant) = (hold(&p).by_operator(), Hold::Tenant(tenant.clone()));
        assert!(intake.drained(&hold).now_or_never().is_none());
        assert!(intake.drained(&tenant).now_or_never().is_none());
        drop(accepting);
        assert!(intake.drained(&hold).now_or_never().is_some());
    }

    #[tokio::test]
    async fn idle_locks_are_forgotten() {
        let intake = Intake::default();
        for number in 0..3 * SWEEP {
            let (tenant, plugin) = names(&format!("p{number}"));
            drop(intake.accepting(&tenant, [&plugin].into()).await);
        }
        assert!(intake.lock().len() <= SWEEP);
    }
}
