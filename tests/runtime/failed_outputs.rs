//! Outputs of failed attempts, and configured exit codes.

use std::sync::Arc;

use jobwright_core::exit_codes::ExitCodes;
use jobwright_core::limits::Limit;
use jobwright_core::outcome::{Outcome, Output, RetryHint};
use jobwright_core::runtime::{Ended, StopReason};
use jobwright_tests::components::{command as command_p2, handler};
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, SLEEP, SPIN, attempt, command, exceeded, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_output_of_a_failed_command_is_kept,
        an_output_over_its_limit_is_cut_at_the_limit_between_characters,
        the_output_of_a_cancelled_attempt_is_kept,
        the_body_of_a_failed_response_is_kept_with_its_media_type,
        the_output_of_an_extism_plug_in_that_failed_is_kept,
        a_failure_without_a_log_quotes_its_output,
        the_meaning_of_exit_codes_can_be_configured,
        a_command_of_wasi_0_2_exits_with_its_code,
        the_return_value_of_an_extism_function_is_an_exit_code,
        returning_counts_as_exit_code_0,
    ]
}

/// The failed output of an attempt.
fn left(ended: &Ended) -> Option<(&[u8], &str)> {
    let Output { bytes, content_type } = ended.failed_output.as_ref()?;
    Some((bytes, content_type))
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Prints `{"a":1}`, then runs `then`.
fn prints(then: &str) -> String {
    command(
        r#"(data (i32.const 100) "{\"a\":1}")"#,
        &format!("(call $write (i32.const 1) (i32.const 100) (i32.const 7)) {then}"),
    )
}

async fn the_output_of_a_failed_command_is_kept() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let kept = Some((&br#"{"a":1}"#[..], "application/json"));
    let ended = fixture.try_with(&prints("(call $exit (i32.const 65))"), |_| {}).await?;
    assert!(matches!(ended.outcome, Outcome::Failed { .. }), "{ended:?}");
    assert_eq!((left(&ended), ended.usage.output_bytes), (kept, 7));
    let ended = fixture.try_with(&prints("unreachable"), |_| {}).await?;
    trapped(&ended)?;
    assert_eq!(left(&ended), kept);
    let ended = fixture.try_with(&prints(SPIN), |limits| limits.timeout_ms = 100).await?;
    exceeded(&ended, Limit::Time)?;
    assert_eq!(left(&ended), kept);
    // A success has an ordinary output, and a guest that prints nothing has none.
    let ended = fixture.try_with(&prints(""), |_| {}).await?;
    assert_eq!((left(&ended), &output(&ended)?[..]), (None, &br#"{"a":1}"#[..]));
    let ended = fixture.try_with(&command("", "unreachable"), |_| {}).await?;
    assert_eq!(left(&ended), None);
    Ok(())
}

async fn an_output_over_its_limit_is_cut_at_the_limit_between_characters() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = command(
        r#"(data (i32.const 100) "abcdäöü")"#,
        "(call $write (i32.const 1) (i32.const 100) (i32.const 10))",
    );
    for (most, kept) in [(3, "abc"), (4, "abcd"), (5, "abcd"), (6, "abcdä"), (9, "abcdäö")] {
        let ended = fixture.try_with(&guest, |limits| limits.output_bytes = most).await?;
        exceeded(&ended, Limit::Output)?;
        assert_eq!(left(&ended), Some((kept.as_bytes(), TEXT)));
    }
    Ok(())
}

async fn the_output_of_a_cancelled_attempt_is_kept() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // The printed bytes are at the address of the flags of the following poll.
    let guest = prints(&format!(
        "(call $write (i32.const 2) (i32.const 100) (i32.const 7))
        (i64.store (i32.const 100) (i64.const 0)) {SLEEP}"
    ));
    for (reason, kept) in [(StopReason::Cancelled, true), (StopReason::Interrupted, false)] {
        let ended = answered(&fixture, &guest, reason).await?;
        assert_eq!(left(&ended).is_some(), kept, "{ended:?}");
    }
    Ok(())
}

/// Runs and stops a guest. A process that does not respond at once, on a busy machine, is killed and has
/// no output: then another is started.
async fn answered(
    fixture: &RuntimeFixture,
    guest: &str,
    reason: StopReason,
) -> anyhow::Result<Ended> {
    for _ in 0..50 {
        let ended = fixture.stop(fixture.attempt(guest)?, reason).await.ended;
        if ended.usage.fuel.is_some() {
            return Ok(ended);
        }
    }
    anyhow::bail!("each of many processes was killed before it answered")
}

async fn the_body_of_a_failed_response_is_kept_with_its_media_type() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = handler(
        r#"(data (i32.const 1024) "content-typeapplication/problem+json{}")"#,
        "(local $fields i32)
        (local.set $fields (call $fields))
        (call $append (local.get $fields) (i32.const 1024) (i32.const 12)
            (i32.const 1036) (i32.const 24) (i32.const 64))
        (call $answer (local.get $out) (i32.const 404) (local.get $fields))
        (drop (call $body (i32.const 1060) (i32.const 2)))
        (call $finish)",
    )?;
    let ended = fixture.try_wasm(guest, |_| {}).await?;
    assert!(matches!(ended.outcome, Outcome::Failed { retry: RetryHint::Never, .. }), "{ended:?}");
    assert_eq!(left(&ended), Some((&b"{}"[..], "application/problem+json")));
    Ok(())
}

/// An Extism plug-in that sets `out` as its output, and then runs `body`.
fn extism(body: &str) -> String {
    format!(
        r#"(module
            (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
            (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
            (import "extism:host/env" "output_set" (func $output (param i64 i64)))
            (import "extism:host/env" "error_set" (func $error (param i64)))
            (memory (export "memory") 1)
            (func (export "run") (result i32) (local $at i64)
                (local.set $at (call $alloc (i64.const 3)))
                (call $store (local.get $at) (i32.const 111))
                (call $store (i64.add (local.get $at) (i64.const 1)) (i32.const 117))
                (call $store (i64.add (local.get $at) (i64.const 2)) (i32.const 116))
                (call $output (local.get $at) (i64.const 3))
                {body}))"#
    )
}

/// Sets the error `!`.
const ERROR: &str = "(local.set $at (call $alloc (i64.const 1)))
    (call $store (local.get $at) (i32.const 33)) (call $error (local.get $at))";

async fn the_output_of_an_extism_plug_in_that_failed_is_kept() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let failing = ["(i32.const 1)", "unreachable", &format!("{ERROR} (i32.const 0)")];
    for body in failing {
        let ended = fixture.try_with(&extism(body), |_| {}).await?;
        assert!(output(&ended).is_err(), "{ended:?}");
        assert_eq!(left(&ended), Some((&b"out"[..], TEXT)), "{body}");
        // An output that is too long does not change the outcome.
        let short = fixture.try_with(&extism(body), |limits| limits.output_bytes = 2).await?;
        assert_eq!(left(&short), Some((&b"ou"[..], TEXT)), "{body}");
        assert_eq!(short.outcome.kind(), ended.outcome.kind(), "{body}");
    }
    Ok(())
}

async fn a_failure_without_a_log_quotes_its_output() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = |log: u32| {
        command(
            r#"(data (i32.const 100) "one\nrow 7: bad date\n\nlogged\n")"#,
            &format!(
                "(call $write (i32.const 1) (i32.const 100) (i32.const 21))
                (call $write (i32.const 2) (i32.const 121) (i32.const {log}))
                (call $exit (i32.const 65))"
            ),
        )
    };
    for (log, words) in [(0, "row 7: bad date"), (7, "logged")] {
        let ended = fixture.try_with(&guest(log), |_| {}).await?;
        let Outcome::Failed { error, .. } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!(error.message, format!("exited with 65 (data error): {words}"));
    }
    Ok(())
}

/// The exit codes that these tests configure.
fn codes() -> anyhow::Result<ExitCodes> {
    let set = r#"{"succeed":[10],"retry":[65,"200-210"],"fail":[1],"snooze":[75,255]}"#;
    Ok(serde_json::from_str(set)?)
}

/// The outcome of an attempt in a few words.
fn word(ended: &Ended) -> &'static str {
    match &ended.outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { retry: RetryHint::Never, .. } => "failed for good",
        Outcome::Failed { .. } => "failed",
        Outcome::Snoozed { wait: None, .. } => "snoozed",
        _ => "else",
    }
}

async fn the_meaning_of_exit_codes_can_be_configured() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (code, expected) in [
        (0, "succeeded"),
        (1, "failed for good"),
        (2, "failed"),
        (10, "succeeded"),
        (64, "failed for good"),
        (65, "failed"),
        (75, "snoozed"),
        (205, "failed"),
        (-1, "snoozed"),
    ] {
        let guest = prints(&format!("(call $exit (i32.const {code}))"));
        let mut attempt = fixture.attempt(&guest)?;
        Arc::make_mut(&mut attempt.job.spec).exit_codes = codes()?;
        let ended = fixture.run(attempt).await;
        assert_eq!(word(&ended), expected, "{code}");
        if let Outcome::Succeeded { output } = &ended.outcome {
            assert_eq!(&output.bytes[..], br#"{"a":1}"#);
        }
    }
    Ok(())
}

async fn a_command_of_wasi_0_2_exits_with_its_code() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (body, expected) in [
        ("(call $exit_with (i32.const 10))", "succeeded"),
        ("(call $exit_with (i32.const 64))", "failed for good"),
        ("(call $exit_with (i32.const 65))", "failed"),
        ("(call $exit_with (i32.const 75))", "snoozed"),
        ("(call $exit (i32.const 1))", "failed for good"),
        ("(return (i32.const 1))", "failed for good"),
    ] {
        let mut attempt = attempt(fixture.plugins.add(command_p2("", body)?))?;
        Arc::make_mut(&mut attempt.job.spec).exit_codes = codes()?;
        assert_eq!(word(&fixture.run(attempt).await), expected, "{body}");
    }
    Ok(())
}

async fn the_return_value_of_an_extism_function_is_an_exit_code() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let error = |code: u32| format!("{ERROR} (i32.const {code})");
    for (body, expected) in [
        ("(i32.const 10)", "succeeded"),
        ("(i32.const 1)", "failed for good"),
        ("(i32.const 2)", "failed"),
        ("(i32.const 75)", "snoozed"),
        // An error is never a success, with any code.
        (&error(10), "failed"),
        (&error(1), "failed for good"),
        (&error(0), "failed"),
    ] {
        let mut attempt = fixture.attempt(&extism(body))?;
        Arc::make_mut(&mut attempt.job.spec).exit_codes = codes()?;
        assert_eq!(word(&fixture.run(attempt).await), expected, "{body}");
    }
    Ok(())
}

async fn returning_counts_as_exit_code_0() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let never: ExitCodes = serde_json::from_str(r#"{"fail":[0]}"#)?;
    for wasm in [wat::parse_str(prints(""))?, command_p2("", "")?] {
        let mut attempt = attempt(fixture.plugins.add(wasm))?;
        Arc::make_mut(&mut attempt.job.spec).exit_codes = never.clone();
        assert_eq!(word(&fixture.run(attempt).await), "failed for good");
    }
    Ok(())
}
