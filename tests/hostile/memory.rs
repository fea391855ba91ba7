//! Attacks on memory: linear memories, tables, instances and stacks.

use anyhow::ensure;
use serde_json::json;

use super::case::{Case, End::Fails, End::Limit, End::Traps, used};
use super::fixture::LARGEST;
use super::guests::{Guest, forever, p1, p2, plugin, text, times};

const MIB: u64 = 1 << 20;

pub(super) fn cases() -> Vec<Case> {
    [growth(), largest(), many(), tables(), stacks(), blocks()].into_iter().flatten().collect()
}

fn case(name: &str, guest: Guest, memory_bytes: u64) -> Case {
    Case::new(format!("memory::{name}"), guest).under(json!({ "memory_bytes": memory_bytes }))
}

impl Case {
    /// Checks that the peak memory is exactly `bytes`.
    fn holding(self, bytes: u64) -> Self {
        self.and(move |attempt| {
            let peak = used(attempt, "peak_memory_bytes")?;
            ensure!(peak == bytes as f64, "{peak} bytes and not {bytes}");
            Ok(())
        })
    }
}

/// Grows memory by `step` pages until that is refused.
fn grows(step: u32) -> String {
    format!(
        "(loop $more (br_if $more
            (i32.ne (memory.grow (i32.const {step})) (i32.const -1))))"
    )
}

fn growth() -> Vec<Case> {
    let then = |step, end: &str| format!("{} {end}", grows(step));
    let exits = "(call $exit (i32.const 1))";
    vec![
        case("small_steps_up_to_the_limit_are_fine", p1("", &grows(1)), 2 * MIB).holding(2 * MIB),
        case("small_steps_beyond_it", p1("", &then(1, "unreachable")), 2 * MIB)
            .holding(2 * MIB)
            .ends(Limit("memory")),
        case("a_guest_that_exits_because_of_it", p1("", &then(1, exits)), 2 * MIB)
            .ends(Fails("exit_code")),
        case("a_huge_step_that_is_survived_is_fine", p1("", &grows(32_768)), 2 * MIB)
            .holding(65_536),
        case("a_huge_step", p1("", &then(32_768, "unreachable")), 2 * MIB).ends(Limit("memory")),
        case("all_that_can_be_addressed", p1("", &then(65_536, "unreachable")), LARGEST)
            .ends(Limit("memory")),
        // The growth would cost more than the default fuel.
        case("more_pages_than_there_are", p1("", &then(u32::MAX, "unreachable")), LARGEST)
            .ends(Limit("fuel")),
        case(
            "more_pages_than_there_are_without_fuel",
            p1("", &then(u32::MAX, "unreachable")),
            LARGEST,
        )
        .under(json!({ "memory_bytes": LARGEST, "fuel": "unlimited" }))
        .ends(Limit("memory")),
        case(
            "memory_that_a_component_starts_with",
            text(instances(2, "(memory 20)", "")),
            2 * MIB + 524_288 - 1,
        )
        .ends(Limit("memory")),
        case(
            "memory_that_a_component_starts_with_is_fine",
            text(instances(2, "(memory 20)", "")),
            2 * MIB + 524_288,
        )
        .holding(2 * MIB + 524_288),
    ]
}

/// The largest memory that this host allows, fully touched.
fn largest() -> Vec<Case> {
    let pages = LARGEST / 65_536 - 1;
    let fill = format!("(memory.fill (i32.const 0) (i32.const 7) (i32.const {LARGEST}))");
    let grow = |by| {
        format!("(if (i32.eq (memory.grow (i32.const {by})) (i32.const -1)) (then unreachable))")
    };
    let half = LARGEST / 2;
    vec![
        case("the_largest_is_fine", p1("", &format!("{} {fill}", grow(pages))), LARGEST)
            .holding(LARGEST),
        case("more_than_the_largest", p1("", &grow(pages + 1)), LARGEST).ends(Limit("memory")),
        case(
            "bulk_operations_over_the_largest",
            p1(
                "",
                &format!(
                    "{} {}",
                    grow(pages),
                    forever(&format!(
                        "{fill} (memory.copy (i32.const {half}) (i32.const 0) (i32.const {half}))"
                    ))
                ),
            ),
            LARGEST,
        )
        .under(json!({ "memory_bytes": LARGEST, "timeout_ms": 500 }))
        .ends(Limit("time")),
    ]
}

/// A command with `count` instances of one module with the definitions `what`; the last one runs
/// `body`.
pub(super) fn instances(count: usize, what: &str, body: &str) -> String {
    let instances: String =
        (0..count).map(|n| format!("(core instance $i{n} (instantiate $m))")).collect();
    let last = count - 1;
    format!(
        r#"(component
            (core module $m {what} (func (export "run") (result i32) {body} (i32.const 0)))
            {instances}
            (func $run (result (result)) (canon lift (core func $i{last} "run")))
            (instance $exported (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $exported)))"#
    )
}

fn many() -> Vec<Case> {
    let memories: String = (0..8).map(|n| format!("(memory $m{n} 1)")).collect();
    let grow: String = (0..8)
        .map(|n| {
            format!(
                "(if (i32.ne (memory.grow $m{n} (i32.const 4)) (i32.const -1)) (then (br $more)))"
            )
        })
        .collect();
    // One after the other, until one is refused.
    let eight = |end: &str| {
        text(format!(r#"(module {memories} (func (export "_start") (loop $more {grow}) {end}))"#))
    };
    let grow = "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";
    vec![
        case("eight_memories_that_grow_until_they_may_not", eight(""), 4 * MIB).holding(4 * MIB),
        case("eight_memories_together", eight("unreachable"), 4 * MIB).ends(Limit("memory")),
        case("as_many_instances_as_there_may_be", text(instances(200, "", "")), MIB).holding(0),
        case("memories_of_many_instances", text(instances(8, "(memory 2)", grow)), 17 * 65_536)
            .holding(17 * 65_536),
        case(
            "memories_of_many_instances_together",
            text(instances(8, "(memory 2)", grow)),
            17 * 65_536 - 1,
        )
        .ends(Limit("memory")),
    ]
}

fn tables() -> Vec<Case> {
    let limited = |name, guest, tables: u64| {
        case(name, guest, MIB).under(json!({ "tables": tables, "memory_bytes": MIB }))
    };
    let one = |elements: u32| {
        text(format!(
            r#"(module (table 10 funcref) (func (export "_start")
                (if (i32.eq (table.grow (ref.null func) (i32.const {elements})) (i32.const -1))
                    (then unreachable))))"#
        ))
    };
    let declared: String = (0..32).map(|_| "(table 10 funcref)").collect();
    let many = |tables: &str| text(format!(r#"(module {tables} (func (export "_start")))"#));
    vec![
        limited("a_table_up_to_the_limit_is_fine", one(990), 1_000).holding(8_000),
        limited("a_table_beyond_the_limit", one(991), 1_000).ends(Limit("tables")),
        limited("a_huge_table", one(u32::MAX), 1_000).ends(Limit("tables")),
        limited("many_tables_up_to_the_limit_are_fine", many(&declared), 320).holding(2_560),
        limited("many_tables_together", many(&declared), 319).ends(Limit("tables")),
        // Tables count as memory.
        limited("a_table_larger_than_memory", one(200_000), 1_000_000).ends(Limit("memory")),
        limited("tables_of_many_instances", text(instances(8, "(table 100 funcref)", "")), 799)
            .ends(Limit("tables")),
    ]
}

fn stacks() -> Vec<Case> {
    let deep = "(func $down (param i32) (result i32)
        (if (result i32) (local.get 0)
            (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
            (else (i32.const 0))))";
    let down = |times: u32| format!("(drop (call $down (i32.const {times})))");
    let calling = "(func $down (param i32) (result i32)
        (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 64)))
        (i32.add (i32.const 1) (call $down (local.get 0))))";
    let through_a_table = "(type $f (func (result i32))) (table 1 funcref)
        (elem (i32.const 0) $f)
        (func $f (result i32)
            (i32.add (i32.const 1) (call_indirect (type $f) (i32.const 0))))";
    let stack = |name, guest| case(name, guest, MIB);
    vec![
        stack("recursion_that_ends_is_fine", p1(deep, &down(1_000))),
        stack("recursion_without_end", p1(deep, &down(u32::MAX))).ends(Limit("stack")),
        stack("recursion_that_calls_the_host", p1(calling, &down(1))).ends(Limit("stack")),
        stack(
            "recursion_through_a_table",
            p1(through_a_table, "(drop (call_indirect (type $f) (i32.const 0)))"),
        )
        .ends(Limit("stack")),
        stack("recursion_of_a_component", p2(deep, &down(u32::MAX))).ends(Limit("stack")),
        stack("recursion_in_large_frames", large_frame(4_000)).ends(Limit("stack")),
    ]
}

/// Calls itself with `numbers` live values on the stack.
fn large_frame(numbers: usize) -> Guest {
    let loaded: String =
        (0..numbers).map(|n| format!("(i64.load (i32.const {})) ", 8 * n)).collect();
    let added = "i64.add ".repeat(numbers);
    text(format!(
        r#"(module (memory 1)
            (func $down (result i64) {loaded} call $down {added})
            (func (export "_start") call $down drop))"#
    ))
}

/// Memory that the host keeps for a guest counts too.
fn blocks() -> Vec<Case> {
    let takes = |bytes: u32, end: &str| {
        plugin(
            "",
            &format!(
                "(loop $more (br_if $more (i64.ne (i64.const 0)
                    (call $alloc (i64.const {bytes}))))) {end}"
            ),
        )
    };
    // A new value of 100,000 bytes each time, under a new name.
    let variables = |number: &str| {
        plugin(
            "",
            &format!(
                "(local $name i64) {}",
                times(
                    100,
                    &format!(
                        "(local.set $name (call $alloc (i64.const 8)))
                        (call $store64 (local.get $name) {number})
                        (call $set_var (local.get $name) (call $alloc (i64.const 100000)))"
                    )
                )
            ),
        )
    };
    vec![
        case("extism_blocks_up_to_the_limit_are_fine", takes(100_000, ""), 2 * MIB),
        case("extism_blocks", takes(100_000, "unreachable"), 2 * MIB).ends(Limit("memory")),
        case("extism_blocks_of_a_byte", takes(1, "unreachable"), 2 * MIB).ends(Limit("memory")),
        case("one_extism_variable_again_and_again", variables("(i64.const 65)"), 2 * MIB),
        case(
            "extism_variables_without_end",
            variables("(i64.extend_i32_u (local.get $times))"),
            16 * MIB,
        )
        .ends(Traps("host_call")),
    ]
}
