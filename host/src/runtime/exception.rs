//! Exceptions that ended a guest: what the runtimes of Python and JavaScript print before they trap.
//!
//! Each has words of its own at the end, by which it is told from a trace that a program printed and went on.

/// How componentize-py's runtime begins and ends what it prints.
const PYTHON: &str = "Traceback (most recent call last):";
const PYTHON_ENDS: &str = "Python function threw an unexpected exception";

/// How that of componentize-js does, after the message.
const JAVASCRIPT: &str = "Stack:";
const JAVASCRIPT_ENDS: &str = "Redirecting call to abort() to mozalloc_abort";

/// What is looked at of a log: a trace is longer than the frames that matter, and shorter than this.
const MOST_BYTES: usize = 64 << 10;

/// What is shown of a line: some lines of a terminal.
const MOST_CHARACTERS: usize = 400;

/// The line that names the exception which ended the guest that wrote `log`: `ValueError: bad row`.
pub(super) fn named(log: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&log[log.len().saturating_sub(MOST_BYTES)..]);
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    python(&lines).or_else(|| javascript(&lines)).map(shown)
}

/// A line as it stands, without control characters.
fn shown(line: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    line.chars().take(MOST_CHARACTERS).map(plain).collect()
}

/// The first line after the last traceback that is no frame: more may follow, if the message has them.
fn python<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let end = lines.iter().rposition(|line| *line == PYTHON_ENDS)?;
    let start = lines[..end].iter().rposition(|line| *line == PYTHON)?;
    lines[start + 1..end].iter().copied().find(|line| !line.starts_with(char::is_whitespace))
}

/// The line before the frames.
fn javascript<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let end = lines.iter().rposition(|line| *line == JAVASCRIPT_ENDS)?;
    let start = lines[..end].iter().rposition(|line| *line == JAVASCRIPT)?;
    lines[..start].last().copied()
}

#[cfg(test)]
mod tests {
    use super::named;

    const PANIC: &str = "\nthread '<unnamed>' (1) panicked at runtime/src/lib.rs:1293:29:\n\
        Python function threw an unexpected exception\n\
        note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\n";

    #[test]
    fn an_exception_of_python_is_named_by_its_own_line() {
        let trace =
            "row 7\nTraceback (most recent call last):\n  File \"/0/app.py\", line 23, in run\n";
        let log = format!("{trace}ValueError: bad row\n{PANIC}");
        assert_eq!(named(log.as_bytes()).as_deref(), Some("ValueError: bad row"));
        let chained = format!(
            "{trace}KeyError: 1\n\nThe above exception was the direct cause of the following \
             exception:\n\n{trace}RuntimeError: in the second place\nand more\n{PANIC}"
        );
        assert_eq!(named(chained.as_bytes()).as_deref(), Some("RuntimeError: in the second place"));
        // What a program printed itself and survived says nothing of its end.
        assert_eq!(named(format!("{trace}ValueError: bad row\n").as_bytes()), None);
        assert_eq!(named(PANIC.as_bytes()), None);
    }

    #[test]
    fn an_exception_of_javascript_is_named_by_its_message() {
        let log = "row 7\nbad row\nStack:\n  inner@source.js:1:27\n  run@source.js:2:30\n\n\
            Redirecting call to abort() to mozalloc_abort\n\n";
        assert_eq!(named(log.as_bytes()).as_deref(), Some("bad row"));
        assert_eq!(named(b"Stack:\n  x@y\n"), None);
    }

    #[test]
    fn a_log_of_any_bytes_is_looked_at() {
        assert_eq!(named(b""), None);
        let long =
            [&[0xff; 100_000][..], b"\nStack:\nRedirecting call to abort() to mozalloc_abort"];
        assert!(named(&long.concat()).is_some_and(|line| line.len() < 2_000));
    }
}
