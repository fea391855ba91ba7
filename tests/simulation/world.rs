//! The shared state of one history.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::Clock as _;
use jobwright_core::change::{Change, ChangeStream, Listener};
use jobwright_core::job::JobId;
use jobwright_core::store::Store;

use super::clock::WallClock;
use super::gate::Gate;
use super::model::Model;
use super::rng::Rng;
use super::wire::at_once;

/// The shared state of one history.
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) clock: WallClock,
    pub(super) faults: Faults,
    /// Whether no new faults begin: the history must end.
    calm: AtomicBool,
    store: Mutex<Arc<dyn Store>>,
    /// The changes that hosts receive from the store, also after it was replaced.
    pub(super) changes: Arc<ChangeStream>,
    relay: Arc<Relay>,
    model: Mutex<Model>,
    /// Notes for people, only of a history that is repeated.
    notes: Option<Mutex<Vec<String>>>,
}

/// The faults of a history. Some histories have none: then no attempt may be lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    /// Hosts die.
    pub(super) crashes: bool,
    /// Hosts, calls and guests take longer than all timeouts.
    pub(super) stalls: bool,
    /// The store refuses calls for a while.
    pub(super) refusals: bool,
    /// The wall clock is set.
    pub(super) jumps: bool,
    /// The task of an attempt panics.
    pub(super) panics: bool,
}

impl Faults {
    fn drawn(rng: &Rng) -> Self {
        let likely = rng.one_of(&[0, 30, 60, 100]);
        Self {
            crashes: rng.percent(likely),
            stalls: rng.percent(likely),
            refusals: rng.percent(likely),
            jumps: rng.percent(likely),
            panics: rng.percent(likely),
        }
    }

    /// Whether attempts may be lost. A clock that is set loses none.
    pub(super) fn lose(&self) -> bool {
        self.crashes || self.stalls || self.refusals || self.panics
    }
}

/// One incarnation of a host process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: usize,
    pub(super) gate: Gate,
    /// The store refuses all calls of this host.
    pub(super) refused: AtomicBool,
    /// The store refuses to renew this host's leases.
    pub(super) unrenewed: AtomicBool,
}

/// Changes that a store has published and hosts have not received yet.
#[derive(Default)]
struct Relay(Mutex<Vec<Change>>);

impl Relay {
    fn follow(self: &Arc<Self>, store: &dyn Store) {
        let relay: Arc<dyn Listener> = self.clone();
        store.changes().listen(Arc::downgrade(&relay));
    }
}

impl Listener for Relay {
    fn committed(&self, changes: &[Change]) {
        lock(&self.0).extend_from_slice(changes);
    }
}

impl World {
    pub(super) fn new(seed: u64, store: Arc<dyn Store>, noted: bool) -> Arc<Self> {
        let rng = Rng::seeded(seed);
        let changes = Arc::<ChangeStream>::default();
        let relay = Arc::<Relay>::default();
        relay.follow(&*store);
        Arc::new(Self {
            faults: Faults::drawn(&rng),
            rng,
            clock: WallClock::new(),
            calm: AtomicBool::new(false),
            store: Mutex::new(store),
            changes,
            relay,
            model: Mutex::default(),
            notes: noted.then(Mutex::default),
        })
    }

    /// Waits for a call of the store, and passes its changes on to the hosts, on the thread of the history:
    /// if the store's thread woke tasks, their order would be random.
    pub(super) fn at_once<A>(&self, call: impl Future<Output = A>) -> A {
        let answer = at_once(call);
        self.changes.publish(std::mem::take(&mut lock(&self.relay.0)));
        answer
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        lock(&self.store).clone()
    }

    /// Replaces the store; returns the old one.
    pub(super) fn replace_store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        self.relay.follow(&*store);
        std::mem::replace(&mut lock(&self.store), store)
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Adds a note.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(notes) = &self.notes {
            let (since, now) = (self.clock.elapsed().as_secs_f64(), self.clock.now());
            let wall = now.strftime("%H:%M:%S%.3f");
            lock(notes).push(format!("{since:10.3} s ({wall}) {}", what()));
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.as_ref().map(|notes| lock(notes).clone()).unwrap_or_default()
    }
}

/// The id of the `n`-th job of a history: the same each time it is run.
pub(super) fn job_id(n: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    JobId::from_bytes(bytes)
}

/// A job's short name.
pub(super) fn short(id: JobId) -> String {
    let mut number = [0; 8];
    number.copy_from_slice(&id.as_bytes()[8..]);
    format!("job {}", u64::from_be_bytes(number))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
