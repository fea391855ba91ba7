//! Hosts: the real dispatcher and the real hints, over the simulated wire and guests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jobwright::controls::ControlsView;
use jobwright::dispatch::{DispatchSettings, Dispatcher, Parts, RetentionSettings};
use jobwright::events::WakeUps;
use jobwright_core::seed::SeedKey;
use jobwright_core::services::NoCapabilities;
use jobwright_core::store::Store;
use jobwright_core::{Limits, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::guests::Guests;
use super::wire::{Wire, at_once};
use super::world::{Life, World};

/// Attempts in flight at most.
pub(super) const SLOTS: u32 = 3;

/// What memory limits are multiples of: much more than an attempt takes beside its memory.
pub(super) const SHARE: u64 = 64 << 20;

/// What running guests may use together: four shares, and what they take beside them.
pub(super) const MEMORY: u64 = 5 * SHARE;

/// Nothing is pruned within a history.
const KEPT: Duration = Duration::from_secs(1000 * 24 * 3600);

/// One life of a host.
pub(super) struct Host {
    pub(super) life: Arc<Life>,
    pub(super) guests: Arc<Guests>,
    /// What its API works with.
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
        let controls = at_once(ControlsView::of(&*api)).expect("the store answers");
        let guests = Arc::new(Guests::new(world.clone(), life.clone()));
        let dice = world.dice.clone();
        let parts = Parts {
            store: api.clone(),
            runtime: guests.clone() as Arc<dyn Runtime>,
            clock: Arc::new(world.clock.clone()),
            wake_ups: WakeUps::by(&api.changes()),
            controls,
            jitter: Arc::new(move || dice.fraction()),
            // Guests here take no random numbers.
            seeds: SeedKey::new([0; 32]),
            grantor: Arc::new(NoCapabilities),
        };
        let (stop, stopping) = watch::channel(false);
        let grace = Duration::from_millis(world.dice.below(20_000));
        let running = tokio::spawn(Dispatcher::new(parts, settings()).run(stopping, grace));
        Self { life, guests, api, stop, running }
    }

    /// As the death of its process: whatever it was about to do or to hear, it never will.
    pub(super) fn crash(&self) {
        self.life.gate.close();
        self.running.abort();
    }

    /// Asks it to stop in good order.
    pub(super) fn leave(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_leaving(&self) -> bool {
        *self.stop.borrow()
    }

    /// Takes all that is wrong with it away.
    pub(super) fn mend(&self) {
        self.life.refused.store(false, Ordering::Relaxed);
        self.life.unrenewed.store(false, Ordering::Relaxed);
        self.life.gate.hold(false);
    }
}

fn settings() -> DispatchSettings {
    DispatchSettings {
        slots: SLOTS,
        // Of so few, none: what the reserve does is tested beside the queue.
        reserved_slots: 0,
        memory_bytes: MEMORY,
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
        poll: Duration::from_secs(2),
        ceiling: Limits::CEILING,
        retention: RetentionSettings { completed: KEPT, discarded: KEPT },
    }
}
