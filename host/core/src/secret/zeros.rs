//! Input in which zero bytes stand between those of characters, as in UTF-16 and UTF-32: what it
//! says without them, and which of its bytes say it. Pure.

use std::ops::Range;

use super::effort::Effort;
use super::radix::Lengths;
use super::writing::{DEPTH, begins_escape, is_escaped_quote, read};

/// Bytes that are handed on at one time, beside those that two pieces have in common.
const PIECE: usize = 64 << 10;

/// Bytes that two pieces have in common, for each byte of the longest secret: what a numeric character
/// reference takes whose punctuation is written so twice more.
const COMMON: usize = 72;

/// Zeros that are removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zeros {
    /// The layers of escapes in which they are written: none for the byte itself.
    pub(super) depth: u8,
    pub(super) lengths: Lengths,
}

/// A part of the input without its zero bytes.
#[derive(Debug, Default)]
pub(super) struct Compacted {
    pub(super) bytes: Vec<u8>,
    /// Where each is in the text.
    places: Vec<usize>,
    /// Zeros that were removed so far.
    zeros: usize,
}

/// Takes what is left.
pub(super) type Each<'a> = dyn FnMut(&Compacted, &mut Effort<'_>) + 'a;

impl Zeros {
    /// Hands on what `text` is without its zeros, if it has as many as a secret of this encoding.
    pub(super) fn remove(self, text: &[u8], effort: &mut Effort<'_>, each: &mut Each<'_>) {
        let common = self.lengths.most * COMMON;
        let most = PIECE.max(common) + common;
        let (mut left, mut at) = (Compacted::default(), 0);
        while at < text.len() && !effort.is_spent() {
            let (is_zero, length) = token(&text[at..], self.depth, effort);
            if is_zero {
                left.zeros += 1;
            } else {
                left.bytes.extend_from_slice(&text[at..at + length]);
                left.places.extend(at..at + length);
            }
            at += length;
            if left.bytes.len() >= most {
                self.hand_on(&left, effort, each);
                left.keep(common);
            }
        }
        self.hand_on(&left, effort, each);
    }

    fn hand_on(self, left: &Compacted, effort: &mut Effort<'_>, each: &mut Each<'_>) {
        // At least one stands between two characters.
        if left.zeros > 0 && left.zeros + 1 >= self.lengths.least {
            each(left, effort);
        }
    }
}

impl Compacted {
    /// Where these bytes are in the text, with the zeros between them.
    pub(super) fn place(&self, bytes: Range<usize>) -> Range<usize> {
        let place = |at: usize| self.places.get(at).copied().unwrap_or_default();
        place(bytes.start)..bytes.end.checked_sub(1).map_or(0, |last| place(last) + 1)
    }

    /// Forgets all but the last `kept` bytes.
    fn keep(&mut self, kept: usize) {
        let first = self.bytes.len().saturating_sub(kept);
        self.bytes.drain(..first);
        self.places.drain(..first);
    }
}

/// Whether zeros are written in `text` as escapes.
pub(super) fn are_escaped_in(text: &[u8], effort: &mut Effort<'_>) -> bool {
    effort.spend(text.len());
    let mut places = text.iter().enumerate().filter(|(_, byte)| begins_escape(**byte));
    places.any(|(at, _)| {
        let rest = &text[at..];
        !effort.is_spent()
            && !is_escaped_quote(rest)
            && read(rest, DEPTH, effort).iter().any(|reading| reading.byte == 0)
    })
}

/// Whether `text` begins with a zero, and how long that is, or what else it begins with: the longest escape
/// in so many layers. A part of it may look like a zero, and is none.
fn token(text: &[u8], depth: u8, effort: &mut Effort<'_>) -> (bool, usize) {
    let first = text[0];
    if depth == 0 || !begins_escape(first) || is_escaped_quote(text) {
        effort.spend(1);
        return (first == 0, 1);
    }
    let readings = read(text, depth, effort);
    let longest = readings.iter().max_by_key(|reading| reading.length);
    longest.map_or((false, 1), |reading| (reading.byte == 0, reading.length))
}
