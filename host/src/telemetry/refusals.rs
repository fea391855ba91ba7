//! Logs refusals: the first of each reason at once, then at most one line per minute, with their number.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::line::one_line;
use crate::clock::Stopwatch;

/// How often one reason is reported.
const INTERVAL: Duration = Duration::from_secs(60);

/// The refusals by reason. Reasons are the `code`s of problems, so there are at most some tens.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<String, Reported>>);

/// The last log line of a reason.
#[derive(Debug)]
struct Reported {
    since: Stopwatch,
    /// Refusals since then.
    unreported: u64,
}

impl Refusals {
    /// Counts a refusal for the reason `code`, and logs it if a line is due.
    pub(crate) fn note(&self, code: &str, detail: &str) {
        self.note_from(code, detail, None);
    }

    /// Like [`Self::note`], with the address of the client.
    pub(crate) fn note_from(&self, code: &str, detail: &str, peer: Option<SocketAddr>) {
        if let Some(count) = self.due(code) {
            let (message, peer) = (one_line(detail), peer.map(tracing::field::display));
            tracing::info!(event = "refused", code, count, peer, message);
        }
    }

    /// Counts a refusal. Returns the number of refusals since the last line, if a line is due.
    pub(crate) fn due(&self, code: &str) -> Option<u64> {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reported) = reasons.get_mut(code) else {
            let reported = Reported { since: Stopwatch::start(), unreported: 0 };
            reasons.insert(code.to_owned(), reported);
            return Some(1);
        };
        reported.unreported += 1;
        if reported.since.elapsed() < INTERVAL {
            return None;
        }
        reported.since = Stopwatch::start();
        Some(std::mem::take(&mut reported.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_at_once_and_then_at_most_once_per_minute() {
        let refusals = Refusals::default();
        assert_eq!(refusals.due("queue_full"), Some(1));
        for _ in 0..5 {
            assert_eq!(refusals.due("queue_full"), None);
        }
        assert_eq!(refusals.due("too_fast"), Some(1), "reasons are independent");
        let reasons = refusals.0.lock().expect("no panic");
        assert_eq!(reasons.get("queue_full").map(|reported| reported.unreported), Some(5));
    }
}
