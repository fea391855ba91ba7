//! Simulated time, which the guest's own calls advance. Invariant: the set of timers that have
//! expired when a wait ends depends on their moments, and not on delays of the machine.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

/// The time of one guest, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Simulated {
    step: u64,
    now: AtomicU64,
    /// The awaited moments, each with a unique number.
    awaited: Mutex<BTreeSet<(u64, u64)>>,
    waits: AtomicU64,
}

impl Simulated {
    /// Time that each reading advances by `step`. By default, a program that reads the clock until
    /// a second has passed needs a thousand readings.
    pub(super) fn new(step: u64) -> Self {
        Self { step, ..Self::default() }
    }

    /// Reads the time and advances it: the first reading is zero.
    pub(super) fn read(&self) -> u64 {
        let later = |now: u64| Some(now.saturating_add(self.step));
        let read = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        // The update never fails.
        read.unwrap_or_else(|now| now)
    }

    /// The time.
    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Waits until `moment`, and sets the time to it. Polling a wait counts as a reading, and
    /// polling several waits together as one reading.
    pub(super) async fn wait_until(&self, moment: u64) {
        if self.awaited().is_empty() {
            self.read();
        }
        let Some(left) = moment.checked_sub(self.now()).filter(|left| *left > 0) else { return };
        let wait = Wait::new(self, moment);
        // Yields, so that all concurrent waits are registered before the first can end.
        tokio::task::yield_now().await;
        let mut sleep = pin!(tokio::time::sleep(Duration::from_nanos(left)));
        poll_fn(|wake| {
            if self.now() < moment {
                ready!(sleep.as_mut().poll(wake));
                if !wait.is_first() {
                    // The first wait to end wakes the task that awaits both.
                    return Poll::Pending;
                }
                self.now.fetch_max(moment, Ordering::Relaxed);
            }
            Poll::Ready(())
        })
        .await;
    }

    fn awaited(&self) -> MutexGuard<'_, BTreeSet<(u64, u64)>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An awaited moment, until this is dropped.
struct Wait<'a> {
    time: &'a Simulated,
    place: (u64, u64),
}

impl<'a> Wait<'a> {
    fn new(time: &'a Simulated, moment: u64) -> Self {
        let place = (moment, time.waits.fetch_add(1, Ordering::Relaxed));
        time.awaited().insert(place);
        Self { time, place }
    }

    /// Whether no other wait is due before this one. Of waits for the same moment, the first
    /// registered one counts as the first: it is polled before the others, so all of them have
    /// expired when it has.
    fn is_first(&self) -> bool {
        self.time.awaited().first() == Some(&self.place)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.time.awaited().remove(&self.place);
    }
}

#[cfg(test)]
mod tests;
