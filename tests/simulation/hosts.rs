//! Hosts: the real dispatcher and the real wake-ups, over the simulated wire and guests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jobwright::dispatch::{DispatchSettings, Dispatcher, Randomness, RetentionSettings};
use jobwright::{JobParts, Subscribers};
use jobwright_core::host::HostId;
use jobwright_core::seed::SeedKey;
use jobwright_core::services::NoCapabilities;
use jobwright_core::store::Store;
use jobwright_core::{Limits, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::guests::Guests;
use super::wire::{Wire, at_once};
use super::world::{Life, World};

/// The maximum number of attempts in flight.
pub(super) const SLOTS: u32 = 3;

/// The unit of memory limits: much more than the memory of an attempt outside of its guest.
pub(super) const SHARE: u64 = 64 << 20;

/// The memory budget of running guests: four units, and the memory of attempts outside of guests.
pub(super) const MEMORY: u64 = 5 * SHARE;

/// Nothing is pruned within a history.
const KEPT: Duration = Duration::from_secs(1000 * 24 * 3600);

/// One incarnation of a host.
pub(super) struct Host {
    pub(super) life: Arc<Life>,
    pub(super) guests: Arc<Guests>,
    /// The store as its API uses it.
    pub(super) api: Arc<dyn Store>,
    stop: watch::Sender<bool>,
    pub(super) running: JoinHandle<()>,
}

impl Host {
    pub(super) fn start(world: &Arc<World>, number: usize) -> Self {
        let life = Arc::new(Life {
            number,
            gate: Default::default(),
            refused: Default::default(),
            unrenewed: Default::default(),
        });
        let api: Arc<dyn Store> = Arc::new(Wire { world: world.clone(), life: life.clone() });
        let subscribers = at_once(Subscribers::of(&*api)).expect("the store works");
        let guests = Arc::new(Guests::new(world.clone(), life.clone()));
        let rng = world.rng.clone();
        let parts = JobParts {
            store: api.clone(),
            runtime: guests.clone() as Arc<dyn Runtime>,
            clock: Arc::new(world.clock.clone()),
            grantor: Arc::new(NoCapabilities),
        };
        let mut id = [0; 16];
        id[8..].copy_from_slice(&(number as u64).to_be_bytes());
        let random = Randomness {
            host: HostId::from_random(id),
            jitter: Arc::new(move || rng.fraction()),
            // These guests use no random numbers.
            seeds: SeedKey::new([0; 32]),
        };
        let (stop, stopping) = watch::channel(false);
        let grace = Duration::from_millis(world.rng.below(20_000));
        let dispatcher = Dispatcher::new(parts, subscribers, random, settings());
        let running = tokio::spawn(dispatcher.run(stopping, grace));
        Self { life, guests, api, stop, running }
    }

    /// Kills the host: its tasks never continue, and it receives no more changes.
    pub(super) fn crash(&self) {
        self.life.gate.close();
        self.running.abort();
    }

    /// Starts a graceful shutdown.
    pub(super) fn leave(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_leaving(&self) -> bool {
        *self.stop.borrow()
    }

    /// Ends all faults of the host.
    pub(super) fn mend(&self) {
        self.life.refused.store(false, Ordering::Relaxed);
        self.life.unrenewed.store(false, Ordering::Relaxed);
        self.life.gate.hold(false);
    }
}

fn settings() -> DispatchSettings {
    DispatchSettings {
        slots: SLOTS,
        // No reserve for so few slots: it is tested next to the queue.
        reserved_slots: 0,
        memory_bytes: MEMORY,
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
        poll: Duration::from_secs(2),
        ceiling: Limits::CEILING,
        retention: RetentionSettings { completed: KEPT, discarded: KEPT },
    }
}
