//! The table of ABIs: how a guest of each is written, and which laws do not apply to it.

use jobwright_tests::components;

use crate::runtime::extism;
use crate::runtime::fixture::{SLEEP, SPIN, WASI, command};

/// A guest's definitions, and the body of its function `$work`.
///
/// Guests of all ABIs also have these functions: `$tell` writes the bytes at an address to the log,
/// `$put` makes them the output or appends them to it, `$room` grows memory by some pages if outputs of
/// the ABI are in linear memory, `$doze` sleeps for long in one host call, `$call` is a host call that
/// returns at once, and `$open` leaves a handle open. Their own data begins at 1024.
pub(super) struct Source<'a> {
    pub(super) rest: &'a str,
    pub(super) body: &'a str,
}

impl Source<'_> {
    /// The definitions and `$work`, with the ABI's `functions`.
    fn with(&self, functions: &str) -> String {
        format!("{functions} {} (func $work {})", self.rest, self.body)
    }
}

/// An ABI: how plugins and the host exchange data.
pub(super) struct Abi {
    pub(super) name: &'static str,
    pub(super) build: fn(&Source<'_>) -> anyhow::Result<Vec<u8>>,
    /// Text that the host adds before and after a logged line.
    pub(super) line: (&'static str, &'static str),
    /// The number of table elements that guests of this ABI have in addition to their own.
    pub(super) other_elements: u64,
    /// The number of handles that 30 calls of `$open` leave open.
    pub(super) handles: u64,
    /// Guests that spin in other functions that the host calls than their start function and `$work`.
    pub(super) spinning_elsewhere: fn() -> anyhow::Result<Vec<Vec<u8>>>,
    /// Laws that do not apply to this ABI, with the reason.
    pub(super) without: &'static [(&'static str, &'static str)],
}

pub(super) const ABIS: &[Abi] = &[
    Abi {
        name: "command_p1",
        build: |source| {
            let rest = source.with(&format!("{COMMAND_P1} (func $doze {SLEEP})"));
            Ok(wat::parse_str(command(&rest, "(call $work)"))?)
        },
        line: ("", ""),
        other_elements: 0,
        handles: STREAMS,
        spinning_elsewhere: || Ok(vec![]),
        without: &[(ELSEWHERE, "the host calls `_start` alone")],
    },
    Abi {
        name: "command_p2",
        build: |source| components::command(&source.with(COMMAND_P2), "(call $work)"),
        line: ("", ""),
        other_elements: SHIM,
        handles: POLLABLES,
        spinning_elsewhere: || Ok(vec![spinning_allocator()?]),
        without: &[],
    },
    Abi {
        name: "job",
        build: |source| components::job(&source.with(JOB), JOB_RUN),
        line: ("", ""),
        other_elements: SHIM,
        handles: POLLABLES,
        spinning_elsewhere: || Ok(vec![components::job(&after_return(), "")?]),
        without: &[(FLOOD, "its output is one value, which the law of the output's limit has")],
    },
    Abi {
        name: "http",
        build: |source| components::handler(&source.with(HTTP), HTTP_HANDLE),
        line: ("", ""),
        other_elements: SHIM,
        handles: POLLABLES,
        spinning_elsewhere: || Ok(vec![]),
        without: &[(ELSEWHERE, "its allocator is called as that of commands")],
    },
    Abi {
        name: "extism",
        build: |source| {
            let rest = source.with(&format!("{EXTISM} (func $doze {SLEEP})"));
            Ok(wat::parse_str(extism::plugin(&rest, "(call $work)"))?)
        },
        line: ("INFO: ", "\n"),
        other_elements: 0,
        handles: STREAMS,
        spinning_elsewhere: || Ok(vec![wat::parse_str(extism::plugin(&constructors(), ""))?]),
        without: &[(FLOOD, "its output is one block, which the law of the output's limit has")],
    },
    Abi {
        name: "core",
        build: |source| {
            let rest = source.with(&format!("{CORE} (func $doze {SLEEP})"));
            let start = r#"(func (export "_start") (call $work))"#;
            Ok(wat::parse_str(format!("(module {CORE_IMPORTS} {WASI} {rest} {start})"))?)
        },
        line: ("INFO: ", "\n"),
        other_elements: 0,
        handles: STREAMS,
        spinning_elsewhere: || Ok(vec![]),
        without: &[(ELSEWHERE, "the host calls `_start` alone")],
    },
];

/// The names of laws that do not apply to every ABI.
const ELSEWHERE: &str = "a_guest_that_spins_in_another_function_ends_at_its_time_limit";
const FLOOD: &str = "a_flood_of_output_ends_at_once";

/// More than the elements of the table through which the modules of a component call each other.
const SHIM: u64 = 90;

/// Each standard stream is a handle.
const STREAMS: u64 = 3;

/// A pollable has a handle, and so has the timer that it waits for.
const POLLABLES: u64 = 60;

/// Common definitions of components.
macro_rules! component {
    ($put:literal) => {
        concat!(
            "(func $tell (param i32 i32) (call $log (local.get 0) (local.get 1)))
            (func $room (param i32) (drop (memory.grow (local.get 0))))
            (func $call (call $drop_output (call $stdout)))
            (func $open (drop (call $after (i64.const 1))))
            (func $doze (call $sleep (i64.const 31536000000000000)))",
            $put
        )
    };
}

/// Common definitions of core modules that print.
macro_rules! module {
    ($tell:literal, $call:literal) => {
        concat!(
            "(func $room (param i32) (drop (memory.grow (local.get 0))))
            (func $put (param i32 i32) (call $write (i32.const 1) (local.get 0) (local.get 1)))
            (func $open (call $write (i32.const 2) (i32.const 0) (i32.const 0)))",
            "(func $tell (param i32 i32) ",
            $tell,
            ") (func $call ",
            $call,
            ")"
        )
    };
}

const COMMAND_P1: &str = module!(
    "(call $write (i32.const 2) (local.get 0) (local.get 1))",
    "(drop (call $clock (i32.const 0) (i64.const 1) (i32.const 600)))"
);

const CORE: &str = module!(
    "(call $log (i32.const 2) (local.get 0) (local.get 1))",
    "(call $progress (f64.const 0) (i32.const 1024) (i32.const 4))"
);

const CORE_IMPORTS: &str = r#"
    (import "jobwright" "log" (func $log (param i32 i32 i32)))
    (import "jobwright" "progress" (func $progress (param f64 i32 i32)))"#;

const COMMAND_P2: &str =
    component!("(func $put (param i32 i32) (call $print (local.get 0) (local.get 1)))");

/// Its output is what `run` returns.
const JOB: &str = component!(
    "(global $at (mut i32) (i32.const 0)) (global $len (mut i32) (i32.const 0))
    (func $put (param i32 i32)
        (global.set $at (local.get 0)) (global.set $len (local.get 1)))"
);
const JOB_RUN: &str = "(call $work) (return (call $ok (global.get $at) (global.get $len)))";

/// It responds when it first puts output, or at its end.
const HTTP: &str = component!(
    "(global $to (mut i32) (i32.const 0)) (global $begun (mut i32) (i32.const 0))
    (func $begin
        (if (i32.eqz (global.get $begun)) (then
            (global.set $begun (i32.const 1))
            (call $answer (global.get $to) (i32.const 200) (call $fields)))))
    (func $put (param i32 i32)
        (call $begin) (drop (call $body (local.get 0) (local.get 1))))"
);
const HTTP_HANDLE: &str =
    "(global.set $to (local.get $out)) (call $work) (call $begin) (call $finish)";

/// Its output and its log are blocks, apart from its memory.
const EXTISM: &str = "
    (func $block64 (param $at i32) (param $len i32) (result i64)
        (local $handle i64) (local $n i32)
        (local.set $handle (call $alloc (i64.extend_i32_u (local.get $len))))
        (loop $more
            (if (i32.le_u (i32.add (local.get $n) (i32.const 8)) (local.get $len))
                (then
                    (call $store64
                        (i64.add (local.get $handle) (i64.extend_i32_u (local.get $n)))
                        (i64.load (i32.add (local.get $at) (local.get $n))))
                    (local.set $n (i32.add (local.get $n) (i32.const 8))) (br $more))
                (else (if (i32.lt_u (local.get $n) (local.get $len)) (then
                    (call $store (i64.add (local.get $handle) (i64.extend_i32_u (local.get $n)))
                        (i32.load8_u (i32.add (local.get $at) (local.get $n))))
                    (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $more))))))
        (local.get $handle))
    (func $tell (param i32 i32) (call $info (call $block64 (local.get 0) (local.get 1))))
    (func $put (param i32 i32) (call $leave (call $alloc (i64.extend_i32_u (local.get 1)))))
    (func $room (param i32))
    (func $call (call $free (call $alloc (i64.const 100))))
    (func $open
        (i32.store (i32.const 4) (i32.const 0))
        (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))))";

/// A command whose allocator spins when the host needs room for an argument.
fn spinning_allocator() -> anyhow::Result<Vec<u8>> {
    components::component(
        "command",
        &format!(
            r#"(module
                (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    {SPIN} unreachable)
                (func (export "wasi:cli/run@0.2.0#run") (result i32)
                    (call $arguments (i32.const 0)) (i32.const 0)))"#
        ),
    )
}

/// Spins in the `post-return` function, which the host calls after it has read the output.
fn after_return() -> String {
    format!(r#"(func (export "cabi_post_jobwright:job/run@0.2.0#run") (param i32) {SPIN})"#)
}

/// Spins in the constructors of a plug-in's language runtime.
fn constructors() -> String {
    format!(r#"(func (export "__wasm_call_ctors") {SPIN})"#)
}
