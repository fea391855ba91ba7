//! How guests end by themselves: exit codes and traps.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_core::services::{
    Body, HostServices, HttpRequestError, KeyValueCall, KeyValueError, KeyValueReply, Timeouts,
};
use jobwright_core::{Attempt, Capabilities};
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, SLEEP, command, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        returning_succeeds_with_an_output_and_its_type,
        exit_codes_mean_what_sysexits_says,
        a_trap_has_a_code_and_the_frames_of_the_guest,
        each_trap_has_its_code,
        a_host_call_with_a_bad_pointer_traps,
        names_in_a_backtrace_are_escaped_and_bounded,
        a_host_function_that_panics_ends_its_attempt_and_no_other,
    ]
}

async fn returning_succeeds_with_an_output_and_its_type() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = command(
        r#"(data (i32.const 100) "{\"a\":1}")"#,
        "(call $write (i32.const 1) (i32.const 100) (i32.const 7))",
    );
    for (declared, expected) in [(None, "application/json"), (Some("text/x-a"), "text/x-a")] {
        let mut attempt = fixture.attempt(&guest)?;
        Arc::make_mut(&mut attempt.job.spec).output_type = declared.map(str::to_owned);
        let Outcome::Succeeded { output } = fixture.run(attempt).await.outcome else {
            anyhow::bail!("it did not succeed");
        };
        assert_eq!(
            (&output.bytes[..], output.content_type.as_str()),
            (&br#"{"a":1}"#[..], expected)
        );
    }
    Ok(())
}

async fn exit_codes_mean_what_sysexits_says() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let exits = |code: i32| {
        command(
            r#"(data (i32.const 100) "out\nall went wrong\n")"#,
            &format!(
                "(call $write (i32.const 1) (i32.const 100) (i32.const 3))
                (call $write (i32.const 2) (i32.const 103) (i32.const 16))
                (call $exit (i32.const {code}))"
            ),
        )
    };
    assert_eq!(&output(&fixture.try_with(&exits(0), |_| {}).await?)?[..], b"out");
    let expected = [
        (1, RetryHint::Backoff, "exited with 1: all went wrong"),
        (64, RetryHint::Never, "exited with 64 (usage error): all went wrong"),
        (65, RetryHint::Never, "exited with 65 (data error): all went wrong"),
        (75, RetryHint::Backoff, "exited with 75 (temporary failure): all went wrong"),
        (255, RetryHint::Backoff, "exited with 255: all went wrong"),
    ];
    for (code, hint, message) in expected {
        let ended = fixture.try_with(&exits(code), |_| {}).await?;
        let Outcome::Failed { error, retry } = ended.outcome else {
            anyhow::bail!("{code}: {:?}", ended.outcome);
        };
        assert_eq!(
            (error.code.as_str(), error.message.as_str(), retry),
            ("exit_code", message, hint)
        );
    }
    Ok(())
}

async fn a_trap_has_a_code_and_the_frames_of_the_guest() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = command("(func $inner unreachable) (func $outer (call $inner))", "(call $outer)");
    let error = trapped(&fixture.try_with(&guest, |_| {}).await?)?;
    assert_eq!(error.code, "unreachable");
    assert_eq!(error.message, "wasm trap: wasm `unreachable` instruction executed");
    let frames = error.backtrace.unwrap_or_default();
    let names: Vec<_> = frames.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(names[..2], ["inner", "outer"], "{frames}");
    assert!(frames.lines().count() == 3, "{frames}");
    Ok(())
}

async fn each_trap_has_its_code() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let traps = [
        ("(drop (i32.load (i32.const -4)))", "memory_out_of_bounds"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer_division_by_zero"),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "integer_overflow"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "bad_conversion_to_integer"),
        ("(call_indirect (i32.const 0))", "indirect_call_to_null"),
        ("(call_indirect (i32.const 9))", "table_out_of_bounds"),
        ("(call_indirect (param i32) (i32.const 7) (i32.const 1))", "indirect_call_type_mismatch"),
        ("(drop (table.get 0 (i32.const 9)))", "table_out_of_bounds"),
    ];
    for (body, code) in traps {
        let guest = command("(table 2 funcref) (elem (i32.const 1) func $none) (func $none)", body);
        assert_eq!(trapped(&fixture.try_with(&guest, |_| {}).await?)?.code, code, "{body}");
    }
    Ok(())
}

async fn a_host_call_with_a_bad_pointer_traps() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = command("", "(call $write (i32.const 1) (i32.const 65530) (i32.const 600))");
    let error = trapped(&fixture.try_with(&guest, |_| {}).await?)?;
    assert!(error.message.contains("out of bounds"), "{}", error.message);
    let guest = command("", "(drop (call $random (i32.const 0) (i32.const 0x7fffffff)))");
    let error = trapped(&fixture.try_with(&guest, |_| {}).await?)?;
    assert_eq!(error.code, "host_call");
    assert!(error.message.contains("out of bounds"), "{}", error.message);
    Ok(())
}

async fn names_in_a_backtrace_are_escaped_and_bounded() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let name = format!("a\\1b[31m{}", "x".repeat(100_000));
    let guest = format!(
        "(module (func $f (@name \"{name}\") unreachable) (func (export \"_start\") (call $f)))"
    );
    let frames = trapped(&fixture.try_with(&guest, |_| {}).await?)?.backtrace.unwrap_or_default();
    assert!(frames.len() < 1_000, "{}", frames.len());
    assert!(frames.starts_with("0: a\\u{1b}[31mxxx"), "{frames}");
    Ok(())
}

/// Host services that panic when a guest reads a value.
#[derive(Debug)]
struct PanickingServices;

#[async_trait]
impl HostServices for PanickingServices {
    async fn send(
        &self,
        _: http::Request<Bytes>,
        _: Timeouts,
    ) -> Result<http::Response<Body>, HttpRequestError> {
        panic!("on purpose")
    }

    async fn key_value(&self, _: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        panic!("on purpose")
    }

    fn request_bytes(&self) -> u64 {
        0
    }
}

async fn a_host_function_that_panics_ends_its_attempt_and_no_other() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let asks = fixture.attempt(
        r#"(module
            (import "jobwright" "value_get" (func $get (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start")
                (drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))))"#,
    )?;
    let granted = Capabilities { services: Arc::new(PanickingServices), ..asks.granted.clone() };
    let asks = Attempt { granted, ..asks };
    // This guest waits in a host function while that of the other panics.
    let nap = SLEEP.replace("3600000000000", "20000000");
    let say = "(call $write (i32.const 1) (i32.const 100) (i32.const 4))";
    let rest = r#"(data (i32.const 100) "well")"#;
    let neighbour = fixture.attempt(&command(rest, &format!("{nap} {say}")))?;
    for _ in 0..3 {
        let (torn, well) = tokio::join!(fixture.run(asks.clone()), fixture.run(neighbour.clone()));
        let error = trapped(&torn)?;
        assert_eq!(error.code, "host_panic");
        assert_eq!(error.message, "the host panicked: on purpose");
        assert_eq!(&output(&well)?[..], b"well");
    }
    Ok(())
}
