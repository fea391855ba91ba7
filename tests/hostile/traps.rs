//! Traps: every trap of WebAssembly, and errors of host calls.

use super::case::{Case, End::Fails, End::Traps};
use super::guests::{Guest, Kind, job, p1, p2, plugin, text};

pub(super) fn cases() -> Vec<Case> {
    [codes(), calls()].into_iter().flatten().chain(kinds()).collect()
}

fn case(name: &str, guest: Guest, code: &'static str) -> Case {
    Case::new(format!("traps::{name}"), guest).ends(Traps(code))
}

/// Tables and segments to trap with.
const HAS: &str = r#"(table $t 2 funcref) (elem (i32.const 1) func $none) (func $none)
    (elem $passive func $none $none) (data $text "text") (type $other (func (param i32)))"#;

fn codes() -> Vec<Case> {
    [
        ("an_unreachable_instruction", "unreachable", "unreachable"),
        (
            "a_division_by_zero",
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            "integer_division_by_zero",
        ),
        (
            "a_remainder_by_zero",
            "(drop (i64.rem_s (i64.const 1) (i64.const 0)))",
            "integer_division_by_zero",
        ),
        (
            "a_quotient_that_overflows",
            "(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))",
            "integer_overflow",
        ),
        (
            "a_number_that_is_none_as_integer",
            "(drop (i32.trunc_f32_s (f32.const nan)))",
            "bad_conversion_to_integer",
        ),
        (
            "a_number_too_large_for_an_integer",
            "(drop (i64.trunc_f64_u (f64.const 1e30)))",
            "integer_overflow",
        ),
        ("a_load_beyond_memory", "(drop (i64.load (i32.const 65529)))", "memory_out_of_bounds"),
        (
            "a_store_far_beyond_memory",
            "(i32.store offset=0xffffffff (i32.const -1) (i32.const 7))",
            "memory_out_of_bounds",
        ),
        ("a_vector_beyond_memory", "(drop (v128.load (i32.const 65521)))", "memory_out_of_bounds"),
        (
            "a_fill_beyond_memory",
            "(memory.fill (i32.const 65535) (i32.const 0) (i32.const 2))",
            "memory_out_of_bounds",
        ),
        (
            "a_copy_beyond_memory",
            "(memory.copy (i32.const 0) (i32.const 1) (i32.const -1))",
            "memory_out_of_bounds",
        ),
        (
            "a_segment_beyond_its_end",
            "(memory.init $text (i32.const 0) (i32.const 2) (i32.const 3))",
            "memory_out_of_bounds",
        ),
        (
            "a_segment_that_was_dropped",
            "(data.drop $text) (memory.init $text (i32.const 0) (i32.const 0) (i32.const 1))",
            "memory_out_of_bounds",
        ),
        ("an_element_beyond_a_table", "(drop (table.get $t (i32.const 2)))", "table_out_of_bounds"),
        (
            "an_element_set_beyond_a_table",
            "(table.set $t (i32.const -1) (ref.null func))",
            "table_out_of_bounds",
        ),
        (
            "a_fill_beyond_a_table",
            "(table.fill $t (i32.const 1) (ref.null func) (i32.const 2))",
            "table_out_of_bounds",
        ),
        (
            "elements_beyond_a_table",
            "(table.init $t $passive (i32.const 1) (i32.const 0) (i32.const 2))",
            "table_out_of_bounds",
        ),
        ("a_call_of_nothing", "(call_indirect $t (i32.const 0))", "indirect_call_to_null"),
        ("a_call_beyond_a_table", "(call_indirect $t (i32.const 2))", "table_out_of_bounds"),
        (
            "a_call_of_another_signature",
            "(call_indirect $t (type $other) (i32.const 7) (i32.const 1))",
            "indirect_call_type_mismatch",
        ),
    ]
    .into_iter()
    .map(|(name, body, code)| case(name, p1(HAS, body), code))
    .collect()
}

/// Traps that need a host call, or more than one function.
fn calls() -> Vec<Case> {
    let start = "(func $start unreachable) (start $start)";
    // Segments are copied before the start function runs.
    let segment = r#"(module (memory (export "memory") 1) (data (i32.const 65533) "text")
        (func (export "_start")))"#;
    let no_memory = r#"(module
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    // The allocator of these components returns the address in `$free`.
    let nonsense = "(func $lose (global.set $free (i32.const -16))) (start $lose)";
    vec![
        case("a_start_function", p1(start, ""), "unreachable"),
        case("a_segment_that_does_not_fit", text(segment), "memory_out_of_bounds"),
        case("a_call_of_the_host_without_memory", text(no_memory), "host_call"),
        case("an_allocator_that_answers_nonsense", job(nonsense, ""), "host_call"),
        case("an_answer_that_is_none", p2("", "(return (i32.const 7))"), "host_call"),
        case("an_answer_beyond_memory", job("", "(return (i32.const 0x7ffffff0))"), "host_call"),
        case(
            "an_output_beyond_memory",
            job("", "(return (call $ok (i32.const 1024) (i32.const 0x7fffffff)))"),
            "host_call",
        ),
        case("a_handle_that_was_never_given", p2("", "(call $block (i32.const 77))"), "host_call"),
        case(
            "a_handle_that_was_dropped",
            p2(
                "",
                "(local $waits i32) (local.set $waits (call $after (i64.const 0)))
                (call $drop_pollable (local.get $waits)) (call $block (local.get $waits))",
            ),
            "host_call",
        ),
        Case::new(
            "traps::an_error_of_its_own",
            plugin("", "(call $error (call $block (i32.const 0) (i32.const 9)))"),
        )
        .ends(Fails("failed")),
        Case::new("traps::an_exit_code", p1("", "(call $exit (i32.const 255))"))
            .ends(Fails("exit_code")),
    ]
}

/// The same trap for every kind of plugin.
fn kinds() -> impl Iterator<Item = Case> {
    Kind::ALL.into_iter().map(|kind| {
        let name = format!("traps::{}", kind.word());
        Case::new(name, kind.guest("", "unreachable")).ends(Traps("unreachable"))
    })
}
