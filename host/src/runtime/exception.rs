//! Exceptions that ended a guest, as the runtimes of Python and JavaScript print them before they
//! trap. Some runtimes print a line of their own at the end, which distinguishes the trace of a
//! fatal exception from one that a program printed and survived; for other runtimes, the trace must
//! be the end of the log.

use jobwright_core::text::excerpt;

use super::words::{self, LINE_BYTES, is_frame};

/// The lines by which the output of componentize-py's runtime begins and ends.
const PYTHON: &str = "Traceback (most recent call last):";
const PYTHON_GROUP: &str = "  + Exception Group Traceback (most recent call last):";
const PYTHON_ENDS: &str = "Python function threw an unexpected exception";

/// The line by which that of componentize-js begins, after the message.
const JAVASCRIPT: &str = "Stack:";
const JAVASCRIPT_ENDS: &str = "Redirecting call to abort() to mozalloc_abort";

/// The prefix of the line that componentize-js's runtime prints when a request handler threw; it
/// then responds with 500 without a body.
const HANDLER: &str = "Error while running request handler: ";

/// The lines that Python prints between two tracebacks of which the second is that of the fatal
/// exception.
const PYTHON_CHAINS: [&str; 2] = [
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
];

/// The message of the exception that a request handler in JavaScript threw.
pub(super) fn of_handler(log: &[u8]) -> Option<String> {
    let lines = words::of_guest(log);
    let line = lines.iter().rev().find_map(|line| line.strip_prefix(HANDLER.as_bytes()))?;
    Some(excerpt(line, LINE_BYTES))
}

/// The line that names the exception which ended the guest that wrote `log`: `ValueError: bad row`.
pub(super) fn named(log: &[u8]) -> Option<String> {
    let lines: Vec<_> = words::of_guest(log).into_iter().map(String::from_utf8_lossy).collect();
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    let line = python(&lines).or_else(|| javascript(&lines))?;
    Some(excerpt(line.as_bytes(), LINE_BYTES))
}

/// The first line after the last traceback that is no frame; a message of several lines continues
/// after it. A traceback within the message of another exception is part of that message.
fn python<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let mut lines = match lines.iter().rposition(|line| *line == PYTHON_ENDS) {
        Some(end) => &lines[..end],
        None => traceback(lines).filter(|(_, named)| lines.last() == Some(named)).map(|_| lines)?,
    };
    let (mut start, mut named) = traceback(lines)?;
    loop {
        lines = &lines[..start];
        let Some((outer, its)) = traceback(lines) else { return Some(named) };
        let announces = its.ends_with(':') && !PYTHON_CHAINS.contains(&its);
        if !announces || lines.last().is_none_or(|last| !last.ends_with(its)) {
            return Some(named);
        }
        (start, named) = (outer, its);
    }
}

/// The index of the last traceback, and the line that names its exception.
fn traceback<'a>(lines: &[&'a str]) -> Option<(usize, &'a str)> {
    let start = lines.iter().rposition(|line| [PYTHON, PYTHON_GROUP].contains(line))?;
    let bar = if lines[start] == PYTHON { "" } else { "  | " };
    let mut rest = lines[start + 1..].iter().filter_map(|line| line.strip_prefix(bar));
    Some((start, rest.find(|line| !line.starts_with(char::is_whitespace))?))
}

/// The line before the frames.
fn javascript<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let Some(end) = lines.iter().rposition(|line| *line == JAVASCRIPT_ENDS) else {
        let frames = lines.iter().rev().take_while(|line| is_frame(line.as_bytes())).count();
        let before = &lines[..lines.len() - frames];
        return before.last().copied().filter(|_| frames > 0);
    };
    let start = lines[..end].iter().rposition(|line| *line == JAVASCRIPT)?;
    lines[..start].last().copied()
}

#[cfg(test)]
mod tests {
    use super::{named, of_handler};

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
        let trace = trace.trim_start_matches("row 7\n");
        let told = format!("{trace}RuntimeError: the worker failed:\n{trace}KeyError: 1\n{PANIC}");
        assert_eq!(named(told.as_bytes()).as_deref(), Some("RuntimeError: the worker failed:"));
        let before = format!("{trace}KeyError: 1\n{trace}ValueError: bad row\n{PANIC}");
        assert_eq!(named(before.as_bytes()).as_deref(), Some("ValueError: bad row"));
        // A trace that a program printed itself and survived does not explain its end.
        assert_eq!(named(format!("{trace}ValueError: bad row\nrow 8\n").as_bytes()), None);
        let last = named(format!("row 7\n{trace}ValueError: bad row\n").as_bytes());
        assert_eq!(last.as_deref(), Some("ValueError: bad row"));
        assert_eq!(named(PANIC.as_bytes()), None);
    }

    #[test]
    fn a_group_of_exceptions_is_named_by_its_own_line() {
        let log = format!(
            "  + Exception Group Traceback (most recent call last):\n  |   File \"/0/app.py\", line 2, \
             in run\n  | ExceptionGroup: bad rows (2 sub-exceptions)\n  +-+---------------- 1 \
             ----------------\n    | Traceback (most recent call last):\n    |   File \"/0/app.py\", \
             line 1\n    | ValueError: row 7\n    +---------------- 2 ----------------\n    | \
             TypeError: row 8\n    +------------------------------------\n{PANIC}"
        );
        let group = "ExceptionGroup: bad rows (2 sub-exceptions)";
        assert_eq!(named(log.as_bytes()).as_deref(), Some(group));
    }

    #[test]
    fn an_exception_of_javascript_is_named_by_its_message() {
        let log = "row 7\nbad row\nStack:\n  inner@source.js:1:27\n  run@source.js:2:30\n\n\
            Redirecting call to abort() to mozalloc_abort\n\n";
        assert_eq!(named(log.as_bytes()).as_deref(), Some("bad row"));
        assert_eq!(named(b"Stack:\n  x@y\n"), None);
        let log = b"row 7\nUncaught Error: bad row\n    at <anonymous> (a.mjs:3)\n    at <eval> (a.mjs:9)\n";
        assert_eq!(named(log).as_deref(), Some("Uncaught Error: bad row"));
    }

    #[test]
    fn an_exception_of_a_request_handler_is_named_by_its_message() {
        let log =
            "began\nError while running request handler: my error\nStack:\n  answer@main.js:2:9\n";
        assert_eq!(of_handler(log.as_bytes()).as_deref(), Some("my error"));
        assert_eq!(of_handler(b"my error\nStack:\n"), None);
    }

    #[test]
    fn a_log_may_contain_any_bytes() {
        assert_eq!(named(b""), None);
        let long =
            [&[0xff; 100_000][..], b"\nStack:\nRedirecting call to abort() to mozalloc_abort"];
        assert!(named(&long.concat()).is_some_and(|line| line.len() < 2_000));
    }
}
