//! Endless waits: for a clock, for nothing, or repeatedly for no time at all.

use anyhow::ensure;
use serde_json::json;

use super::case::{Case, End::Limit, End::Traps, used};
use super::guests::{Guest, YEAR, forever, http, p1, p2};

pub(super) fn cases() -> Vec<Case> {
    let under = |name: &str, guest| {
        Case::new(format!("waiting::{name}"), guest).under(json!({ "timeout_ms": 250 }))
    };
    let idle = sleepers().into_iter().map(|(name, guest)| {
        under(name, guest).ends(Limit("time")).and(|attempt| {
            ensure!(used(attempt, "cpu_ms")? < 150.0, "waiting costs no processor");
            Ok(())
        })
    });
    let busy = restless().into_iter().map(|(name, guest)| under(name, guest).ends(Limit("time")));
    let short = [
        under("a_short_sleep_is_fine", p1("", &polls(1, 1_000_000, 0))),
        under("a_time_that_has_passed_is_waited_for_no_longer", p1("", &polls(0, 1, 1))),
        under("a_short_wait_of_a_component_is_fine", p2("", "(call $sleep (i64.const 1000000))")),
        under(
            "nothing_at_all_cannot_be_waited_for",
            p2(POLL, "(call $poll (i32.const 600) (i32.const 0) (i32.const 608))"),
        )
        .ends(Traps("host_call")),
    ];
    idle.chain(busy).chain(short).collect()
}

/// Waits in preview 1 for a clock: 0 is the wall clock, 1 the monotonic clock. With `flags` 1 the time is
/// absolute.
fn polls(clock: u32, nanos: u64, flags: u32) -> String {
    format!(
        "(i32.store (i32.const 80) (i32.const {clock}))
        (i64.store (i32.const 88) (i64.const {nanos}))
        (i32.store (i32.const 104) (i32.const {flags}))
        (drop (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512)))"
    )
}

const POLL: &str = r#"(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))"#;

fn sleepers() -> Vec<(&'static str, Guest)> {
    let p1 = |body: String| p1("", &body);
    vec![
        ("a_sleep_of_a_year", p1(polls(1, YEAR, 0))),
        ("a_sleep_until_a_year_far_away", p1(polls(0, 500 * YEAR, 1))),
        ("a_sleep_longer_than_clocks_go", p1(polls(1, u64::MAX, 0))),
        ("a_sleep_until_the_end_of_time", p1(polls(1, u64::MAX, 1))),
        (
            "two_clocks_that_never_ring",
            // The second subscription equals the first.
            p1(format!(
                "{} {}",
                polls(1, 0, 0),
                "(i64.store (i32.const 88) (i64.const -1))
                (memory.copy (i32.const 112) (i32.const 64) (i32.const 48))
                (drop (call $poll (i32.const 64) (i32.const 256) (i32.const 2) (i32.const 512)))"
            )),
        ),
        ("a_components_sleep_of_a_year", p2("", &format!("(call $sleep (i64.const {YEAR}))"))),
        ("a_components_sleep_longer_than_clocks_go", p2("", "(call $sleep (i64.const -1))")),
        (
            "many_pollables_that_never_wake",
            p2(
                POLL,
                "(local $n i32)
                (loop $more
                    (i32.store (i32.add (i32.const 1024) (i32.mul (local.get $n) (i32.const 4)))
                        (call $after (i64.const -1)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $more (i32.lt_u (local.get $n) (i32.const 300))))
                (call $poll (i32.const 1024) (i32.const 300) (i32.const 608))",
            ),
        ),
        ("a_handlers_sleep_of_a_year", http("", &format!("(call $sleep (i64.const {YEAR}))"))),
        (
            "a_sleep_of_a_year_while_answering",
            http(
                "",
                &format!(
                    "(call $answer (local.get $out) (i32.const 200) (call $fields))
                    (call $sleep (i64.const {YEAR}))"
                ),
            ),
        ),
    ]
}

fn restless() -> Vec<(&'static str, Guest)> {
    let takes = |what: &str| format!("(local $waits i32) {}", forever(what));
    vec![
        ("sleeps_of_no_time_without_end", p1("", &forever(&polls(1, 0, 0)))),
        ("sleeps_of_a_nanosecond_without_end", p1("", &forever(&polls(1, 1, 0)))),
        (
            "an_input_that_is_always_ready",
            p1(
                "",
                &forever(
                    "(i32.store8 (i32.const 72) (i32.const 1)) (i32.store (i32.const 80) (i32.const 0))
                    (drop (call $poll (i32.const 64) (i32.const 256) (i32.const 1)
                        (i32.const 512)))",
                ),
            ),
        ),
        (
            "pollables_that_wake_at_once",
            p2(
                "",
                &takes(
                    "(local.set $waits (call $after (i64.const 0)))
                    (call $block (local.get $waits)) (call $drop_pollable (local.get $waits))",
                ),
            ),
        ),
        (
            "an_output_that_is_always_ready",
            p2(
                "",
                &format!(
                    "(local $stream i32) (local $waits i32) (local.set $stream (call $stdout)) {}",
                    forever(
                        "(local.set $waits (call $output_ready (local.get $stream)))
                        (call $block (local.get $waits)) (call $drop_pollable (local.get $waits))"
                    )
                ),
            ),
        ),
        (
            "reads_of_an_empty_input",
            p2(
                "",
                &format!(
                    "(local $in i32) (local.set $in (call $stdin)) {}",
                    forever("(call $blocking_read (local.get $in) (i64.const -1) (i32.const 600))")
                ),
            ),
        ),
    ]
}
