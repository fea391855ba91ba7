//! The signals that tell a command to stop.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handlers of SIGTERM and SIGINT (Ctrl-C).
#[derive(Debug)]
pub(super) struct Signals {
    terminated: Signal,
    interrupted: Signal,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let terminated =
            signal(SignalKind::terminate()).context("cannot install a handler for SIGTERM")?;
        let interrupted = signal(SignalKind::interrupt())
            .context("cannot install a handler for SIGINT (Ctrl-C)")?;
        Ok(Self { terminated, interrupted })
    }

    /// Waits for the next signal.
    pub(super) async fn stopped(&mut self) {
        tokio::select! {
            _ = self.terminated.recv() => {}
            _ = self.interrupted.recv() => {}
        }
    }
}
