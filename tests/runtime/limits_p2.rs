//! The limits, each obeyed and violated by a component: as for preview 1.

use std::time::Duration;

use jobwright::runtime::{Allocator, RuntimeConfig};

use jobwright_core::limits::{Fuel, Limit, Limits};
use jobwright_core::outcome::Outcome;
use jobwright_core::runtime::{Stop, StopReason};
use jobwright_tests::components::{command, component, handler};
use libtest_mimic::Trial;
use tokio::time::Instant;

use super::fixture::{Lab, SPIN, attempt, exceeded, is_measured, output, small, text};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        fuel_is_counted_the_same_each_time,
        fuel_that_is_used_up_ends_the_guest,
        unlimited_fuel_is_not_counted,
        a_spinning_guest_ends_at_its_time_limit_wherever_it_spins,
        a_sleeping_guest_ends_at_its_time_limit,
        guests_are_cancelled_at_once,
        memory_beyond_the_limit_is_refused,
        all_memories_of_all_instances_count_together,
        tables_of_all_instances_count_together,
        an_output_of_exactly_the_limit_is_fine,
        one_byte_of_output_more_is_not,
        a_flood_of_log_ends_nothing,
        handles_of_the_host_reach_the_resource_limit,
        handles_of_its_own_reach_the_resource_limit,
        endless_recursion_reaches_the_stack_limit,
        it_is_the_same_without_fuel_and_without_a_pool,
    ]
}

const MIB: u64 = 1 << 20;

/// Counts to a million.
const COUNT: &str = "
    (local $n i32)
    (loop $again
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000))))";

/// Sleeps for a year in one host call.
const SLEEP: &str = "(call $sleep (i64.const 31536000000000000))";

async fn fuel_is_counted_the_same_each_time() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for guest in [command("", COUNT)?, handler("", &answers(COUNT))?] {
        let run = || lab.try_wasm(guest.clone(), |limits| limits.fuel = Fuel::Units(20_000_000));
        let (one, two) = (run().await?, run().await?);
        output(&one)?;
        let fuel = one.usage.fuel.unwrap_or_default();
        assert!((5_000_000..20_000_000).contains(&fuel), "{fuel}");
        assert_eq!(one.usage.fuel, two.usage.fuel);
    }
    Ok(())
}

/// The body of a handler that does `what` and answers.
fn answers(what: &str) -> String {
    format!("{what} (call $answer (local.get $out) (i32.const 200) (call $fields)) (call $finish)")
}

async fn fuel_that_is_used_up_ends_the_guest() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for guest in [command("", SPIN)?, handler("", SPIN)?] {
        let limit = |limits: &mut Limits| limits.fuel = Fuel::Units(5_000_000);
        let ended = lab.try_wasm(guest, limit).await?;
        assert_eq!(exceeded(&ended, Limit::Fuel)?.message, "fuel limit 5000000 exceeded");
        assert_eq!(ended.usage.fuel, Some(5_000_000));
    }
    Ok(())
}

async fn unlimited_fuel_is_not_counted() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut Limits| limits.fuel = Fuel::Unlimited;
    let ended = lab.try_wasm(command("", COUNT)?, limit).await?;
    output(&ended)?;
    assert_eq!(ended.usage.fuel, None);
    Ok(())
}

/// A command whose allocator spins, when the host asks it for room for an argument.
fn spinning_allocator() -> anyhow::Result<Vec<u8>> {
    component(
        "command",
        r#"(module
            (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (loop $again (br $again)) unreachable)
            (func (export "wasi:cli/run@0.2.0#run") (result i32)
                (call $arguments (i32.const 0)) (i32.const 0)))"#,
    )
}

async fn a_spinning_guest_ends_at_its_time_limit_wherever_it_spins() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let start = format!("(func $spin {SPIN}) (start $spin)");
    // Long enough that a busy machine lets the guest run a millisecond of it, after which the counter
    // is saved for the first time.
    for fuel in [Fuel::Units(100_000_000_000), Fuel::Unlimited] {
        let limit = |limits: &mut Limits| (limits.fuel, limits.timeout_ms) = (fuel, 400);
        for guest in [command("", SPIN)?, handler("", SPIN)?, spinning_allocator()?] {
            let ended = lab.try_wasm(guest, limit).await?;
            exceeded(&ended, Limit::Time)?;
            let usage = ended.usage;
            assert!((390.0..4_000.0).contains(&usage.run_ms), "{usage:?}");
            assert!(usage.cpu_ms > 10.0, "{usage:?}");
            assert_eq!(usage.fuel > Some(1_000_000), fuel != Fuel::Unlimited, "{usage:?}");
        }
        for guest in [command(&start, "")?, handler(&start, "")?] {
            let ended = lab.try_wasm(guest, limit).await?;
            exceeded(&ended, Limit::Time)?;
            assert!(ended.usage.instantiate_ms >= 399.0, "{:?}", ended.usage);
            assert_eq!(ended.usage.run_ms, 0.0);
        }
    }
    Ok(())
}

async fn a_sleeping_guest_ends_at_its_time_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for guest in [command("", SLEEP)?, handler("", SLEEP)?] {
        let ended = lab.try_wasm(guest, |limits| limits.timeout_ms = 100).await?;
        exceeded(&ended, Limit::Time)?;
        assert!((90.0..2_000.0).contains(&ended.usage.run_ms), "{:?}", ended.usage);
        assert!(ended.usage.cpu_ms < 50.0, "sleeping costs no processor: {:?}", ended.usage);
    }
    Ok(())
}

async fn guests_are_cancelled_at_once() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let word = r#"(data (i32.const 1024) "here")"#;
    for body in [SPIN, SLEEP] {
        let body = format!("(call $log (i32.const 1024) (i32.const 4)) {body}");
        for guest in [command(word, &body)?, handler(word, &body)?] {
            let attempt = attempt(lab.plugins.add(guest))?;
            let (stop, signal) = Stop::new();
            let (log, runtime) = (attempt.log.clone(), lab.runtime.clone());
            let running = tokio::spawn(async move { runtime.run(attempt, signal).await });
            while log.written() == 0 {
                tokio::task::yield_now().await;
            }
            let since = Instant::now();
            stop.raise(StopReason::Cancelled);
            let ended = running.await?;
            println!("cancelled in {:?}: {:?}", since.elapsed(), ended.usage);
            assert_eq!(ended.outcome, Outcome::Cancelled);
            assert!(since.elapsed() < Duration::from_secs(2));
            assert_eq!(text(&log), "here");
            assert!(is_measured(&ended), "{:?}", ended.usage);
        }
    }
    Ok(())
}

/// Grows by a page until that fails, then does `last`.
fn grows(last: &str) -> String {
    format!(
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) {last}"
    )
}

async fn memory_beyond_the_limit_is_refused() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut Limits| limits.memory_bytes = 2 * MIB;
    let ended = lab.try_wasm(command("", &grows(""))?, limit).await?;
    output(&ended)?;
    let peak = ended.usage.peak_memory_bytes;
    assert!((2 * MIB - 65_536..=2 * MIB).contains(&peak), "{peak}");
    for guest in [command("", &grows("unreachable"))?, handler("", &grows("unreachable"))?] {
        let error = exceeded(&lab.try_wasm(guest, limit).await?, Limit::Memory)?;
        assert!(error.message.starts_with("memory limit 2 MiB exceeded"), "{}", error.message);
    }
    Ok(())
}

/// A command of `count` instances of one module, which has `what`, and of which the last runs
/// `body`.
fn instances(count: usize, what: &str, body: &str) -> String {
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

async fn all_memories_of_all_instances_count_together() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let grow = "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";
    let guest = instances(3, "(memory 16)", grow);
    let ended = lab.try_with(&guest, |limits| limits.memory_bytes = 3 * MIB + 65_536).await?;
    output(&ended)?;
    assert_eq!(ended.usage.peak_memory_bytes, 3 * MIB + 65_536);
    let ended = lab.try_with(&guest, |limits| limits.memory_bytes = 3 * MIB).await?;
    exceeded(&ended, Limit::Memory)?;
    let ended = lab.try_with(&guest, |limits| limits.memory_bytes = 3 * MIB - 1).await?;
    let error = exceeded(&ended, Limit::Memory)?;
    assert!(error.message.contains("growth to 3 MiB was refused"), "{}", error.message);
    Ok(())
}

async fn tables_of_all_instances_count_together() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = instances(4, "(table 100 funcref)", "");
    output(&lab.try_with(&guest, |limits| limits.tables = 400).await?)?;
    exceeded(&lab.try_with(&guest, |limits| limits.tables = 399).await?, Limit::Tables)?;
    Ok(())
}

/// Writes `bytes` bytes.
fn writes(bytes: u32) -> String {
    format!("(call $print (i32.const 0) (i32.const {bytes}))")
}

async fn an_output_of_exactly_the_limit_is_fine() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = command("", &writes(100_000))?;
    let ended = lab.try_wasm(guest, |limits| limits.output_bytes = 100_000).await?;
    assert_eq!(output(&ended)?.len(), 100_000);
    Ok(())
}

async fn one_byte_of_output_more_is_not() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for body in [writes(100_001), format!("(loop $again {} (br $again))", writes(60_000))] {
        let ended =
            lab.try_wasm(command("", &body)?, |limits| limits.output_bytes = 100_000).await?;
        let error = exceeded(&ended, Limit::Output)?;
        assert!(error.message.starts_with("output limit 97.6 KiB exceeded"), "{}", error.message);
        assert!(ended.usage.output_bytes > 100_000);
    }
    Ok(())
}

async fn a_flood_of_log_ends_nothing() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let flood = |last: &str| {
        format!(
            "(local $n i32)
            (call $log (i32.const 1024) (i32.const 5))
            (loop $again
                (call $log (i32.const 2048) (i32.const 60000))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const 100))))
            (call $log (i32.const 1029) (i32.const 5)) {last}"
        )
    };
    let words = r#"(data (i32.const 1024) "firstlast!")"#;
    for guest in [command(words, &flood(""))?, handler(words, &answers(&flood("")))?] {
        let attempt = attempt(lab.plugins.add(guest))?;
        let log = attempt.log.clone();
        let ended = lab.run(attempt).await;
        output(&ended)?;
        assert_eq!(ended.usage.log_bytes, 256 << 10);
        assert_eq!(ended.usage.log_bytes + ended.usage.log_dropped_bytes, 6_000_010);
        let log = text(&log);
        assert!(log.starts_with("first") && log.ends_with("last!"));
    }
    Ok(())
}

async fn handles_of_the_host_reach_the_resource_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let takes = |times: u32| {
        command(
            "",
            &format!(
                "(local $n i32)
                (loop $again
                    (drop (call $after (i64.const 1)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))"
            ),
        )
    };
    let limit = |limits: &mut Limits| limits.resources = 50;
    output(&lab.try_wasm(takes(20)?, limit).await?)?;
    let error = exceeded(&lab.try_wasm(takes(100)?, limit).await?, Limit::Resources)?;
    assert_eq!(error.message, "resource limit 50 handles exceeded");
    Ok(())
}

async fn handles_of_its_own_reach_the_resource_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let makes = |times: u32| {
        format!(
            r#"(component
                (type $thing (resource (rep i32)))
                (core func $new (canon resource.new $thing))
                (core module $m
                    (import "" "new" (func $new (param i32) (result i32)))
                    (func (export "run") (result i32)
                        (local $n i32)
                        (loop $again
                            (drop (call $new (i32.const 7)))
                            (local.set $n (i32.add (local.get $n) (i32.const 1)))
                            (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))
                        (i32.const 0)))
                (core instance $i (instantiate $m
                    (with "" (instance (export "new" (func $new))))))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $exported (export "run" (func $run)))
                (export "wasi:cli/run@0.2.0" (instance $exported)))"#
        )
    };
    let limit = |limits: &mut Limits| limits.resources = 50;
    output(&lab.try_with(&makes(50), limit).await?)?;
    let error = exceeded(&lab.try_with(&makes(51), limit).await?, Limit::Resources)?;
    assert_eq!(error.message, "resource limit 50 handles exceeded");
    Ok(())
}

async fn endless_recursion_reaches_the_stack_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let down = "(func $down (param i32) (result i32)
        (i32.add (i32.const 1) (call $down (local.get 0))))";
    let guest = command(down, "(drop (call $down (i32.const 1)))")?;
    exceeded(&lab.try_wasm(guest, |_| {}).await?, Limit::Stack)?;
    Ok(())
}

async fn it_is_the_same_without_fuel_and_without_a_pool() -> anyhow::Result<()> {
    for allocator in [Allocator::Pooling, Allocator::OnDemand] {
        let lab = Lab::with(RuntimeConfig { allocator, ..small() })?;
        for fuel in [Fuel::Units(1_000_000_000), Fuel::Unlimited] {
            let limit = |limits: &mut Limits| (limits.fuel, limits.memory_bytes) = (fuel, MIB);
            let ended = lab.try_wasm(command("", &grows("unreachable"))?, limit).await?;
            exceeded(&ended, Limit::Memory)?;
            output(&lab.try_wasm(command("", "")?, limit).await?)?;
            output(&lab.try_wasm(handler("", &answers(""))?, limit).await?)?;
            // As many instances as one may have.
            output(&lab.try_with(&instances(200, "", ""), limit).await?)?;
        }
    }
    Ok(())
}
