//! The bounded log of one attempt. A long log never ends a job: what exceeds the bound is
//! dropped from the middle and counted.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::limit::flag;
use crate::text::{torn_end, torn_start};

/// The kept part of a log at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSnapshot {
    /// The text; where bytes were dropped, a line states how many.
    pub bytes: Vec<u8>,
    /// The bytes of the log that were kept.
    pub kept_bytes: u64,
    /// The bytes of the log that were dropped.
    pub dropped_bytes: u64,
}

impl LogSnapshot {
    /// A snapshot of a log that is still written. It ends with a complete character, because it may
    /// be the last snapshot.
    #[must_use]
    pub fn so_far(mut self) -> Self {
        let torn = torn_end(&self.bytes);
        self.bytes.truncate(self.bytes.len() - torn);
        self.kept_bytes = self.kept_bytes.saturating_sub(torn as u64);
        self
    }
}

/// The stored part of the bytes that were written to a log after a position.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogPiece {
    /// The bytes before the gap.
    pub first: Bytes,
    /// The number of bytes that were dropped after it.
    pub dropped: u64,
    /// The bytes after the gap.
    pub last: Bytes,
}

/// Takes everything that a guest writes, keeps the first and the last half of its capacity. Written
/// by the guest's thread, read by others meanwhile.
#[derive(Debug)]
pub struct LogBuffer {
    half: usize,
    kept: Mutex<Kept>,
}

/// The maximum count of bytes: stores use signed numbers of 64 bits.
const MOST: u64 = i64::MAX as u64;

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

    /// The maximum number of bytes that it stores.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        2 * self.half as u64
    }

    /// Adds `bytes`; never fails and never waits.
    pub fn write(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        kept.written = kept.written.saturating_add(bytes.len() as u64).min(MOST);
        let room = self.half - kept.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        kept.head.extend_from_slice(first);
        let (passed, last) = rest.split_at(rest.len().saturating_sub(self.half));
        let over = (kept.tail.len() + last.len()).saturating_sub(self.half);
        kept.tail.drain(..over);
        kept.tail.extend(last);
        kept.dropped = kept.dropped.saturating_add((passed.len() + over) as u64).min(MOST);
    }

    /// How many bytes were written so far, kept or not. If it has not changed, a snapshot is current.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.lock().written
    }

    /// The bytes that were written after the first `position` bytes.
    #[must_use]
    pub fn since(&self, position: u64) -> LogPiece {
        let kept = self.lock();
        let new = usize::try_from(kept.written.saturating_sub(position)).unwrap_or(usize::MAX);
        let in_tail = new.min(kept.tail.len());
        let last: Bytes = kept.tail.range(kept.tail.len() - in_tail..).copied().collect();
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(kept.head.len());
        let first = Bytes::copy_from_slice(&kept.head[from..]);
        let dropped = new.saturating_sub(in_tail).saturating_sub(first.len()) as u64;
        LogPiece { first, dropped, last }
    }

    /// Adds a piece of another log of the same capacity: a log that is given all its pieces keeps
    /// what the other keeps. Counts that cannot be true stop at the most that is kept of them.
    pub fn add(&self, piece: &LogPiece) {
        self.write(&piece.first);
        if piece.dropped > 0 {
            let mut kept = self.lock();
            kept.written = kept.written.saturating_add(piece.dropped).min(MOST);
            kept.dropped = kept.dropped.saturating_add(piece.dropped).min(MOST);
        }
        self.write(&piece.last);
    }

    /// The present snapshot.
    #[must_use]
    pub fn snapshot(&self) -> LogSnapshot {
        let kept = self.lock();
        if kept.dropped == 0 {
            let bytes: Vec<u8> = kept.head.iter().chain(&kept.tail).copied().collect();
            return LogSnapshot { kept_bytes: bytes.len() as u64, bytes, dropped_bytes: 0 };
        }
        // The dropped part may begin and end within a character, whose remaining bytes are dropped
        // too.
        let head = &kept.head[..kept.head.len() - torn_end(&kept.head)];
        let tail = kept.tail.range(torn_start(&kept.tail)..);
        let kept_bytes = (head.len() + tail.len()) as u64;
        let dropped_bytes = kept.written.saturating_sub(kept_bytes);
        let mut bytes = head.to_vec();
        let flag = flag("log_bytes");
        let dropped = format!("{dropped_bytes} bytes of log dropped");
        bytes.extend(
            format!("\n[… {dropped}: {flag} or `limits.log_bytes` keeps more …]\n").bytes(),
        );
        bytes.extend(tail);
        LogSnapshot { bytes, kept_bytes, dropped_bytes }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Every write leaves the buffer consistent, so a panic elsewhere does not spoil it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
