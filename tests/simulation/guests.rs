//! Guests whose behaviour is random: they succeed, fail in every way, never end, react to a stop late or at
//! once, or make the attempt's task panic. The number of running guests is counted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::limits::Limit;
use jobwright_core::outcome::{AttemptError, Outcome, Output, RetryHint, Usage};
use jobwright_core::plugin::{Digest, Inspection};
use jobwright_core::runtime::{
    Ended, Runtime, StopReason, StopSignal, Unprepared, UnusableCode, UnusablePlugin,
};
use jobwright_core::tenant::TenantName;

use super::hosts::{MEMORY, SLOTS};
use super::world::{Life, World, lock, short};

/// The guests of one incarnation of a host.
pub(super) struct Guests {
    world: Arc<World>,
    life: Arc<Life>,
    running: Arc<Mutex<Running>>,
}

/// The number of running guests, and the memory that they may use.
#[derive(Debug, Default)]
struct Running {
    guests: u32,
    memory_bytes: u64,
}

/// Counts a guest as running until it is dropped.
struct Counted {
    running: Arc<Mutex<Running>>,
    memory_bytes: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        running.guests -= 1;
        running.memory_bytes -= self.memory_bytes;
    }
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Succeed,
    Fail,
    FailLater,
    Snooze,
    FailForGood,
    Trap,
    Fuel,
    RefusedForNow,
    RefusedForGood,
    Panic,
    Never,
}

/// Endings with their weights.
const ENDINGS: &[(u64, Ending)] = &[
    (40, Ending::Succeed),
    (12, Ending::Fail),
    (3, Ending::FailLater),
    (2, Ending::Snooze),
    (5, Ending::FailForGood),
    (8, Ending::Trap),
    (4, Ending::Fuel),
    (5, Ending::RefusedForNow),
    (2, Ending::RefusedForGood),
    (4, Ending::Panic),
    (15, Ending::Never),
];

impl Guests {
    pub(super) fn new(world: Arc<World>, life: Arc<Life>) -> Self {
        Self { world, life, running: Arc::default() }
    }

    /// The number of running guests.
    pub(super) fn count(&self) -> u32 {
        lock(&self.running).guests
    }

    fn counted(&self, attempt: &Attempt) -> Counted {
        let memory_bytes = attempt.limits.host_bytes();
        let mut running = lock(&self.running);
        running.guests += 1;
        running.memory_bytes += memory_bytes;
        let (guests, memory, life) = (running.guests, running.memory_bytes, self.life.number);
        let mut model = self.world.model();
        model.must(guests <= SLOTS, || format!("{guests} guests run on host {life}"));
        // A guest that needs more than the budget may run, but only alone.
        model.must(guests == 1 || memory <= MEMORY, || {
            format!("{guests} guests use {memory} bytes of memory on host {life}")
        });
        Counted { running: self.running.clone(), memory_bytes }
    }

    /// The behaviour of a guest that is not stopped.
    async fn script(&self, attempt: &Attempt, ending: Ending) -> Outcome {
        let rng = &self.world.rng;
        let most = if self.world.is_calm() {
            100
        } else {
            rng.weighted(&[(30, 1), (30, 50), (25, 5_000), (15, 50_000)])
        };
        tokio::time::sleep(Duration::from_millis(rng.below(most))).await;
        let error = || AttemptError::new("simulated", "as the seed says");
        match ending {
            Ending::Succeed => {
                Outcome::Succeeded { output: Output::new(attempt.payload.bytes.clone(), None) }
            }
            Ending::Fail => Outcome::Failed { error: error(), retry: RetryHint::Backoff },
            Ending::FailLater => {
                let after = Duration::from_secs(rng.below(4000));
                Outcome::Failed { error: error(), retry: RetryHint::After(after) }
            }
            Ending::Snooze => {
                let wait = Some(Duration::from_secs(rng.below(4000)));
                Outcome::Snoozed { error: error(), wait }
            }
            Ending::FailForGood => Outcome::Failed { error: error(), retry: RetryHint::Never },
            Ending::Trap => Outcome::Trapped { error: error() },
            Ending::Fuel => Outcome::LimitExceeded { limit: Limit::Fuel, error: error() },
            Ending::RefusedForNow => Outcome::Refused { error: error(), transient: true },
            Ending::RefusedForGood => Outcome::Refused { error: error(), transient: false },
            // `resume_unwind` skips the panic hook, which would print thousands of messages.
            Ending::Panic => std::panic::resume_unwind(Box::new("as the seed says")),
            Ending::Never => std::future::pending().await,
        }
    }

    /// A guest that is told to stop may end with a delay.
    async fn stopped(&self, stop: &mut StopSignal) -> Outcome {
        let reason = stop.wait().await;
        let long = if self.world.faults.stalls { 15_000 } else { 1 };
        let grace = self.world.rng.weighted(&[(70, 1), (20, 900), (10, long)]);
        tokio::time::sleep(Duration::from_millis(self.world.rng.below(grace))).await;
        match reason {
            StopReason::Cancelled => Outcome::Cancelled,
            StopReason::Interrupted | StopReason::Disabled => Outcome::Interrupted,
        }
    }
}

#[async_trait]
impl Runtime for Guests {
    fn inspect(&self, _: &[u8]) -> Result<Inspection, UnusablePlugin> {
        Err(UnusablePlugin::new(UnusableCode::NotWasm, "nothing is uploaded here"))
    }

    async fn prepare(&self, _: &TenantName, _: Digest, _: Bytes) -> Result<(), Unprepared> {
        Ok(())
    }

    async fn run(&self, attempt: Attempt, mut stop: StopSignal) -> Ended {
        let calm = self.world.is_calm();
        let ending = if calm { Ending::Succeed } else { self.world.rng.weighted(ENDINGS) };
        let ending = match ending {
            Ending::Panic if !self.world.faults.panics => Ending::Trap,
            ending => ending,
        };
        let (id, number) = (short(attempt.job.id), attempt.job.lifecycle.attempt);
        let life = self.life.number;
        self.world.note(|| format!("host {life}: attempt {number} of {id} begins: {ending:?}"));
        let counted = self.counted(&attempt);
        attempt.log.write(b"a line\n");
        let state = format!("state of attempt {number}");
        // The output is shorter than its limit.
        let _ = attempt.report.save(state.into());
        let outcome = tokio::select! {
            biased;
            outcome = self.stopped(&mut stop) => outcome,
            outcome = self.script(&attempt, ending) => outcome,
            () = tokio::time::sleep(attempt.limits.timeout()) => {
                let error = AttemptError::new("time", "the time limit is exceeded");
                Outcome::LimitExceeded { limit: Limit::Time, error }
            }
        };
        // A stalled host does not notice the end, and a dead one never does.
        self.life.gate.pass().await;
        drop(counted);
        self.world.note(|| format!("host {life}: attempt {number} of {id}: {:?}", outcome.kind()));
        Ended::new(outcome, Usage::default())
    }
}
