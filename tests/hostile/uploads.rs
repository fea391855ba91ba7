//! Plugins that are large, deep or slow to compile: each is accepted and runs, or is refused in time.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::ensure;
use jobwright_tests::guests;
use libtest_mimic::Trial;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::case::{Case, End::Limit, End::Succeeds, only_attempt};
use super::fixture::Fixture;
use super::guests::text;

/// The number of items in a large module.
const MANY: usize = 100_000;

/// The depth of nested blocks.
const DEEP: usize = 50_000;

/// Refused plugins are tested on `fixture`, accepted ones on `large`.
pub(super) fn trials(fixture: &Arc<Fixture>, large: &Arc<Fixture>) -> Vec<Trial> {
    let taken = taken().into_iter().map(|case| case.trial(large));
    let refused = refused().into_iter().map(|(name, make, code)| {
        fixture.trial(&format!("uploads::{name}"), move |fixture| async move {
            let (host, plugin, wasm) = (fixture.host().await?, fixture.name(), make()?);
            let (status, problem) = fixture.beside_a_victim(host.upload(&plugin, wasm)).await?;
            ensure!(problem["code"] == code, "{status}: {problem}");
            ensure!(problem.to_string().len() < 2_000, "the message is too long");
            let there = host.get(&format!("/v1/plugins/{plugin}")).await?.status();
            ensure!(there == StatusCode::NOT_FOUND, "nothing is left of it: {there}");
            Ok(())
        })
    });
    let mut bombs = BOMBS.iter().map(|(name, make)| {
        fixture.trial(&format!("uploads::{name}"), move |fixture| async move {
            takes_too_long(&fixture, make()?).await
        })
    });
    let mut slow = SLOW.iter().map(|(name, make)| {
        large.trial(&format!("uploads::{name}"), move |fixture| async move {
            is_taken_or_takes_too_long(&fixture, make()?).await
        })
    });
    // One of these at a time, because they wait for each other.
    let first: Vec<Trial> = bombs.next().into_iter().chain(slow.next()).collect();
    first.into_iter().chain(taken).chain(refused).chain(bombs).chain(slow).collect()
}

/// An import that is always available.
const YIELD: &str = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#;

/// Concatenates `each` for the numbers below `MANY`.
fn many(each: impl Fn(usize) -> String) -> String {
    (0..MANY).fold(String::new(), |mut text, n| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", each(n));
        text
    })
}

fn module(parts: &str) -> String {
    format!(r#"(module {parts} (func (export "_start")))"#)
}

/// Plugins that compile in time, and run like any other.
fn taken() -> Vec<Case> {
    let case = |name: &str, parts: &str| Case::new(format!("uploads::{name}"), text(module(parts)));
    // Sequential blocks, as compilers emit them.
    let function = "(i32.const 0) drop ".repeat(5_000_000 / 3);
    let deep = format!("{} {}", "block ".repeat(5_000), "end ".repeat(5_000));
    let loops = format!("{} {}", "loop ".repeat(1_000), "end ".repeat(1_000));
    vec![
        case("some_thousand_functions", &"(func)".repeat(MANY / 20)),
        case("many_types", &many(|n| format!("(type (func (param i{})))", 32 + 32 * (n % 2)))),
        case("some_thousand_imports", &YIELD.repeat(MANY / 4)),
        case("many_exports", &format!("(func $f) {}", many(|n| format!(r#"(export "e{n}" (func $f))"#)))),
        case("many_globals", &"(global i32 (i32.const 7))".repeat(MANY)),
        case(
            "many_data_segments",
            &format!("(memory 1) {}", r#"(data (i32.const 0) "x")"#.repeat(MANY)),
        ),
        case(
            "many_element_segments",
            &format!("(table 1 funcref) {}", "(elem (i32.const 0) func 0)".repeat(MANY)),
        ),
        case("one_function_of_5_mb", &format!("(func {function})")),
        case("some_nested_blocks", &format!("(func {deep})")),
        case("nested_loops", &format!("(func {loops})")),
        case("a_function_of_many_locals", &format!("(func (local {}))", "i64 ".repeat(49_999))),
        case("a_large_custom_section", &format!(r#"(@custom "x" "{}")"#, "x".repeat(8 << 20))),
        Case::new(
            "uploads::a_branch_with_many_targets",
            text(module(&format!(
                "(func $f (param i32) (loop $l (br_table {} (local.get 0)))) (func $g (call $f (i32.const 9))) (start $g)",
                "$l ".repeat(60_000)
            ))),
        )
        .under(json!({ "timeout_ms": 250 }))
        .ends(Limit("time")),
    ]
}

type Make = fn() -> anyhow::Result<Vec<u8>>;

fn refused() -> Vec<(&'static str, Make, &'static str)> {
    vec![
        (
            "many_unknown_imports",
            || guests::assemble(&module(&many(|n| format!(r#"(import "e" "f{n}" (func))"#)))),
            "unknown_import",
        ),
        // Each attempt would need six MiB for them.
        ("many_imports", || guests::assemble(&module(&YIELD.repeat(MANY))), "plugin_unusable"),
        (
            "many_exports_and_no_entry_point",
            || {
                let exports = many(|n| format!(r#"(export "e{n}" (func $f))"#));
                guests::assemble(&format!("(module (func $f) {exports})"))
            },
            "no_entry_point",
        ),
        (
            "more_locals_than_a_function_may_have",
            || guests::assemble(&module(&format!("(func (local {}))", "i64 ".repeat(60_000)))),
            "invalid_wasm",
        ),
        (
            "a_function_of_8_mb",
            || {
                let body = "(i32.const 0) drop ".repeat(8_000_000 / 3);
                guests::assemble(&module(&format!("(func {body})")))
            },
            "invalid_wasm",
        ),
        (
            "a_branch_with_too_many_targets",
            || {
                let targets = "$l ".repeat(MANY);
                guests::assemble(&module(&format!(
                    "(func (block $l (br_table {targets} (i32.const 0))))"
                )))
            },
            "plugin_unusable",
        ),
        ("components_in_components", || Ok(nested(20)), "too_deep"),
        ("components_without_bottom", || Ok(nested(50_000)), "too_deep"),
        (
            "more_bytes_than_are_taken",
            || Ok([&b"\0asm"[..], &vec![0; 32 << 20]].concat()),
            "too_large",
        ),
    ]
}

/// Nested components, `depth` levels deep.
fn nested(depth: usize) -> Vec<u8> {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    // From the inside out, in reverse, so that each byte is written once.
    let mut backwards: Vec<u8> = HEADER.iter().rev().copied().collect();
    for _ in 1..depth {
        let mut length = backwards.len();
        let mut digits = Vec::new();
        loop {
            let more = length > 0x7f;
            digits.push((length & 0x7f) as u8 | if more { 0x80 } else { 0 });
            length >>= 7;
            if !more {
                break;
            }
        }
        backwards.extend(digits.iter().rev());
        // A section that holds a component.
        backwards.push(4);
        backwards.extend(HEADER.iter().rev());
    }
    backwards.reverse();
    backwards
}

/// Small plugins whose compilation takes far longer than the limit.
const BOMBS: &[(&str, Make)] =
    &[("a_bomb_that_takes_minutes_to_compile", || guests::slow_to_compile(200_000))];

async fn takes_too_long(fixture: &Fixture, bomb: Vec<u8>) -> anyhow::Result<()> {
    let (_alone, host) = (fixture.bombs.lock().await, fixture.host().await?);
    let (status, problem) = fixture.beside_a_victim(host.upload(&fixture.name(), bomb)).await?;
    was_too_long(status, &problem)?;
    // The next upload does not wait for it.
    host.accepts(&fixture.name(), guests::slow_to_compile(100)?).await?;
    Ok(())
}

fn was_too_long(status: StatusCode, problem: &Value) -> anyhow::Result<()> {
    ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{status}: {problem}");
    // Wall-clock time or processor time, whichever limit is reached first.
    let code = problem["code"].as_str().unwrap_or_default();
    ensure!(["compile_timeout", "plugin_unusable"].contains(&code), "{problem}");
    ensure!(problem["detail"].to_string().contains("8 s"), "{problem}");
    Ok(())
}

/// Plugins whose compile time depends on the machine.
const SLOW: &[(&str, Make)] = &[
    ("loops_in_loops", || {
        let loops = format!("{} {}", "loop ".repeat(DEEP), "end ".repeat(DEEP));
        guests::assemble(&module(&format!("(func {loops})")))
    }),
    ("many_functions", || guests::assemble(&module(&"(func)".repeat(MANY)))),
    ("nested_blocks", || {
        let blocks = format!("{} {}", "block ".repeat(DEEP), "end ".repeat(DEEP));
        guests::assemble(&module(&format!("(func {blocks})")))
    }),
];

async fn is_taken_or_takes_too_long(fixture: &Fixture, wasm: Vec<u8>) -> anyhow::Result<()> {
    let (_alone, host, plugin) =
        (fixture.bombs.lock().await, fixture.host().await?, fixture.name());
    let (status, answer) = fixture.beside_a_victim(host.upload(&plugin, wasm)).await?;
    if status != StatusCode::CREATED {
        // Or too much memory, if that limit is reached first.
        let is_too_large = answer["detail"].to_string().contains("needs more than 2 GiB of memory");
        return if is_too_large { Ok(()) } else { was_too_long(status, &answer) };
    }
    let job = host.run(json!({ "plugin": plugin })).await?;
    Succeeds.is(only_attempt(&job)?)
}
