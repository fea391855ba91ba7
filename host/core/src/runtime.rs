//! The trait of the WebAssembly runtime, and the signal that stops an attempt.

mod unusable;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;

use crate::attempt::Attempt;
use crate::digest::Digest;
use crate::outcome::{Outcome, Output, Usage};
use crate::plugin::inspection::Inspection;
use crate::tenant::TenantName;

pub use self::unusable::UnusableCode;

/// Runs attempts in sandboxes.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Inspects the bytes of a plugin, without compiling them.
    ///
    /// # Errors
    /// [`UnusablePlugin`] if no attempt could ever run these bytes; the message names what is missing.
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, UnusablePlugin>;

    /// Compiles `wasm` ahead, so that the first attempt does not have to.
    ///
    /// # Errors
    /// [`Unprepared`] if it does not compile, or could not be compiled.
    async fn prepare(
        &self,
        tenant: &TenantName,
        digest: Digest,
        wasm: Bytes,
    ) -> Result<(), Unprepared>;

    /// Runs one attempt to its end. It stops soon after `stop` is raised, and dropping the future
    /// stops it too. Every ending is a value; a panic inside is one as well.
    async fn run(&self, attempt: Attempt, stop: StopSignal) -> Ended;
}

/// How an attempt ended, and its usage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// Its usage; the dispatcher fills in `queue_ms`.
    pub usage: Usage,
    /// The output of an attempt that did not succeed, if it wrote any; within its output limit.
    pub failed_output: Option<Output>,
}

impl Ended {
    /// An end without anything written.
    #[must_use]
    pub fn new(outcome: Outcome, usage: Usage) -> Self {
        Self { outcome, usage, failed_output: None }
    }
}

/// Bytes that are not a plugin, or a plugin that this host cannot run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct UnusablePlugin {
    /// A stable code, which programs may compare.
    pub code: UnusableCode,
    /// A message for people, which names what to change.
    pub message: String,
}

/// Why a plugin was not compiled ahead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unprepared {
    /// The plugin is at fault: it does not compile, or not within the limits.
    #[error(transparent)]
    Unusable(#[from] UnusablePlugin),
    /// The host is overloaded or failed. A later attempt may succeed.
    #[error("{0}")]
    NotNow(String),
}

impl UnusablePlugin {
    /// Unusable for the reason `code`.
    #[must_use]
    pub fn new(code: UnusableCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Why an attempt is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// The job was cancelled.
    Cancelled,
    /// The host stops, or the lease was lost.
    Interrupted,
    /// The plugin or tenant was disabled: as [`Self::Interrupted`], without a grace period.
    Disabled,
}

impl StopReason {
    /// Whether an attempt that polls for cancellation gets a grace period.
    #[must_use]
    pub fn leaves_grace(self) -> bool {
        self != Self::Disabled
    }
}

/// The holder's end: raises the signal.
#[derive(Debug)]
pub struct Stop(Arc<Shared>);

/// The attempt's end: sees the signal.
#[derive(Debug, Clone)]
pub struct StopSignal {
    shared: Arc<Shared>,
    /// The signal when [`Self::changed`] last returned.
    seen: Signal,
}

/// Like a watch channel, with one `Notify` instead of nine: every attempt has a signal, and few are ever raised.
#[derive(Debug)]
struct Shared {
    signal: Mutex<Signal>,
    changed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Signal> {
        // Every change leaves it consistent.
        self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// Not raised.
    None,
    /// The host is about to stop: end soon if you can.
    Notice,
    /// End.
    Raised(StopReason),
}

impl Stop {
    /// A signal that is not raised yet.
    #[must_use]
    pub fn new() -> (Self, StopSignal) {
        let shared = Shared { signal: Mutex::new(Signal::None), changed: Notify::new() };
        let shared = Arc::new(shared);
        (Self(shared.clone()), StopSignal { shared, seen: Signal::None })
    }

    /// Notifies an attempt that polls for it that the host is about to stop. The attempt may continue.
    pub fn notice(&self) {
        self.change(|now| now == Signal::None, Signal::Notice);
    }

    /// Raises the signal. The first reason stays, but for one that leaves no grace.
    pub fn raise(&self, reason: StopReason) {
        let counts = |now| match now {
            Signal::Raised(first) => first.leaves_grace() && !reason.leaves_grace(),
            Signal::None | Signal::Notice => true,
        };
        self.change(counts, Signal::Raised(reason));
    }

    fn change(&self, when: impl FnOnce(Signal) -> bool, to: Signal) {
        let mut signal = self.0.lock();
        if when(*signal) {
            *signal = to;
            drop(signal);
            self.0.changed.notify_waiters();
        }
    }
}

impl StopSignal {
    /// The reason, if the signal was raised.
    #[must_use]
    pub fn raised(&self) -> Option<StopReason> {
        match self.now() {
            Signal::Raised(reason) => Some(reason),
            Signal::None | Signal::Notice => None,
        }
    }

    /// The reason, if the signal was raised or will soon be.
    #[must_use]
    pub fn noticed(&self) -> Option<StopReason> {
        match self.now() {
            Signal::Raised(reason) => Some(reason),
            Signal::Notice => Some(StopReason::Interrupted),
            Signal::None => None,
        }
    }

    /// Waits until [`Self::raised`] or [`Self::noticed`] has changed since the last call.
    pub async fn changed(&mut self) {
        let seen = self.seen;
        self.seen = self.until(|now| (now != seen).then_some(now)).await;
    }

    /// Waits until the signal is raised for a reason that leaves no grace; for ever, if it never is.
    pub async fn wait_without_grace(&self) {
        let at_once = |now| match now {
            Signal::Raised(reason) => (!reason.leaves_grace()).then_some(()),
            Signal::None | Signal::Notice => None,
        };
        self.until(at_once).await;
    }

    /// Waits until the signal is raised; for ever, if its holder is gone without raising it.
    pub async fn wait(&self) -> StopReason {
        let raised = |now| match now {
            Signal::Raised(reason) => Some(reason),
            Signal::None | Signal::Notice => None,
        };
        self.until(raised).await
    }

    fn now(&self) -> Signal {
        *self.shared.lock()
    }

    /// Waits until the signal is one of which `find` makes something.
    async fn until<T>(&self, find: impl Fn(Signal) -> Option<T>) -> T {
        loop {
            // Made before the signal is read, so that no change in between is missed.
            let changed = self.shared.changed.notified();
            if let Some(found) = find(self.now()) {
                return found;
            }
            changed.await;
        }
    }
}
