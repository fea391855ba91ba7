//! The signals that tell a host to stop, in the processes that it starts.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Ignores these signals. A terminal and a service manager send them to all processes of a host at
/// once; the host gives its attempts a grace period, and then ends its processes itself.
///
/// # Errors
/// If the system does not let them be caught.
pub(super) fn leave_to_host() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // Installing a handler is enough: the signal no longer ends the process.
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        drop(signal(kind)?);
    }
    Ok(())
}
