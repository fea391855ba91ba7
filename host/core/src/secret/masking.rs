//! Covers secrets in what comes back: a server that repeats what it was sent, now or in an earlier
//! request, would else tell the guest.
//!
//! Found are a secret, and what base64 makes of it within other text (the credentials of
//! `Authorization: Basic`), each byte [written](super::writing) in any of the usual ways. A server that
//! changes it in any other way, and tells, is not who a secret should have been bound to.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderValue};

use super::SecretValue;
use super::writing::{ESCAPES, LONGEST, written};

/// How much is looked at to cover a text: for each hidden one so many times its length. It takes less
/// than twice unless a secret repeats itself, as `aaaaaaaa`, and a text is made of its beginning;
/// without a bound, one of 16 MiB would then keep a thread busy for minutes.
const EFFORT: usize = 8;

/// What must not be seen.
#[derive(Clone, Default)]
pub struct Mask {
    /// By their first byte, which is all that most bytes are compared with; none if there are none.
    hidden: Vec<Vec<Hidden>>,
    count: usize,
}

/// A text that must not be seen.
#[derive(Clone, PartialEq, Eq)]
struct Hidden {
    text: Vec<u8>,
    /// Whether what is written before it, and after it, tells some bits of it.
    before: bool,
    after: bool,
}

impl Hidden {
    /// Where it ends in `text` if it begins at `start`, in whichever way it is written. Takes each look
    /// at a byte from `effort`, and gives up when that is used up.
    fn end(&self, text: &[u8], start: usize, effort: &mut usize) -> Option<usize> {
        // Nearly always one place: there are more only where an escape may be read in two ways.
        let (mut places, mut next) = (vec![start], vec![]);
        for wanted in &self.text {
            *effort = effort.saturating_sub(places.len());
            if *effort == 0 {
                return None;
            }
            for place in places.drain(..) {
                let ways = written(&text[place..]).filter(|(byte, _)| byte == wanted);
                next.extend(ways.map(|(_, length)| place + length));
            }
            next.sort_unstable();
            next.dedup();
            std::mem::swap(&mut places, &mut next);
            if places.is_empty() {
                return None;
            }
        }
        places.pop()
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} texts)", self.count)
    }
}

impl Mask {
    /// Whether there is nothing to cover.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, hidden: Hidden) {
        let Some(first) = hidden.text.first().copied() else { return };
        self.hidden.resize(usize::from(u8::MAX) + 1, vec![]);
        let known = &mut self.hidden[usize::from(first)];
        if !known.contains(&hidden) {
            known.push(hidden);
            self.count += 1;
        }
    }

    pub(super) fn add_secret(&mut self, value: &SecretValue) {
        let text = value.reveal().as_bytes();
        self.add(Hidden { text: text.to_vec(), before: false, after: false });
        // Three bytes make four characters, so there are three ways to fall between others. The
        // characters that are of the secret alone are looked for, and their neighbours are covered.
        for others in 0..3 {
            let encoded = STANDARD_NO_PAD.encode([&[0; 3][..others], text].concat());
            let (start, end) = (others * 8, (others + text.len()) * 8);
            let text = encoded.as_bytes()[start.div_ceil(6)..end / 6].to_vec();
            self.add(Hidden { text, before: start % 6 != 0, after: end % 6 != 0 });
        }
    }

    /// Writes `*` over every occurrence, each byte. If that takes too long, over all of it.
    pub fn cover(&self, text: &mut [u8]) {
        if self.is_empty() {
            return;
        }
        let mut effort = EFFORT.saturating_mul(self.count).saturating_mul(text.len());
        let mut covered = 0;
        // Most bytes begin nothing, which one look tells.
        let begins: [bool; 256] =
            std::array::from_fn(|byte| !self.hidden[byte].is_empty() || ESCAPES.contains(&byte));
        // A byte is covered when all that may begin there was looked for: one may overlap another.
        for place in 0..text.len() {
            let (mut from, mut to) = (place, covered);
            let ways = begins[usize::from(text[place])].then(|| written(&text[place..]));
            for (first, _) in ways.into_iter().flatten() {
                for hidden in &self.hidden[usize::from(first)] {
                    let Some(end) = hidden.end(text, place, &mut effort) else { continue };
                    from = if hidden.before { before(text, place) } else { from };
                    to = to.max(if hidden.after { after(text, end) } else { end });
                }
            }
            if effort == 0 {
                return text.fill(b'*');
            }
            covered = to;
            text[from..place].fill(b'*');
            if place < covered {
                text[place] = b'*';
            }
        }
    }

    /// The same in the values of headers. A header whose very name tells is removed.
    pub fn cover_headers(&self, headers: &mut HeaderMap) {
        if self.is_empty() {
            return;
        }
        let small = self.in_small_letters();
        let tells = |name: &str| {
            let mut covered = name.as_bytes().to_vec();
            small.cover(&mut covered);
            covered != name.as_bytes()
        };
        let telling: Vec<_> = headers.keys().filter(|name| tells(name.as_str())).cloned().collect();
        for name in telling {
            headers.remove(name);
        }
        for value in headers.values_mut() {
            let mut text = value.as_bytes().to_vec();
            self.cover(&mut text);
            if text != value.as_bytes()
                && let Ok(covered) = HeaderValue::from_maybe_shared(text)
            {
                *value = covered;
            }
        }
    }

    /// The same as names of headers have it.
    fn in_small_letters(&self) -> Self {
        let mut small = Self::default();
        for hidden in self.hidden.iter().flatten() {
            small.add(Hidden { text: hidden.text.to_ascii_lowercase(), ..hidden.clone() });
        }
        small
    }
}

/// Where what is written just before `place` begins.
fn before(text: &[u8], place: usize) -> usize {
    let ends_here = |length: &usize| {
        let start = place.checked_sub(*length);
        start.is_some_and(|start| written(&text[start..place]).any(|(_, found)| found == *length))
    };
    place - (1..=LONGEST).rev().find(ends_here).unwrap_or(0)
}

/// Where what is written just after `place` ends.
fn after(text: &[u8], place: usize) -> usize {
    place + written(&text[place..]).map(|(_, length)| length).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
