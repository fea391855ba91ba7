//! Input from which parts were removed, with the position of each remaining byte. Pure.

use std::ops::Range;

/// A part of the input without what was removed from it.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) bytes: Vec<u8>,
    /// The position of each byte in the input.
    places: Vec<usize>,
}

impl Left {
    /// Keeps this range of `text`.
    pub(super) fn push(&mut self, text: &[u8], range: Range<usize>) {
        self.bytes.extend_from_slice(&text[range.clone()]);
        self.places.extend(range);
    }

    /// Where these bytes are in the text, with what was removed between them.
    pub(super) fn place(&self, bytes: Range<usize>) -> Range<usize> {
        let place = |at: usize| self.places.get(at).copied().unwrap_or_default();
        place(bytes.start)..bytes.end.checked_sub(1).map_or(0, |last| place(last) + 1)
    }

    /// Forgets all but the last `kept` bytes.
    pub(super) fn keep(&mut self, kept: usize) {
        let first = self.bytes.len().saturating_sub(kept);
        self.bytes.drain(..first);
        self.places.drain(..first);
    }
}
