//! Attacks on the host's own memory: huge arguments of host calls, and many handles.

use anyhow::ensure;
use serde_json::json;

use super::case::{Case, End, End::Limit, End::Traps, used};
use super::guests::{Guest, forever, http, job, p1, p2, repeated, text, times};

pub(super) fn cases() -> Vec<Case> {
    [calls(), lists(), handles()].into_iter().flatten().collect()
}

fn case(name: &str, guest: Guest, end: End) -> Case {
    // It must end by its error or limit, and not by its time limit.
    Case::new(format!("host_memory::{name}"), guest).ends(end).and(|attempt| {
        ensure!(used(attempt, "run_ms")? < 10_000.0, "it takes too long");
        Ok(())
    })
}

/// More bytes than any call may copy.
const LONG: &str = "(i32.const 1024) (i32.const 50000000)";
const GROW: &str = "(drop (memory.grow (i32.const 800)))";

const RANDOM: &str = r#"(import "wasi:random/random@0.2.0" "get-random-bytes"
    (func $random (param i64 i32)))"#;
const ZEROES: &str = r#"(import "wasi:io/streams@0.2.0" "[method]output-stream.write-zeroes"
    (func $zeroes (param i32 i64 i32)))"#;

/// One host call with an argument that is far too large.
fn calls() -> Vec<Case> {
    let refused = Traps("host_call");
    let p1 = |body: &str| p1("", body);
    vec![
        case(
            "random_bytes_in_small_pieces_are_fine",
            p1("(drop (call $random (i32.const 0) (i32.const 60000)))"),
            End::Succeeds,
        ),
        case(
            "random_bytes_by_the_gigabyte",
            p1("(drop (call $random (i32.const 0) (i32.const 0x7fffffff)))"),
            refused,
        ),
        case(
            "random_bytes_of_a_component_by_the_gigabyte",
            p2(RANDOM, "(call $random (i64.const 0x80000000) (i32.const 600))"),
            Limit("memory"),
        ),
        case(
            "random_bytes_without_number",
            p2(RANDOM, "(call $random (i64.const -1) (i32.const 600))"),
            Limit("memory"),
        ),
        case(
            "zeroes_without_number",
            p2(ZEROES, "(call $zeroes (call $stdout) (i64.const -1) (i32.const 600))"),
            refused,
        ),
        case(
            "a_read_of_all_there_could_be_is_fine",
            p2("", "(call $blocking_read (call $stdin) (i64.const -1) (i32.const 600))"),
            End::Succeeds,
        ),
        case(
            "a_write_without_leave",
            p2("", &format!("{GROW} (call $stream_write (call $stdout) {LONG} (i32.const 600))")),
            Limit("output"),
        ),
        case(
            "a_huge_checkpoint",
            job("", &format!("{GROW} (call $save {LONG} (i32.const 600))")),
            // The error is one of its type.
            End::Succeeds,
        ),
        case(
            "a_huge_report",
            job("", &format!("{GROW} (call $report (i32.const 0) (f64.const 0) {LONG})")),
            refused,
        ),
        case(
            "a_huge_log_line_of_a_typed_job",
            job(
                "",
                &format!("{GROW} (call $say (i32.const 0) (i32.const 0) (i32.const 0) {LONG})"),
            ),
            refused,
        ),
        case(
            "a_pointer_beyond_memory",
            p1("(call $write (i32.const 1) (i32.const 65530) (i32.const 600))"),
            refused,
        ),
        // An error that a guest may handle.
        case(
            "a_list_of_writes_beyond_memory",
            p1("(if (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0x7fffffff)
                    (i32.const 8)))
                (then unreachable))"),
            End::Succeeds,
        ),
        case(
            "a_write_of_fifty_megabytes_at_once",
            p1("(drop (memory.grow (i32.const 800))) (i32.store (i32.const 4) (i32.const 50000000))
                (if (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1)
                    (i32.const 8)))
                (then unreachable))"),
            Limit("output"),
        ),
        case(
            "a_list_of_empty_writes_over_all_memory",
            p1(&format!(
                "(drop (memory.grow (i32.const 1000))) {}",
                forever("(drop (call $fd_write (i32.const 1) (i32.const 65536)
                    (i32.const 8000000) (i32.const 8)))")
            )),
            Limit("time"),
        )
        .under(json!({ "timeout_ms": 250 })),
    ]
}

/// Imports that create fields from a list.
const FROM_LIST: &str = r#"(import "wasi:http/types@0.2.0" "[static]fields.from-list"
    (func $from_list (param i32 i32 i32)))"#;

const POLL: &str = r#"(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))"#;

/// Lists whose elements are all the same long string: small in the guest, but huge when copied.
fn lists() -> Vec<Case> {
    // `count` headers at 131072, each with the given name and value.
    let entries = |count: u32, value: u32| {
        format!(
            "{} (drop (memory.grow (i32.const 600))) {}
            (call $from_list (i32.const 131072) (i32.const {count}) (i32.const 600))
            ;; It must not have worked.
            (if (i32.eqz (i32.load8_u (i32.const 600))) (then unreachable))",
            "(local $times i32)",
            repeated(
                count,
                &format!(
                    "(i32.store (i32.add (i32.const 131072)
                        (i32.mul (local.get $times) (i32.const 16))) (i32.const 112))
                    (i32.store offset=4 (i32.add (i32.const 131072)
                        (i32.mul (local.get $times) (i32.const 16))) (i32.const 12))
                    (i32.store offset=8 (i32.add (i32.const 131072)
                        (i32.mul (local.get $times) (i32.const 16))) (i32.const 112))
                    (i32.store offset=12 (i32.add (i32.const 131072)
                        (i32.mul (local.get $times) (i32.const 16))) (i32.const {value}))"
                )
            )
        )
    };
    let append = "(call $append (local.get $fields) (i32.const 112) (i32.const 12)
        (i32.const 112) (i32.const 20) (i32.const 64))";
    let fields = "(local $fields i32) (local.set $fields (call $fields))";
    let polls = format!(
        "(local $waits i32) (local $times i32)
        (drop (memory.grow (i32.const 600))) (local.set $waits (call $after (i64.const -1))) {}
        (call $poll (i32.const 131072) (i32.const 9000000) (i32.const 600))",
        repeated(
            9_000_000,
            "(i32.store (i32.add (i32.const 131072) (i32.mul (local.get $times) (i32.const 4)))
                (local.get $waits))"
        )
    );
    vec![
        case(
            "the_same_long_value_in_many_headers",
            http(FROM_LIST, &entries(2_000, 1_000_000)),
            Traps("host_call"),
        ),
        case(
            "a_great_many_headers_at_once",
            http(FROM_LIST, &entries(1_000_000, 20)),
            End::Fails("no_answer"),
        ),
        case(
            "headers_without_end",
            http("", &format!("(local $times i32) {fields} {}", repeated(5_000, append))),
            End::Fails("no_answer"),
        ),
        case("a_long_list_of_the_same_pollable", p2(POLL, &polls), Traps("host_call")),
        case("a_list_of_strings_for_another_component", text(strings(2_000)), Limit("memory")),
        case(
            "a_short_list_of_strings_for_another_component_is_fine",
            text(strings(10)),
            End::Succeeds,
        ),
    ]
}

/// A component that passes to another one a list with `count` times the same string of 100,000 bytes;
/// each is copied.
fn strings(count: u32) -> String {
    format!(
        r#"(component
        (component $callee
            (core module $m
                (memory (export "memory") 1)
                (global $free (mut i32) (i32.const 1024))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7))
                        (i32.const -8)))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (loop $more
                        (if (i32.gt_u (global.get $free)
                                (i32.mul (memory.size) (i32.const 65536)))
                            (then
                                (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1))
                                    (then unreachable))
                                (br $more))))
                    (local.get $at))
                (func (export "f") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func (export "f") (param "all" (list string))
                (canon lift (core func $i "f") (memory (core memory $i "memory"))
                    (realloc (core func $i "realloc")))))
        (component $caller
            (import "f" (func $f (param "all" (list string))))
            (core module $memory (memory (export "memory") 8))
            (core instance $memory (instantiate $memory))
            (core func $lowered (canon lower (func $f) (memory (core memory $memory "memory"))))
            (core module $m
                (import "" "f" (func $f (param i32 i32)))
                (import "" "memory" (memory 8))
                (func (export "run") (result i32)
                    {}
                    (call $f (i32.const 131072) (i32.const {count}))
                    (i32.const 0)))
            (core instance $i (instantiate $m (with "" (instance
                (export "f" (func $lowered)) (export "memory" (memory $memory "memory"))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $exported (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $exported)))
        (instance $one (instantiate $callee))
        (instance $two (instantiate $caller (with "f" (func $one "f"))))
        (alias export $two "wasi:cli/run@0.2.0" (instance $exported))
        (export "wasi:cli/run@0.2.0" (instance $exported)))"#,
        times(
            count,
            "(i32.store offset=4 (i32.add (i32.const 131072)
                (i32.mul (local.get $times) (i32.const 8))) (i32.const 100000))"
        )
    )
}

/// Handles, each of which refers to an object in the host.
fn handles() -> Vec<Case> {
    let limited = |name: &str, guest, end| {
        case(name, guest, end).under(json!({ "resources": 100, "timeout_ms": 20_000 }))
    };
    let all = Limit("resources");
    let own = |count: u32| {
        text(format!(
            r#"(component
                (type $thing (resource (rep i32)))
                (core func $new (canon resource.new $thing))
                (core module $m
                    (import "" "new" (func $new (param i32) (result i32)))
                    (func (export "run") (result i32)
                        {} (i32.const 0)))
                (core instance $i (instantiate $m
                    (with "" (instance (export "new" (func $new))))))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $exported (export "run" (func $run)))
                (export "wasi:cli/run@0.2.0" (instance $exported)))"#,
            times(count, "(drop (call $new (i32.const 7)))")
        ))
    };
    let clocks = "(memory (export \"more\") 1)";
    vec![
        limited(
            "few_pollables_are_fine",
            p2("", &times(30, "(drop (call $after (i64.const 1)))")),
            End::Succeeds,
        ),
        limited(
            "pollables_without_end",
            p2("", &forever("(drop (call $after (i64.const 1)))")),
            all,
        ),
        limited("streams_without_end", p2("", &forever("(drop (call $stdout))")), all),
        limited("headers_that_are_never_dropped", http("", &forever("(drop (call $fields))")), all),
        limited("handles_of_its_own_are_fine", own(100), End::Succeeds),
        limited("handles_of_its_own_without_end", own(101), all),
        limited(
            "more_clocks_than_handles_are_fine",
            p1(
                clocks,
                "(drop (call $poll (i32.const 1024) (i32.const 16384) (i32.const 300) (i32.const 0)))",
            ),
            End::Succeeds,
        ),
    ]
}
