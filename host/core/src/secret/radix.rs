//! Bytes that are encoded as digits of base 64 or 16: where such digits are in the input, which bytes they
//! encode, and which digits encode some of these. Pure.

use std::ops::Range;

use super::effort::Effort;
use super::writing::{DEPTH, Reading, begins_escape, is_escaped_quote, read};

/// Digits that are decoded at one time, in addition to those that two pieces share.
pub(super) const PIECE: usize = 64 << 10;

/// Digits that two pieces have in common, for each byte of the longest secret: what it takes in base 64
/// within base 64, each byte of it escaped.
pub(super) const COMMON: usize = 16;

/// The digits of the longest word that programs print as a number, which has 64 bits.
const WORD: usize = 16;

/// How bytes are written as digits.
#[derive(Debug)]
pub(super) struct Base {
    /// Of one digit.
    bits: usize,
    /// Digits after which bytes begin again where digits do.
    period: usize,
    digit: fn(u8) -> Option<u8>,
    /// What may stand between two digits.
    is_between: fn(u8) -> bool,
}

/// Both alphabets of base 64 (RFC 4648), in lines or not, and base 16 in either case, as programs separate
/// its digits, and forms the blanks between them.
pub(super) const BASES: [Base; 2] = [
    Base { bits: 6, period: 4, digit: digit_64, is_between: |byte| b"\r\n\t\0".contains(&byte) },
    Base {
        bits: 4,
        period: 2,
        digit: digit_16,
        is_between: |byte| b"\r\n\t\0 +:,-".contains(&byte),
    },
];

fn digit_64(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn digit_16(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Digits that follow each other.
#[derive(Debug, Default)]
struct Run {
    values: Vec<u8>,
    /// The position of each in the input.
    places: Vec<Range<usize>>,
    /// Whether something stands between each and the digit before it.
    begin: Vec<bool>,
}

/// Bytes that are encoded as digits.
pub(super) struct Decoded<'a> {
    pub(super) bytes: &'a [u8],
    /// The position of each digit in the input.
    pub(super) places: &'a [Range<usize>],
    /// Of one digit.
    pub(super) bits: usize,
}

impl Decoded<'_> {
    /// Where the digits are that encode some of these bytes.
    pub(super) fn place(&self, bytes: Range<usize>) -> Range<usize> {
        let first = bytes.start * 8 / self.bits;
        let end = (bytes.end * 8).div_ceil(self.bits).min(self.places.len());
        let places = self.places.get(first..end).unwrap_or_default();
        // The last byte of a word may be written first.
        let start = places.iter().map(|place| place.start).min();
        let end = places.iter().map(|place| place.end).max();
        start.unwrap_or(0)..end.unwrap_or(0)
    }
}

/// The secrets to find in digits, by their lengths.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lengths {
    /// The length of the shortest secret, in bytes.
    pub(super) least: usize,
    /// The length of the longest secret, in bytes.
    pub(super) most: usize,
}

/// Takes what was decoded.
pub(super) type Each<'a> = dyn FnMut(&Decoded<'_>, &mut Effort<'_>) + 'a;

impl Base {
    /// Decodes whatever may be digits in `text`, in each way to divide them into bytes.
    pub(super) fn decode(
        &self,
        text: &[u8],
        lengths: Lengths,
        effort: &mut Effort<'_>,
        each: &mut Each<'_>,
    ) {
        let least = (lengths.least * 8).div_ceil(self.bits);
        let common = lengths.most * COMMON;
        let (mut run, mut place, mut is_indented) = (Run::default(), 0, false);
        while place < text.len() && !effort.is_spent() {
            // A blank after a line break begins a line. Elsewhere it separates words.
            let (found, length) = match is_indented && text[place] == b' ' {
                true => (Found::Between, 1),
                false => self.at(&text[place..], effort),
            };
            let is_first = is_indented || run.values.is_empty();
            is_indented = matches!(found, Found::Between);
            match found {
                Found::Digit(value) => run.push(value, place..place + length, is_first),
                Found::Between => {}
                Found::Other => {
                    if run.values.len() >= least {
                        self.hand_on(&run, effort, each);
                    }
                    run.keep(0);
                }
            }
            if run.values.len() >= PIECE + common {
                self.hand_on(&run, effort, each);
                run.keep(common);
            }
            place += length;
        }
        if run.values.len() >= least {
            self.hand_on(&run, effort, each);
        }
    }

    fn at(&self, text: &[u8], effort: &mut Effort<'_>) -> (Found, usize) {
        let first = text[0];
        if self.bits == 4
            && matches!(text, [b'0', b'x' | b'X', next, ..] if next.is_ascii_hexdigit())
        {
            return (Found::Between, 2);
        }
        if let Some(value) = (self.digit)(first) {
            return (Found::Digit(value), 1);
        }
        if (self.is_between)(first) {
            return (Found::Between, 1);
        }
        if !begins_escape(first) || is_escaped_quote(text) {
            return (Found::Other, 1);
        }
        // What begins an escape is no digit here, so the longest reading is what was meant.
        let readings = read(text, DEPTH, effort);
        let meant = readings.iter().filter(|reading| reading.length > 1).filter_map(
            |Reading { byte, length }| match (self.digit)(byte) {
                Some(value) => Some((Found::Digit(value), length)),
                None => (self.is_between)(byte).then_some((Found::Between, length)),
            },
        );
        meant.max_by_key(|(_, length)| *length).unwrap_or((Found::Other, 1))
    }

    fn hand_on(&self, run: &Run, effort: &mut Effort<'_>, each: &mut Each<'_>) {
        for phase in 0..self.period.min(run.values.len()) {
            self.divide(&run.values[phase..], &run.places[phase..], effort, each);
        }
        if self.bits == 4
            && let Some(run) = run.of_words()
        {
            self.divide(&run.values, &run.places, effort, each);
        }
    }

    fn divide(
        &self,
        values: &[u8],
        places: &[Range<usize>],
        effort: &mut Effort<'_>,
        each: &mut Each<'_>,
    ) {
        let mut bytes = Vec::with_capacity(values.len());
        let (mut held, mut bits) = (0_u32, 0);
        for value in values {
            held = held << self.bits | u32::from(*value);
            bits += self.bits;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from(held >> bits & 0xff).unwrap_or_default());
            }
        }
        effort.spend(bytes.len());
        each(&Decoded { bytes: &bytes, places, bits: self.bits }, effort);
    }
}

impl Run {
    /// The same where digits stand in words of some bytes, of which the last is written first: as
    /// processors number bytes, and as `od -x` prints them.
    fn of_words(&self) -> Option<Self> {
        let mut ordered = Self::default();
        let (mut start, mut are_words) = (0, false);
        for end in 1..=self.values.len() {
            if !self.begin.get(end).is_none_or(|begins| *begins) {
                continue;
            }
            let length = end - start;
            are_words |= length > 2;
            if length > WORD {
                return None;
            }
            if length % 2 == 0 {
                for byte in (start..end).step_by(2).rev() {
                    ordered.values.extend(&self.values[byte..byte + 2]);
                    ordered.places.extend_from_slice(&self.places[byte..byte + 2]);
                }
            }
            start = end;
        }
        are_words.then_some(ordered)
    }

    fn push(&mut self, value: u8, place: Range<usize>, begins: bool) {
        self.values.push(value);
        self.places.push(place);
        self.begin.push(begins);
    }

    /// Forgets all but the last `kept` digits.
    fn keep(&mut self, kept: usize) {
        let first = self.values.len().saturating_sub(kept);
        self.values.drain(..first);
        self.places.drain(..first);
        self.begin.drain(..first);
    }
}

/// What stands at a place.
enum Found {
    Digit(u8),
    Between,
    Other,
}
