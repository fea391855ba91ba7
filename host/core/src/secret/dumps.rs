//! Dumps as `xxd`, `hexdump -C` and `od` print them: lines of an offset, groups of digits, and often the
//! characters of these again. What the groups are, and where lines have their characters. Pure.

use std::ops::Range;

use super::effort::Effort;
use super::left::Left;
use super::radix::Lengths;
use super::writing::{DEPTH, Reading, longest};

/// Bytes of groups that are passed on at one time, in addition to those that two pieces share.
const PIECE: usize = 64 << 10;

/// Bytes that two pieces have in common, for each byte of the longest secret: three for each digit of base 64
/// within base 64, each byte of it escaped.
const COMMON: usize = 48;

/// The fewest digits of an offset.
const OFFSET: usize = 4;

/// The maximum number of digits of a group, which is a word of 64 bits, and of an offset.
const WORD: usize = 16;

/// The maximum number of blanks between groups, and before the first.
const GAP: usize = 8;

/// The maximum number of blanks before the characters: the width of all groups but one of 16 bytes,
/// and some more.
const WIDE: usize = 80;

/// The groups of a dump.
#[derive(Debug, Default)]
pub(super) struct Dump {
    pub(super) left: Left,
    lines: Vec<Line>,
}

/// The layout of a line.
#[derive(Debug)]
struct Line {
    groups: Range<usize>,
    /// What the same bytes are as characters, if that is there.
    characters: Range<usize>,
}

/// Takes the groups.
pub(super) type Each<'a> = dyn FnMut(&Dump, &mut Effort<'_>) + 'a;

/// Hands on the groups of all dumps in `text`.
pub(super) fn read(text: &[u8], lengths: Lengths, effort: &mut Effort<'_>, each: &mut Each<'_>) {
    let common = lengths.most * COMMON;
    let most = PIECE.max(common) + common;
    let (mut dump, mut at) = (Dump::default(), 0);
    while at < text.len() && !effort.is_spent() {
        let digits = leading_digits(&text[at..]);
        at += digits.max(1);
        if digits < OFFSET {
            continue;
        }
        if let Some(line) = (Cursor { text, at, effort }).line(digits) {
            at = line.characters.end;
            dump.push(text, line);
        }
        if dump.left.bytes.len() >= most {
            each(&dump, effort);
            dump.keep(common);
        }
    }
    if !dump.lines.is_empty() {
        each(&dump, effort);
    }
}

impl Dump {
    /// Where these bytes of the groups are in the text, and the characters of the line in which they end.
    pub(super) fn places(&self, bytes: Range<usize>) -> [Range<usize>; 2] {
        let groups = self.left.place(bytes);
        let line = self.lines.partition_point(|line| line.groups.end < groups.end);
        let characters = self.lines.get(line).map_or(0..0, |line| line.characters.clone());
        [groups, characters]
    }

    fn push(&mut self, text: &[u8], line: Line) {
        self.left.push(text, line.groups.clone());
        self.lines.push(line);
    }

    fn keep(&mut self, kept: usize) {
        self.left.keep(kept);
        let first = self.left.place(0..1).start;
        self.lines.retain(|line| line.groups.end > first);
    }
}

/// Reads a line, which may be escaped.
struct Cursor<'a, 'b, 'c> {
    text: &'a [u8],
    at: usize,
    effort: &'b mut Effort<'c>,
}

impl Cursor<'_, '_, '_> {
    /// The rest of a line after an offset of so many digits.
    fn line(&mut self, offset: usize) -> Option<Line> {
        let is_marked = self.run(|byte| byte == b':', 1) > 0;
        let start = self.at;
        if self.blanks(GAP) == 0 {
            return None;
        }
        let width = self.digits();
        // Else they are words of the same kind as others.
        let is_offset = is_marked || width < offset;
        if !is_offset || !(2..=WORD).contains(&width) {
            return None;
        }
        let digits = width + self.groups(width);
        let groups = start..self.at;
        Some(Line { groups, characters: self.characters(digits / 2) })
    }

    /// The groups that follow a first one: all of this width, but for one that may end the line. How
    /// many digits they have.
    fn groups(&mut self, width: usize) -> usize {
        let (mut count, mut digits, mut between) = (1, 0, None);
        loop {
            let end = self.at;
            let blanks = self.blanks(GAP);
            let usual = *between.get_or_insert(blanks);
            // `hexdump -C` divides its lines.
            let is_middle = width == 2 && count == 8 && blanks == usual + 1;
            let next = if blanks == usual || is_middle { self.digits() } else { 0 };
            if blanks == 0 || next == 0 || next > width {
                self.at = end;
                return digits;
            }
            (count, digits) = (count + 1, digits + next);
            if next < width {
                return digits;
            }
        }
    }

    /// As many characters as the line has `bytes`, with what stands around them: the first may look like a
    /// blank that is escaped.
    fn characters(&mut self, bytes: usize) -> Range<usize> {
        let end = self.at;
        if self.blanks(WIDE) < 2 {
            return end..end;
        }
        let is_framed = self.run(|byte| matches!(byte, b'|' | b'>'), 1) > 0;
        for _ in 0..bytes + usize::from(is_framed) {
            match self.next() {
                Some(next) if !self.ends_line(next) => self.at += next.length,
                _ => break,
            }
        }
        end..self.at
    }

    /// Whether this is a line break: an escaped one may be two characters of a line.
    fn ends_line(&self, next: Reading) -> bool {
        let after = || leading_digits(&self.text[self.at + next.length..]);
        matches!(next.byte, b'\r' | b'\n') && (next.length == 1 || after() >= OFFSET)
    }

    fn blanks(&mut self, most: usize) -> usize {
        self.run(|byte| matches!(byte, b' ' | b'\t'), most)
    }

    /// The digits of one group, or more than it can have.
    fn digits(&mut self) -> usize {
        self.run(|byte| byte.is_ascii_hexdigit(), WORD + 1)
    }

    /// Goes beyond up to `most` bytes of this kind; how many there were.
    fn run(&mut self, is_kind: fn(u8) -> bool, most: usize) -> usize {
        let mut count = 0;
        while count < most
            && let Some(Reading { byte, length }) = self.next()
            && is_kind(byte)
        {
            self.at += length;
            count += 1;
        }
        count
    }

    fn next(&mut self) -> Option<Reading> {
        let rest = &self.text[self.at..];
        (!rest.is_empty()).then(|| longest(rest, DEPTH, self.effort))
    }
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count()
}
