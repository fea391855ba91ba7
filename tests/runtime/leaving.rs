//! What attempts leave that did not succeed, and what their exit codes mean to their plugin.

use jobwright_core::exit_codes::ExitCodes;
use jobwright_core::limits::Limit;
use jobwright_core::outcome::{Outcome, Output, RetryHint};
use jobwright_core::runtime::{Ended, StopReason};
use jobwright_tests::components::{command as command_p2, handler};
use libtest_mimic::Trial;

use super::fixture::{Lab, SLEEP, SPIN, attempt, command, exceeded, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        what_a_command_printed_before_it_failed_is_kept,
        an_output_over_its_limit_is_kept_up_to_it_and_cut_between_characters,
        what_a_cancelled_attempt_printed_is_kept,
        the_body_of_an_answer_that_failed_is_kept_with_its_type,
        the_output_of_an_extism_plug_in_that_failed_is_kept,
        a_failure_without_a_log_quotes_its_output,
        a_plugin_says_what_its_exit_codes_mean,
        a_command_of_wasi_0_2_exits_with_its_code,
        the_answer_of_an_extism_function_is_an_exit_code,
        returning_is_exiting_with_0,
    ]
}

/// What was left without success.
fn left(ended: &Ended) -> Option<(&[u8], &str)> {
    let Output { bytes, content_type } = ended.failed_output.as_ref()?;
    Some((bytes, content_type))
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Prints `{"a":1}`, then does `then`.
fn prints(then: &str) -> String {
    command(
        r#"(data (i32.const 100) "{\"a\":1}")"#,
        &format!("(call $write (i32.const 1) (i32.const 100) (i32.const 7)) {then}"),
    )
}

async fn what_a_command_printed_before_it_failed_is_kept() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let kept = Some((&br#"{"a":1}"#[..], "application/json"));
    let ended = lab.try_with(&prints("(call $exit (i32.const 65))"), |_| {}).await?;
    assert!(matches!(ended.outcome, Outcome::Failed { .. }), "{ended:?}");
    assert_eq!((left(&ended), ended.usage.output_bytes), (kept, 7));
    let ended = lab.try_with(&prints("unreachable"), |_| {}).await?;
    trapped(&ended)?;
    assert_eq!(left(&ended), kept);
    let ended = lab.try_with(&prints(SPIN), |limits| limits.timeout_ms = 100).await?;
    exceeded(&ended, Limit::Time)?;
    assert_eq!(left(&ended), kept);
    // What succeeded is an output, and what printed nothing left nothing.
    let ended = lab.try_with(&prints(""), |_| {}).await?;
    assert_eq!((left(&ended), &output(&ended)?[..]), (None, &br#"{"a":1}"#[..]));
    let ended = lab.try_with(&command("", "unreachable"), |_| {}).await?;
    assert_eq!(left(&ended), None);
    Ok(())
}

async fn an_output_over_its_limit_is_kept_up_to_it_and_cut_between_characters() -> anyhow::Result<()>
{
    let lab = Lab::new()?;
    let guest = command(
        r#"(data (i32.const 100) "abcdäöü")"#,
        "(call $write (i32.const 1) (i32.const 100) (i32.const 10))",
    );
    for (most, kept) in [(3, "abc"), (4, "abcd"), (5, "abcd"), (6, "abcdä"), (9, "abcdäö")] {
        let ended = lab.try_with(&guest, |limits| limits.output_bytes = most).await?;
        exceeded(&ended, Limit::Output)?;
        assert_eq!(left(&ended), Some((kept.as_bytes(), TEXT)));
    }
    Ok(())
}

async fn what_a_cancelled_attempt_printed_is_kept() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    // What it printed is where the flags of the clock are that it then waits for.
    let guest = prints(&format!(
        "(call $write (i32.const 2) (i32.const 100) (i32.const 7))
        (i64.store (i32.const 100) (i64.const 0)) {SLEEP}"
    ));
    for (reason, kept) in [(StopReason::Cancelled, true), (StopReason::Interrupted, false)] {
        let ended = answered(&lab, &guest, reason).await?;
        assert_eq!(left(&ended).is_some(), kept, "{ended:?}");
    }
    Ok(())
}

/// How a guest ended that was stopped and had time to. A process that does not answer at once, as on a
/// busy machine, is killed and leaves nothing: then another is started.
async fn answered(lab: &Lab, guest: &str, reason: StopReason) -> anyhow::Result<Ended> {
    for _ in 0..50 {
        let ended = lab.stop(lab.attempt(guest)?, reason).await.ended;
        if ended.usage.fuel.is_some() {
            return Ok(ended);
        }
    }
    anyhow::bail!("each of many processes was killed before it answered")
}

async fn the_body_of_an_answer_that_failed_is_kept_with_its_type() -> anyhow::Result<()> {
    let lab = Lab::new()?;
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
    let ended = lab.try_wasm(guest, |_| {}).await?;
    assert!(matches!(ended.outcome, Outcome::Failed { retry: RetryHint::Never, .. }), "{ended:?}");
    assert_eq!(left(&ended), Some((&b"{}"[..], "application/problem+json")));
    Ok(())
}

/// An Extism plug-in that leaves `out` as its output, and whose function then is `body`.
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
    let lab = Lab::new()?;
    let failing = ["(i32.const 1)", "unreachable", &format!("{ERROR} (i32.const 0)")];
    for body in failing {
        let ended = lab.try_with(&extism(body), |_| {}).await?;
        assert!(output(&ended).is_err(), "{ended:?}");
        assert_eq!(left(&ended), Some((&b"out"[..], TEXT)), "{body}");
        // That it is too long does not change how the guest failed.
        let short = lab.try_with(&extism(body), |limits| limits.output_bytes = 2).await?;
        assert_eq!(left(&short), Some((&b"ou"[..], TEXT)), "{body}");
        assert_eq!(short.outcome.kind(), ended.outcome.kind(), "{body}");
    }
    Ok(())
}

async fn a_failure_without_a_log_quotes_its_output() -> anyhow::Result<()> {
    let lab = Lab::new()?;
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
        let ended = lab.try_with(&guest(log), |_| {}).await?;
        let Outcome::Failed { error, .. } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!(error.message, format!("exited with 65 (data error): {words}"));
    }
    Ok(())
}

/// What is set of exit codes in these tests.
fn codes() -> anyhow::Result<ExitCodes> {
    let set = r#"{"succeed":[10],"retry":[65,"200-210"],"fail":[1],"snooze":[75,255]}"#;
    Ok(serde_json::from_str(set)?)
}

/// How an attempt ended, in a word.
fn word(ended: &Ended) -> &'static str {
    match &ended.outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { retry: RetryHint::Never, .. } => "failed for good",
        Outcome::Failed { .. } => "failed",
        Outcome::Snoozed { wait: None, .. } => "snoozed",
        _ => "else",
    }
}

async fn a_plugin_says_what_its_exit_codes_mean() -> anyhow::Result<()> {
    let lab = Lab::new()?;
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
        let mut attempt = lab.attempt(&guest)?;
        attempt.job.spec.exit_codes = codes()?;
        let ended = lab.run(attempt).await;
        assert_eq!(word(&ended), expected, "{code}");
        if let Outcome::Succeeded { output } = &ended.outcome {
            assert_eq!(&output.bytes[..], br#"{"a":1}"#);
        }
    }
    Ok(())
}

async fn a_command_of_wasi_0_2_exits_with_its_code() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for (body, expected) in [
        ("(call $exit_with (i32.const 10))", "succeeded"),
        ("(call $exit_with (i32.const 64))", "failed for good"),
        ("(call $exit_with (i32.const 65))", "failed"),
        ("(call $exit_with (i32.const 75))", "snoozed"),
        ("(call $exit (i32.const 1))", "failed for good"),
        ("(return (i32.const 1))", "failed for good"),
    ] {
        let mut attempt = attempt(lab.plugins.add(command_p2("", body)?))?;
        attempt.job.spec.exit_codes = codes()?;
        assert_eq!(word(&lab.run(attempt).await), expected, "{body}");
    }
    Ok(())
}

async fn the_answer_of_an_extism_function_is_an_exit_code() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let error = |code: u32| format!("{ERROR} (i32.const {code})");
    for (body, expected) in [
        ("(i32.const 10)", "succeeded"),
        ("(i32.const 1)", "failed for good"),
        ("(i32.const 2)", "failed"),
        ("(i32.const 75)", "snoozed"),
        // An error is never a success, whatever the code.
        (&error(10), "failed"),
        (&error(1), "failed for good"),
        (&error(0), "failed"),
    ] {
        let mut attempt = lab.attempt(&extism(body))?;
        attempt.job.spec.exit_codes = codes()?;
        assert_eq!(word(&lab.run(attempt).await), expected, "{body}");
    }
    Ok(())
}

async fn returning_is_exiting_with_0() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let never: ExitCodes = serde_json::from_str(r#"{"fail":[0]}"#)?;
    for wasm in [wat::parse_str(prints(""))?, command_p2("", "")?] {
        let mut attempt = attempt(lab.plugins.add(wasm))?;
        attempt.job.spec.exit_codes = never.clone();
        assert_eq!(word(&lab.run(attempt).await), "failed for good");
    }
    Ok(())
}
