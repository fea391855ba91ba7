//! The signals that tell a host to stop, in the processes that it starts.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Leaves these signals to the host. A terminal, and what supervises services, send them to all
/// processes of a host at once; the host gives its attempts their grace, and ends what is left itself.
///
/// # Errors
/// If the system does not let them be caught.
pub(super) fn leave_to_host() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // What was caught once ends the process no more, though nobody waits for it.
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        drop(signal(kind)?);
    }
    Ok(())
}
