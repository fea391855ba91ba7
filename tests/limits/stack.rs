//! The stack: an operator's limit on the depth of calls.

use jobwright::runtime::RuntimeConfig;
use jobwright_core::limits::Limit;

use super::Bench;
use crate::runtime::fixture::{exceeded, output, small};

super::laws![
    deep_recursion_within_the_stack_limit_succeeds,
    endless_recursion_reaches_the_stack_limit,
    an_operator_can_give_more_stack,
];

/// Calls itself `$n` times.
const DOWN: &str = "(func $down (param $n i32) (result i32)
    (if (result i32) (local.get $n)
        (then (i32.add (i32.const 1)
            (call $down (i32.sub (local.get $n) (i32.const 1)))))
        (else (i32.const 0))))";

fn recursion(times: u32) -> String {
    format!("(drop (call $down (i32.const {times})))")
}

async fn deep_recursion_within_the_stack_limit_succeeds(bench: Bench) -> anyhow::Result<()> {
    output(&bench.run_with(DOWN, &recursion(1_000), |_| {}).await?)?;
    Ok(())
}

async fn endless_recursion_reaches_the_stack_limit(bench: Bench) -> anyhow::Result<()> {
    let ended = bench.run_with(DOWN, &recursion(u32::MAX), |_| {}).await?;
    assert_eq!(exceeded(&ended, Limit::Stack)?.message, "stack limit 512 KiB exceeded");
    assert!(Limit::Stack.remedy().contains("--stack-bytes"));
    Ok(())
}

async fn an_operator_can_give_more_stack(bench: Bench) -> anyhow::Result<()> {
    // The recursion needs more than 512 KiB, and less than 4 MiB.
    let deep = recursion(40_000);
    exceeded(&bench.run_with(DOWN, &deep, |_| {}).await?, Limit::Stack)?;
    let bench = Bench::with(bench.abi, RuntimeConfig { stack_bytes: 4 << 20, ..small() })?;
    output(&bench.run_with(DOWN, &deep, |_| {}).await?)?;
    let ended = bench.run_with(DOWN, &recursion(u32::MAX), |_| {}).await?;
    let message = exceeded(&ended, Limit::Stack)?.message;
    assert!(message.starts_with("stack limit 4 MiB exceeded"), "{message}");
    Ok(())
}
