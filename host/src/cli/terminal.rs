//! What a person sees, or a script reads.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    json: bool,
}

impl Terminal {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether answers are for scripts.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints an answer: as JSON for scripts, else as `human` writes it, but for what would act on a
    /// terminal. Nothing here means to, and a host may be anybody's.
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

    /// Prints an answer as a table, with colours where there is a terminal. The cells were made
    /// harmless by [`table`](super::table::table).
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

    /// A note for a person, on stderr, above the line that shows that something is awaited.
    pub(super) fn note(&self, awaited: &ProgressBar, note: &str) {
        if !self.json {
            // Where nobody reads notes, nobody is to be told.
            awaited.suspend(|| drop(writeln!(io::stderr(), "{}", printable(note))));
        }
    }

    /// Asks a person to agree; `None` where there is none to ask.
    pub(super) fn agrees(&self, question: &str) -> io::Result<Option<bool>> {
        if self.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(None);
        }
        write!(io::stderr(), "{} [y/N] ", printable(question))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
    }

    /// A line that shows that something is awaited; nothing where nobody looks.
    pub(super) fn progress(&self, message: String) -> ProgressBar {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}");
        let bar = ProgressBar::new_spinner().with_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
    }
}

/// Foreign text without what would act on a terminal: control characters other than line breaks and
/// tabs, and marks that turn the direction of writing.
pub(super) fn printable(text: &str) -> String {
    let acts = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    text.chars().map(|c| if acts(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Writes a guest's bytes: as they are into files and pipes, made harmless on a terminal.
pub(super) fn write_foreign(
    bytes: &[u8],
    out: &mut (impl Write + io::IsTerminal),
) -> io::Result<()> {
    if out.is_terminal() {
        out.write_all(harmless(bytes).as_bytes())?;
    } else {
        out.write_all(bytes)?;
    }
    out.flush()
}

/// A guest's bytes as text for a terminal, whatever they are, with a line break at the end.
fn harmless(bytes: &[u8]) -> String {
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
    use super::{harmless, printable};

    #[test]
    fn bytes_that_are_no_text_are_shown_as_far_as_they_can_be() {
        assert_eq!(harmless(b"a\xff\xc3b\x1b[2J"), "a��b�[2J\n");
        assert_eq!((harmless(b""), harmless(b"a\n")), (String::new(), "a\n".to_owned()));
    }

    #[test]
    fn what_acts_on_a_terminal_is_made_visible() {
        assert_eq!(printable("a\tb\nc ä"), "a\tb\nc ä");
        assert_eq!(printable("\u{1b}[31m\r\u{7}\u{202e}"), "�[31m���");
    }
}
