//! What core modules tell their host and ask of it: the module `jobwright`.

use std::time::Duration;

use anyhow::Context as _;

use jobwright_core::limits::{Fuel, Limit};
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_core::report::{Progress, ProgressReporter};
use jobwright_core::runtime::{Stop, StopReason};
use libtest_mimic::Trial;

use super::fixture::{Lab, SPIN, Stopped, command, exceeded, output, text, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        log_lines_say_their_level,
        progress_is_told_as_often_as_a_guest_likes,
        a_checkpoint_is_saved_and_loaded,
        a_checkpoint_over_its_limit_is_refused_and_the_guest_goes_on,
        a_guest_sees_what_time_and_fuel_it_has_left,
        the_output_is_of_the_type_that_the_guest_names,
        a_failure_is_what_the_guest_says_of_it,
        a_failure_that_was_announced_goes_before_a_trap_and_not_before_a_limit,
        pointers_outside_of_memory_end_the_guest,
        a_guest_that_never_asks_is_stopped_at_once,
        a_guest_that_asks_has_time_to_save_its_checkpoint,
        a_guest_that_asks_and_ends_at_a_notice_was_interrupted,
        a_guest_that_asks_and_does_not_end_is_stopped_after_its_grace,
        a_grace_ends_when_what_runs_is_switched_off,
    ]
}

/// The functions, and some text in memory.
const JOBWRIGHT: &str = r#"
    (import "jobwright" "log" (func $log (param i32 i32 i32)))
    (import "jobwright" "progress" (func $progress (param f64 i32 i32)))
    (import "jobwright" "is_cancelled" (func $is_cancelled (result i32)))
    (import "jobwright" "remaining_ms" (func $remaining_ms (result i64)))
    (import "jobwright" "remaining_fuel" (func $remaining_fuel (result i64)))
    (import "jobwright" "checkpoint_save" (func $save (param i32 i32) (result i32)))
    (import "jobwright" "checkpoint_load" (func $load (param i32 i32) (result i32)))
    (import "jobwright" "output_type" (func $output_type (param i32 i32) (result i32)))
    (import "jobwright" "fail" (func $fail (param i32 i64 i32 i32)))
    (import "jobwright" "later" (func $later (param i64 i32 i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 100) "half of it")
    (data (i32.const 200) "text/csv")
    (func $write (param $at i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $len))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
"#;

fn guest(body: &str) -> String {
    format!("(module {JOBWRIGHT} (func (export \"_start\") (local $n i32) {body}))")
}

async fn log_lines_say_their_level() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let line =
        |level: i32| format!("(call $log (i32.const {level}) (i32.const 100) (i32.const 4))");
    let attempt = lab.attempt(&guest(&(0..7).map(line).collect::<String>()))?;
    let log = attempt.log.clone();
    output(&lab.run(attempt).await)?;
    let lines = "TRACE: half\nDEBUG: half\nINFO: half\nWARN: half\nERROR: half\nCRITICAL: half\n\
                 INFO: half\n";
    assert_eq!(String::from_utf8(log.snapshot().bytes)?, lines);
    Ok(())
}

async fn progress_is_told_as_often_as_a_guest_likes() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let attempt = lab.attempt(&guest(
        "(loop $again
            (call $progress (f64.div (f64.convert_i32_u (local.get $n)) (f64.const 1e6))
                (i32.const 100) (i32.const 10))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000))))",
    ))?;
    let report = attempt.report.clone();
    output(&lab.run(attempt).await)?;
    let last = Progress { fraction: Some(0.999_999), message: "half of it".to_owned() };
    assert_eq!(report.told().progress, Some(last));
    Ok(())
}

async fn a_checkpoint_is_saved_and_loaded() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    // Loads what an earlier attempt left, answers its length and bytes, and saves its own.
    let mut attempt = lab.attempt(&guest(
        "(i32.store8 (i32.const 300)
            (i32.add (i32.const 48) (call $load (i32.const 0) (i32.const 0))))
         (drop (call $load (i32.const 301) (i32.const 5)))
         (call $write (i32.const 300) (i32.const 6))
         (if (call $save (i32.const 100) (i32.const 4)) (then unreachable))",
    ))?;
    attempt.report = ProgressReporter::new(Some("seven b".into()), 10).into();
    let report = attempt.report.clone();
    assert_eq!(output(&lab.run(attempt).await)?, "7seven");
    assert_eq!(report.checkpoint(), Some("half".into()));
    Ok(())
}

async fn a_checkpoint_over_its_limit_is_refused_and_the_guest_goes_on() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let body = "(if (i32.ne (call $save (i32.const 100) (i32.const 10)) (i32.const -1))
            (then unreachable))
        (drop (call $save (i32.const 100) (i32.const 10)))
        (if (i32.ne (call $load (i32.const 0) (i32.const 0)) (i32.const -1)) (then unreachable))
        (if (call $save (i32.const 100) (i32.const 9)) (then unreachable))";
    let mut attempt = lab.attempt(&guest(body))?;
    attempt.report = ProgressReporter::new(None, 9).into();
    let (report, log) = (attempt.report.clone(), attempt.log.clone());
    output(&lab.run(attempt).await)?;
    assert_eq!(report.checkpoint(), Some("half of i".into()));
    // Once, with what raises the limit.
    let line = "WARN: jobwright: a checkpoint of 10 bytes exceeds the limit of 9 bytes: raise it with \
                --checkpoint-limit or `limits.checkpoint_bytes`\n";
    assert_eq!(text(&log), line);
    Ok(())
}

async fn a_guest_sees_what_time_and_fuel_it_has_left() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = guest(
        "(i64.store (i32.const 300) (call $remaining_ms))
         (i64.store (i32.const 308) (call $remaining_fuel))
         (call $write (i32.const 300) (i32.const 16))",
    );
    let numbers = |bytes: &[u8]| -> anyhow::Result<(i64, i64)> {
        let (ms, fuel) = bytes.split_at(8);
        Ok((i64::from_le_bytes(ms.try_into()?), i64::from_le_bytes(fuel.try_into()?)))
    };
    let limited = lab.try_with(&guest, |limits| {
        limits.timeout_ms = 5_000;
        limits.fuel = jobwright_core::Fuel::Units(1_000_000);
    });
    let (ms, fuel) = numbers(&output(&limited.await?)?)?;
    assert!((1..=5_000).contains(&ms) && (900_000..1_000_000).contains(&fuel), "{ms} {fuel}");
    let unlimited = lab.try_with(&guest, |limits| {
        limits.fuel = jobwright_core::Fuel::Unlimited;
    });
    assert_eq!(numbers(&output(&unlimited.await?)?)?.1, -1);
    Ok(())
}

async fn the_output_is_of_the_type_that_the_guest_names() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let name = "(drop (call $output_type (i32.const 200) (i32.const 8)))";
    for end in ["", "(call $exit (i32.const 0))"] {
        let ended = lab.try_with(&guest(&format!("{name} {end}")), |_| ()).await?;
        let Outcome::Succeeded { output } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!(output.content_type, "text/csv");
    }
    // What is no media type is refused, and the bytes say what they are.
    let bad = "(if (i32.ne (call $output_type (i32.const 100) (i32.const 4)) (i32.const -1))
        (then unreachable))";
    let ended = lab.try_with(&guest(bad), |_| ()).await?;
    let Outcome::Succeeded { output } = ended.outcome else { panic!("{ended:?}") };
    assert_eq!(output.content_type, "text/plain; charset=utf-8");
    Ok(())
}

async fn a_failure_is_what_the_guest_says_of_it() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let after = RetryHint::After(Duration::from_millis(1_500));
    for (retry, delay, expected) in
        [(0, -1, RetryHint::Never), (1, -1, RetryHint::Backoff), (1, 1_500, after)]
    {
        let body = format!(
            "(call $fail (i32.const {retry}) (i64.const {delay}) (i32.const 100) (i32.const 10))
             (call $exit (i32.const 1))"
        );
        let ended = lab.try_with(&guest(&body), |_| ()).await?;
        let Outcome::Failed { error, retry } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!((error.message.as_str(), retry), ("half of it", expected));
    }
    for (delay, expected) in [(-1, None), (90_000_000, Some(Duration::from_secs(90_000)))] {
        // The last of the two calls holds.
        let body = format!(
            "(call $fail (i32.const 0) (i64.const -1) (i32.const 100) (i32.const 4))
             (call $later (i64.const {delay}) (i32.const 100) (i32.const 10))
             (call $exit (i32.const 1))"
        );
        let ended = lab.try_with(&guest(&body), |_| ()).await?;
        let Outcome::Snoozed { error, wait } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!((error.message.as_str(), wait), ("half of it", expected));
    }
    // Who announces a failure and succeeds has succeeded.
    let body = "(call $fail (i32.const 0) (i64.const -1) (i32.const 100) (i32.const 10))";
    output(&lab.try_with(&guest(body), |_| ()).await?)?;
    Ok(())
}

async fn a_failure_that_was_announced_goes_before_a_trap_and_not_before_a_limit()
-> anyhow::Result<()> {
    let lab = Lab::new()?;
    let fail = "(call $fail (i32.const 0) (i64.const -1) (i32.const 100) (i32.const 10))";
    let extism = |body: &str| {
        let import = r#"(import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))"#;
        format!(
            r#"(module {import} {JOBWRIGHT} (func (export "run") (result i32)
                {fail} {body} (i32.const 1)))"#
        )
    };
    let at_start = format!(
        r#"(module {JOBWRIGHT} (func $early {fail} unreachable) (start $early)
            (func (export "_start")))"#
    );
    let trap = guest(&format!("{fail} unreachable"));
    for text in
        [trap, at_start, extism("unreachable"), extism("(call $exit (i32.const 1))"), extism("")]
    {
        let ended = lab.try_with(&text, |_| ()).await?;
        let Outcome::Failed { error, retry } = ended.outcome else { panic!("{text}: {ended:?}") };
        assert_eq!((error.message.as_str(), retry), ("half of it", RetryHint::Never), "{text}");
    }
    let spins = guest(&format!("{fail} {SPIN}"));
    let ended = lab.try_with(&spins, |limits| limits.fuel = Fuel::Units(1_000_000)).await?;
    exceeded(&ended, Limit::Fuel)?;
    let ended = lab.try_with(&guest(&format!("{fail} (call $exit (i32.const 0))")), |_| ()).await?;
    output(&ended)?;
    Ok(())
}

async fn pointers_outside_of_memory_end_the_guest() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for body in [
        "(call $log (i32.const 0) (i32.const 65530) (i32.const 7))",
        "(call $progress (f64.const 0) (i32.const -1) (i32.const 1))",
        "(drop (call $save (i32.const 0) (i32.const -1)))",
        "(drop (call $save (i32.const 0) (i32.const 1))) \
         (drop (call $load (i32.const -1) (i32.const -1)))",
        "(drop (call $output_type (i32.const 65536) (i32.const 1)))",
        "(call $fail (i32.const 0) (i64.const 0) (i32.const 1) (i32.const 65536))",
        "(call $later (i64.const 0) (i32.const 1) (i32.const 65536))",
    ] {
        let ended = lab.try_with(&guest(body), |_| ()).await?;
        let error = trapped(&ended).context(body)?;
        assert!(error.message.contains("its memory has 65536 bytes"), "{error:?}");
    }
    let no_memory = r#"(module (import "jobwright" "log" (func $log (param i32 i32 i32)))
        (func (export "_start") (call $log (i32.const 0) (i32.const 0) (i32.const 0))))"#;
    let ended = lab.try_with(no_memory, |_| ()).await?;
    let error = trapped(&ended)?;
    assert!(error.message.contains("exports no memory"), "{error:?}");
    Ok(())
}

async fn a_guest_that_never_asks_is_stopped_at_once() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let attempt = lab.attempt(&command("", SPIN))?;
    let (stop, signal) = Stop::new();
    stop.raise(StopReason::Interrupted);
    let ended = lab.runtime.run(attempt, signal).await;
    assert_eq!(ended.outcome, Outcome::Interrupted);
    Ok(())
}

/// Asks, runs until it is told to stop, then does `last`.
fn until_cancelled(last: &str) -> String {
    guest(&format!(
        "(drop (call $is_cancelled))
         (call $log (i32.const 2) (i32.const 100) (i32.const 4))
         (loop $again (br_if $again (i32.eqz (call $is_cancelled)))) {last}"
    ))
}

/// Starts it, and tells it to stop when it runs.
async fn stopped(lab: &Lab, last: &str, reason: StopReason) -> anyhow::Result<Stopped> {
    let mut attempt = lab.attempt(&until_cancelled(last))?;
    attempt.limits.grace_ms = 300;
    Ok(lab.stop(attempt, reason).await)
}

async fn a_guest_that_asks_has_time_to_save_its_checkpoint() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let save = "(drop (call $save (i32.const 100) (i32.const 4)))";
    for (reason, outcome) in [
        (StopReason::Cancelled, Outcome::Cancelled),
        (StopReason::Interrupted, Outcome::Interrupted),
    ] {
        // However it ends by itself, it ended because it was told to.
        for end in ["(call $exit (i32.const 75))", "unreachable"] {
            let stopped = stopped(&lab, &format!("{save} {end}"), reason).await?;
            assert_eq!(stopped.ended.outcome, outcome, "{end}");
            assert_eq!(stopped.report.checkpoint(), Some("half".into()));
        }
    }
    let finished = stopped(&lab, save, StopReason::Cancelled).await?;
    output(&finished.ended)?;
    Ok(())
}

async fn a_guest_that_asks_and_ends_at_a_notice_was_interrupted() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let save = "(drop (call $save (i32.const 100) (i32.const 4)))";
    for end in ["(call $exit (i32.const 75))", "unreachable"] {
        let attempt = lab.attempt(&until_cancelled(&format!("{save} {end}")))?;
        let (log, report) = (attempt.log.clone(), attempt.report.clone());
        let (stop, signal) = Stop::new();
        let noticed = async {
            while log.written() == 0 {
                tokio::task::yield_now().await;
            }
            // A host that is about to stop: the signal itself is never raised.
            stop.notice();
        };
        let (ended, ()) = tokio::join!(lab.runtime.run(attempt, signal), noticed);
        assert_eq!(ended.outcome, Outcome::Interrupted, "{end}");
        assert_eq!(report.checkpoint(), Some("half".into()), "{end}");
    }
    Ok(())
}

async fn a_guest_that_asks_and_does_not_end_is_stopped_after_its_grace() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let stopped = stopped(&lab, SPIN, StopReason::Cancelled).await?;
    assert_eq!(stopped.ended.outcome, Outcome::Cancelled);
    assert!(stopped.ended.usage.run_ms >= 300.0, "{:?}", stopped.ended.usage);
    Ok(())
}

async fn a_grace_ends_when_what_runs_is_switched_off() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let again = format!("(call $log (i32.const 2) (i32.const 100) (i32.const 4)) {SPIN}");
    let mut attempt = lab.attempt(&until_cancelled(&again))?;
    attempt.limits.grace_ms = 10_000;
    let (log, (stop, signal)) = (attempt.log.clone(), Stop::new());
    let told = async {
        for (lines, reason) in [(1, StopReason::Cancelled), (2, StopReason::SwitchedOff)] {
            while log.written() < lines * "INFO: half\n".len() as u64 {
                tokio::task::yield_now().await;
            }
            stop.raise(reason);
        }
    };
    let (ended, ()) = tokio::join!(lab.runtime.run(attempt, signal), told);
    assert!(matches!(ended.outcome, Outcome::Cancelled | Outcome::Interrupted), "{ended:?}");
    assert!(ended.usage.run_ms < 5_000.0, "{:?}", ended.usage);
    Ok(())
}
