//! Requests whose key was refused leave a line in the host's log, at most one in a while.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobwright_core::clock::{Timestamp, after};

/// The time for which one line stands: a client that guesses keys must not fill the log.
const INTERVAL: Duration = Duration::from_secs(10);

/// The other end of the connection that a request came on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// How many requests were refused, and since when no line was written.
#[derive(Debug, Default)]
pub(super) struct RefusedKeys(Mutex<Unlogged>);

#[derive(Debug, Default)]
struct Unlogged {
    count: u64,
    until: Option<Timestamp>,
}

impl RefusedKeys {
    /// Counts one from `peer`, and writes a line if the latest is old enough.
    pub(super) fn note(&self, peer: Option<Peer>, now: Timestamp) {
        if let Some(others) = self.due(now) {
            let peer = peer.map_or_else(|| "unknown".to_owned(), |Peer(peer)| peer.to_string());
            tracing::warn!(peer, others, "refused a request without a valid API key");
        }
    }

    /// If a line is due: how many refusals there were since the latest one, apart from this.
    fn due(&self, now: Timestamp) -> Option<u64> {
        let mut unlogged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not silence it for long.
        let wait = unlogged.until.filter(|until| now < *until && *until <= after(now, INTERVAL));
        if wait.is_some() {
            unlogged.count += 1;
            return None;
        }
        unlogged.until = Some(after(now, INTERVAL));
        Some(std::mem::take(&mut unlogged.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_stands_for_the_refusals_of_ten_seconds() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let refusals = RefusedKeys::default();
        let lines: Vec<_> = [100, 100, 105, 109, 110, 111].map(|s| refusals.due(at(s))).into();
        assert_eq!(lines, [Some(0), None, None, None, Some(3), None]);
        assert_eq!(refusals.due(at(1)), Some(1), "the clock was set back");
    }
}
