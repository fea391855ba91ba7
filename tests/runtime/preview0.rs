//! Modules that import `wasi_unstable`, the predecessor of preview 1: the same functions, but another
//! layout of some structs.

use jobwright_core::limits::Limit;
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_core::plugin::Abi;
use libtest_mimic::Trial;

use super::clocks::unstable;
use super::fixture::{RuntimeFixture, SLEEP, SPIN, command, exceeded, output};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_payload_is_read_and_the_output_written,
        exit_codes_of_any_size_mean_what_sysexits_says,
        a_file_status_has_the_size_of_preview_0,
        socket_calls_return_an_error,
        limits_are_those_of_preview_1,
        the_inspection_describes_the_plugin,
    ]
}

async fn the_payload_is_read_and_the_output_written() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let copies = command(
        "",
        "(i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 100))
        (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16))
            (then unreachable))
        (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 16)))",
    );
    let mut attempt = fixture.attempt(&unstable(&copies))?;
    attempt.payload.bytes = "ten words".into();
    assert_eq!(output(&fixture.run(attempt).await)?, "ten words");
    Ok(())
}

async fn exit_codes_of_any_size_mean_what_sysexits_says() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (code, hint) in
        [(65, RetryHint::Never), (75, RetryHint::Backoff), (255, RetryHint::Backoff)]
    {
        let exits = command("", &format!("(call $exit (i32.const {code}))"));
        let ended = fixture.try_with(&unstable(&exits), |_| {}).await?;
        match ended.outcome {
            Outcome::Failed { error, retry } if error.code == "exit_code" => {
                assert_eq!(retry, hint)
            }
            other => anyhow::bail!("{code}: {other:?}"),
        }
    }
    Ok(())
}

/// 56 bytes instead of the 64 of preview 1.
async fn a_file_status_has_the_size_of_preview_0() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let import = r#"(import "wasi_snapshot_preview1" "fd_filestat_get"
        (func $filestat (param i32 i32) (result i32)))"#;
    let body = "(memory.fill (i32.const 128) (i32.const 7) (i32.const 80))
        (if (call $filestat (i32.const 1) (i32.const 128)) (then unreachable))
        (call $write (i32.const 1) (i32.const 128) (i32.const 80))";
    let guest = format!("(module {import} {}", &command("", body)[7..]);
    for (text, length) in [(guest.clone(), 64), (unstable(&guest), 56)] {
        let seen = output(&fixture.try_with(&text, |_| {}).await?)?;
        assert_eq!(seen.iter().position(|byte| *byte == 7), Some(length));
    }
    Ok(())
}

async fn socket_calls_return_an_error() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let import = r#"(import "wasi_snapshot_preview1" "sock_shutdown"
        (func $shutdown (param i32 i32) (result i32)))"#;
    let body = "(i32.store8 (i32.const 128) (call $shutdown (i32.const 1) (i32.const 0)))
        (i32.store8 (i32.const 129) (call $shutdown (i32.const 9) (i32.const 0)))
        (call $write (i32.const 1) (i32.const 128) (i32.const 2))";
    let guest = format!("(module {import} {}", &command("", body)[7..]);
    for text in [guest.clone(), unstable(&guest)] {
        let (not_a_socket, bad_descriptor) = (57, 8);
        let seen = output(&fixture.try_with(&text, |_| {}).await?)?;
        assert_eq!(seen[..], [not_a_socket, bad_descriptor]);
    }
    Ok(())
}

async fn limits_are_those_of_preview_1() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let sleeps = SLEEP
        .replace("(i32.const 80)", "(i32.const 88)")
        .replace("(i32.const 88) (i64", "(i32.const 96) (i64");
    for body in [SPIN, &sleeps] {
        let guest = unstable(&command("", body));
        let ended = fixture.try_with(&guest, |limits| limits.timeout_ms = 100).await?;
        exceeded(&ended, Limit::Time)?;
    }
    let writes = command("", "(call $write (i32.const 1) (i32.const 0) (i32.const 101))");
    let ended = fixture.try_with(&unstable(&writes), |limits| limits.output_bytes = 100).await?;
    exceeded(&ended, Limit::Output)?;
    Ok(())
}

async fn the_inspection_describes_the_plugin() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let inspection = fixture.runtime.inspect(&wat::parse_str(unstable(&command("", "")))?)?;
    assert_eq!(inspection.abi, Abi::WasiCommandP1);
    assert!(inspection.imports.contains(&"wasi_unstable.fd_write".to_owned()));
    Ok(())
}
