//! The limits, each obeyed and violated by a typed job: as for commands.

use jobwright_core::limits::{Fuel, Limit, Limits};
use jobwright_core::outcome::Outcome;
use jobwright_core::runtime::{Stop, StopReason};
use jobwright_tests::components::job;
use libtest_mimic::Trial;
use tokio::time::Instant;

use super::fixture::{Lab, SPIN, attempt, exceeded, output};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        fuel_is_counted_the_same_each_time,
        fuel_that_is_used_up_ends_the_guest,
        a_spinning_guest_ends_at_its_time_limit_wherever_it_spins,
        a_sleeping_guest_ends_at_its_time_limit,
        guests_are_cancelled_at_once,
        memory_beyond_the_limit_is_refused,
        one_byte_of_output_more_is_too_much,
        what_is_too_long_in_a_call_is_refused_or_cut,
    ]
}

const MIB: u64 = 1 << 20;

/// Sleeps for a year in one host call.
const SLEEP: &str = "(call $sleep (i64.const 31536000000000000))";

async fn fuel_is_counted_the_same_each_time() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = job(
        "",
        "(local $n i32)
        (loop $again
            (call $report (i32.const 0) (f64.const 0) (i32.const 1024) (i32.const 4))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 100000))))",
    )?;
    let run = || lab.try_wasm(guest.clone(), |limits| limits.fuel = Fuel::Units(20_000_000));
    let (one, two) = (run().await?, run().await?);
    output(&one)?;
    let fuel = one.usage.fuel.unwrap_or_default();
    assert!((500_000..20_000_000).contains(&fuel), "{fuel}");
    assert_eq!(one.usage.fuel, two.usage.fuel);
    let unlimited = lab.try_wasm(guest, |limits| limits.fuel = Fuel::Unlimited).await?;
    output(&unlimited)?;
    assert_eq!(unlimited.usage.fuel, None);
    Ok(())
}

async fn fuel_that_is_used_up_ends_the_guest() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut Limits| limits.fuel = Fuel::Units(5_000_000);
    let ended = lab.try_wasm(job("", SPIN)?, limit).await?;
    assert_eq!(exceeded(&ended, Limit::Fuel)?.message, "fuel limit 5000000 exceeded");
    assert_eq!(ended.usage.fuel, Some(5_000_000));
    Ok(())
}

async fn a_spinning_guest_ends_at_its_time_limit_wherever_it_spins() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let start = format!("(func $spin {SPIN}) (start $spin)");
    let after =
        format!(r#"(func (export "cabi_post_jobwright:job/run@0.2.0#run") (param i32) {SPIN})"#);
    for fuel in [Fuel::Units(100_000_000_000), Fuel::Unlimited] {
        for guest in [job("", SPIN)?, job(&start, "")?, job(&after, "")?] {
            let limit = |limits: &mut Limits| (limits.fuel, limits.timeout_ms) = (fuel, 100);
            let ended = lab.try_wasm(guest, limit).await?;
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
    let ended = lab.try_wasm(job("", SLEEP)?, |limits| limits.timeout_ms = 400).await?;
    exceeded(&ended, Limit::Time)?;
    assert!((390.0..3_000.0).contains(&ended.usage.run_ms), "{:?}", ended.usage);
    assert!(ended.usage.cpu_ms < 200.0, "sleeping costs no processor: {:?}", ended.usage);
    Ok(())
}

async fn guests_are_cancelled_at_once() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for body in [SPIN, SLEEP] {
        let body = format!("(call $log (i32.const 1024) (i32.const 4)) {body}");
        let attempt = attempt(lab.plugins.add(job("", &body)?))?;
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

async fn memory_beyond_the_limit_is_refused() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut Limits| limits.memory_bytes = 2 * MIB;
    let grows = |last: &str| {
        let grow = "(br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))";
        job("", &format!("(loop $again {grow}) {last}"))
    };
    let ended = lab.try_wasm(grows("")?, limit).await?;
    output(&ended)?;
    let peak = ended.usage.peak_memory_bytes;
    assert!((2 * MIB - 65_536..=2 * MIB).contains(&peak), "{peak}");
    let error = exceeded(&lab.try_wasm(grows("unreachable")?, limit).await?, Limit::Memory)?;
    assert!(error.message.starts_with("memory limit 2 MiB exceeded"), "{}", error.message);
    Ok(())
}

/// Answers with so many bytes.
fn answers(bytes: u64) -> anyhow::Result<Vec<u8>> {
    let pages = bytes.div_ceil(65_536);
    job(
        "",
        &format!(
            "(drop (memory.grow (i32.const {pages})))
            (return (call $ok (i32.const 1024) (i32.const {bytes})))"
        ),
    )
}

async fn one_byte_of_output_more_is_too_much() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let limit = |limits: &mut Limits| limits.output_bytes = 100_000;
    assert_eq!(output(&lab.try_wasm(answers(100_000)?, limit).await?)?.len(), 100_000);
    // The last is more than is copied at all.
    for bytes in [100_001, 10 * MIB, 50 * MIB] {
        let ended = lab.try_wasm(answers(bytes)?, limit).await?;
        let error = exceeded(&ended, Limit::Output)?;
        assert!(error.message.starts_with("output limit 97.6 KiB exceeded"), "{}", error.message);
        assert!(ended.usage.output_bytes > 100_000, "{:?}", ended.usage);
    }
    Ok(())
}

/// Forty times what a checkpoint and a log may be, and most of the guest's memory.
async fn what_is_too_long_in_a_call_is_refused_or_cut() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let grow = "(drop (memory.grow (i32.const 800)))";
    let long = "(i32.const 262144) (i32.const 40000000)";
    let body = format!(
        "{grow} (call $save {long} (i32.const 600))
        (if (i32.eqz (i32.load8_u (i32.const 600))) (then unreachable))
        (call $report (i32.const 0) (f64.const 0) {long})
        (call $say (i32.const 0) (i32.const 0) (i32.const 0) {long})"
    );
    let ended = lab.try_wasm(job("", &body)?, |_| {}).await?;
    output(&ended)?;
    assert!(ended.usage.log_bytes <= 256 << 10, "{:?}", ended.usage);
    assert!(ended.usage.log_dropped_bytes > 39_000_000, "{:?}", ended.usage);
    Ok(())
}
