//! Untrusted text in messages and logs: cut between characters, with control characters escaped.

/// The longest value that a message quotes, in characters: a line of a terminal.
const QUOTED_CHARS: usize = 80;

/// At most 80 characters of foreign text, so that it can stand in a message; control characters are
/// escaped as [`harmless`] does.
#[must_use]
pub fn shorten(text: &str) -> String {
    let mut shown = harmless(&text.chars().take(QUOTED_CHARS).collect::<String>());
    if text.chars().nth(QUOTED_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// One line of foreign bytes for a message: at most `most` bytes of them, invalid UTF-8 replaced by
/// U+FFFD, and control characters escaped as [`harmless`] does.
#[must_use]
pub fn excerpt(bytes: &[u8], most: usize) -> String {
    let mut shown = harmless(&String::from_utf8_lossy(start(bytes, most)));
    if bytes.len() > most {
        shown.push('…');
    }
    shown
}

/// `text` with its control characters and invisible formatting marks escaped, as `\n` or `\u{1b}`.
///
/// Quotes and backslashes stay as they are: formats that need them escaped, such as JSON, do that
/// themselves.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            _ if c.is_control() || is_invisible(c) => shown.extend(c.escape_unicode()),
            _ => shown.push(c),
        }
    }
    shown
}

/// Invisible marks that change how the text around them is shown. Joiners are not among them: some scripts
/// need them.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// `text`, or its first characters of at most `most` bytes, and an ellipsis.
#[must_use]
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

/// The first `most` bytes, without a UTF-8 character that they would end within.
#[must_use]
pub fn start(bytes: &[u8], most: usize) -> &[u8] {
    match bytes.get(..most) {
        Some(first) if bytes.len() > most => &first[..first.len() - torn_end(first)],
        _ => bytes,
    }
}

/// How many bytes at the end begin a UTF-8 character and do not complete it: 0 to 3.
#[must_use]
pub fn torn_end(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        if !is_continuation(byte) {
            return if back < length(byte) { back } else { 0 };
        }
    }
    0
}

/// How many bytes at the start belong to a UTF-8 character that began before: 0 to 3.
#[must_use]
pub fn torn_start<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> usize {
    bytes.into_iter().take(3).take_while(|byte| is_continuation(**byte)).count()
}

fn is_continuation(byte: u8) -> bool {
    (0x80..0xc0).contains(&byte)
}

/// The length of a character that begins with `byte`; 1 for what begins none.
fn length(byte: u8) -> usize {
    match byte {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
