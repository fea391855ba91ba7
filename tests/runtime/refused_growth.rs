//! Guests that continue after a refused growth: an explicit result is the outcome. A refusal explains only
//! traps.

use jobwright_core::limits::{Limit, Limits};
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_core::runtime::Ended;
use jobwright_tests::components::{self, handler, job};
use jobwright_tests::guests::assemble;
use libtest_mimic::Trial;

use super::extism::plugin;
use super::fixture::{RuntimeFixture, command, exceeded, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        an_exit_code_after_a_refused_growth_is_the_outcome,
        an_exit_code_mentions_a_refused_growth_unless_a_later_one_succeeded,
        an_error_after_a_refused_growth_is_the_outcome,
        a_status_after_a_refused_growth_is_the_outcome,
        a_refused_growth_explains_a_trap_unless_a_later_one_succeeded,
        an_error_status_is_the_outcome_with_any_body,
        the_body_of_a_success_is_limited,
    ]
}

/// Tries to grow memory beyond the limit.
const MEMORY: &str = "(drop (memory.grow (i32.const 2000)))";

/// Tries to grow the table `$t` beyond the limit.
const TABLE: &str = "(drop (table.grow $t (ref.null func) (i32.const 200000)))";

/// Grows memory by a page, which must succeed.
const GROWS: &str = "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";

const HAS_TABLE: &str = "(table $t 1 funcref)";

fn failed(ended: &Ended) -> anyhow::Result<(&str, &str, RetryHint)> {
    match &ended.outcome {
        Outcome::Failed { error, retry } => Ok((&error.code, &error.message, *retry)),
        other => anyhow::bail!("it did not fail: {other:?}"),
    }
}

async fn an_exit_code_after_a_refused_growth_is_the_outcome() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for refused in [MEMORY, TABLE] {
        for grows in ["", GROWS] {
            for (code, hint) in
                [(1, RetryHint::Backoff), (65, RetryHint::Never), (75, RetryHint::Backoff)]
            {
                let body = format!("{refused} {grows} (call $exit (i32.const {code}))");
                let ended = fixture.try_with(&command(HAS_TABLE, &body), |_| {}).await?;
                let (word, message, retry) = failed(&ended)?;
                assert_eq!((word, retry), ("exit_code", hint), "{body}");
                assert!(message.starts_with(&format!("exited with {code}")), "{message}");
            }
            let body = format!("{refused} {grows} (call $exit_with (i32.const 65))");
            let guest = components::command(HAS_TABLE, &body)?;
            let ended = fixture.try_wasm(guest, |_| {}).await?;
            assert_eq!(failed(&ended)?.2, RetryHint::Never, "{body}");
            output(
                &fixture
                    .try_with(&command(HAS_TABLE, &format!("{refused} {grows}")), |_| {})
                    .await?,
            )?;
        }
    }
    Ok(())
}

async fn an_exit_code_mentions_a_refused_growth_unless_a_later_one_succeeded() -> anyhow::Result<()>
{
    let fixture = RuntimeFixture::new()?;
    let exits = |grows| command("", &format!("{MEMORY} {grows} (call $exit (i32.const 1))"));
    let ended = fixture.try_with(&exits(""), |_| {}).await?;
    let message = failed(&ended)?.1;
    assert!(message.starts_with("exited with 1 (memory limit 64 MiB exceeded: "), "{message}");
    let ended = fixture.try_with(&exits(GROWS), |_| {}).await?;
    assert_eq!(failed(&ended)?.1, "exited with 1");
    Ok(())
}

async fn an_error_after_a_refused_growth_is_the_outcome() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
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
        let ended = fixture.try_wasm(guest, |_| {}).await?;
        let (_, message, retry) = failed(&ended)?;
        assert_eq!((message, retry), ("busy", hint));
    }
    Ok(())
}

/// A handler that runs `first` and responds with `status` and `times` times the body text.
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

async fn a_status_after_a_refused_growth_is_the_outcome() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (status, hint) in [(503, RetryHint::Backoff), (422, RetryHint::Never)] {
        let ended = fixture.try_wasm(answers(MEMORY, status, 1)?, |_| {}).await?;
        let (code, message, retry) = failed(&ended)?;
        assert_eq!((code, retry), ("http_status", hint));
        assert!(message.contains(": busy, come again (memory limit 64 MiB exceeded"), "{message}");
    }
    assert_eq!(output(&fixture.try_wasm(answers(MEMORY, 200, 1)?, |_| {}).await?)?.len(), 16);
    Ok(())
}

async fn a_refused_growth_explains_a_trap_unless_a_later_one_succeeded() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (refused, limit) in [(MEMORY, Limit::Memory), (TABLE, Limit::Tables)] {
        let traps = |grows| command(HAS_TABLE, &format!("{refused} {grows} unreachable"));
        exceeded(&fixture.try_with(&traps(""), |_| {}).await?, limit)?;
        assert_eq!(trapped(&fixture.try_with(&traps(GROWS), |_| {}).await?)?.code, "unreachable");
        // Growing by 0 does not count as a growth.
        let nothing = "(drop (memory.grow (i32.const 0)))";
        exceeded(&fixture.try_with(&traps(nothing), |_| {}).await?, limit)?;
    }
    Ok(())
}

fn small_output(limits: &mut Limits) {
    limits.output_bytes = 100;
}

async fn an_error_status_is_the_outcome_with_any_body() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (status, hint) in [(503, RetryHint::Backoff), (404, RetryHint::Never)] {
        // Within the limit, and far above it.
        for times in [1, 625] {
            let ended = fixture.try_wasm(answers("", status, times)?, small_output).await?;
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
    let fixture = RuntimeFixture::new()?;
    assert_eq!(output(&fixture.try_wasm(answers("", 200, 6)?, small_output).await?)?.len(), 96);
    exceeded(&fixture.try_wasm(answers("", 200, 7)?, small_output).await?, Limit::Output)?;
    Ok(())
}
