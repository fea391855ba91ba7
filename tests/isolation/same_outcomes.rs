//! Attempts in another process have the same outcome, down to fuel and backtrace.

use std::sync::Arc;

use anyhow::ensure;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::limits::{Fuel, Limits};
use jobwright_core::outcome::Outcome;
use jobwright_core::runtime::Ended;
use jobwright_tests::tests;
use libtest_mimic::Trial;

use crate::runtime::fixture::{RuntimeFixture, SPIN, command, small, text};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        outcome_fuel_and_backtrace_are_the_same,
        progress_and_checkpoint_are_complete_at_the_end,
        idle_processes_are_replaced_by_those_of_other_plugins,
    ]
}

/// Writes random bytes and the time to the output.
const RANDOM: &str = "(drop (call $random (i32.const 64) (i32.const 32)))
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 96)))
    (call $write (i32.const 1) (i32.const 64) (i32.const 40))";

/// Writes two megabytes of log; the last line differs.
const FLOOD: &str = "(local $n i32)
    (loop $again
        (i32.store (i32.const 1024) (local.get $n))
        (call $write (i32.const 2) (i32.const 1024) (i32.const 4096))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 512))))";

/// Calls itself, three deep, and traps.
const DEEP: &str = "(func $deep (param i32)
        (if (i32.eqz (local.get 0)) (then unreachable))
        (call $deep (i32.sub (local.get 0) (i32.const 1))))";

async fn outcome_fuel_and_backtrace_are_the_same() -> anyhow::Result<()> {
    let guests = [
        command("", RANDOM),
        command("", FLOOD),
        command(DEEP, "(call $deep (i32.const 3))"),
        command("", "(call $exit (i32.const 75))"),
        command("", SPIN),
        command("", "(drop (memory.grow (i32.const 100))) unreachable"),
        format!("(module {TELLING})"),
    ];
    let labs = [RuntimeFixture::with(small())?, RuntimeFixture::in_processes(small())?];
    for guest in &guests {
        let mut attempt = labs[0].attempt(guest)?;
        labs[1].plugins.add(wat::parse_str(guest)?);
        Arc::make_mut(&mut attempt.job.spec).deterministic = true;
        attempt.limits = Limits { fuel: Fuel::Units(10_000_000), ..attempt.limits };
        attempt.limits.memory_bytes = 1 << 20;
        attempt.payload.bytes = Bytes::from_static(b"payload");
        let mut ends = vec![];
        for fixture in &labs {
            let attempt = fresh(&attempt);
            let ended = fixture.run(attempt.clone()).await;
            ends.push((ended, text(&attempt.log), attempt.report.told()));
        }
        let [here, there] = &mut ends[..] else { anyhow::bail!("two ends") };
        without_times(&mut here.0);
        without_times(&mut there.0);
        assert_eq!(here, there, "{guest}");
    }
    Ok(())
}

/// Reports progress, and saves its payload as the checkpoint.
const TELLING: &str = r#"
    (import "jobwright" "progress" (func $progress (param f64 i32 i32)))
    (import "jobwright" "checkpoint_save" (func $save (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "half")
    (func (export "_start")
        (call $progress (f64.const 0.5) (i32.const 64) (i32.const 4))
        (drop (call $save (i32.const 64) (i32.const 4))))"#;

async fn progress_and_checkpoint_are_complete_at_the_end() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::in_processes(small())?;
    let attempt = fixture.attempt(&format!("(module {TELLING})"))?;
    let ended = fixture.run(attempt.clone()).await;
    ensure!(matches!(ended.outcome, Outcome::Succeeded { .. }), "{ended:?}");
    let told = attempt.report.told();
    assert_eq!(told.checkpoint.as_deref(), Some(b"half".as_slice()));
    let progress = told.progress.map(|progress| (progress.fraction, progress.message));
    assert_eq!(progress, Some((Some(0.5), "half".to_owned())));
    Ok(())
}

async fn idle_processes_are_replaced_by_those_of_other_plugins() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::in_processes(small())?;
    let guest = |n: usize| command("", &format!("(call $exit (i32.const {n}))"));
    for round in 0..2 {
        // More than there are slots, one after the other.
        for n in 1..20 {
            let ended = fixture.run(fixture.attempt(&guest(n))?).await;
            let error = ended.outcome.error().map(|error| error.message.clone());
            let expected = format!("exited with {n}");
            ensure!(error.as_ref().is_some_and(|e| e.starts_with(&expected)), "{round}: {error:?}");
        }
    }
    Ok(())
}

/// The same attempt, with its own log and report.
fn fresh(attempt: &Attempt) -> Attempt {
    let log = jobwright_core::LogBuffer::new(attempt.limits.log_bytes).into();
    let report =
        jobwright_core::report::ProgressReporter::new(None, attempt.limits.checkpoint_bytes).into();
    Attempt { log, report, ..attempt.clone() }
}

fn without_times(ended: &mut Ended) {
    let usage = &mut ended.usage;
    let times =
        [&mut usage.compile_ms, &mut usage.instantiate_ms, &mut usage.run_ms, &mut usage.cpu_ms];
    for time in times {
        *time = 0.0;
    }
}
