//! Time that follows from what a guest does.
//!
//! Invariant: which of several timers have rung when a wait ends depends on their moments, and not on how
//! late the machine was.

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
    /// The moments that are being waited for, each with a number of its own.
    awaited: Mutex<BTreeSet<(u64, u64)>>,
    waits: AtomicU64,
}

impl Simulated {
    /// Time that each reading moves by `step`. A program that waits for a second to pass by reading sees
    /// it pass after a thousand readings, unless it was granted another step.
    pub(super) fn new(step: u64) -> Self {
        Self { step, ..Self::default() }
    }

    /// The time, which this moves: the first reading sees zero.
    pub(super) fn read(&self) -> u64 {
        let later = |now: u64| Some(now.saturating_add(self.step));
        let read = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        // It is always updated.
        read.unwrap_or_else(|now| now)
    }

    /// The time.
    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Waits for as long as it is until `moment`, which is the time then. To look whether it has come is a
    /// reading, and one for all that are looked at together.
    pub(super) async fn wait_until(&self, moment: u64) {
        if self.awaited().is_empty() {
            self.read();
        }
        let Some(left) = moment.checked_sub(self.now()).filter(|left| *left > 0) else { return };
        let wait = Wait::new(self, moment);
        // All that are waited for at once are known before the first can end.
        tokio::task::yield_now().await;
        let mut sleep = pin!(tokio::time::sleep(Duration::from_nanos(left)));
        poll_fn(|wake| {
            if self.now() < moment {
                ready!(sleep.as_mut().poll(wake));
                if !wait.is_first() {
                    // The first one wakes whatever waits for both.
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

/// A moment that is being waited for, until this is dropped.
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

    /// Whether no other is due before. Of those of the same moment it is the one that was first waited
    /// for: it is looked at before the others, so all of them have rung when it has.
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
