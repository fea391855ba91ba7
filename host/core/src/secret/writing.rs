//! How servers write a byte that they repeat: as it is, or as JSON, JavaScript, addresses, HTML and
//! quoted-printable mail escape it, and each byte of such an escape again. Pure.

use super::effort::Effort;
use super::names::{character, number};

/// How often an escape may itself be escaped, as in JSON within JSON within JSON.
pub(super) const DEPTH: u8 = 3;

/// Readings of one place that are distinguished: three times what a run of backslashes has.
const READINGS: usize = 24;

/// The longest name or number of a character in HTML, in bytes, without `&` and `;`.
const NAME_BYTES: usize = 16;

/// Whether anything but itself may be written with this byte first.
pub(super) fn begins_escape(byte: u8) -> bool {
    matches!(byte, b'\\' | b'%' | b'&' | b'+' | b'=')
}

/// Whether `text` begins with backslashes before a quotation mark, or with so many of them that no reading
/// reaches beyond: the escapes that JSON within JSON is full of, and that say nothing but these two.
pub(super) fn is_escaped_quote(text: &[u8]) -> bool {
    /// Twice as many as one reading takes in [`DEPTH`] layers.
    const MOST: usize = 16;
    let rest = text.iter().take(MOST).find(|byte| **byte != b'\\');
    text.first() == Some(&b'\\') && rest.is_none_or(|byte| *byte == b'"')
}

/// A byte, and how many bytes of the text write it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) byte: u8,
    pub(super) length: usize,
}

/// The ways to read the beginning of the input, of which there may be more than one:
/// `\u0041` is an `A`, and within what escapes nothing it is a backslash.
#[derive(Debug, Clone, Default)]
pub(super) struct Readings {
    found: [Reading; READINGS],
    count: usize,
}

impl Readings {
    pub(super) fn iter(&self) -> impl Iterator<Item = Reading> + '_ {
        self.found[..self.count].iter().copied()
    }

    fn add(&mut self, byte: u8, length: usize) {
        let reading = Reading { byte, length };
        if self.count < READINGS && !self.found[..self.count].contains(&reading) {
            self.found[self.count] = reading;
            self.count += 1;
        }
    }
}

/// The longest reading of what `text` begins with, which is the intended one: a part of an escape has no
/// meaning.
///
/// `text` has at least one byte.
pub(super) fn longest(text: &[u8], depth: u8, effort: &mut Effort<'_>) -> Reading {
    let itself = Reading { byte: text[0], length: 1 };
    if depth == 0 || !begins_escape(itself.byte) || is_escaped_quote(text) {
        effort.spend(1);
        return itself;
    }
    read(text, depth, effort).iter().max_by_key(|reading| reading.length).unwrap_or(itself)
}

/// What `text` may begin with, in up to `depth` layers of escapes.
pub(super) fn read(text: &[u8], depth: u8, effort: &mut Effort<'_>) -> Readings {
    let mut found = Readings::default();
    let Some(first) = text.first() else { return found };
    effort.spend(1);
    found.add(*first, 1);
    if depth == 0 || !begins_escape(*first) {
        return found;
    }
    for Reading { byte, length } in read(text, depth - 1, effort).iter() {
        found.add(byte, length);
        let mut rest = Rest { text: &text[length..], depth: depth - 1, effort };
        let mut add = |byte: u8, more: usize| found.add(byte, length + more);
        match byte {
            b'\\' => rest.backslash(&mut add),
            b'%' => rest.percent(&mut add),
            // Quoted-printable.
            b'=' => rest.number(Digits::HEX_2, 0, &mut add),
            b'&' => rest.entity(&mut add),
            // A space in a form.
            b'+' => add(b' ', 0),
            _ => {}
        }
    }
    found
}

/// What follows the byte with which an escape begins.
struct Rest<'a, 'b, 'c> {
    text: &'a [u8],
    depth: u8,
    effort: &'b mut Effort<'c>,
}

/// A number of which so many digits are still to come.
#[derive(Clone, Copy)]
struct Digits {
    base: u32,
    count: u32,
    value: u32,
}

impl Digits {
    const HEX_2: Self = Self { base: 16, count: 2, value: 0 };
    const HEX_4: Self = Self { base: 16, count: 4, value: 0 };
    const OCTAL_2: Self = Self { base: 8, count: 2, value: 0 };
    const OCTAL_3: Self = Self { base: 8, count: 3, value: 0 };
}

/// The letters of a name that was read so far, and what ends it.
struct Name {
    letters: Vec<u8>,
    end: u8,
}

type Add<'a> = dyn FnMut(u8, usize) + 'a;

/// Takes a name, whether its end was read, and where that is.
type Found<'a> = dyn FnMut(&[u8], bool, usize) + 'a;

impl<'c> Rest<'_, '_, 'c> {
    fn at(&mut self, place: usize) -> Readings {
        read(&self.text[place..], self.depth, self.effort)
    }

    /// After the first `place` bytes.
    fn after(&mut self, place: usize) -> Rest<'_, '_, 'c> {
        Rest { text: &self.text[place..], depth: self.depth, effort: self.effort }
    }

    /// JSON, JavaScript, C and those like them.
    fn backslash(&mut self, add: &mut Add<'_>) {
        for Reading { byte, length } in self.at(0).iter() {
            let mut more = |byte: u8, after: usize| add(byte, length + after);
            let mut rest = self.after(length);
            match byte {
                b'n' => more(b'\n', 0),
                b'r' => more(b'\r', 0),
                b't' => more(b'\t', 0),
                b'u' => {
                    rest.number(Digits::HEX_4, 0, &mut more);
                    rest.braced(&mut more);
                }
                b'x' => rest.number(Digits::HEX_2, 0, &mut more),
                b'0'..=b'7' => {
                    self.number(Digits::OCTAL_3, 0, add);
                    match byte {
                        b'0' => add(0, length),
                        // No character of a secret has a single digit.
                        _ => self.number(Digits::OCTAL_2, 0, add),
                    }
                }
                _ => more(byte, 0),
            }
        }
    }

    /// Addresses and forms, and `%u002B` of JavaScript's `escape`.
    fn percent(&mut self, add: &mut Add<'_>) {
        self.number(Digits::HEX_2, 0, add);
        for Reading { byte, length } in self.at(0).iter() {
            if byte == b'u' {
                let mut more = |byte: u8, after: usize| add(byte, length + after);
                self.after(length).number(Digits::HEX_4, 0, &mut more);
            }
        }
    }

    /// `\u{2B}`, after the `u`.
    fn braced(&mut self, add: &mut Add<'_>) {
        for Reading { byte, length } in self.at(0).iter() {
            if byte == b'{' {
                self.after(length).until(b'}', &mut |digits, is_ended, after| {
                    if let Some(byte) = number(digits, 16).filter(|_| is_ended) {
                        add(byte, length + after);
                    }
                });
            }
        }
    }

    fn entity(&mut self, add: &mut Add<'_>) {
        self.until(b';', &mut |name, is_ended, after| {
            if let Some(byte) = character(name, is_ended) {
                add(byte, after);
            }
        });
    }

    /// A byte of so many digits, from `place` on. No character of a secret is beyond ASCII.
    fn number(&mut self, digits: Digits, place: usize, add: &mut Add<'_>) {
        if digits.count == 0 {
            if let Ok(byte @ 0..=127) = u8::try_from(digits.value) {
                add(byte, place);
            }
            return;
        }
        for Reading { byte, length } in self.at(place).iter() {
            if let Some(digit) = char::from(byte).to_digit(digits.base) {
                let value = digits.value * digits.base + digit;
                let next = Digits { count: digits.count - 1, value, ..digits };
                self.number(next, place + length, add);
            }
        }
    }

    /// The letters, digits and `#` before `end`, whether they are all of them, and where that ends.
    fn until(&mut self, end: u8, found: &mut Found<'_>) {
        self.letters(&mut Name { letters: Vec::with_capacity(NAME_BYTES), end }, 0, found);
    }

    fn letters(&mut self, name: &mut Name, place: usize, found: &mut Found<'_>) {
        for Reading { byte, length } in self.at(place).iter() {
            let is_more = byte.is_ascii_alphanumeric() || byte == b'#';
            if byte == name.end {
                found(&name.letters, true, place + length);
            } else if is_more && name.letters.len() < NAME_BYTES {
                name.letters.push(byte);
                found(&name.letters, false, place + length);
                self.letters(name, place + length, found);
                name.letters.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, depth: u8) -> Vec<(u8, usize)> {
        let goes_on = || true;
        let found = read(text.as_bytes(), depth, &mut Effort::new(text.len(), &goes_on));
        found.iter().map(|Reading { byte, length }| (byte, length)).collect()
    }

    #[test]
    fn a_byte_is_read_in_every_escape() {
        assert_read(&[
            ("+", b'+'),
            ("\\+", b'+'),
            ("\\u002B", b'+'),
            ("\\u002b", b'+'),
            ("\\u{2b}", b'+'),
            ("\\x2B", b'+'),
            ("\\053", b'+'),
            ("\\53", b'+'),
            ("\\163", b's'),
            ("\\12", b'\n'),
            ("%2B", b'+'),
            ("%2b", b'+'),
            ("%u002B", b'+'),
            ("=2B", b'+'),
            ("+", b' '),
            ("\\n", b'\n'),
            ("\\0", 0),
        ]);
    }

    #[test]
    fn a_byte_is_read_in_every_character_reference_of_html() {
        assert_read(&[
            ("&#43;", b'+'),
            ("&#0000043;", b'+'),
            ("&#43", b'+'),
            ("&#0043", b'+'),
            ("&#x2B", b'+'),
            ("&#X002b", b'+'),
            ("&amp", b'&'),
            ("&AMP", b'&'),
            ("&lt", b'<'),
            ("&#x2B;", b'+'),
            ("&#X2b;", b'+'),
            ("&#x0000002B;", b'+'),
            ("&plus;", b'+'),
            ("&amp;", b'&'),
            ("&quot;", b'"'),
            ("&apos;", b'\''),
        ]);
    }

    /// Each text is read as its byte, whatever follows it.
    fn assert_read(ways: &[(&str, u8)]) {
        for (text, byte) in ways {
            for with_more in [(*text).to_owned(), format!("{text}41;")] {
                assert!(all(&with_more, 1).contains(&(*byte, text.len())), "{with_more}");
            }
        }
    }

    #[test]
    fn an_escape_is_read_whose_bytes_are_escaped() {
        for (text, depth, byte) in [
            (r#"\\\""#, 2, b'"'),
            (r#"\\\\\\\""#, 3, b'"'),
            ("%252B", 2, b'+'),
            ("%25252B", 3, b'+'),
            ("%25%32%42", 2, b'+'),
            ("&amp;amp;", 2, b'&'),
            ("&amp;amp;amp;", 3, b'&'),
            ("&amp;#x2B;", 2, b'+'),
            (r"\u0026plus;", 2, b'+'),
            ("%26amp%3B", 2, b'&'),
            (r"%5C%22", 2, b'"'),
            (r"\\u002b", 2, b'+'),
        ] {
            assert!(all(text, depth).contains(&(byte, text.len())), "{text}");
            assert!(!all(text, depth - 1).contains(&(byte, text.len())), "{text}");
        }
    }

    #[test]
    fn other_bytes_stand_for_themselves() {
        for text in ["a", "%", "%4", "%4g", "&", "&#;", "&nbsp;", "&plus", "&apos", "\\"] {
            assert_eq!(all(text, DEPTH), [(text.as_bytes()[0], 1)], "{text}");
        }
        assert_eq!(all("", DEPTH), []);
    }
}
