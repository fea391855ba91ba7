//! How a guest ended: by its own result, or by an abort.

use std::time::Duration;

use jobwright_core::outcome::{AttemptError, RetryHint};
use wasmtime::Error;

use super::super::meter::StopCause;

/// The result of a guest that ended by itself.
#[derive(Debug)]
pub(in super::super) enum GuestResult {
    /// It succeeded, and its output is complete.
    Done {
        /// The media type of the output, if the guest named one.
        content_type: Option<String>,
    },
    /// It failed.
    Failed {
        /// The error that the guest reported.
        error: AttemptError,
        /// The retry that the guest requests.
        retry: RetryHint,
    },
    /// It requested a later attempt, which is no failure.
    Later {
        /// The error that the guest reported.
        error: AttemptError,
        /// How long from now; `None` for the default back-off.
        wait: Option<Duration>,
    },
}

/// Why a guest did not end by itself.
#[derive(Debug)]
pub(in super::super) enum Abort {
    /// The host stopped it.
    Stopped(StopCause),
    /// It trapped, exited, or could not be instantiated.
    Failed(Error),
}

impl From<StopCause> for Abort {
    fn from(cause: StopCause) -> Self {
        Self::Stopped(cause)
    }
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
