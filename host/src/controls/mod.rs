//! What administrators disabled, as this host knows it.
//!
//! It is loaded at the start and refreshed by the changes that the store publishes. On the host that changes
//! a hold, the change takes effect before it is answered.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use jobwright_core::change::{Change, Event, Listener};
use jobwright_core::hold::{Hold, JobLabels};
use jobwright_core::store::{Store, StoreError};

/// The holds that stop attempts: all but those of paused queues, whose attempts go on.
#[derive(Debug, Default)]
pub struct ControlsView {
    disabled: RwLock<BTreeSet<Hold>>,
}

impl ControlsView {
    /// The controls of `store`, kept up to date.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn of(store: &dyn Store) -> Result<Arc<Self>, StoreError> {
        let view = Arc::new(Self::default());
        let listener: Arc<dyn Listener> = view.clone();
        // Before they are read: a change that comes meanwhile is not missed.
        store.changes().listen(Arc::downgrade(&listener));
        for hold in store.holds().await?.into_keys() {
            view.set(hold, true);
        }
        Ok(view)
    }

    fn set(&self, hold: Hold, held: bool) {
        if !hold.stops() {
            return;
        }
        let mut disabled = self.disabled.write().unwrap_or_else(PoisonError::into_inner);
        match held {
            true => disabled.insert(hold),
            false => disabled.remove(&hold),
        };
    }

    /// What is disabled that jobs with these labels need.
    #[must_use]
    pub fn disabled(&self, labels: &JobLabels) -> Option<Hold> {
        let disabled = self.disabled.read().unwrap_or_else(PoisonError::into_inner);
        if disabled.is_empty() {
            return None;
        }
        Hold::over(labels).into_iter().find(|hold| hold.is_in(&disabled))
    }

    /// Whether this is disabled, by the tenant's administrator or the operator.
    #[must_use]
    pub fn is_disabled(&self, hold: &Hold) -> bool {
        hold.is_in(&self.disabled.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Listener for ControlsView {
    fn committed(&self, changes: &[Change]) {
        for change in changes {
            if let Event::Hold(hold, held) = &change.event {
                self.set(hold.clone(), *held);
            }
        }
    }
}
