//! Bytes that are written as numbers in decimal or octal, as programs print arrays: `[115, 101]`, `115 101`,
//! or `{"0":115,"1":101}`. Pure.

use std::ops::Range;

use super::effort::Effort;
use super::radix::{COMMON, Decoded, Each, Lengths, PIECE};
use super::writing::{DEPTH, Reading, longest};

/// Numbers that follow each other, with anything but letters between them.
#[derive(Debug, Default)]
struct Numbers {
    /// The value of each in decimal, or [`u8::MAX`] if that is not a byte.
    decimal: Vec<u8>,
    /// The value of each in octal, or [`u8::MAX`] if that is not a byte.
    octal: Vec<u8>,
    /// The position of each in the input.
    places: Vec<Range<usize>>,
}

/// Decodes whatever may be numbers in `text`.
pub(super) fn decode(text: &[u8], lengths: Lengths, effort: &mut Effort<'_>, each: &mut Each<'_>) {
    let common = lengths.most * COMMON;
    let (mut numbers, mut at, mut is_within) = (Numbers::default(), 0, false);
    while at < text.len() && !effort.is_spent() {
        let Reading { byte, length } = longest(&text[at..], DEPTH, effort);
        if byte.is_ascii_digit() {
            numbers.push(byte - b'0', at..at + length, is_within);
        } else if byte.is_ascii_alphabetic() {
            numbers.hand_on(lengths, effort, each);
            numbers.keep(0);
        }
        is_within = byte.is_ascii_digit();
        if numbers.places.len() >= PIECE + common && !is_within {
            numbers.hand_on(lengths, effort, each);
            numbers.keep(common);
        }
        at += length;
    }
    numbers.hand_on(lengths, effort, each);
}

impl Numbers {
    /// Adds a digit, which begins a number unless it `is_within` the last.
    fn push(&mut self, digit: u8, place: Range<usize>, is_within: bool) {
        let octal = if digit < 8 { digit } else { u8::MAX };
        let numbers = (self.decimal.last_mut(), self.octal.last_mut(), self.places.last_mut());
        if let (true, (Some(in_decimal), Some(in_octal), Some(whole))) = (is_within, numbers) {
            *in_decimal = in_decimal.saturating_mul(10).saturating_add(digit);
            *in_octal = in_octal.saturating_mul(8).saturating_add(octal);
            whole.end = place.end;
        } else {
            self.decimal.push(digit);
            self.octal.push(octal);
            self.places.push(place);
        }
    }

    /// Passes on the values of all of them, and of every second: the others may be their indexes.
    fn hand_on(&self, lengths: Lengths, effort: &mut Effort<'_>, each: &mut Each<'_>) {
        for (bytes, first, step) in [
            (&self.decimal, 0, 1),
            (&self.octal, 0, 1),
            (&self.decimal, 0, 2),
            (&self.decimal, 1, 2),
        ] {
            if self.places.len() / step < lengths.least {
                continue;
            }
            let bytes: Vec<_> = bytes.iter().skip(first).step_by(step).copied().collect();
            let places: Vec<_> = self.places.iter().skip(first).step_by(step).cloned().collect();
            effort.spend(bytes.len());
            each(&Decoded { bytes: &bytes, places: &places, bits: 8 }, effort);
        }
    }

    /// Forgets all but the last `kept`.
    fn keep(&mut self, kept: usize) {
        let first = self.places.len().saturating_sub(kept);
        self.decimal.drain(..first);
        self.octal.drain(..first);
        self.places.drain(..first);
    }
}
