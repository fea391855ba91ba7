//! The line of a guest's output or log that most likely explains why it ended. Pure.

use jobwright_core::text::excerpt;

/// The maximum length of a quoted line, in bytes: a long exception is shown whole.
pub(super) const LINE_BYTES: usize = 1000;

/// The length of the end of a log that is searched, in bytes: more than a trace has.
const MOST_BYTES: usize = 64 << 10;

/// The last line that a guest logged; otherwise the last line of its `output`; otherwise the last
/// line that the host wrote to the log.
pub(super) fn last(log: &[u8], output: &[u8]) -> Option<String> {
    let host = || lines(log).into_iter().rfind(|line| is_of_host(line));
    let line = last_outside_traces(lines(log))
        .or_else(|| last_outside_traces(lines(output)))
        .or_else(host)?;
    Some(excerpt(line.trim_ascii(), LINE_BYTES))
}

/// The last lines of a log that a guest wrote, without empty lines and notes on how to debug it.
pub(super) fn of_guest(log: &[u8]) -> Vec<&[u8]> {
    lines(log).into_iter().filter(|line| !is_of_host(line) && !is_note(line)).collect()
}

/// Whether a line is a frame of a trace of JavaScript: `    at f (app.js:3)`.
pub(super) fn is_frame(line: &[u8]) -> bool {
    line.starts_with(b" ") && line.trim_ascii().starts_with(b"at ")
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    let last = &text[text.len().saturating_sub(MOST_BYTES)..];
    last.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end)
        .filter(|line| !line.is_empty())
        .collect()
}

/// The last line that a guest wrote, apart from the frames of a trace.
fn last_outside_traces(lines: Vec<&[u8]>) -> Option<&[u8]> {
    let mut lines = lines;
    lines.retain(|line| !is_of_host(line) && !is_note(line));
    // Go prints its goroutines after the reason.
    let begins = |line: &&[u8]| line.starts_with(b"goroutine ") && line.ends_with(b"]:");
    let panicked =
        |line: &&[u8]| line.starts_with(b"panic: ") || line.starts_with(b"fatal error: ");
    if let Some(panic) = lines.iter().rposition(panicked)
        && lines[panic..].iter().any(begins)
    {
        return Some(lines[panic]);
    }
    lines.into_iter().rfind(|line| !is_frame(line))
}

/// Whether the host wrote this line to the log: with a level, and under its own name.
fn is_of_host(line: &[u8]) -> bool {
    let level = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    level > 0 && line[level..].starts_with(b": jobwright: ")
}

/// Whether a language's runtime adds this line to every failure.
fn is_note(line: &[u8]) -> bool {
    line.starts_with(b"note: run with `RUST_BACKTRACE=") || line.starts_with(b"Node.js v")
}

#[cfg(test)]
mod tests {
    use super::last;

    fn of_log(log: &str) -> Option<String> {
        last(log.as_bytes(), b"")
    }

    #[test]
    fn the_last_meaningful_line_is_shown() {
        assert_eq!(of_log(""), None);
        assert_eq!(of_log("\n \n"), None);
        assert_eq!(of_log("one\ntwo\r\n\n").as_deref(), Some("two"));
        assert_eq!(of_log("a\x1b[31m").as_deref(), Some("a\\u{1b}[31m"));
        assert_eq!(of_log("it's \"x\\y\"").as_deref(), Some("it's \"x\\y\""));
        let long = format!("{}z", "ä".repeat(500));
        assert_eq!(of_log(&long), Some("ä".repeat(500) + "…"));
    }

    #[test]
    fn a_guest_without_a_log_is_quoted_by_its_output_then_by_the_hosts_lines() {
        let host = "WARN: jobwright: denied: x\n";
        assert_eq!(last(host.as_bytes(), b"row 7\n").as_deref(), Some("row 7"));
        assert_eq!(of_log(host).as_deref(), Some("WARN: jobwright: denied: x"));
        assert_eq!(of_log(&format!("row 7\n{host}")).as_deref(), Some("row 7"));
        for guests in ["WARN: mine: x", "jobwright: x", ": jobwright: x", "ERROR: no jobwright: x"]
        {
            assert_eq!(last(guests.as_bytes(), b"other").as_deref(), Some(guests));
        }
    }

    #[test]
    fn traces_and_notes_are_not_quoted() {
        for (log, words) in [
            (
                "thread 'main' panicked at src/main.rs:2:5:\nbad row\nnote: run with \
                 `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
                "bad row",
            ),
            (
                "panic: bad row\n\ngoroutine 1 [running]:\nmain.main()\n\t/x.go:5 +0x2\n",
                "panic: bad row",
            ),
            ("Error: bad row\n    at f (app.js:3)\n    at <eval> (app.js:9)\n", "Error: bad row"),
            ("Error: bad row\n    at f (app.js:3)\n\nNode.js v20.1.0\n", "Error: bad row"),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 7\n",
                "KeyError: 7",
            ),
        ] {
            assert_eq!(of_log(log).as_deref(), Some(words));
        }
    }
}
