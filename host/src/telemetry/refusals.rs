//! Refusals in the log: the first of each reason at once, then one line a minute with how many there
//! were.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::one_line;
use crate::clock::Stopwatch;

/// How often one reason is reported.
const INTERVAL: Duration = Duration::from_secs(60);

/// The refusals of each reason. Reasons are codes of this program, so there are some tens at most.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<String, Reported>>);

/// What was reported of a reason.
#[derive(Debug)]
struct Reported {
    since: Stopwatch,
    /// Refusals since then.
    untold: u64,
}

impl Refusals {
    /// Reports a refusal for the reason `code`, if none was reported within the last minute.
    pub(crate) fn note(&self, code: &str, detail: &str) {
        self.note_from(code, detail, None);
    }

    /// The same of a request, with the other end of its connection.
    pub(crate) fn note_from(&self, code: &str, detail: &str, peer: Option<SocketAddr>) {
        if let Some(count) = self.due(code) {
            let (message, peer) = (one_line(detail), peer.map(tracing::field::display));
            tracing::info!(event = "refused", code, count, peer, message);
        }
    }

    /// How many refusals there were since the last line, if another line is due.
    pub(crate) fn due(&self, code: &str) -> Option<u64> {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reported) = reasons.get_mut(code) else {
            let reported = Reported { since: Stopwatch::start(), untold: 0 };
            reasons.insert(code.to_owned(), reported);
            return Some(1);
        };
        reported.untold += 1;
        if reported.since.elapsed() < INTERVAL {
            return None;
        }
        reported.since = Stopwatch::start();
        Some(std::mem::take(&mut reported.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_reported_at_once_and_then_not_for_a_minute() {
        let refusals = Refusals::default();
        assert_eq!(refusals.due("queue_full"), Some(1));
        for _ in 0..5 {
            assert_eq!(refusals.due("queue_full"), None);
        }
        assert_eq!(refusals.due("too_fast"), Some(1), "each reason by itself");
        let reasons = refusals.0.lock().expect("no panic");
        assert_eq!(reasons.get("queue_full").map(|reported| reported.untold), Some(5));
    }
}
