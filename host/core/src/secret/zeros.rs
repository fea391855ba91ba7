//! Input in which zero bytes stand between those of characters, as in UTF-16 and UTF-32: the
//! input without them, and which of its bytes that is. Pure.

use super::effort::Effort;
use super::left::Left;
use super::radix::Lengths;
use super::writing::{DEPTH, Reading, begins_escape, is_escaped_quote, longest, read};

/// Bytes that are passed on at one time, in addition to those that two pieces share.
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

/// Takes what is left.
pub(super) type Each<'a> = dyn FnMut(&Left, &mut Effort<'_>) + 'a;

impl Zeros {
    /// Hands on what `text` is without its zeros, if it has as many as a secret of this encoding.
    pub(super) fn remove(self, text: &[u8], effort: &mut Effort<'_>, each: &mut Each<'_>) {
        let common = self.lengths.most * COMMON;
        let most = PIECE.max(common) + common;
        // At least one zero stands between two characters.
        let are_enough = |zeros: usize| zeros > 0 && zeros + 1 >= self.lengths.least;
        let (mut left, mut zeros, mut at) = (Left::default(), 0, 0);
        while at < text.len() && !effort.is_spent() {
            let Reading { byte, length } = longest(&text[at..], self.depth, effort);
            if byte == 0 {
                zeros += 1;
            } else {
                left.push(text, at..at + length);
            }
            at += length;
            if left.bytes.len() >= most {
                if are_enough(zeros) {
                    each(&left, effort);
                }
                left.keep(common);
            }
        }
        if are_enough(zeros) {
            each(&left, effort);
        }
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
