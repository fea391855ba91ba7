//! From the queue to the sandbox and back: claim, run, finish; and what keeps that true over time.
//!
//! | module | does |
//! |---|---|
//! | [`worker`] | waits for a free slot and memory, claims, runs, finishes |
//! | [`in_flight`] | the attempts that this host makes, and how each is stopped |
//! | [`heartbeat`] | renews the leases in flight, then reclaims; saves what attempts log and tell |
//! | [`reaper`] | takes back what a dead host held, removes what is past its retention |

pub mod heartbeat;
mod in_flight;
pub mod reaper;
pub mod worker;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jobwright_core::change::Listener;
use jobwright_core::clock::{Clock, after};
use jobwright_core::limits::Limits;
use jobwright_core::runtime::{Runtime, StopReason};
use jobwright_core::seed::SeedKey;
use jobwright_core::services::CapabilityProvider;
use jobwright_core::store::Store;
use tokio::sync::{Mutex, Semaphore, watch};

use self::in_flight::InFlight;
use crate::controls::ControlsView;
use crate::events::WakeUps;
use crate::telemetry::Refusals;

/// Finishes that may await their commit while their slots are used again: some commits' worth.
const MAX_FINISHING: u32 = 1024;

/// How long attempts that were told to stop may take to end, and their finishes to be written.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A WebAssembly page, the unit in which memory is admitted.
const PAGE_BYTES: u64 = 64 << 10;

/// What an operator decides about dispatching.
#[derive(Debug, Clone)]
pub struct DispatchSettings {
    /// Attempts in flight at most.
    pub slots: u32,
    /// How many slots a queue with a large share leaves free: see [`Reserve`](jobwright_core::queue::Reserve).
    pub reserved_slots: u32,
    /// The sum of what they may take of the host's memory at most, in bytes.
    pub memory_bytes: u64,
    /// How long a lease holds without being renewed.
    pub lease: Duration,
    /// How often leases are renewed; a third of the lease leaves two tries more.
    pub heartbeat: Duration,
    /// How often the queue is looked at when no hint comes.
    pub poll: Duration,
    /// Today's ceilings: they apply also to jobs that were accepted under higher ones.
    pub ceiling: Limits,
    /// How long finalized jobs are kept.
    pub retention: RetentionSettings,
}

/// How long finalized jobs are kept.
#[derive(Debug, Clone, Copy)]
pub struct RetentionSettings {
    /// Completed and cancelled ones.
    pub completed: Duration,
    /// Discarded ones.
    pub discarded: Duration,
}

/// Runs jobs until told to stop.
#[derive(Clone)]
pub struct Dispatcher {
    store: Arc<dyn Store>,
    runtime: Arc<dyn Runtime>,
    clock: Arc<dyn Clock>,
    wake_ups: Arc<WakeUps>,
    in_flight: Arc<InFlight>,
    jitter: Jitter,
    seeds: SeedKey,
    grantor: Arc<dyn CapabilityProvider>,
    settings: Arc<DispatchSettings>,
    /// One permit for each attempt in flight.
    slots: Arc<Semaphore>,
    /// One permit for each page of memory.
    memory: Arc<Semaphore>,
    finishing: Arc<Semaphore>,
    /// Held from a claim until its attempts are among those in flight: nothing is reclaimed meanwhile, as a
    /// store that stands still may begin an attempt whose lease has expired by then.
    claiming: Arc<Mutex<()>>,
    refusals: Arc<Refusals>,
}

/// What a dispatcher works with.
pub struct Parts {
    /// Where jobs are.
    pub store: Arc<dyn Store>,
    /// What runs them.
    pub runtime: Arc<dyn Runtime>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What wakes it when there may be work.
    pub wake_ups: Arc<WakeUps>,
    /// What administrators disabled.
    pub controls: Arc<ControlsView>,
    /// What spreads retries, so that jobs which failed together do not return together.
    pub jitter: Jitter,
    /// What random numbers of guests follow from.
    pub seeds: SeedKey,
    /// What says what attempts are granted.
    pub grantor: Arc<dyn CapabilityProvider>,
}

/// Random numbers from 0 to 1. Given, so that whoever gives all of them can replay a history.
pub type Jitter = Arc<dyn Fn() -> f64 + Send + Sync>;

impl Dispatcher {
    /// A dispatcher that does nothing yet.
    #[must_use]
    pub fn new(parts: Parts, settings: DispatchSettings) -> Self {
        let in_flight = InFlight::new(parts.controls, parts.wake_ups.clone());
        let listener: Arc<dyn Listener> = in_flight.clone();
        parts.store.changes().listen(Arc::downgrade(&listener));
        let pages = usize::try_from(settings.memory_bytes / PAGE_BYTES).unwrap_or(usize::MAX);
        Self {
            store: parts.store,
            runtime: parts.runtime,
            clock: parts.clock,
            wake_ups: parts.wake_ups,
            in_flight,
            jitter: parts.jitter,
            seeds: parts.seeds,
            grantor: parts.grantor,
            slots: Arc::new(Semaphore::new(settings.slots as usize)),
            memory: Arc::new(Semaphore::new(pages.min(Semaphore::MAX_PERMITS))),
            finishing: Arc::new(Semaphore::new(MAX_FINISHING as usize)),
            claiming: Arc::default(),
            refusals: Arc::default(),
            settings: Arc::new(settings),
        }
    }

    /// Runs jobs until `stopping` turns true. Then claims no more, gives the attempts in flight
    /// `grace`, of which those hear that ask, stops those that are left and releases their jobs, and returns when all is written.
    pub async fn run(self, stopping: watch::Receiver<bool>, grace: Duration) {
        let alive = tokio::task::JoinSet::from_iter([
            spawnable(self.clone().heartbeats()),
            spawnable(self.clone().saves()),
            spawnable(self.clone().pruning()),
        ]);
        self.clone().claims(stopping).await;
        // Those that ask end with a checkpoint, and need not be waited for.
        self.in_flight.notice_all();
        if !self.idle_within(grace).await {
            tracing::info!("stopping the attempts that the grace period did not see end");
            self.in_flight.stop_all(StopReason::Interrupted);
            if !self.idle_within(STOP_DEADLINE).await {
                tracing::warn!("some attempts did not end in time: the next start reclaims them");
            }
        }
        drop(alive);
    }

    /// Waits until nothing is in flight; says whether that came in time.
    async fn idle_within(&self, deadline: Duration) -> bool {
        let idle = async {
            let _slots = self.slots.acquire_many(self.settings.slots).await;
            let _finishing = self.finishing.acquire_many(MAX_FINISHING).await;
        };
        tokio::time::timeout(deadline, idle).await.is_ok()
    }

    /// Calls `work` again and again, `every` apart.
    async fn repeat<F: Future<Output = ()>>(&self, every: Duration, work: impl Fn() -> F) {
        loop {
            self.clock.sleep_until(after(self.clock.now(), every)).await;
            work().await;
        }
    }
}

fn spawnable<F: Future<Output = ()> + Send + 'static>(
    work: F,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(work)
}
