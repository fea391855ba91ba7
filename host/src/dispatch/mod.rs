//! The dispatcher: claims jobs, runs their attempts, and records how they ended.
//!
//! | module | owns |
//! |---|---|
//! | [`claims`] | the claim loop |
//! | [`outlook`] | when the loop claims |
//! | [`worker`] | an attempt, from its claim to its verdict |
//! | [`deadline`] | the deadline of a job, which cuts its attempts |
//! | [`in_flight`] | the attempts in flight, and stopping them |
//! | [`heartbeat`] | renewing leases; saving logs, progress and checkpoints |
//! | [`reaper`] | reclaiming expired leases; removing finalized jobs after their retention |
//!
//! An attempt begins when a claim finds a job for which there is a permit of `slots` and enough of `memory`.

mod claims;
mod deadline;
pub mod heartbeat;
mod in_flight;
mod outlook;
pub mod reaper;
pub mod worker;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jobwright_core::change::Listener;
use jobwright_core::clock::after;
use jobwright_core::host::HostId;
use jobwright_core::limits::Limits;
use jobwright_core::runtime::StopReason;
use jobwright_core::seed::SeedKey;
use tokio::sync::{RwLock, Semaphore, watch};

use self::in_flight::InFlight;
use crate::events::WakeUps;
use crate::parts::{JobParts, Subscribers};
use crate::telemetry::Refusals;

/// The maximum number of ended attempts that wait for the commit of their verdict while their slots are in use
/// again: as many as some commits take.
const MAX_FINISHING: u32 = 1024;

/// The timeout for stopped attempts to end, and for their verdicts to be written.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// The bytes of a WebAssembly page, the unit of memory permits.
const PAGE_BYTES: u64 = 64 << 10;

/// The configuration of the dispatcher.
#[derive(Debug, Clone)]
pub struct DispatchSettings {
    /// The maximum number of attempts in flight.
    pub slots: u32,
    /// How many slots a queue with a large share leaves free: see [`Reserve`](jobwright_core::queue::Reserve).
    pub reserved_slots: u32,
    /// The maximum sum of their memory, in bytes.
    pub memory_bytes: u64,
    /// The duration of a lease that is not renewed.
    pub lease: Duration,
    /// The interval at which leases are renewed; with a third of the lease, two renewals can fail.
    pub heartbeat: Duration,
    /// The interval at which the queue is polled without a wake-up.
    pub poll: Duration,
    /// The present ceilings, which also apply to jobs that were accepted under higher ones.
    pub ceiling: Limits,
    /// The retention of finalized jobs.
    pub retention: RetentionSettings,
}

/// The retention of finalized jobs.
#[derive(Debug, Clone, Copy)]
pub struct RetentionSettings {
    /// Of completed and cancelled jobs.
    pub completed: Duration,
    /// Of discarded and expired jobs.
    pub discarded: Duration,
}

/// Runs jobs until the host stops. Its tasks share it.
pub struct Dispatcher {
    parts: JobParts,
    wake_ups: Arc<WakeUps>,
    in_flight: Arc<InFlight>,
    random: Randomness,
    settings: DispatchSettings,
    /// One permit for each attempt in flight.
    slots: Arc<Semaphore>,
    /// One permit for each page of memory.
    memory: Arc<Semaphore>,
    /// One permit for each verdict that is not committed yet.
    finishing: Semaphore,
    /// Read-locked from a claim until its attempts are in flight. Nothing is reclaimed meanwhile: if the store was
    /// slow, the leases of the claim may have expired already.
    claiming: RwLock<()>,
    /// Whether jobs may wait for a slot. If none does, a free slot needs no claim: what makes a job due notifies the
    /// claim loop, and so does the commit of a verdict, by which a tenant or a suspect may get its turn.
    wants_slots: AtomicBool,
    refusals: Refusals,
}

/// The random values of a dispatcher and its attempts, drawn at each start, but for `seeds`.
pub struct Randomness {
    /// The id of the host, which its claims and leases name.
    pub host: HostId,
    /// Randomizes the back-off of retries, so that jobs that failed together do not return together.
    pub jitter: Jitter,
    /// The key from which the seeds of attempts are derived.
    pub seeds: SeedKey,
}

/// Random numbers from 0 to 1. They are a parameter, so that tests can replay a history.
pub type Jitter = Arc<dyn Fn() -> f64 + Send + Sync>;

impl Dispatcher {
    /// A dispatcher, which does nothing before [`Self::run`].
    #[must_use]
    pub fn new(
        parts: JobParts,
        subscribers: Subscribers,
        random: Randomness,
        settings: DispatchSettings,
    ) -> Self {
        let Subscribers { controls, wake_ups } = subscribers;
        let in_flight = InFlight::new(controls, wake_ups.clone());
        let listener: Arc<dyn Listener> = in_flight.clone();
        parts.store.changes().listen(Arc::downgrade(&listener));
        let pages = usize::try_from(settings.memory_bytes / PAGE_BYTES).unwrap_or(usize::MAX);
        Self {
            parts,
            wake_ups,
            in_flight,
            random,
            slots: Arc::new(Semaphore::new(settings.slots as usize)),
            memory: Arc::new(Semaphore::new(pages.min(Semaphore::MAX_PERMITS))),
            finishing: Semaphore::new(MAX_FINISHING as usize),
            claiming: RwLock::default(),
            wants_slots: AtomicBool::default(),
            refusals: Refusals::default(),
            settings,
        }
    }

    /// Runs jobs until `stopping` becomes true. Then it claims no more and notifies the attempts in flight,
    /// which have `grace` to end. Attempts that have not ended by then are stopped and their jobs released. It
    /// returns when all verdicts are written.
    pub async fn run(self, stopping: watch::Receiver<bool>, grace: Duration) {
        tracing::info!(host = %self.random.host, slots = self.settings.slots, "starting to run jobs");
        let shared = Arc::new(self);
        let background = tokio::task::JoinSet::from_iter([
            spawnable(shared.clone().heartbeats()),
            spawnable(shared.clone().saves()),
            spawnable(shared.clone().signs_of_life()),
            spawnable(shared.clone().pruning()),
        ]);
        shared.claims(stopping).await;
        // Guests that poll for it can save a checkpoint and end early.
        shared.in_flight.notice_all();
        if !shared.idle_within(grace).await {
            tracing::info!("the grace period is over: stopping the attempts that still run");
            shared.in_flight.stop_all(StopReason::Interrupted);
            if !shared.idle_within(STOP_DEADLINE).await {
                let seconds = STOP_DEADLINE.as_secs();
                tracing::warn!(
                    "some attempts did not end within {seconds} s: the next start reclaims them"
                );
            }
        }
        drop(background);
    }

    /// Waits until no attempt is in flight and all verdicts are written. Returns whether that was in time.
    async fn idle_within(&self, deadline: Duration) -> bool {
        let idle = async {
            let _slots = self.slots.acquire_many(self.settings.slots).await;
            let _finishing = self.finishing.acquire_many(MAX_FINISHING).await;
        };
        tokio::time::timeout(deadline, idle).await.is_ok()
    }

    /// Calls `work` again and again, with pauses of `every`.
    async fn repeat<F: Future<Output = ()>>(&self, every: Duration, work: impl Fn() -> F) {
        loop {
            self.parts.clock.sleep_until(after(self.parts.clock.now(), every)).await;
            work().await;
        }
    }
}

fn spawnable<F: Future<Output = ()> + Send + 'static>(
    work: F,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(work)
}
