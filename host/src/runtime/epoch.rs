//! The epochs of all engines: a guest checks its engine's epoch, and yields when it has changed.
//!
//! Owns the one thread that advances epochs. The guest's reaction is in the callback of its
//! `wasmtime::Store`. Invariant: while a [`Watch`] is held, every engine that still lives is
//! advanced every [`PERIOD`]; while none is, the thread sleeps.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use wasmtime::{Engine, EngineWeak};

/// How long a guest may keep its thread: short for other guests, and long compared with the cost of a yield
/// (some microseconds).
pub(super) const PERIOD: Duration = Duration::from_millis(10);

/// How many idle periods go by before the thread sleeps: waking it costs a system call, which a
/// stream of short attempts should not pay for each.
const IDLE_PERIODS: u32 = 100;

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    pulse: Arc<Pulse>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Pulse {
    running: AtomicUsize,
    asleep: AtomicBool,
    stopped: AtomicBool,
    engines: Mutex<Vec<EngineWeak>>,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse").field("running", &self.running).finish_non_exhaustive()
    }
}

/// Keeps the epochs advancing until it is dropped.
#[derive(Debug)]
pub(super) struct Watch<'a>(&'a Pulse);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(super) fn start() -> anyhow::Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let beating = pulse.clone();
        let thread = thread::Builder::new()
            .name("epochs".to_owned())
            .spawn(move || beating.beat())
            .context("cannot start the thread that interrupts guests")?;
        Ok(Self { pulse, thread: Some(thread) })
    }

    /// Advances `engine` too, as long as it lives.
    pub(super) fn add(&self, engine: &Engine) {
        self.pulse.lock().push(engine.weak());
    }

    /// Keeps the epochs advancing until the returned value is dropped.
    pub(super) fn watch(&self) -> Watch<'_> {
        // Both sides write their word before they read the other's, in one total order: either this
        // sees that the thread is about to sleep, or the thread sees that something runs.
        self.pulse.running.fetch_add(1, Ordering::SeqCst);
        if self.pulse.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Watch(&self.pulse)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.pulse.stopped.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked: it only counts, sleeps and adds.
            let _ = thread.join();
        }
    }
}

impl Pulse {
    fn beat(&self) {
        let mut idle = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            if self.running.load(Ordering::SeqCst) > 0 {
                idle = 0;
            } else {
                idle += 1;
            }
            if idle > IDLE_PERIODS {
                self.sleep();
                idle = 0;
            } else {
                thread::park_timeout(PERIOD);
            }
            self.lock()
                .retain(|engine| engine.upgrade().inspect(Engine::increment_epoch).is_some());
        }
    }

    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<EngineWeak>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
