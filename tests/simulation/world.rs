//! What the parts of one history share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::Clock as _;
use jobwright_core::change::{Change, ChangeStream, Listener};
use jobwright_core::job::JobId;
use jobwright_core::store::Store;

use super::clock::WallClock;
use super::dice::Dice;
use super::gate::Gate;
use super::wire::at_once;
use super::witness::Witness;

/// See the module's text.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) clock: WallClock,
    pub(super) faults: Faults,
    /// No new faults: what there is must come to its end.
    calm: AtomicBool,
    store: Mutex<Arc<dyn Store>>,
    /// What hosts hear of the store, also after another one took its place.
    pub(super) changes: Arc<ChangeStream>,
    relay: Arc<Relay>,
    witness: Mutex<Witness>,
    /// What happened, for people; only of a history that is replayed.
    notes: Option<Mutex<Vec<String>>>,
}

/// What may go wrong in a history. Most have some of it, some none: then no attempt may be lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    /// Hosts die.
    pub(super) crashes: bool,
    /// Hosts, calls and guests take longer than anyone waits.
    pub(super) stalls: bool,
    /// The store refuses for a while.
    pub(super) refusals: bool,
    /// The wall clock is set.
    pub(super) jumps: bool,
    /// An attempt's task breaks.
    pub(super) panics: bool,
}

impl Faults {
    fn thrown(dice: &Dice) -> Self {
        let likely = dice.one_of(&[0, 30, 60, 100]);
        Self {
            crashes: dice.percent(likely),
            stalls: dice.percent(likely),
            refusals: dice.percent(likely),
            jumps: dice.percent(likely),
            panics: dice.percent(likely),
        }
    }

    /// Whether attempts may be lost. A clock that is set loses none.
    pub(super) fn lose(&self) -> bool {
        self.crashes || self.stalls || self.refusals || self.panics
    }
}

/// One life of a host process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: usize,
    pub(super) gate: Gate,
    /// The store refuses all that this host asks.
    pub(super) refused: AtomicBool,
    /// The store refuses to renew this host's leases.
    pub(super) unrenewed: AtomicBool,
}

/// What a store has published and hosts have not heard of yet.
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
        let dice = Dice::seeded(seed);
        let changes = Arc::<ChangeStream>::default();
        let relay = Arc::<Relay>::default();
        relay.follow(&*store);
        Arc::new(Self {
            faults: Faults::thrown(&dice),
            dice,
            clock: WallClock::new(),
            calm: AtomicBool::new(false),
            store: Mutex::new(store),
            changes,
            relay,
            witness: Mutex::default(),
            notes: noted.then(Mutex::default),
        })
    }

    /// Waits for a call of the store, and lets hosts hear of what it changed. From the thread of the history:
    /// if the store's thread woke tasks, their order would be left to chance.
    pub(super) fn at_once<A>(&self, call: impl Future<Output = A>) -> A {
        let answer = at_once(call);
        self.changes.publish(std::mem::take(&mut lock(&self.relay.0)));
        answer
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        lock(&self.store).clone()
    }

    /// Puts another store in the place of the one that died; answers that one.
    pub(super) fn replace_store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        self.relay.follow(&*store);
        std::mem::replace(&mut lock(&self.store), store)
    }

    pub(super) fn witness(&self) -> MutexGuard<'_, Witness> {
        lock(&self.witness)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Writes down what happens.
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

/// The id of the `n`-th job of a history: the same each time it is played.
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
