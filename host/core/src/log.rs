//! The bounded log of one attempt. Chatter never ends a job: what exceeds the bound is cut out of
//! the middle and counted.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What is kept of a log at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSnapshot {
    /// The text; where something was dropped, a line says how much.
    pub bytes: Vec<u8>,
    /// How much was kept.
    pub kept_bytes: u64,
    /// How much was dropped.
    pub dropped_bytes: u64,
}

/// What was written to a log after some moment, as far as it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogPiece {
    /// What came first.
    pub first: Bytes,
    /// How much was dropped after it, in bytes.
    pub dropped: u64,
    /// What came then.
    pub last: Bytes,
}

/// Takes everything that a guest writes, keeps the first and the last half of its capacity. Written
/// by the guest's thread, read by others meanwhile.
#[derive(Debug)]
pub struct LogBuffer {
    half: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
    written: u64,
}

impl LogBuffer {
    /// An empty log that keeps at most `capacity` bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let half = usize::try_from(capacity / 2).unwrap_or(usize::MAX);
        Self { half, kept: Mutex::default() }
    }

    /// How much it keeps, in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        2 * self.half as u64
    }

    /// Adds `bytes`; never fails and never waits.
    pub fn write(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        kept.written += bytes.len() as u64;
        let room = self.half - kept.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        kept.head.extend_from_slice(first);
        let (passed, last) = rest.split_at(rest.len().saturating_sub(self.half));
        let over = (kept.tail.len() + last.len()).saturating_sub(self.half);
        kept.tail.drain(..over);
        kept.tail.extend(last);
        kept.dropped += (passed.len() + over) as u64;
    }

    /// How many bytes were written so far, kept or not: tells whether a snapshot is still current.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.lock().written
    }

    /// What was written after the first `position` bytes.
    #[must_use]
    pub fn since(&self, position: u64) -> LogPiece {
        let kept = self.lock();
        let new = usize::try_from(kept.written.saturating_sub(position)).unwrap_or(usize::MAX);
        let in_tail = new.min(kept.tail.len());
        let last: Bytes = kept.tail.range(kept.tail.len() - in_tail..).copied().collect();
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(kept.head.len());
        let first = Bytes::copy_from_slice(&kept.head[from..]);
        let dropped = (new - in_tail - first.len()) as u64;
        LogPiece { first, dropped, last }
    }

    /// Adds a piece of another log of the same capacity: a log that is given all its pieces keeps
    /// what the other keeps.
    pub fn add(&self, piece: &LogPiece) {
        self.write(&piece.first);
        if piece.dropped > 0 {
            let mut kept = self.lock();
            kept.written += piece.dropped;
            kept.dropped += piece.dropped;
        }
        self.write(&piece.last);
    }

    /// What is kept now.
    #[must_use]
    pub fn snapshot(&self) -> LogSnapshot {
        let kept = self.lock();
        let mut bytes = kept.head.clone();
        if kept.dropped > 0 {
            bytes.extend_from_slice(
                format!("\n[… {} bytes of log dropped …]\n", kept.dropped).as_bytes(),
            );
        }
        bytes.extend(&kept.tail);
        LogSnapshot {
            bytes,
            kept_bytes: (kept.head.len() + kept.tail.len()) as u64,
            dropped_bytes: kept.dropped,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Every write leaves the buffer consistent, so a panic elsewhere does not spoil it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LogBuffer;

    proptest! {
        #[test]
        fn a_log_that_is_given_all_pieces_of_another_keeps_the_same(
            writes in prop::collection::vec((0_usize..30, any::<bool>()), 0..40),
        ) {
            let (log, copy, mut position, mut next) = (LogBuffer::new(20), LogBuffer::new(20), 0, 0_u8);
            for (length, is_copied) in writes {
                let bytes: Vec<u8> = (0..length).map(|_| { next = next.wrapping_add(1); next }).collect();
                log.write(&bytes);
                if is_copied {
                    copy.add(&log.since(position));
                    position = log.written();
                }
            }
            copy.add(&log.since(position));
            prop_assert_eq!(copy.snapshot(), log.snapshot());
            prop_assert_eq!(copy.written(), log.written());
        }
    }

    #[test]
    fn a_log_within_its_bound_is_kept_whole() {
        let log = LogBuffer::new(10);
        log.write(b"hello");
        log.write(b"world");
        let snapshot = log.snapshot();
        assert_eq!(snapshot.bytes, b"helloworld");
        assert_eq!((snapshot.kept_bytes, snapshot.dropped_bytes), (10, 0));
    }

    #[test]
    fn a_log_over_its_bound_keeps_both_ends_and_counts_the_middle() {
        let log = LogBuffer::new(10);
        for piece in ["abc", "defgh", "ijklmnop", "q", &"x".repeat(100), "vwxyz"] {
            log.write(piece.as_bytes());
        }
        let snapshot = log.snapshot();
        assert!(snapshot.bytes.starts_with(b"abcde\n["), "{snapshot:?}");
        assert!(snapshot.bytes.ends_with(b"]\nvwxyz"), "{snapshot:?}");
        assert_eq!((snapshot.kept_bytes, snapshot.dropped_bytes), (10, 112));
        assert_eq!(log.written(), 122);
    }
}
