//! Plugins' code: unusable, unavailable, compiled once, kept in memory and on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use jobwright::runtime::RuntimeConfig;

use jobwright_core::limits::Fuel;
use jobwright_core::outcome::{AttemptError, Outcome};
use jobwright_core::plugin::Digest;
use jobwright_core::runtime::{Ended, Stop, StopReason};
use jobwright_core::tenant::TenantName;
use jobwright_tests::components;
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, attempt, command, output, small};
use super::refusals::says;

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        missing_bytes_are_refused_for_good,
        corrupt_bytes_are_refused_for_good,
        bytes_that_do_not_compile_are_refused_for_good,
        bytes_that_do_not_link_are_refused_for_good,
        unreadable_bytes_are_refused_temporarily,
        a_panic_of_the_registry_is_a_temporary_refusal,
        waiting_for_code_can_be_cancelled,
        few_attempts_wait_long_for_their_code,
        code_is_compiled_once_for_concurrent_attempts,
        a_prepared_plugin_is_not_read_again,
        code_that_does_not_compile_cannot_be_prepared,
        code_beyond_the_memory_bound_is_dropped_and_built_again,
        compiled_code_survives_the_runtime,
        compiled_components_survive_the_runtime_in_both_profiles,
        each_profile_has_its_own_code,
        damaged_compiled_code_is_compiled_again,
        a_receipt_is_complete,
    ]
}

fn hello() -> String {
    command(
        r#"(data (i32.const 100) "hello")"#,
        "(call $write (i32.const 1) (i32.const 100) (i32.const 5))",
    )
}

fn refused(ended: &Ended) -> anyhow::Result<(AttemptError, bool)> {
    match &ended.outcome {
        Outcome::Refused { error, transient } => Ok((error.clone(), *transient)),
        other => anyhow::bail!("it was not refused: {other:?}"),
    }
}

async fn is_unusable(fixture: &RuntimeFixture, digest: Digest, why: &str) -> anyhow::Result<()> {
    let ended = fixture.run(attempt(digest)?).await;
    let (error, transient) = refused(&ended)?;
    assert_eq!((error.code.as_str(), transient), ("plugin_unusable", false));
    assert!(error.message.contains(why), "{}", error.message);
    Ok(())
}

async fn missing_bytes_are_refused_for_good() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    is_unusable(&fixture, Digest::of(b"nothing"), "are missing").await
}

async fn corrupt_bytes_are_refused_for_good() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let digest = fixture.plugins.add(wat::parse_str(hello())?);
    fixture.plugins.corrupt(digest);
    is_unusable(&fixture, digest, "is corrupt").await
}

async fn bytes_that_do_not_compile_are_refused_for_good() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let digest = fixture.plugins.add(b"\0asm\x01\0\0\0junk".to_vec());
    is_unusable(&fixture, digest, "does not compile").await
}

async fn bytes_that_do_not_link_are_refused_for_good() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let unknown = r#"(module (import "env" "nope" (func)) (func (export "_start")))"#;
    let digest = fixture.plugins.add(wat::parse_str(unknown)?);
    is_unusable(&fixture, digest, "does not fit").await?;
    let digest = fixture.plugins.add(wat::parse_str("(module)")?);
    is_unusable(&fixture, digest, "exports no `_start`").await
}

async fn unreadable_bytes_are_refused_temporarily() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let wasm = wat::parse_str(hello())?;
    let digest = fixture.plugins.add(wasm.clone());
    fixture.plugins.fail(digest, "read error");
    let (error, transient) = refused(&fixture.run(attempt(digest)?).await)?;
    assert!(transient && error.message.contains("read error"), "{error:?}");
    // The failure is not cached.
    fixture.plugins.add(wasm);
    output(&fixture.run(attempt(digest)?).await)?;
    Ok(())
}

async fn a_panic_of_the_registry_is_a_temporary_refusal() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let wasm = wat::parse_str(hello())?;
    let digest = fixture.plugins.add(wasm.clone());
    fixture.plugins.fail(digest, "panic");
    let (_, transient) = refused(&fixture.run(attempt(digest)?).await)?;
    assert!(transient);
    fixture.plugins.add(wasm);
    output(&fixture.run(attempt(digest)?).await)?;
    Ok(())
}

async fn waiting_for_code_can_be_cancelled() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let digest = fixture.plugins.add(wat::parse_str(hello())?);
    fixture.plugins.fail(digest, "never");
    let (stop, signal) = Stop::new();
    let runtime = fixture.runtime.clone();
    let waiting = attempt(digest)?;
    let running = tokio::spawn(async move { runtime.run(waiting, signal).await });
    while fixture.plugins.reads() == 0 {
        tokio::task::yield_now().await;
    }
    stop.raise(StopReason::Cancelled);
    assert_eq!(running.await?.outcome, Outcome::Cancelled);
    Ok(())
}

/// The others release their jobs, and leave their slots to attempts whose code is ready.
async fn few_attempts_wait_long_for_their_code() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let digest = fixture.plugins.add(wat::parse_str(hello())?);
    fixture.plugins.fail(digest, "never");
    let (mut all, mut stops) = (tokio::task::JoinSet::new(), vec![]);
    for _ in 0..8 {
        let (runtime, attempt, (stop, signal)) =
            (fixture.runtime.clone(), attempt(digest)?, Stop::new());
        stops.push(stop);
        all.spawn(async move { runtime.run(attempt, signal).await });
    }
    for _ in 0..7 {
        let ended = all.join_next().await.context("an attempt ends")??;
        let (error, transient) = refused(&ended)?;
        assert!(transient, "{error:?}");
        assert!(error.message.contains("still being compiled"), "{error:?}");
    }
    stops.iter().for_each(|stop| stop.raise(StopReason::Cancelled));
    let last = all.join_next().await.context("one attempt waits")??;
    assert_eq!(last.outcome, Outcome::Cancelled);
    Ok(())
}

async fn code_is_compiled_once_for_concurrent_attempts() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let digest = fixture.plugins.add(wat::parse_str(hello())?);
    let mut all = vec![];
    for _ in 0..20 {
        let (runtime, attempt) = (fixture.runtime.clone(), attempt(digest)?);
        all.push(tokio::spawn(async move {
            let (_stop, signal) = Stop::new();
            runtime.run(attempt, signal).await
        }));
    }
    for running in all {
        assert_eq!(&output(&running.await?)?[..], b"hello");
    }
    assert_eq!(fixture.plugins.reads(), 1);
    Ok(())
}

async fn a_prepared_plugin_is_not_read_again() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let wasm = wat::parse_str(hello())?;
    let digest = fixture.plugins.add(wasm.clone());
    fixture.runtime.prepare(&TenantName::default(), digest, wasm.into()).await?;
    let ended = fixture.run(attempt(digest)?).await;
    output(&ended)?;
    assert_eq!(fixture.plugins.reads(), 0);
    assert!(ended.usage.compile_ms < 5.0, "{:?}", ended.usage);
    Ok(())
}

async fn code_that_does_not_compile_cannot_be_prepared() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let junk = b"\0asm\x01\0\0\0junk".to_vec();
    let refused =
        fixture.runtime.prepare(&TenantName::default(), Digest::of(&junk), junk.into()).await;
    says(refused, "plugin_unusable", &["it does not compile"])?;
    Ok(())
}

async fn code_beyond_the_memory_bound_is_dropped_and_built_again() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::with(RuntimeConfig { code_cache_bytes: 1, ..small() })?;
    let one = fixture.plugins.add(wat::parse_str(hello())?);
    let two = fixture.plugins.add(wat::parse_str(command("", ""))?);
    for digest in [one, one, two, one] {
        output(&fixture.run(attempt(digest)?).await)?;
    }
    assert_eq!(fixture.plugins.reads(), 3);
    Ok(())
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.iter().map(fs::DirEntry::path).collect())
}

/// Runs `hello` on a new runtime with the code cache `directory`; also returns how often the plugin was
/// read.
async fn run_over(directory: &Path, fuel: Fuel) -> anyhow::Result<(Ended, usize)> {
    let fixture =
        RuntimeFixture::with(RuntimeConfig { cache_dir: Some(directory.to_owned()), ..small() })?;
    let mut attempt = fixture.attempt(&hello())?;
    attempt.limits.fuel = fuel;
    let ended = fixture.run(attempt).await;
    assert_eq!(&output(&ended)?[..], b"hello");
    Ok((ended, fixture.plugins.reads()))
}

const METERED: Fuel = Fuel::Units(1_000_000_000);

async fn compiled_code_survives_the_runtime() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (first, reads) = run_over(directory.path(), METERED).await?;
    assert_eq!((reads, files(directory.path())?.len()), (1, 1));
    let (second, reads) = run_over(directory.path(), METERED).await?;
    assert_eq!((reads, files(directory.path())?.len()), (0, 1));
    println!("compiled in {} ms, loaded in {} ms", first.usage.compile_ms, second.usage.compile_ms);
    assert_eq!(first.usage.fuel, second.usage.fuel);
    Ok(())
}

async fn compiled_components_survive_the_runtime_in_both_profiles() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let says = components::command(
        r#"(data (i32.const 1024) "hello")"#,
        "(call $print (i32.const 1024) (i32.const 5))",
    )?;
    for (reads, files_kept) in [(1, 1), (0, 1), (1, 2), (0, 2)] {
        let config = RuntimeConfig { cache_dir: Some(directory.path().to_owned()), ..small() };
        let fixture = RuntimeFixture::with(config)?;
        let fuel = if files_kept == 1 { METERED } else { Fuel::Unlimited };
        let ended = fixture.try_wasm(says.clone(), |limits| limits.fuel = fuel).await?;
        assert_eq!(&output(&ended)?[..], b"hello");
        assert_eq!((fixture.plugins.reads(), files(directory.path())?.len()), (reads, files_kept));
    }
    Ok(())
}

async fn each_profile_has_its_own_code() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    run_over(directory.path(), METERED).await?;
    let (_, reads) = run_over(directory.path(), Fuel::Unlimited).await?;
    assert_eq!((reads, files(directory.path())?.len()), (1, 2));
    Ok(())
}

async fn damaged_compiled_code_is_compiled_again() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    run_over(directory.path(), METERED).await?;
    let file = files(directory.path())?.pop().context("no file")?;
    let whole = fs::read(&file)?;
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let damages = [vec![], whole[..10].to_vec(), whole[..whole.len() - 1].to_vec(), flipped];
    for damage in damages {
        fs::write(&file, &damage)?;
        let (_, reads) = run_over(directory.path(), METERED).await?;
        assert_eq!(reads, 1, "it was compiled again");
        assert_eq!(fs::read(&file)?.len(), whole.len(), "and kept");
    }
    Ok(())
}

async fn a_receipt_is_complete() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&hello())?;
    attempt.payload.bytes = b"some payload".to_vec().into();
    let log = Arc::clone(&attempt.log);
    log.write(b"from before");
    let usage = fixture.run(attempt).await.usage;
    assert_eq!(usage.queue_ms, 0.0);
    assert!(usage.compile_ms > 0.0 && usage.instantiate_ms > 0.0 && usage.run_ms > 0.0);
    assert!(usage.cpu_ms > 0.0 && usage.cpu_ms <= usage.instantiate_ms + usage.run_ms);
    assert!(usage.fuel > Some(0));
    assert_eq!(usage.peak_memory_bytes, 65_536);
    assert_eq!((usage.payload_bytes, usage.output_bytes), (12, 5));
    assert_eq!((usage.log_bytes, usage.log_dropped_bytes), (11, 0));
    Ok(())
}
