//! Unsupported features of WebAssembly, and plugins that need more than the ceilings: refused at upload,
//! with the name of the feature or limit.

use std::sync::Arc;

use anyhow::ensure;
use jobwright_tests::guests;
use libtest_mimic::Trial;
use reqwest::StatusCode;

use super::fixture::Fixture;
use super::memory::instances;

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Trial> {
    let refused = FEATURES.iter().map(|(name, text, says)| Refusal {
        name,
        text: (*text).to_owned(),
        code: "needs_feature",
        says,
    });
    refused.chain(too_much()).map(|refusal| refusal.trial(fixture)).collect()
}

/// A plugin in text format, the code of its refusal, and a part of the message.
struct Refusal {
    name: &'static str,
    text: String,
    code: &'static str,
    says: &'static str,
}

impl Refusal {
    fn trial(self, fixture: &Arc<Fixture>) -> Trial {
        fixture.trial(&format!("features::{}", self.name), move |fixture| async move {
            let (host, plugin) = (fixture.host().await?, fixture.name());
            let wasm = guests::assemble(&self.text)?;
            let (status, problem) = fixture.beside_a_victim(host.upload(&plugin, wasm)).await?;
            ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{status}: {problem}");
            ensure!(problem["code"] == self.code, "{problem}");
            let detail = problem["detail"].as_str().unwrap_or_default();
            ensure!(detail.contains(self.says) && detail.len() < 1_000, "{problem}");
            let there = host.get(&format!("/v1/plugins/{plugin}")).await?.status();
            ensure!(there == StatusCode::NOT_FOUND, "nothing is left of it: {there}");
            Ok(())
        })
    }
}

const FEATURES: &[(&str, &str, &str)] = &[
    ("shared_memory", r#"(module (memory 1 1 shared) (func (export "_start")))"#, "threads"),
    (
        "atomic_instructions",
        r#"(module (memory 1) (func (export "_start")
            (drop (i32.atomic.rmw.add (i32.const 1) (i32.const 1)))))"#,
        "threads",
    ),
    ("memory64", r#"(module (memory i64 1) (func (export "_start")))"#, "memory64"),
    ("table64", r#"(module (table i64 1 funcref) (func (export "_start")))"#, "memory64"),
    (
        "garbage_collection",
        r#"(module (type $s (struct (field i32))) (func (export "_start")
            (drop (struct.new_default $s))))"#,
        "GC",
    ),
    (
        "references_to_functions",
        r#"(module (type $f (func)) (func (export "_start") (call_ref $f (ref.null $f))))"#,
        "function references",
    ),
    ("exceptions", r#"(module (tag $e) (func (export "_start") (throw $e)))"#, "exceptions"),
    (
        "custom_page_sizes",
        r#"(module (memory 1 (pagesize 1)) (func (export "_start")))"#,
        "custom page sizes",
    ),
    (
        "wide_arithmetic",
        r#"(module (func (export "_start")
            (i64.mul_wide_u (i64.const 1) (i64.const 1)) drop drop))"#,
        "wide arithmetic",
    ),
    (
        "stack_switching",
        r#"(module (type $f (func)) (type $c (cont $f)) (elem declare func $g) (func $g)
            (func (export "_start") (drop (cont.new $c (ref.func $g)))))"#,
        "",
    ),
];

/// Plugins with which no attempt could start.
fn too_much() -> Vec<Refusal> {
    let start = r#"(func (export "_start"))"#;
    let module = |parts: &str| format!("(module {parts} {start})");
    // Ten levels, each of which contains the one below it ten times.
    let mut tower = "(component $c (core module $m) (core instance (instantiate $m)))".to_owned();
    for _ in 0..10 {
        let tenfold = "(instance (instantiate $c))".repeat(10);
        tower = format!("(component $c {tower} {tenfold})");
    }
    // A valid command, except for its size.
    let command = instances(1, "", "");
    let tower = command.replacen(
        "(component",
        &format!("(component {tower} (instance (instantiate $c))"),
        1,
    );
    let refusal = |name, text, code, says| Refusal { name, text, code, says };
    vec![
        refusal("all_memory_at_once", module("(memory 65536)"), "memory_over_ceiling", "4 GiB"),
        refusal(
            "more_memory_than_the_ceiling",
            module("(memory 4097)"),
            "memory_over_ceiling",
            "256 MiB",
        ),
        refusal(
            "a_huge_table_at_once",
            module("(table 9000000 funcref)"),
            "table_over_ceiling",
            "9000000",
        ),
        refusal(
            "nine_memories",
            module(&"(memory 1)".repeat(9)),
            "too_many_memories",
            "maximum of 8",
        ),
        refusal(
            "a_hundred_memories",
            module(&"(memory 1)".repeat(100)),
            "too_many_memories",
            "maximum of 8",
        ),
        refusal(
            "many_tables",
            module(&"(table 1 funcref)".repeat(33)),
            "too_many_tables",
            "maximum of 32",
        ),
        refusal("many_instances", instances(201, "", ""), "too_many_instances", "maximum of 200"),
        refusal("a_tower_of_instances", tower, "too_many_instances", "maximum of 200"),
        refusal(
            "components_as_arguments",
            "(component (component (import \"c\" (component))))".to_owned(),
            "component_argument",
            "cannot limit",
        ),
    ]
}
