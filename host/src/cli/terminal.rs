//! Output for people and scripts. Text from hosts and guests cannot control the terminal.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Prints results, as text or JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    json: bool,
}

impl Terminal {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are printed as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: as JSON, or as `human` writes it, without control characters, because hosts are
    /// not trusted.
    pub(super) fn result(
        &self,
        json: impl FnOnce() -> Value,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut text = Vec::new();
        if self.json { writeln!(text, "{}", json()) } else { human(&mut text) }?;
        if !self.json {
            text = printable(&String::from_utf8_lossy(&text)).into_bytes();
        }
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    }

    /// Prints a result as a table, with colours on a terminal. [`table`](super::table::table) has removed
    /// the control characters from the cells.
    pub(super) fn table(
        &self,
        json: impl FnOnce() -> Value,
        table: impl FnOnce() -> Table,
    ) -> io::Result<()> {
        let text = if self.json { json().to_string() } else { table().trim_fmt() };
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Prints a note on stderr, above the line of `progress`; nothing with `--json`.
    pub(super) fn note(&self, progress: &ProgressBar, note: &str) {
        if !self.json {
            // If stderr is closed, there is nowhere to report that.
            progress.suspend(|| drop(writeln!(io::stderr(), "{}", printable(note))));
        }
    }

    /// Asks for confirmation. Returns `None` without a terminal.
    pub(super) fn confirm(&self, question: &str) -> io::Result<Option<bool>> {
        if self.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(None);
        }
        write!(io::stderr(), "{} [y/N] ", printable(question))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
    }

    /// A progress line on stderr; nothing without a terminal.
    pub(super) fn progress(&self, message: String) -> ProgressBar {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}");
        let bar = ProgressBar::new_spinner().with_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
    }
}

/// `text` without control characters (except line breaks and tabs) and marks of writing direction, which
/// could change what a terminal displays.
pub(super) fn printable(text: &str) -> String {
    let is_control = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    text.chars().map(|c| if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Writes a guest's bytes: unchanged to files and pipes, without control characters to a terminal.
pub(super) fn write_untrusted(
    bytes: &[u8],
    out: &mut (impl Write + io::IsTerminal),
) -> io::Result<()> {
    if out.is_terminal() {
        out.write_all(sanitized(bytes).as_bytes())?;
    } else {
        out.write_all(bytes)?;
    }
    out.flush()
}

/// A guest's bytes as text for a terminal, with a line break at the end.
fn sanitized(bytes: &[u8]) -> String {
    let mut text = printable(&String::from_utf8_lossy(bytes));
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Whether stdout is a terminal that should not be sent these bytes.
pub(super) fn is_binary_on_terminal(bytes: &[u8]) -> bool {
    io::stdout().is_terminal() && (std::str::from_utf8(bytes).is_err() || bytes.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::{printable, sanitized};

    #[test]
    fn invalid_utf_8_and_control_characters_are_replaced() {
        assert_eq!(sanitized(b"a\xff\xc3b\x1b[2J"), "a��b�[2J\n");
        assert_eq!((sanitized(b""), sanitized(b"a\n")), (String::new(), "a\n".to_owned()));
    }

    #[test]
    fn control_characters_and_direction_marks_are_replaced() {
        assert_eq!(printable("a\tb\nc ä"), "a\tb\nc ä");
        assert_eq!(printable("\u{1b}[31m\r\u{7}\u{202e}"), "�[31m���");
    }
}
