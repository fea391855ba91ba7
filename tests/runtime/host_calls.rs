//! Host calls of core modules: the module `jobwright`.

use std::time::Duration;

use anyhow::Context as _;

use jobwright_core::limits::{Fuel, Limit};
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_core::report::{Progress, ProgressReporter};
use jobwright_core::runtime::{Stop, StopReason};
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, SPIN, Stopped, command, exceeded, output, text, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        log_lines_have_their_level,
        progress_can_be_reported_any_number_of_times,
        a_checkpoint_is_saved_and_loaded,
        a_checkpoint_over_its_limit_is_refused_and_the_guest_continues,
        a_guest_can_read_its_remaining_time_and_fuel,
        the_output_has_the_media_type_that_the_guest_sets,
        a_failure_has_the_message_of_the_guest,
        an_announced_failure_takes_precedence_over_a_trap_and_not_over_a_limit,
        pointers_outside_of_memory_end_the_guest,
        a_guest_that_never_polls_for_cancellation_is_stopped_at_once,
        a_guest_that_polls_for_cancellation_can_save_its_checkpoint,
        a_guest_that_ends_at_a_shutdown_notice_is_interrupted,
        a_guest_that_polls_and_does_not_end_is_stopped_after_the_grace_period,
        the_grace_period_ends_when_the_plugin_is_disabled,
    ]
}

/// The imported functions, and some text in memory.
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

async fn log_lines_have_their_level() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let line =
        |level: i32| format!("(call $log (i32.const {level}) (i32.const 100) (i32.const 4))");
    let attempt = fixture.attempt(&guest(&(0..7).map(line).collect::<String>()))?;
    let log = attempt.log.clone();
    output(&fixture.run(attempt).await)?;
    let lines = "TRACE: half\nDEBUG: half\nINFO: half\nWARN: half\nERROR: half\nCRITICAL: half\n\
                 INFO: half\n";
    assert_eq!(String::from_utf8(log.snapshot().bytes)?, lines);
    Ok(())
}

async fn progress_can_be_reported_any_number_of_times() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let attempt = fixture.attempt(&guest(
        "(loop $again
            (call $progress (f64.div (f64.convert_i32_u (local.get $n)) (f64.const 1e6))
                (i32.const 100) (i32.const 10))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000))))",
    ))?;
    let report = attempt.report.clone();
    output(&fixture.run(attempt).await)?;
    let last = Progress { fraction: Some(0.999_999), message: "half of it".to_owned() };
    assert_eq!(report.told().progress, Some(last));
    Ok(())
}

async fn a_checkpoint_is_saved_and_loaded() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // Loads the checkpoint of an earlier attempt, outputs its length and bytes, and saves its own.
    let mut attempt = fixture.attempt(&guest(
        "(i32.store8 (i32.const 300)
            (i32.add (i32.const 48) (call $load (i32.const 0) (i32.const 0))))
         (drop (call $load (i32.const 301) (i32.const 5)))
         (call $write (i32.const 300) (i32.const 6))
         (if (call $save (i32.const 100) (i32.const 4)) (then unreachable))",
    ))?;
    attempt.report = ProgressReporter::new(Some("seven b".into()), 10).into();
    let report = attempt.report.clone();
    assert_eq!(output(&fixture.run(attempt).await)?, "7seven");
    assert_eq!(report.checkpoint(), Some("half".into()));
    Ok(())
}

async fn a_checkpoint_over_its_limit_is_refused_and_the_guest_continues() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let body = "(if (i32.ne (call $save (i32.const 100) (i32.const 10)) (i32.const -1))
            (then unreachable))
        (drop (call $save (i32.const 100) (i32.const 10)))
        (if (i32.ne (call $load (i32.const 0) (i32.const 0)) (i32.const -1)) (then unreachable))
        (if (call $save (i32.const 100) (i32.const 9)) (then unreachable))";
    let mut attempt = fixture.attempt(&guest(body))?;
    attempt.report = ProgressReporter::new(None, 9).into();
    let (report, log) = (attempt.report.clone(), attempt.log.clone());
    output(&fixture.run(attempt).await)?;
    assert_eq!(report.checkpoint(), Some("half of i".into()));
    // Logged once, with how to raise the limit.
    let line = "WARN: jobwright: a checkpoint of 10 bytes exceeds the limit of 9 bytes: raise it with \
                --checkpoint-limit or `limits.checkpoint_bytes`\n";
    assert_eq!(text(&log), line);
    Ok(())
}

async fn a_guest_can_read_its_remaining_time_and_fuel() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = guest(
        "(i64.store (i32.const 300) (call $remaining_ms))
         (i64.store (i32.const 308) (call $remaining_fuel))
         (call $write (i32.const 300) (i32.const 16))",
    );
    let numbers = |bytes: &[u8]| -> anyhow::Result<(i64, i64)> {
        let (ms, fuel) = bytes.split_at(8);
        Ok((i64::from_le_bytes(ms.try_into()?), i64::from_le_bytes(fuel.try_into()?)))
    };
    let limited = fixture.try_with(&guest, |limits| {
        limits.timeout_ms = 5_000;
        limits.fuel = jobwright_core::Fuel::Units(1_000_000);
    });
    let (ms, fuel) = numbers(&output(&limited.await?)?)?;
    assert!((1..=5_000).contains(&ms) && (900_000..1_000_000).contains(&fuel), "{ms} {fuel}");
    let unlimited = fixture.try_with(&guest, |limits| {
        limits.fuel = jobwright_core::Fuel::Unlimited;
    });
    assert_eq!(numbers(&output(&unlimited.await?)?)?.1, -1);
    Ok(())
}

async fn the_output_has_the_media_type_that_the_guest_sets() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let name = "(drop (call $output_type (i32.const 200) (i32.const 8)))";
    for end in ["", "(call $exit (i32.const 0))"] {
        let ended = fixture.try_with(&guest(&format!("{name} {end}")), |_| ()).await?;
        let Outcome::Succeeded { output } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!(output.content_type, "text/csv");
    }
    // An invalid media type is refused, and the type is detected from the bytes.
    let bad = "(if (i32.ne (call $output_type (i32.const 100) (i32.const 4)) (i32.const -1))
        (then unreachable))";
    let ended = fixture.try_with(&guest(bad), |_| ()).await?;
    let Outcome::Succeeded { output } = ended.outcome else { panic!("{ended:?}") };
    assert_eq!(output.content_type, "text/plain; charset=utf-8");
    Ok(())
}

async fn a_failure_has_the_message_of_the_guest() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let after = RetryHint::After(Duration::from_millis(1_500));
    for (retry, delay, expected) in
        [(0, -1, RetryHint::Never), (1, -1, RetryHint::Backoff), (1, 1_500, after)]
    {
        let body = format!(
            "(call $fail (i32.const {retry}) (i64.const {delay}) (i32.const 100) (i32.const 10))
             (call $exit (i32.const 1))"
        );
        let ended = fixture.try_with(&guest(&body), |_| ()).await?;
        let Outcome::Failed { error, retry } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!((error.message.as_str(), retry), ("half of it", expected));
    }
    for (delay, expected) in [(-1, None), (90_000_000, Some(Duration::from_secs(90_000)))] {
        // The last of the two calls takes effect.
        let body = format!(
            "(call $fail (i32.const 0) (i64.const -1) (i32.const 100) (i32.const 4))
             (call $later (i64.const {delay}) (i32.const 100) (i32.const 10))
             (call $exit (i32.const 1))"
        );
        let ended = fixture.try_with(&guest(&body), |_| ()).await?;
        let Outcome::Snoozed { error, wait } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!((error.message.as_str(), wait), ("half of it", expected));
    }
    // A guest that announces a failure and exits with 0 has succeeded.
    let body = "(call $fail (i32.const 0) (i64.const -1) (i32.const 100) (i32.const 10))";
    output(&fixture.try_with(&guest(body), |_| ()).await?)?;
    Ok(())
}

async fn an_announced_failure_takes_precedence_over_a_trap_and_not_over_a_limit()
-> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
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
        let ended = fixture.try_with(&text, |_| ()).await?;
        let Outcome::Failed { error, retry } = ended.outcome else { panic!("{text}: {ended:?}") };
        assert_eq!((error.message.as_str(), retry), ("half of it", RetryHint::Never), "{text}");
    }
    let spins = guest(&format!("{fail} {SPIN}"));
    let ended = fixture.try_with(&spins, |limits| limits.fuel = Fuel::Units(1_000_000)).await?;
    exceeded(&ended, Limit::Fuel)?;
    let ended =
        fixture.try_with(&guest(&format!("{fail} (call $exit (i32.const 0))")), |_| ()).await?;
    output(&ended)?;
    Ok(())
}

async fn pointers_outside_of_memory_end_the_guest() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
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
        let ended = fixture.try_with(&guest(body), |_| ()).await?;
        let error = trapped(&ended).context(body)?;
        assert!(error.message.contains("its memory has 65536 bytes"), "{error:?}");
    }
    let no_memory = r#"(module (import "jobwright" "log" (func $log (param i32 i32 i32)))
        (func (export "_start") (call $log (i32.const 0) (i32.const 0) (i32.const 0))))"#;
    let ended = fixture.try_with(no_memory, |_| ()).await?;
    let error = trapped(&ended)?;
    assert!(error.message.contains("exports no memory"), "{error:?}");
    Ok(())
}

async fn a_guest_that_never_polls_for_cancellation_is_stopped_at_once() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let attempt = fixture.attempt(&command("", SPIN))?;
    let (stop, signal) = Stop::new();
    stop.raise(StopReason::Interrupted);
    let ended = fixture.runtime.run(attempt, signal).await;
    assert_eq!(ended.outcome, Outcome::Interrupted);
    Ok(())
}

/// Polls for cancellation until it is stopped, then runs `last`.
fn until_cancelled(last: &str) -> String {
    guest(&format!(
        "(drop (call $is_cancelled))
         (call $log (i32.const 2) (i32.const 100) (i32.const 4))
         (loop $again (br_if $again (i32.eqz (call $is_cancelled)))) {last}"
    ))
}

/// Starts such a guest, and stops it when it runs.
async fn stopped(
    fixture: &RuntimeFixture,
    last: &str,
    reason: StopReason,
) -> anyhow::Result<Stopped> {
    let mut attempt = fixture.attempt(&until_cancelled(last))?;
    attempt.limits.grace_ms = 300;
    Ok(fixture.stop(attempt, reason).await)
}

async fn a_guest_that_polls_for_cancellation_can_save_its_checkpoint() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let save = "(drop (call $save (i32.const 100) (i32.const 4)))";
    for (reason, outcome) in [
        (StopReason::Cancelled, Outcome::Cancelled),
        (StopReason::Interrupted, Outcome::Interrupted),
    ] {
        // The outcome is that it was stopped, however it ends then.
        for end in ["(call $exit (i32.const 75))", "unreachable"] {
            let stopped = stopped(&fixture, &format!("{save} {end}"), reason).await?;
            assert_eq!(stopped.ended.outcome, outcome, "{end}");
            assert_eq!(stopped.report.checkpoint(), Some("half".into()));
        }
    }
    let finished = stopped(&fixture, save, StopReason::Cancelled).await?;
    output(&finished.ended)?;
    Ok(())
}

async fn a_guest_that_ends_at_a_shutdown_notice_is_interrupted() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let save = "(drop (call $save (i32.const 100) (i32.const 4)))";
    for end in ["(call $exit (i32.const 75))", "unreachable"] {
        let attempt = fixture.attempt(&until_cancelled(&format!("{save} {end}")))?;
        let (log, report) = (attempt.log.clone(), attempt.report.clone());
        let (stop, signal) = Stop::new();
        let noticed = async {
            while log.written() == 0 {
                tokio::task::yield_now().await;
            }
            // A host that is about to shut down: only the notice is given, the stop signal is not raised.
            stop.notice();
        };
        let (ended, ()) = tokio::join!(fixture.runtime.run(attempt, signal), noticed);
        assert_eq!(ended.outcome, Outcome::Interrupted, "{end}");
        assert_eq!(report.checkpoint(), Some("half".into()), "{end}");
    }
    Ok(())
}

async fn a_guest_that_polls_and_does_not_end_is_stopped_after_the_grace_period()
-> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let stopped = stopped(&fixture, SPIN, StopReason::Cancelled).await?;
    assert_eq!(stopped.ended.outcome, Outcome::Cancelled);
    assert!(stopped.ended.usage.run_ms >= 300.0, "{:?}", stopped.ended.usage);
    Ok(())
}

async fn the_grace_period_ends_when_the_plugin_is_disabled() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let again = format!("(call $log (i32.const 2) (i32.const 100) (i32.const 4)) {SPIN}");
    let mut attempt = fixture.attempt(&until_cancelled(&again))?;
    attempt.limits.grace_ms = 10_000;
    let (log, (stop, signal)) = (attempt.log.clone(), Stop::new());
    let told = async {
        for (lines, reason) in [(1, StopReason::Cancelled), (2, StopReason::Disabled)] {
            while log.written() < lines * "INFO: half\n".len() as u64 {
                tokio::task::yield_now().await;
            }
            stop.raise(reason);
        }
    };
    let (ended, ()) = tokio::join!(fixture.runtime.run(attempt, signal), told);
    assert!(matches!(ended.outcome, Outcome::Cancelled | Outcome::Interrupted), "{ended:?}");
    assert!(ended.usage.run_ms < 5_000.0, "{:?}", ended.usage);
    Ok(())
}
