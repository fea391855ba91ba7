//! The five kinds of plugins in which hostile guests are written, each with its host calls.

use jobwright_tests::{components, guests};

pub(super) use crate::runtime::fixture::{SLEEP as HOUR, SPIN};
use crate::runtime::{extism, fixture};

/// A function that assembles a plugin.
pub(super) type Guest = Box<dyn FnOnce() -> anyhow::Result<Vec<u8>> + Send>;

/// A module or component in text format.
pub(super) fn text(text: impl Into<String>) -> Guest {
    let text = text.into();
    Box::new(move || guests::assemble(&text))
}

/// A year, in nanoseconds.
pub(super) const YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// A kind of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    CommandP1,
    CommandP2,
    Http,
    Job,
    Extism,
}

use Kind::{CommandP1, CommandP2, Extism, Http, Job};

impl Kind {
    pub(super) const ALL: [Self; 5] = [CommandP1, CommandP2, Http, Job, Extism];

    /// The kind as a part of test names.
    pub(super) fn word(self) -> &'static str {
        match self {
            CommandP1 => "a_command_of_preview_1",
            CommandP2 => "a_command_of_wasi_0_2",
            Http => "an_http_component",
            Job => "a_typed_job",
            Extism => "an_extism_plugin",
        }
    }

    /// A plugin with the definitions `rest` that runs `body` and then succeeds.
    pub(super) fn guest(self, rest: &str, body: &str) -> Guest {
        self.ending(rest, body, &self.leaves(0))
    }

    /// A plugin with the definitions `rest` that runs `body` and then `end`.
    pub(super) fn ending(self, rest: &str, body: &str, end: &str) -> Guest {
        let (rest, body) = (rest.to_owned(), format!("{body} {end}"));
        Box::new(move || match self {
            CommandP1 => guests::assemble(&fixture::command(&rest, &body)),
            CommandP2 => components::command(&rest, &body),
            Http => components::handler(&rest, &body),
            Job => components::job(&rest, &body),
            Extism => guests::assemble(&extism::plugin(&rest, &body)),
        })
    }

    /// Instructions that write `bytes` bytes of output and succeed.
    pub(super) fn leaves(self, bytes: u32) -> String {
        match self {
            CommandP1 => format!(
                "(drop (memory.grow (i32.const {}))) {}",
                bytes.div_ceil(65_536),
                write(1, 65_536, bytes)
            ),
            CommandP2 => format!("(call $print (i32.const 0) (i32.const {bytes}))"),
            Http => format!(
                "(call $answer (local.get $out) (i32.const 200) (call $fields))
                (drop (call $body (i32.const 0) (i32.const {bytes}))) (call $finish)"
            ),
            Job => format!("(return (call $ok (i32.const 1024) (i32.const {bytes})))"),
            Extism => format!("(call $leave (call $alloc (i64.const {bytes})))"),
        }
    }

    /// Instructions that write `bytes` bytes of log.
    pub(super) fn logs(self, bytes: u32) -> String {
        match self {
            CommandP1 => write(2, 1024, bytes),
            CommandP2 | Http | Job => format!("(call $log (i32.const 1024) (i32.const {bytes}))"),
            // The host adds the level and a line end.
            Extism => format!("(call $info (call $alloc (i64.const {})))", bytes - 7),
        }
    }

    /// Instructions that sleep for a year in one host call.
    pub(super) fn sleeps(self) -> String {
        match self {
            CommandP1 | Extism => HOUR.replace("3600000000000", &YEAR.to_string()),
            CommandP2 | Http | Job => format!("(call $sleep (i64.const {YEAR}))"),
        }
    }
}

/// Instructions that write to a file descriptor of preview 1.
fn write(descriptor: u32, at: u32, bytes: u32) -> String {
    format!("(call $write (i32.const {descriptor}) (i32.const {at}) (i32.const {bytes}))")
}

/// A command of preview 1.
pub(super) fn p1(rest: &str, body: &str) -> Guest {
    text(fixture::command(rest, body))
}

/// A command of WASI 0.2.
pub(super) fn p2(rest: &str, body: &str) -> Guest {
    CommandP2.ending(rest, body, "")
}

/// An HTTP component.
pub(super) fn http(rest: &str, body: &str) -> Guest {
    Http.ending(rest, body, "")
}

/// A typed job.
pub(super) fn job(rest: &str, body: &str) -> Guest {
    Job.ending(rest, body, "")
}

/// An Extism plug-in.
pub(super) fn plugin(rest: &str, body: &str) -> Guest {
    Extism.ending(rest, body, "")
}

/// A loop that runs `what` without end.
pub(super) fn forever(what: &str) -> String {
    format!("(loop $for_ever {what} (br $for_ever))")
}

/// A loop that runs `what` `count` times, with a new local `$times`.
pub(super) fn times(count: u32, what: &str) -> String {
    format!("(local $times i32) {}", repeated(count, what))
}

/// A loop that runs `what` `count` times, with an existing local `$times`.
pub(super) fn repeated(count: u32, what: &str) -> String {
    format!(
        "(loop $next {what}
            (local.set $times (i32.add (local.get $times) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $times) (i32.const {count}))))"
    )
}
