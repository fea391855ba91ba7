//! The runners of a host: which runner takes which attempt.
//!
//! Invariants: there are never more runners than slots; a runner that did not report how its attempt ended
//! never runs another one; a runner runs attempts of one plugin and digest of one tenant only; none has a
//! weaker sandbox than the first one, about which the operator was warned.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::code::key::CodeKey;
use super::super::config::EngineConfig;
use super::runner::{Owner, Runner, Started};
use super::sandbox;
use crate::clock::Stopwatch;

/// How long an unneeded runner is kept: longer than the time between two waves of jobs.
const IDLE: Duration = Duration::from_secs(10);

/// How often unneeded runners are looked for.
const SWEEP: Duration = Duration::from_secs(2);

/// The pool.
pub(super) struct Pool {
    /// How many are kept however long they are idle.
    kept: usize,
    /// One for each slot.
    room: Arc<Semaphore>,
    idle: Mutex<Vec<Runner>>,
    /// What the sandbox of the first one lacked.
    missing: Vec<String>,
    config: EngineConfig,
}

/// The sizes of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// The maximum number of runners.
    pub(super) slots: usize,
    /// How many idle runners are kept.
    pub(super) kept: usize,
}

/// A runner that is in use. Dropping it kills the process, unless it was [given back](Pool::give_back).
pub(super) struct Taken {
    pub(super) runner: Runner,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool that holds a first runner.
    pub(super) fn new(
        sizes: Sizes,
        config: EngineConfig,
        Started { runner, missing }: Started,
    ) -> Self {
        let room = Arc::new(Semaphore::new(sizes.slots));
        Self { kept: sizes.kept, room, idle: Mutex::new(vec![runner]), missing, config }
    }

    /// A runner for an attempt of this owner, if possible one that has loaded the code.
    ///
    /// # Errors
    /// If one has to be started and cannot, or has a weaker sandbox than the first one.
    pub(super) async fn take(&self, owner: Owner, code: CodeKey) -> anyhow::Result<Taken> {
        let room = self.room.clone().acquire_owned().await?;
        let found = self.found(&owner, code);
        let mut runner = match found {
            Some(runner) => runner,
            None => self.another().await?,
        };
        runner.owner = Some(owner);
        Ok(Taken { runner, _room: room })
    }

    /// A runner that has no owner yet, and is not one of the pool.
    ///
    /// # Errors
    /// If it cannot be started, or has a weaker sandbox than the first one.
    pub(super) async fn another(&self) -> anyhow::Result<Runner> {
        let Started { runner, missing } = Runner::start(self.config).await?;
        sandbox::check_not_weaker(&self.missing, &missing)?;
        Ok(runner)
    }

    /// An idle runner that fits. Ends idle runners that are more than the free slots.
    fn found(&self, owner: &Owner, code: CodeKey) -> Option<Runner> {
        let mut idle = self.lock();
        let fits = |runner: &Runner| runner.owner.as_ref().is_none_or(|whose| whose == owner);
        let best = |idle: &[Runner]| {
            let with_code = idle.iter().rposition(|runner| fits(runner) && runner.has(code));
            with_code.or_else(|| idle.iter().rposition(fits))
        };
        let mut found = None;
        while let Some(place) = best(&idle) {
            let mut runner = idle.remove(place);
            if runner.lives() {
                found = Some(runner);
                break;
            }
        }
        let most = self.room.available_permits();
        let over = idle.len().saturating_sub(most);
        idle.drain(..over);
        found
    }

    /// Returns a runner that can run another attempt to the pool.
    pub(super) fn give_back(&self, taken: Taken) {
        let Taken { mut runner, _room } = taken;
        runner.idle = Stopwatch::start();
        // Before its permit is released, so that no other runner is started in its place.
        self.lock().push(runner);
    }

    /// Ends runners that were not needed for a while, as long as there is a pool.
    pub(super) async fn sweep(pool: Weak<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut idle = pool.lock();
            // The one that was used last is last.
            let unneeded = idle.len().saturating_sub(pool.kept);
            let old = idle.iter().take(unneeded).take_while(|r| r.idle.elapsed() > IDLE).count();
            idle.drain(..old);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Runner>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
