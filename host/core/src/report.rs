//! What a running guest reports in addition to its output and its log: its progress, the checkpoint from which
//! another attempt can resume, and that it polls for cancellation.
//!
//! Guests may report at any rate: the latest report is kept, and stored periodically.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;

use crate::text::cut;

/// The longest progress message that is kept, in bytes: a line or two.
pub const MAX_PROGRESS_BYTES: usize = 512;

/// The progress of a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// From 0 to 1; `None` if unknown.
    pub fraction: Option<f64>,
    /// A message of the guest for people.
    pub message: String,
}

impl Progress {
    /// Progress within its bounds: a fraction that is not a number is dropped, a long message is
    /// cut.
    #[must_use]
    pub fn new(fraction: Option<f64>, message: &str) -> Self {
        let fraction = fraction.filter(|f| !f.is_nan()).map(|f| f.clamp(0.0, 1.0));
        Self { fraction, message: cut(message.to_owned(), MAX_PROGRESS_BYTES) }
    }
}

/// Progress and a checkpoint, to be stored; what is absent has not changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProgressUpdate {
    /// Its progress.
    pub progress: Option<Progress>,
    /// The checkpoint.
    pub checkpoint: Option<Bytes>,
}

impl ProgressUpdate {
    /// Whether nothing was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A checkpoint that is longer than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a checkpoint of {length} bytes exceeds the limit of {most} bytes")]
pub struct TooLarge {
    /// How long it is.
    pub length: u64,
    /// The limit, `checkpoint_bytes`.
    pub most: u64,
}

/// Receives the reports of one attempt. Written by the guest's thread, read by others meanwhile.
#[derive(Debug)]
pub struct ProgressReporter {
    most: u64,
    state: Mutex<State>,
    /// Whether the guest polls for cancellation.
    asks: AtomicBool,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The checkpoint of an earlier attempt.
    found: Option<Bytes>,
    /// The latest report of this attempt.
    told: ProgressUpdate,
    /// The part of it that is not stored yet.
    unsaved: ProgressUpdate,
}

impl ProgressReporter {
    /// The reports of an attempt that resumes from `checkpoint`, and may save `most` bytes.
    #[must_use]
    pub fn new(checkpoint: Option<Bytes>, most: u64) -> Self {
        let state = State { found: checkpoint, ..State::default() };
        let (asks, asked) = (AtomicBool::new(false), Notify::new());
        Self { most, state: Mutex::new(state), asks, asked }
    }

    /// How long a checkpoint may be, in bytes.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        self.most
    }

    /// Reports progress.
    pub fn progress(&self, progress: Progress) {
        let mut state = self.lock();
        state.told.progress = Some(progress.clone());
        state.unsaved.progress = Some(progress);
    }

    /// Whether a checkpoint of this length can be saved.
    ///
    /// # Errors
    /// [`TooLarge`] if not.
    pub fn check(&self, length: u64) -> Result<(), TooLarge> {
        if length > self.most { Err(TooLarge { length, most: self.most }) } else { Ok(()) }
    }

    /// Replaces the checkpoint.
    ///
    /// # Errors
    /// [`TooLarge`], and the checkpoint is the one it was.
    pub fn save(&self, checkpoint: Bytes) -> Result<(), TooLarge> {
        self.check(checkpoint.len() as u64)?;
        let mut state = self.lock();
        state.told.checkpoint = Some(checkpoint.clone());
        state.unsaved.checkpoint = Some(checkpoint);
        Ok(())
    }

    /// The checkpoint that was saved last, by this attempt or an earlier one.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Bytes> {
        let state = self.lock();
        state.told.checkpoint.as_ref().or(state.found.as_ref()).cloned()
    }

    /// Notes that the guest polls for cancellation, so that it gets a grace period.
    pub fn ask(&self) {
        // Guests ask again and again.
        if !self.asks() {
            self.asks.store(true, Ordering::Release);
            self.asked.notify_waiters();
        }
    }

    /// Whether the guest polls for cancellation.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks.load(Ordering::Acquire)
    }

    /// Waits until the guest polls for cancellation.
    pub async fn asked(&self) {
        // Made before the flag is read, so that no change in between is missed.
        let asked = self.asked.notified();
        if !self.asks() {
            asked.await;
        }
    }

    /// The reports since the last call, to be stored.
    #[must_use]
    pub fn take_unsaved(&self) -> ProgressUpdate {
        std::mem::take(&mut self.lock().unsaved)
    }

    /// The latest report of this attempt.
    #[must_use]
    pub fn told(&self) -> ProgressUpdate {
        self.lock().told.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves it consistent, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn an_attempt_resumes_from_the_earlier_checkpoint_until_it_saves_its_own() {
        let report = ProgressReporter::new(Some(bytes("at 7")), 10);
        assert_eq!(report.checkpoint(), Some(bytes("at 7")));
        assert!(report.take_unsaved().is_empty(), "that is stored already");
        report.save(bytes("at 8")).unwrap();
        assert_eq!(report.checkpoint(), Some(bytes("at 8")));
        assert_eq!(report.take_unsaved().checkpoint, Some(bytes("at 8")));
        assert!(report.take_unsaved().is_empty());
        assert_eq!(report.told().checkpoint, Some(bytes("at 8")));
    }

    #[test]
    fn a_checkpoint_over_its_limit_changes_nothing() {
        let report = ProgressReporter::new(None, 3);
        report.save(bytes("abc")).unwrap();
        assert_eq!(report.save(bytes("abcd")), Err(TooLarge { length: 4, most: 3 }));
        assert_eq!(report.checkpoint(), Some(bytes("abc")));
    }

    #[test]
    fn progress_is_clamped_to_its_bounds() {
        let long = "é".repeat(MAX_PROGRESS_BYTES);
        for (told, kept) in [(-1.0, Some(0.0)), (0.25, Some(0.25)), (9.0, Some(1.0))] {
            assert_eq!(Progress::new(Some(told), "").fraction, kept);
        }
        assert_eq!(Progress::new(Some(f64::NAN), "").fraction, None);
        let cut = Progress::new(None, &long).message;
        assert!(cut.len() <= MAX_PROGRESS_BYTES + '…'.len_utf8() && cut.ends_with('…'));
    }
}
