//! Attacks on the processor: an endless loop in every place where a guest can have one.

use anyhow::ensure;
use jobwright_tests::components;
use serde_json::json;

use super::case::{Case, End::Limit, used};
use super::guests::{Guest, Kind, SPIN, forever, http, job, p1, p2, plugin, text};

pub(super) fn cases() -> Vec<Case> {
    let spins = [positions(), components(), busy(), calls()];
    spins
        .into_iter()
        .flatten()
        .map(|(name, guest)| {
            Case::new(format!("time::{name}"), guest)
                .under(json!({ "timeout_ms": 250 }))
                .ends(Limit("time"))
                // The guest used the processor; the host was not just late.
                .and(|attempt| {
                    ensure!(used(attempt, "cpu_ms")? > 10.0, "it did not spin");
                    Ok(())
                })
        })
        .chain(obeyed())
        .collect()
}

fn starts(rest: &str) -> String {
    format!("{rest} (func $spin {SPIN}) (start $spin)")
}

/// Places where a core module can spin.
fn positions() -> Vec<(&'static str, Guest)> {
    let tail = "(func $down (param i32) (return_call $down (local.get 0)))";
    let table = "(type $f (func)) (table 1 funcref) (elem (i32.const 0) $f) (func $f)";
    let exports = |name: &str, params: &str| {
        plugin(&format!(r#"(func (export "{name}") {params} {SPIN})"#), "")
    };
    vec![
        ("a_loop_in_main", p1("", SPIN)),
        ("a_loop_in_a_start_function", p1(&starts(""), "")),
        ("tail_calls_without_end", p1(tail, "(call $down (i32.const 1))")),
        (
            "calls_through_a_table_without_end",
            p1(table, &forever("(call_indirect (type $f) (i32.const 0))")),
        ),
        ("a_loop_in_an_extism_function", plugin("", SPIN)),
        ("a_loop_in_extism_constructors", exports("__wasm_call_ctors", "")),
        ("a_loop_in_extism_initialize", exports("_initialize", "")),
        ("a_loop_in_haskells_initialization", exports("hs_init", "(param i32 i32)")),
        ("a_loop_in_an_extism_start_function", plugin(&starts(""), "")),
    ]
}

/// Places where a component can spin.
fn components() -> Vec<(&'static str, Guest)> {
    let after = |name: &str, params: &str| {
        format!(r#"(func (export "cabi_post_{name}") (param {params}) {SPIN})"#)
    };
    let answers = Kind::Http.leaves(0);
    vec![
        ("a_loop_in_a_components_run", p2("", SPIN)),
        ("a_loop_in_a_components_start_function", p2(&starts(""), "")),
        ("a_loop_in_a_components_allocator", spinning_allocator()),
        ("a_loop_after_the_return_of_a_component", p2(&after("wasi:cli/run@0.2.0#run", "i32"), "")),
        ("a_loop_in_a_destructor", text(DESTRUCTOR)),
        ("a_loop_in_a_component_that_another_calls", text(CALLED)),
        ("a_loop_in_a_handler", http("", SPIN)),
        ("a_loop_in_a_handlers_start_function", http(&starts(""), "")),
        ("a_loop_in_a_handler_that_has_answered", http("", &format!("{answers} {SPIN}"))),
        ("a_loop_in_a_handler_that_is_answering", http("", &answering())),
        ("a_loop_in_a_typed_job", job("", SPIN)),
        ("a_loop_in_a_typed_jobs_start_function", job(&starts(""), "")),
        ("a_loop_in_a_typed_jobs_allocator", spinning_job_allocator()),
        (
            "a_loop_after_the_return_of_a_typed_job",
            job(&after("jobwright:job/run@0.2.0#run", "i32"), ""),
        ),
    ]
}

/// Begins a response and then spins.
fn answering() -> String {
    format!("(call $answer (local.get $out) (i32.const 200) (call $fields)) {SPIN}")
}

/// Spins in the allocator, when the host passes an argument.
fn spinning_allocator() -> Guest {
    Box::new(|| {
        components::component(
            "command",
            r#"(module
                (import "wasi:cli/environment@0.2.0" "get-environment"
                    (func $environment (param i32)))
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (loop $again (br $again)) unreachable)
                (func (export "wasi:cli/run@0.2.0#run") (result i32)
                    (call $environment (i32.const 0)) (i32.const 0)))"#,
        )
    })
}

/// Spins in the allocator, when the host passes the payload.
fn spinning_job_allocator() -> Guest {
    Box::new(|| {
        components::typed_job(
            r#"(module
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (loop $again (br $again)) unreachable)
                (func (export "jobwright:job/run@0.2.0#run") (param i32) (result i32)
                    unreachable))"#,
        )
    })
}

/// Spins in the destructor of a resource.
const DESTRUCTOR: &str = r#"(component
    (core module $destroys (func (export "destroy") (param i32) (loop $again (br $again))))
    (core instance $destroyer (instantiate $destroys))
    (type $thing (resource (rep i32) (dtor (core func $destroyer "destroy"))))
    (core func $new (canon resource.new $thing))
    (core func $drop (canon resource.drop $thing))
    (core module $m
        (import "" "new" (func $new (param i32) (result i32)))
        (import "" "drop" (func $drop (param i32)))
        (func (export "run") (result i32) (call $drop (call $new (i32.const 7))) (i32.const 0)))
    (core instance $i (instantiate $m
        (with "" (instance (export "new" (func $new)) (export "drop" (func $drop))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $exported (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $exported)))"#;

/// Spins in a component that the main component calls.
const CALLED: &str = r#"(component
    (component $callee
        (core module $m (func (export "f") (loop $again (br $again))))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))
    (component $caller
        (import "f" (func $f))
        (core func $lowered (canon lower (func $f)))
        (core module $m
            (import "" "f" (func $f))
            (func (export "run") (result i32) (call $f) (i32.const 0)))
        (core instance $i (instantiate $m (with "" (instance (export "f" (func $lowered))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $exported (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $exported)))
    (instance $one (instantiate $callee))
    (instance $two (instantiate $caller (with "f" (func $one "f"))))
    (alias export $two "wasi:cli/run@0.2.0" (instance $exported))
    (export "wasi:cli/run@0.2.0" (instance $exported)))"#;

/// Endless loops of single instructions that take long.
fn busy() -> Vec<(&'static str, Guest)> {
    let grow = "(drop (memory.grow (i32.const 800)))";
    let bulk = |what: &str| p1("", &format!("{grow} {}", forever(what)));
    let table = "(table $t 100000 funcref)";
    vec![
        (
            "fills_of_all_memory_without_end",
            bulk("(memory.fill (i32.const 0) (i32.const 7) (i32.const 50000000))"),
        ),
        (
            "copies_of_all_memory_without_end",
            bulk("(memory.copy (i32.const 1) (i32.const 0) (i32.const 50000000))"),
        ),
        (
            "fills_of_a_table_without_end",
            p1(table, &forever("(table.fill $t (i32.const 0) (ref.null func) (i32.const 100000))")),
        ),
        (
            "copies_of_a_table_without_end",
            p1(table, &forever("(table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 99999))")),
        ),
        ("growth_by_nothing_without_end", p1("", &forever("(drop (memory.grow (i32.const 0)))"))),
    ]
}

/// Endless loops of host calls that do not wait.
fn calls() -> Vec<(&'static str, Guest)> {
    let p1 = |what: &str| p1("", &forever(what));
    let job = |what: &str| job("", &forever(what));
    vec![
        (
            "readings_of_the_clock_without_end",
            p1("(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 64)))"),
        ),
        ("random_bytes_without_end", p1("(drop (call $random (i32.const 0) (i32.const 65536)))")),
        ("empty_writes_without_end", p1("(call $write (i32.const 2) (i32.const 0) (i32.const 0))")),
        (
            "reads_at_the_payloads_end_without_end",
            p1("(i32.store (i32.const 4) (i32.const 1000))
                (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))"),
        ),
        (
            "arguments_without_end",
            p1("(drop (call $args_get (i32.const 0) (i32.const 1024)))
                (drop (call $environ_get (i32.const 0) (i32.const 1024)))"),
        ),
        (
            "progress_without_end",
            job("(call $report (i32.const 1) (f64.const 0.5) (i32.const 0) (i32.const 100000))"),
        ),
        (
            "checkpoints_without_end",
            job("(call $save (i32.const 0) (i32.const 190000) (i32.const 600))"),
        ),
        (
            "questions_without_end",
            job("(drop (call $is_cancelled)) (call $remaining (i32.const 600))"),
        ),
        (
            "extism_blocks_without_end",
            plugin("", &forever("(call $free (call $alloc (i64.const 100000)))")),
        ),
        (
            "extism_variables_without_end",
            plugin(
                "(global $value (mut i64) (i64.const 0))",
                &forever(
                    "(global.set $value (call $alloc (i64.const 10000)))
                    (call $set_var (global.get $value) (global.get $value))",
                ),
            ),
        ),
    ]
}

/// Guests that end in time.
fn obeyed() -> Vec<Case> {
    let whole = "(drop (memory.grow (i32.const 1000)))
        (memory.fill (i32.const 0) (i32.const 7) (i32.const 65000000))";
    vec![
        // Requested memory costs fuel, also if it is refused.
        Case::new(
            "time::refused_growth_without_end_uses_up_its_fuel",
            p1("", &forever("(drop (memory.grow (i32.const 60000)))")),
        )
        .ends(Limit("fuel")),
        Case::new("time::one_fill_of_all_memory_is_fine", p1("", whole)),
        Case::new(
            "time::a_loop_that_ends_is_fine",
            p1("(global $n (mut i32) (i32.const 0))", COUNT),
        ),
    ]
}

const COUNT: &str = "(loop $again
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (br_if $again (i32.lt_u (global.get $n) (i32.const 1000000))))";
