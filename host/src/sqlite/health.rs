//! Whether a writer is healthy: the fault that stopped it, if one did.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jobwright_core::store::StoreError;
use rusqlite::ErrorCode;

use super::readers::store_error;
use crate::clock::Stopwatch;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The name of the database in the host's log.
    pub(super) store: &'static str,
    fault: Mutex<Option<Fault>>,
    /// Held while a group is written, so that a caller without an answer reads the fault only after
    /// it is known.
    turn: Mutex<()>,
}

/// Why a writer stopped.
#[derive(Debug)]
pub(super) struct Fault {
    /// What its callers are told.
    pub(super) error: StoreError,
    /// When it failed, if it may try again. `None` after a failed sync: the contents of the disk are unknown, so the
    /// store must stop.
    pub(super) retry: Option<Stopwatch>,
}

impl Health {
    /// A writer that works, of the database with this name.
    pub(super) fn of(store: &'static str) -> Self {
        Self { store, ..Self::default() }
    }

    /// The fault, to be read or changed.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no group is written, and keeps the next one from being written.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a caller is told whose command was not answered.
    pub(super) fn error(&self) -> StoreError {
        drop(self.turn());
        let ended = || StoreError::Unavailable { reason: "the writer thread has ended".to_owned() };
        self.lock().as_ref().map_or_else(ended, |fault| fault.error.clone())
    }

    /// Notes that a write failed.
    pub(super) fn fail(&self, error: &rusqlite::Error) {
        let passes = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::CannotOpen
                    // Another program has locked the database; nothing of the group was applied.
                    | ErrorCode::DatabaseBusy
            )
        );
        self.stop(store_error(error), passes.then(Stopwatch::start));
    }

    /// Notes that a sync failed. A second one could succeed without writing what the first one dropped.
    pub(super) fn fail_for_good(&self, error: &io::Error) {
        let reason = format!("its write-ahead log cannot be synced: {error}");
        self.stop(StoreError::Unavailable { reason }, None);
    }

    fn stop(&self, error: StoreError, retry: Option<Stopwatch>) {
        let recoverable = retry.is_some();
        tracing::error!(%error, recoverable, store = self.store, "a write failed: the store stops");
        let mut fault = self.lock();
        // What is unknown about the disk stays so, whatever fails afterwards.
        if fault.as_ref().is_none_or(|earlier| earlier.retry.is_some()) {
            *fault = Some(Fault { error, retry });
        }
    }
}
