//! The limits, each obeyed and violated by an Extism plug-in: as for commands.

use jobwright_core::limits::{Fuel, Limit, Limits};
use jobwright_core::outcome::Outcome;
use jobwright_core::runtime::{Stop, StopReason};
use libtest_mimic::Trial;
use tokio::time::Instant;

use super::extism::plugin;
use super::fixture::{Lab, SLEEP, SPIN, exceeded, output};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        fuel_is_counted_the_same_each_time,
        fuel_that_is_used_up_ends_the_guest,
        a_spinning_guest_ends_at_its_time_limit_wherever_it_spins,
        a_sleeping_guest_ends_at_its_time_limit,
        guests_are_cancelled_at_once,
        an_allocation_beyond_the_limit_answers_0,
        blocks_count_as_memory_until_they_are_freed,
        one_byte_of_output_more_is_too_much,
        a_flood_of_log_ends_nothing,
    ]
}

const MIB: u64 = 1 << 20;

async fn fuel_is_counted_the_same_each_time() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = plugin(
        "",
        "(local $n i32)
        (loop $again
            (call $free (call $alloc (i64.const 100)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 100000))))",
    );
    let run = || lab.try_with(&guest, |limits| limits.fuel = Fuel::Units(20_000_000));
    let (one, two) = (run().await?, run().await?);
    output(&one)?;
    let fuel = one.usage.fuel.unwrap_or_default();
    assert!((500_000..20_000_000).contains(&fuel), "{fuel}");
    assert_eq!(one.usage.fuel, two.usage.fuel);
    let unlimited = lab.try_with(&guest, |limits| limits.fuel = Fuel::Unlimited).await?;
    output(&unlimited)?;
    assert_eq!(unlimited.usage.fuel, None);
    Ok(())
}

async fn fuel_that_is_used_up_ends_the_guest() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut Limits| limits.fuel = Fuel::Units(5_000_000);
    let ended = lab.try_with(&plugin("", SPIN), limit).await?;
    assert_eq!(exceeded(&ended, Limit::Fuel)?.message, "fuel limit 5000000 exceeded");
    assert_eq!(ended.usage.fuel, Some(5_000_000));
    Ok(())
}

async fn a_spinning_guest_ends_at_its_time_limit_wherever_it_spins() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let start = format!("(func $spin {SPIN}) (start $spin)");
    let constructors = format!(r#"(func (export "__wasm_call_ctors") {SPIN})"#);
    for fuel in [Fuel::Units(100_000_000_000), Fuel::Unlimited] {
        for guest in [plugin("", SPIN), plugin(&constructors, ""), plugin(&start, "")] {
            let limit = |limits: &mut Limits| (limits.fuel, limits.timeout_ms) = (fuel, 100);
            let ended = lab.try_with(&guest, limit).await?;
            exceeded(&ended, Limit::Time)?;
            let usage = ended.usage;
            let whole = usage.instantiate_ms + usage.run_ms;
            assert!((99.0..2_000.0).contains(&whole) && usage.cpu_ms > 10.0, "{usage:?}");
        }
    }
    Ok(())
}

async fn a_sleeping_guest_ends_at_its_time_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&plugin("", SLEEP), |limits| limits.timeout_ms = 400).await?;
    exceeded(&ended, Limit::Time)?;
    assert!((390.0..3_000.0).contains(&ended.usage.run_ms), "{:?}", ended.usage);
    assert!(ended.usage.cpu_ms < 200.0, "sleeping costs no processor: {:?}", ended.usage);
    Ok(())
}

async fn guests_are_cancelled_at_once() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for body in [SPIN, SLEEP] {
        // What it has said by then makes no difference.
        let said = "(call $error (call $block (i32.const 100) (i32.const 4)))
            (call $info (call $block (i32.const 100) (i32.const 4)))";
        let attempt = lab.attempt(&plugin("", &format!("{said} {body}")))?;
        let (stop, signal) = Stop::new();
        let (log, runtime) = (attempt.log.clone(), lab.runtime.clone());
        let running = tokio::spawn(async move { runtime.run(attempt, signal).await });
        while log.written() == 0 {
            tokio::task::yield_now().await;
        }
        let since = Instant::now();
        stop.raise(StopReason::Cancelled);
        let ended = running.await?;
        assert_eq!(ended.outcome, Outcome::Cancelled);
        assert!(since.elapsed().as_secs() < 2, "{:?}", ended.usage);
        assert!(ended.usage.fuel > Some(0), "{:?}", ended.usage);
    }
    Ok(())
}

async fn an_allocation_beyond_the_limit_answers_0() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut Limits| limits.memory_bytes = 2 * MIB;
    for bytes in ["2097152", "0x7fffffffffffffff", "-1"] {
        let asks = format!(
            "(if (i64.ne (call $alloc (i64.const {bytes})) (i64.const 0)) (then unreachable))"
        );
        // One that can do without goes on; one that traps has reached its limit.
        let ended = lab.try_with(&plugin("", &asks), limit).await?;
        output(&ended)?;
        assert!(ended.usage.peak_memory_bytes <= 2 * MIB, "{:?}", ended.usage);
        let ended = lab.try_with(&plugin("", &format!("{asks} unreachable")), limit).await?;
        let error = exceeded(&ended, Limit::Memory)?;
        assert!(error.message.starts_with("memory limit 2 MiB exceeded"), "{}", error.message);
        // What it answers stands.
        for end in ["(return (i32.const 1))", "(call $exit (i32.const 1))"] {
            let ended = lab.try_with(&plugin("", &format!("{asks} {end}")), limit).await?;
            assert!(matches!(ended.outcome, Outcome::Failed { .. }), "{:?}", ended.outcome);
        }
    }
    Ok(())
}

async fn blocks_count_as_memory_until_they_are_freed() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut Limits| limits.memory_bytes = 2 * MIB;
    let takes = |with: &str| {
        plugin(
            "(func $take (result i64)
                (local $block i64)
                (local.set $block (call $alloc (i64.const 1000000)))
                (if (i64.eqz (local.get $block)) (then unreachable))
                (local.get $block))",
            &format!(
                "(local $n i32)
                (loop $again
                    {with}
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $n) (i32.const 100))))"
            ),
        )
    };
    // Freed by itself, and given away.
    for with in ["(call $free (call $take))", "(call $info (call $take))"] {
        let ended = lab.try_with(&takes(with), limit).await?;
        output(&ended)?;
        let peak = ended.usage.peak_memory_bytes;
        assert!((1_000_000..2 * MIB).contains(&peak), "{peak}");
    }
    exceeded(&lab.try_with(&takes("(drop (call $take))"), limit).await?, Limit::Memory)?;
    // What they are kept in counts too, so that many small ones are not free.
    let small = plugin(
        "",
        "(loop $again (br_if $again (i64.ne (i64.const 0)
        (call $alloc (i64.const 1))))) unreachable",
    );
    let ended = lab.try_with(&small, limit).await?;
    exceeded(&ended, Limit::Memory)?;
    assert!(ended.usage.fuel < Some(2_000_000), "{:?}", ended.usage);
    Ok(())
}

async fn one_byte_of_output_more_is_too_much() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let leaves =
        |bytes: u32| plugin("", &format!("(call $leave (call $alloc (i64.const {bytes})))"));
    let limit = |limits: &mut Limits| limits.output_bytes = 100_000;
    assert_eq!(output(&lab.try_with(&leaves(100_000), limit).await?)?.len(), 100_000);
    let ended = lab.try_with(&leaves(100_001), limit).await?;
    let error = exceeded(&ended, Limit::Output)?;
    assert!(error.message.starts_with("output limit 97.6 KiB exceeded"), "{}", error.message);
    Ok(())
}

async fn a_flood_of_log_ends_nothing() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let flood = plugin(
        "",
        "(local $n i32)
        (loop $again
            (call $info (call $alloc (i64.const 59993)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 100))))",
    );
    let ended = lab.try_with(&flood, |_| {}).await?;
    output(&ended)?;
    let usage = ended.usage;
    assert_eq!(
        (usage.log_bytes, usage.log_bytes + usage.log_dropped_bytes),
        (256 << 10, 6_000_000)
    );
    Ok(())
}
