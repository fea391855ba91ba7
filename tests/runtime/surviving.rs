//! Guests that are refused something and go on: what they answer then stands. A refusal explains only why a
//! guest that traps did so.

use jobwright_core::limits::{Limit, Limits};
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_core::runtime::Ended;
use jobwright_tests::components::{self, handler, job};
use jobwright_tests::guests::assemble;
use libtest_mimic::Trial;

use super::extism::plugin;
use super::fixture::{Lab, command, exceeded, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        an_exit_code_stands_after_a_refusal,
        an_exit_code_after_a_refusal_tells_of_it_unless_the_guest_has_grown_since,
        an_error_in_its_own_words_stands_after_a_refusal,
        a_status_stands_after_a_refusal,
        a_refusal_explains_a_trap_unless_the_guest_has_grown_since,
        the_status_of_an_error_stands_whatever_its_body_is,
        the_body_of_a_success_is_limited,
    ]
}

/// Is refused more memory than there may be.
const MEMORY: &str = "(drop (memory.grow (i32.const 2000)))";

/// Is refused more elements than there may be, of the table `$t`.
const TABLE: &str = "(drop (table.grow $t (ref.null func) (i32.const 200000)))";

/// Grows by a page, which must work.
const GROWS: &str = "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";

const HAS_TABLE: &str = "(table $t 1 funcref)";

fn failed(ended: &Ended) -> anyhow::Result<(&str, &str, RetryHint)> {
    match &ended.outcome {
        Outcome::Failed { error, retry } => Ok((&error.code, &error.message, *retry)),
        other => anyhow::bail!("it did not fail: {other:?}"),
    }
}

async fn an_exit_code_stands_after_a_refusal() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for refused in [MEMORY, TABLE] {
        for grows in ["", GROWS] {
            for (code, hint) in
                [(1, RetryHint::Backoff), (65, RetryHint::Never), (75, RetryHint::Backoff)]
            {
                let body = format!("{refused} {grows} (call $exit (i32.const {code}))");
                let ended = lab.try_with(&command(HAS_TABLE, &body), |_| {}).await?;
                let (word, message, retry) = failed(&ended)?;
                assert_eq!((word, retry), ("exit_code", hint), "{body}");
                assert!(message.starts_with(&format!("exited with {code}")), "{message}");
            }
            let body = format!("{refused} {grows} (call $exit_with (i32.const 65))");
            let guest = components::command(HAS_TABLE, &body)?;
            let ended = lab.try_wasm(guest, |_| {}).await?;
            assert_eq!(failed(&ended)?.2, RetryHint::Never, "{body}");
            output(
                &lab.try_with(&command(HAS_TABLE, &format!("{refused} {grows}")), |_| {}).await?,
            )?;
        }
    }
    Ok(())
}

async fn an_exit_code_after_a_refusal_tells_of_it_unless_the_guest_has_grown_since()
-> anyhow::Result<()> {
    let lab = Lab::new()?;
    let exits = |grows| command("", &format!("{MEMORY} {grows} (call $exit (i32.const 1))"));
    let ended = lab.try_with(&exits(""), |_| {}).await?;
    let message = failed(&ended)?.1;
    assert!(message.starts_with("exited with 1 (memory limit 64 MiB exceeded: "), "{message}");
    let ended = lab.try_with(&exits(GROWS), |_| {}).await?;
    assert_eq!(failed(&ended)?.1, "exited with 1");
    Ok(())
}

async fn an_error_in_its_own_words_stands_after_a_refusal() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let words = r#"(data (i32.const 2048) "busy")"#;
    let fail = r#"(import "jobwright" "fail" (func $fail (param i32 i64 i32 i32)))"#;
    let says = "(call $fail (i32.const 1) (i64.const 7000) (i32.const 2048) (i32.const 4))
        (call $exit (i32.const 1))";
    let importing = format!("(module {fail} {}", &command(words, &format!("{MEMORY} {says}"))[7..]);
    let typed = job(
        words,
        &format!("{MEMORY} (return (call $fail (i32.const 0) (i32.const 2048) (i32.const 4)))"),
    )?;
    let set = "(call $error (call $block (i32.const 2048) (i32.const 4)))";
    let extism = plugin(words, &format!("{MEMORY} {set} (return (i32.const 1))"));
    for (guest, hint) in [
        (assemble(&importing)?, RetryHint::After(std::time::Duration::from_secs(7))),
        (typed, RetryHint::Never),
        (assemble(&extism)?, RetryHint::Backoff),
    ] {
        let ended = lab.try_wasm(guest, |_| {}).await?;
        let (_, message, retry) = failed(&ended)?;
        assert_eq!((message, retry), ("busy", hint));
    }
    Ok(())
}

/// A handler that does `first` and answers `status` with `body`, so many times.
fn answers(first: &str, status: u32, times: u32) -> anyhow::Result<Vec<u8>> {
    handler(
        "(data (i32.const 2048) \"busy, come again\")",
        &format!(
            "(local $times i32) {first}
            (call $answer (local.get $out) (i32.const {status}) (call $fields))
            (loop $more
                (drop (call $body (i32.const 2048) (i32.const 16)))
                (local.set $times (i32.add (local.get $times) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $times) (i32.const {times}))))
            (call $finish)"
        ),
    )
}

async fn a_status_stands_after_a_refusal() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for (status, hint) in [(503, RetryHint::Backoff), (422, RetryHint::Never)] {
        let ended = lab.try_wasm(answers(MEMORY, status, 1)?, |_| {}).await?;
        let (code, message, retry) = failed(&ended)?;
        assert_eq!((code, retry), ("http_status", hint));
        assert!(message.contains(": busy, come again (memory limit 64 MiB exceeded"), "{message}");
    }
    assert_eq!(output(&lab.try_wasm(answers(MEMORY, 200, 1)?, |_| {}).await?)?.len(), 16);
    Ok(())
}

async fn a_refusal_explains_a_trap_unless_the_guest_has_grown_since() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for (refused, limit) in [(MEMORY, Limit::Memory), (TABLE, Limit::Tables)] {
        let traps = |grows| command(HAS_TABLE, &format!("{refused} {grows} unreachable"));
        exceeded(&lab.try_with(&traps(""), |_| {}).await?, limit)?;
        assert_eq!(trapped(&lab.try_with(&traps(GROWS), |_| {}).await?)?.code, "unreachable");
        // To grow by nothing is no growth.
        let nothing = "(drop (memory.grow (i32.const 0)))";
        exceeded(&lab.try_with(&traps(nothing), |_| {}).await?, limit)?;
    }
    Ok(())
}

fn small_output(limits: &mut Limits) {
    limits.output_bytes = 100;
}

async fn the_status_of_an_error_stands_whatever_its_body_is() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for (status, hint) in [(503, RetryHint::Backoff), (404, RetryHint::Never)] {
        // Within the limit, and a hundred times as long.
        for times in [1, 625] {
            let ended = lab.try_wasm(answers("", status, times)?, small_output).await?;
            let (code, message, retry) = failed(&ended)?;
            assert_eq!((code, retry), ("http_status", hint), "{times}");
            assert!(message.contains(": busy, come again"), "{message}");
            assert!(message.len() < 200, "{message}");
            assert_eq!(ended.usage.output_bytes > 100, times > 6);
        }
    }
    Ok(())
}

async fn the_body_of_a_success_is_limited() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    assert_eq!(output(&lab.try_wasm(answers("", 200, 6)?, small_output).await?)?.len(), 96);
    exceeded(&lab.try_wasm(answers("", 200, 7)?, small_output).await?, Limit::Output)?;
    Ok(())
}
