//! What administrators disabled, as this host knows it.
//!
//! It is read at the start and follows the changes that the store publishes, so it is as new as these. In case that
//! one did not reach this host, it is read again at each heartbeat: see
//! [staleness](jobwright_core::store#staleness). On the host that changes a hold, the change takes effect
//! before it is answered.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jobwright_core::change::{Change, ChangeStream, Event, Listener};
use jobwright_core::hold::{ControlsVersion, Hold, HoldChange, JobLabels, VersionedHolds};
use jobwright_core::store::{Controls, Store, StoreError};

#[cfg(test)]
mod tests;

/// The holds that stop attempts: all but those of paused queues, whose attempts go on.
#[derive(Debug, Default)]
pub struct ControlsView(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    disabled: BTreeSet<Hold>,
    /// The version at which the holds were read: older changes are included.
    version: ControlsVersion,
    /// The changes that were published while the holds are read.
    meanwhile: Option<Vec<HoldChange>>,
}

impl ControlsView {
    /// The controls of `store`, kept up to date.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn of(store: &dyn Store) -> Result<Arc<Self>, StoreError> {
        Self::following(store, &store.changes()).await
    }

    /// The `controls` of a store that publishes `changes`.
    ///
    /// It subscribes before it reads, so it misses no change. A change that is published meanwhile may be
    /// included in what is read or not: its version decides whether it is applied.
    async fn following(
        controls: &dyn Controls,
        changes: &ChangeStream,
    ) -> Result<Arc<Self>, StoreError> {
        let known = Known { meanwhile: Some(vec![]), ..Known::default() };
        let view = Arc::new(Self(RwLock::new(known)));
        let listener: Arc<dyn Listener> = view.clone();
        changes.listen(Arc::downgrade(&listener));
        let read = controls.versioned_holds().await?;
        view.write().load(read);
        Ok(view)
    }

    /// Reads again what is disabled. Changes that are published meanwhile take effect at once.
    ///
    /// # Errors
    /// If it cannot be read; the changes so far are in effect.
    pub async fn refresh(&self, controls: &dyn Controls) -> Result<(), StoreError> {
        self.write().meanwhile = Some(vec![]);
        let read = controls.versioned_holds().await;
        let mut known = self.write();
        match read {
            Ok(read) => known.load(read),
            Err(error) => {
                known.meanwhile = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// What is disabled that jobs with these labels need.
    #[must_use]
    pub fn disabled(&self, labels: &JobLabels) -> Option<Hold> {
        let known = self.read();
        if known.disabled.is_empty() {
            return None;
        }
        Hold::over(labels).into_iter().find(|hold| hold.is_in(&known.disabled))
    }

    /// Whether this is disabled, by the tenant's administrator or the operator.
    #[must_use]
    pub fn is_disabled(&self, hold: &Hold) -> bool {
        hold.is_in(&self.read().disabled)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Takes over the holds that were read, and then the changes that were published since.
    fn load(&mut self, VersionedHolds { version, holds }: VersionedHolds) {
        self.disabled = holds.into_keys().filter(Hold::stops).collect();
        self.version = version;
        for change in self.meanwhile.take().unwrap_or_default() {
            self.apply(change);
        }
    }

    fn apply(&mut self, change: HoldChange) {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.push(change.clone());
        }
        if change.version > self.version && change.hold.stops() {
            match change.held {
                true => self.disabled.insert(change.hold),
                false => self.disabled.remove(&change.hold),
            };
        }
    }
}

impl Listener for ControlsView {
    fn committed(&self, changes: &[Change]) {
        for change in changes {
            if let Event::Hold(change) = &change.event {
                self.write().apply(change.clone());
            }
        }
    }
}
