//! Masks secrets in a response: a server that repeats a secret of this or an earlier request would
//! disclose it to the guest.
//!
//! A secret is found as it is, and with each byte [escaped](super::writing); also where [zero
//! bytes](super::zeros) stand between the bytes of any of these, as UTF-16 and UTF-32 have them,
//! and are escaped themselves; also within [base 64 or 16](super::radix) of any of these, or the
//! [`numbers`] of their bytes, in lines as [`dumps`] have them or not; and within these of that.
//! Truncated or encrypted secrets are not found: bind a secret only to servers that do neither.

use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::effort::Effort;
use super::radix::{BASES, Decoded, Lengths};
use super::value::SecretValue;
use super::writing::{DEPTH, begins_escape, is_escaped_quote, read};
use super::zeros::{self, Zeros};
use super::{dumps, numbers};
use crate::services::message::header_bytes;

/// The layers of encoding that are still to be decoded.
#[derive(Debug, Clone, Copy)]
struct Layers {
    /// How often it may be digits or numbers of another.
    digits: u8,
    /// Whether dumps are looked for.
    dumps: bool,
    /// The layers of escapes in which zeros are looked for first: those in fewer were removed.
    zeros: u8,
}

/// The layers of a response as it was received, of which nothing is decoded yet.
const LAYERS: Layers = Layers { digits: 3, dumps: true, zeros: 0 };

/// The values that must not be seen.
#[derive(Clone, Default)]
pub struct Mask {
    /// Sorted, each once: those that begin alike are neighbours.
    values: Vec<Vec<u8>>,
    lengths: Lengths,
    /// For each byte whether a value may begin there: itself, or an escape.
    begins: Vec<bool>,
    /// Whether one begins with a backslash or a quotation mark.
    begins_with_quote: bool,
}

/// The progress of reading a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The position in the input.
    at: usize,
    /// The values that begin with what was read.
    values: Alike,
}

/// Neighbours among the values: from the first to before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    from: usize,
    to: usize,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} values)", self.values.len())
    }
}

impl Mask {
    /// Hides these values.
    #[must_use]
    pub fn of(values: &[SecretValue]) -> Self {
        Self::sorted(values.iter().map(|value| value.reveal().as_bytes().to_vec()).collect())
    }

    fn sorted(mut values: Vec<Vec<u8>>) -> Self {
        values.sort_unstable();
        values.dedup();
        let begins_value = |byte| values.iter().any(|value| value.first() == Some(&byte));
        let begins = (0..=u8::MAX).map(|byte| begins_escape(byte) || begins_value(byte)).collect();
        let begins_with_quote = begins_value(b'\\') || begins_value(b'"');
        let lengths = values.iter().map(Vec::len);
        let (least, most) = (lengths.clone().min(), lengths.max());
        let lengths = Lengths { least: least.unwrap_or(0), most: most.unwrap_or(0) };
        Self { values, lengths, begins, begins_with_quote }
    }

    /// Whether there is nothing to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The total length of the values, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values.iter().map(Vec::len).sum()
    }

    /// Writes `*` over every byte of each occurrence in `text`; over all of `text` if that takes too many
    /// steps, or as soon as `goes_on`, which is called now and then, returns false because the result is
    /// not needed any more.
    pub fn cover(&self, text: &mut [u8], goes_on: &dyn Fn() -> bool) {
        if self.is_empty() {
            return;
        }
        self.cover_within(text, &mut Effort::new(text.len(), goes_on));
    }

    fn cover_within(&self, text: &mut [u8], effort: &mut Effort<'_>) {
        let mut found = vec![];
        self.search(text, LAYERS, effort, &mut |range| found.push(range));
        if effort.is_spent() {
            return text.fill(b'*');
        }
        for range in found {
            text[range].fill(b'*');
        }
    }

    /// Masks the values in headers. A header whose name contains a secret is removed.
    pub fn cover_headers(&self, headers: &mut HeaderMap, goes_on: &dyn Fn() -> bool) {
        if self.is_empty() {
            return;
        }
        let lower = Self::sorted(self.values.iter().flat_map(|value| in_names(value)).collect());
        // One bound for all of them, of which there may be many.
        let mut effort = Effort::new(header_bytes(headers), goes_on);
        let mut tells = |name: &HeaderName| lower.covered(name.as_ref(), &mut effort).is_some();
        let telling: Vec<_> = headers.keys().filter(|name| tells(name)).cloned().collect();
        for name in telling {
            headers.remove(name);
        }
        for value in headers.values_mut() {
            if let Some(text) = self.covered(value.as_bytes(), &mut effort)
                && let Ok(covered) = HeaderValue::from_maybe_shared(text)
            {
                *value = covered;
            }
        }
    }

    /// A short text with what must not be seen covered, if there is any.
    fn covered(&self, text: &[u8], effort: &mut Effort<'_>) -> Option<Vec<u8>> {
        let mut covered = text.to_vec();
        self.cover_within(&mut covered, effort);
        (covered != text).then_some(covered)
    }

    /// Where values are in `text`, which may be in so many `layers`.
    fn search(
        &self,
        text: &[u8],
        layers: Layers,
        effort: &mut Effort<'_>,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        self.read_all(text, effort, found);
        if text.len() < self.lengths.least {
            return;
        }
        self.search_without_zeros(text, layers, effort, found);
        let Some(digits) = layers.digits.checked_sub(1) else { return };
        if layers.dumps {
            dumps::read(text, self.lengths, effort, &mut |dump, effort| {
                let mut within = |range| dump.places(range).into_iter().for_each(&mut *found);
                let layers = Layers { dumps: false, zeros: 0, ..layers };
                self.search(&dump.left.bytes, layers, effort, &mut within);
            });
        }
        let mut each = |decoded: &Decoded<'_>, effort: &mut Effort<'_>| {
            let mut within = |range| found(decoded.place(range));
            self.search(decoded.bytes, Layers { digits, ..LAYERS }, effort, &mut within);
        };
        for base in &BASES {
            base.decode(text, self.lengths, effort, &mut each);
        }
        numbers::decode(text, self.lengths, effort, &mut each);
    }

    /// The same in what is left without its zeros, if there are any: first those that are in the fewest
    /// layers of escapes.
    fn search_without_zeros(
        &self,
        text: &[u8],
        layers: Layers,
        effort: &mut Effort<'_>,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        let (lengths, mut are_found) = (self.lengths, false);
        for depth in layers.zeros..=DEPTH {
            if depth == 1 && !zeros::are_escaped_in(text, effort) {
                return;
            }
            Zeros { depth, lengths }.remove(text, effort, &mut |left, effort| {
                are_found = true;
                let mut within = |range| found(left.place(range));
                let layers = Layers { zeros: depth + 1, ..layers };
                self.search(&left.bytes, layers, effort, &mut within);
            });
            if are_found || effort.is_spent() {
                return;
            }
        }
    }

    /// Where values are written in `text` byte by byte.
    fn read_all(&self, text: &[u8], effort: &mut Effort<'_>, found: &mut dyn FnMut(Range<usize>)) {
        for (start, byte) in text.iter().enumerate() {
            // Most bytes begin no value, which one lookup shows.
            let begins = self.begins[usize::from(*byte)];
            if !begins || (!self.begins_with_quote && is_escaped_quote(&text[start..])) {
                continue;
            }
            if let Some(end) = self.end(text, start, effort) {
                found(start..end);
            }
            if effort.is_spent() {
                return;
            }
        }
        // A long text without secrets takes steps too.
        effort.spend(text.len());
    }

    /// Where the longest value ends that begins at `start`.
    fn end(&self, text: &[u8], start: usize, effort: &mut Effort<'_>) -> Option<usize> {
        // Nearly always one place: there are more only where the input may be read in two ways.
        let mut places = vec![Place { at: start, values: self.all() }];
        let (mut next, mut end, mut length) = (vec![], None, 0);
        while !places.is_empty() && !effort.is_spent() {
            for Place { at, values } in places.drain(..) {
                for reading in read(&text[at..], DEPTH, effort).iter() {
                    if let Some(values) = self.alike(values, length, reading.byte) {
                        next.push(Place { at: at + reading.length, values });
                    }
                }
            }
            next.sort_unstable();
            next.dedup();
            std::mem::swap(&mut places, &mut next);
            length += 1;
            // Of values that begin alike, the shortest is the first.
            let ended = |place: &&Place| self.values[place.values.from].len() == length;
            end = end.max(places.iter().filter(ended).map(|place| place.at).max());
        }
        end
    }

    fn all(&self) -> Alike {
        Alike { from: 0, to: self.values.len() }
    }

    /// Those among values which begin alike that have `byte` at `place`.
    fn alike(&self, values: Alike, place: usize, byte: u8) -> Option<Alike> {
        let among = &self.values[values.from..values.to];
        // One that has ended has no byte there, and is before those that have.
        let from = among.partition_point(|value| value.get(place) < Some(&byte));
        let to = among.partition_point(|value| value.get(place) <= Some(&byte));
        (from < to).then(|| Alike { from: values.from + from, to: values.from + to })
    }
}

/// How the names of headers have a value, which are in lower case: itself, and what base 64 makes of it.
/// And as it is, for base 16 in either case.
fn in_names(value: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = vec![value.to_vec()];
    for others in 0..3 {
        // The digits that are of the value alone, after so many other bytes.
        let digits = (others * 8_usize).div_ceil(6)..(others + value.len()) * 8 / 6;
        let bytes = [&[0; 3][..others], value].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            texts.push(engine.encode(&bytes).as_bytes()[digits.clone()].to_vec());
        }
    }
    let lower = texts.iter().map(|text| text.to_ascii_lowercase());
    lower.chain([value.to_vec()]).collect()
}

#[cfg(test)]
mod tests;
