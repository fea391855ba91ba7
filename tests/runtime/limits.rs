//! Fuel, time, stack, output and log: each obeyed and violated.

use std::time::Duration;

use jobwright::runtime::RuntimeConfig;
use jobwright_core::limits::{Fuel, Limit};
use jobwright_core::outcome::Outcome;
use libtest_mimic::Trial;

use super::fixture::{Lab, SLEEP, SPIN, command, exceeded, output, small, text};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        fuel_that_suffices_is_counted_the_same_each_time,
        fuel_that_is_used_up_ends_the_guest,
        unlimited_fuel_is_not_counted,
        growing_memory_costs_fuel,
        a_spinning_guest_ends_at_its_time_limit_and_its_fuel_is_known,
        a_spinning_guest_without_fuel_ends_at_its_time_limit,
        a_spinning_start_function_ends_at_its_time_limit,
        a_sleeping_guest_ends_at_its_time_limit,
        a_guest_that_reads_its_payload_to_the_end_ends_in_time,
        endless_recursion_reaches_the_stack_limit,
        deep_recursion_within_the_stack_limit_is_fine,
        an_operator_can_give_more_stack,
        an_output_of_exactly_the_limit_is_fine,
        one_byte_of_output_more_is_not,
        a_flood_of_output_ends_at_once,
        a_flood_of_log_ends_nothing,
        a_buffer_as_large_as_the_memory_is_a_fair_one,
        too_many_handles_reach_the_resource_limit,
    ]
}

/// Counts to a million.
const COUNT: &str = "
    (local $n i32)
    (loop $again
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000))))";

async fn fuel_that_suffices_is_counted_the_same_each_time() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = command("", COUNT);
    let run = || lab.try_with(&guest, |limits| limits.fuel = Fuel::Units(20_000_000));
    let (one, two) = (run().await?, run().await?);
    output(&one)?;
    let fuel = one.usage.fuel.unwrap_or_default();
    assert!((5_000_000..20_000_000).contains(&fuel), "{fuel}");
    assert_eq!(one.usage.fuel, two.usage.fuel);
    Ok(())
}

async fn fuel_that_is_used_up_ends_the_guest() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut jobwright_core::Limits| limits.fuel = Fuel::Units(5_000_000);
    let ended = lab.try_with(&command("", SPIN), limit).await?;
    let error = exceeded(&ended, Limit::Fuel)?;
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("fuel", "fuel limit 5000000 exceeded")
    );
    assert_eq!(ended.usage.fuel, Some(5_000_000));
    assert!(error.backtrace.is_some());
    Ok(())
}

async fn unlimited_fuel_is_not_counted() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&command("", COUNT), |limits| limits.fuel = Fuel::Unlimited).await?;
    output(&ended)?;
    assert_eq!(ended.usage.fuel, None);
    Ok(())
}

async fn growing_memory_costs_fuel() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let grow = |pages: u32| command("", &format!("(drop (memory.grow (i32.const {pages})))"));
    let one = lab.try_with(&grow(1), |_| {}).await?.usage.fuel.unwrap_or_default();
    let many = lab.try_with(&grow(101), |_| {}).await?.usage.fuel.unwrap_or_default();
    assert_eq!(many - one, 100 * 255);
    Ok(())
}

async fn a_spinning_guest_ends_at_its_time_limit_and_its_fuel_is_known() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&command("", SPIN), |limits| limits.timeout_ms = 200).await?;
    let error = exceeded(&ended, Limit::Time)?;
    assert_eq!(error.message, "time limit 200 ms exceeded");
    let usage = ended.usage;
    println!("stopped after {} ms, with {:?} fuel", usage.run_ms, usage.fuel);
    let time = usage.instantiate_ms + usage.run_ms;
    assert!((199.0..2_000.0).contains(&time), "{usage:?}");
    assert!(usage.cpu_ms > 20.0 && usage.cpu_ms <= time, "{usage:?}");
    assert!(usage.fuel > Some(1_000_000), "{usage:?}");
    Ok(())
}

async fn a_spinning_guest_without_fuel_ends_at_its_time_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab
        .try_with(&command("", SPIN), |limits| {
            (limits.fuel, limits.timeout_ms) = (Fuel::Unlimited, 100);
        })
        .await?;
    exceeded(&ended, Limit::Time)?;
    assert_eq!(ended.usage.fuel, None);
    assert!(ended.usage.cpu_ms > 10.0, "{:?}", ended.usage);
    Ok(())
}

async fn a_spinning_start_function_ends_at_its_time_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = command(&format!("(func $spin {SPIN}) (start $spin)"), "");
    let ended = lab.try_with(&guest, |limits| limits.timeout_ms = 100).await?;
    exceeded(&ended, Limit::Time)?;
    assert!(ended.usage.instantiate_ms >= 99.0, "{:?}", ended.usage);
    assert_eq!(ended.usage.run_ms, 0.0);
    Ok(())
}

async fn a_sleeping_guest_ends_at_its_time_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&command("", SLEEP), |limits| limits.timeout_ms = 100).await?;
    exceeded(&ended, Limit::Time)?;
    let usage = ended.usage;
    let time = usage.instantiate_ms + usage.run_ms;
    assert!((99.0..2_000.0).contains(&time), "{usage:?}");
    assert!(usage.cpu_ms < 50.0, "sleeping costs no processor: {usage:?}");
    Ok(())
}

async fn a_guest_that_reads_its_payload_to_the_end_ends_in_time() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    // Copies its input to its output, a page's half at a time.
    let mut attempt = lab.attempt(&command(
        "",
        "(loop $again
            (i32.store (i32.const 0) (i32.const 1024))
            (i32.store (i32.const 4) (i32.const 32768))
            (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
            (if (i32.load (i32.const 16)) (then
                (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 16)))
                (br $again))))",
    ))?;
    let payload: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    attempt.payload.bytes = payload.clone().into();
    let ended = lab.run(attempt).await;
    assert_eq!(output(&ended)?, payload);
    assert_eq!((ended.usage.payload_bytes, ended.usage.output_bytes), (200_000, 200_000));
    Ok(())
}

/// Calls itself as often as `times` says.
fn recursion(times: u32) -> String {
    command(
        "(func $down (param $n i32) (result i32)
            (if (result i32) (local.get $n)
                (then (i32.add (i32.const 1)
                    (call $down (i32.sub (local.get $n) (i32.const 1)))))
                (else (i32.const 0))))",
        &format!("(drop (call $down (i32.const {times})))"),
    )
}

async fn endless_recursion_reaches_the_stack_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&recursion(u32::MAX), |_| {}).await?;
    let message = exceeded(&ended, Limit::Stack)?.message;
    assert_eq!(message, "stack limit 512 KiB exceeded");
    assert!(Limit::Stack.remedy().contains("--stack-bytes"));
    Ok(())
}

async fn an_operator_can_give_more_stack() -> anyhow::Result<()> {
    // It needs more than 512 KiB, and less than 4 MiB.
    let deep = recursion(40_000);
    exceeded(&Lab::new()?.try_with(&deep, |_| {}).await?, Limit::Stack)?;
    let lab = Lab::with(RuntimeConfig { stack_bytes: 4 << 20, ..small() })?;
    output(&lab.try_with(&deep, |_| {}).await?)?;
    let ended = lab.try_with(&recursion(u32::MAX), |_| {}).await?;
    let message = exceeded(&ended, Limit::Stack)?.message;
    assert!(message.starts_with("stack limit 4 MiB exceeded"), "{message}");
    Ok(())
}

async fn deep_recursion_within_the_stack_limit_is_fine() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    output(&lab.try_with(&recursion(1_000), |_| {}).await?)?;
    Ok(())
}

/// Writes `bytes` zeros in one call, then would go on for ever if that failed.
fn writes(bytes: u32) -> String {
    command("", &format!("(call $write (i32.const 1) (i32.const 1024) (i32.const {bytes}))"))
}

async fn an_output_of_exactly_the_limit_is_fine() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&writes(10_000), |limits| limits.output_bytes = 10_000).await?;
    assert_eq!(output(&ended)?.len(), 10_000);
    assert_eq!(ended.usage.output_bytes, 10_000);
    Ok(())
}

async fn one_byte_of_output_more_is_not() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&writes(10_001), |limits| limits.output_bytes = 10_000).await?;
    let error = exceeded(&ended, Limit::Output)?;
    assert!(error.message.starts_with("output limit 9.7 KiB exceeded"), "{}", error.message);
    assert_eq!(ended.usage.output_bytes, 10_001);
    Ok(())
}

async fn a_flood_of_output_ends_at_once() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let flood = command(
        "",
        "(loop $again (call $write (i32.const 1) (i32.const 0) (i32.const 60000)) (br $again))",
    );
    let ended = lab.try_with(&flood, |_| {}).await?;
    exceeded(&ended, Limit::Output)?;
    let tried = ended.usage.output_bytes;
    assert!(((1 << 20) + 1..(1 << 20) + 60_000).contains(&tried), "{tried}");
    assert!(ended.usage.run_ms < 5_000.0, "{:?}", ended.usage);
    Ok(())
}

async fn a_flood_of_log_ends_nothing() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let flood = command(
        r#"(data (i32.const 100) "first") (data (i32.const 200) "last!")"#,
        "(local $n i32)
        (call $write (i32.const 2) (i32.const 100) (i32.const 5))
        (loop $again
            (call $write (i32.const 2) (i32.const 1024) (i32.const 60000))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 100))))
        (call $write (i32.const 2) (i32.const 200) (i32.const 5))
        (call $write (i32.const 1) (i32.const 200) (i32.const 5))",
    );
    let attempt = lab.attempt(&flood)?;
    let log = attempt.log.clone();
    let ended = lab.run(attempt).await;
    assert_eq!(&output(&ended)?[..], b"last!");
    let usage = ended.usage;
    assert_eq!(usage.log_bytes, 256 << 10);
    assert_eq!(usage.log_bytes + usage.log_dropped_bytes, 6_000_010);
    let log = text(&log);
    assert!(log.starts_with("first") && log.ends_with("last!"));
    assert!(log.contains("bytes of log dropped"));
    Ok(())
}

async fn too_many_handles_reach_the_resource_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    // Each standard stream is one.
    let guest = command("", "(call $write (i32.const 2) (i32.const 0) (i32.const 0))");
    let ended = lab.try_with(&guest, |limits| limits.resources = 2).await?;
    let error = exceeded(&ended, Limit::Resources)?;
    assert_eq!(error.message, "resource limit 2 handles exceeded");
    let ended = lab.try_with(&guest, |_| {}).await?;
    assert!(matches!(ended.outcome, Outcome::Succeeded { .. }), "{:?}", ended.outcome);
    assert!(ended.usage.run_ms < Duration::from_secs(5).as_secs_f64() * 1e3);
    Ok(())
}

/// Twenty megabytes in one call: more than there is to read, than may be written, and than is kept.
async fn a_buffer_as_large_as_the_memory_is_a_fair_one() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let grow = "(drop (memory.grow (i32.const 400)))";
    let vector = "(i32.store (i32.const 0) (i32.const 65536))
        (i32.store (i32.const 4) (i32.const 20000000))";
    let read = "(if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then unreachable))";
    let guest = command("", &format!("{grow} {vector} {read}"));
    let mut attempt = lab.attempt(&guest)?;
    attempt.payload.bytes = "hello".into();
    output(&lab.run(attempt).await)?;
    let write = |to: u32| {
        let call = format!("(call $write (i32.const {to}) (i32.const 65536) (i32.const 20000000))");
        command("", &format!("{grow} {call}"))
    };
    exceeded(&lab.try_with(&write(1), |_| {}).await?, Limit::Output)?;
    let ended = lab.try_with(&write(2), |_| {}).await?;
    output(&ended)?;
    assert!(ended.usage.log_dropped_bytes > 19_000_000, "{:?}", ended.usage);
    Ok(())
}
