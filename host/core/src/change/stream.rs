//! The stream of committed changes of one store.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use tokio::sync::broadcast;

use super::event::Change;

/// How many changes a live subscriber may be behind before it has to resume from the store: a second of a
/// host that is busy with short jobs.
pub const RING: usize = 16_384;

/// Is called with the changes of each commit.
pub trait Listener: Send + Sync + 'static {
    /// Called in the order of the commits, before the commands of this one are answered. It must not
    /// block: all commands of the store wait. A power loss may still undo the commit: what is told to others is read
    /// from the store, which waits until it is on disk.
    fn committed(&self, changes: &[Change]);
}

/// See the documentation of the module.
pub struct ChangeStream {
    listeners: RwLock<Vec<Weak<dyn Listener>>>,
    ring: broadcast::Sender<Arc<Change>>,
}

impl Default for ChangeStream {
    fn default() -> Self {
        Self { listeners: RwLock::default(), ring: broadcast::Sender::new(RING) }
    }
}

impl fmt::Debug for ChangeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeStream").field("subscribers", &self.ring.receiver_count()).finish()
    }
}

impl ChangeStream {
    /// Calls `listener` with the changes of each later commit, until it is dropped.
    pub fn listen(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|earlier| earlier.strong_count() > 0);
        listeners.push(listener);
    }

    /// Subscribes to all later changes. A subscriber that is more than [`RING`] changes behind gets
    /// the number of changes that it missed, and resumes with
    /// [`JobReads::changed_since`](crate::store::JobReads::changed_since).
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Change>> {
        self.ring.subscribe()
    }

    /// Tells the listeners of a commit that was just made. For stores only.
    pub fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.committed(changes);
        }
    }

    /// Publishes the changes of a commit to subscribers, when it is on disk. For stores only.
    pub fn publish(&self, changes: Vec<Change>) {
        if self.ring.receiver_count() > 0 {
            for change in changes {
                // An error says that the last subscriber has just gone.
                drop(self.ring.send(Arc::new(change)));
            }
        }
    }
}
