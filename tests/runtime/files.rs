//! Files: a guest finds only the empty directory `/`, and its log says that jobs have no files.

use jobwright_core::attempt::Attempt;
use libtest_mimic::Trial;

use super::clocks::unstable;
use super::fixture::{RuntimeFixture, output, text};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_only_directory_is_empty,
        files_are_not_found_and_cannot_be_created,
        a_guest_that_tries_to_use_files_gets_one_log_line,
        a_guest_that_only_looks_for_files_gets_no_log_line,
        log_lines_of_the_host_are_not_the_guests_last_words,
    ]
}

const FILES: &str = r#"
    (import "wasi_snapshot_preview1" "fd_prestat_get"
        (func $prestat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_dir_name"
        (func $name (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_readdir"
        (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_get"
        (func $fdstat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_get"
        (func $filestat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_filestat_get"
        (func $stat (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_unlink_file"
        (func $unlink (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_create_directory"
        (func $mkdir (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 400) "etc/passwd./.")
    ;; Opens the path at `at` in `dir`.
    (func $opens (param $dir i32) (param $at i32) (param $len i32) (param $flags i32) (result i32)
        (call $open (local.get $dir) (i32.const 0) (local.get $at) (local.get $len)
            (local.get $flags) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 300)))
    ;; Keeps an answer.
    (global $kept (mut i32) (i32.const 1024))
    (func $keep (param i32)
        (i32.store8 (global.get $kept) (local.get 0))
        (global.set $kept (i32.add (global.get $kept) (i32.const 1))))
    ;; Writes what was kept.
    (func $leave
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.sub (global.get $kept) (i32.const 1024)))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
"#;

/// Guests of preview 1 and preview 0 that run `body` and write the bytes that it stored.
fn guests(fixture: &RuntimeFixture, body: &str) -> anyhow::Result<[Attempt; 2]> {
    let text = format!("(module {FILES} (func (export \"_start\") {body} (call $leave)))");
    Ok([fixture.attempt(&text)?, fixture.attempt(&unstable(&text))?])
}

/// The bytes that `body` stores in a guest of each preview, which must be the same.
async fn kept(fixture: &RuntimeFixture, body: &str) -> anyhow::Result<Vec<u8>> {
    let [one, zero] = guests(fixture, body)?;
    let seen = output(&fixture.run(one).await)?;
    assert_eq!(output(&fixture.run(zero).await)?, seen);
    Ok(seen.to_vec())
}

// Error numbers.
const BADF: u8 = 8;
const NOENT: u8 = 44;
const ROFS: u8 = 69;

async fn the_only_directory_is_empty() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let seen = kept(
        &fixture,
        "(call $keep (call $prestat (i32.const 3) (i32.const 200)))
        (call $keep (i32.load (i32.const 200))) (call $keep (i32.load (i32.const 204)))
        (call $keep (call $name (i32.const 3) (i32.const 208) (i32.const 1)))
        (call $keep (i32.load8_u (i32.const 208)))
        (call $keep (call $prestat (i32.const 4) (i32.const 200)))
        (call $keep (call $fdstat (i32.const 3) (i32.const 216)))
        (call $keep (i32.load8_u (i32.const 216)))
        (i32.store (i32.const 300) (i32.const 9))
        (call $keep (call $readdir (i32.const 3) (i32.const 0) (i32.const 0) (i64.const 0)
            (i32.const 300)))
        (call $keep (i32.load (i32.const 300)))",
    )
    .await?;
    assert_eq!(seen, [0, 0, 1, 0, b'/', BADF, 0, 3, 0, 0]);
    // `.` is the directory itself, and can be closed.
    let seen = kept(
        &fixture,
        "(call $keep (call $opens (i32.const 3) (i32.const 410) (i32.const 3) (i32.const 2)))
        (call $keep (i32.load (i32.const 300)))
        (call $keep (call $close (i32.load (i32.const 300))))
        (call $keep (call $filestat (i32.const 3) (i32.const 512)))
        (call $keep (i32.load8_u (i32.const 528)))",
    )
    .await?;
    assert_eq!(seen, [0, 3, 0, 0, 3]);
    Ok(())
}

async fn files_are_not_found_and_cannot_be_created() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let seen = kept(
        &fixture,
        "(call $keep (call $opens (i32.const 3) (i32.const 400) (i32.const 10) (i32.const 0)))
        (call $keep (call $opens (i32.const 3) (i32.const 400) (i32.const 10) (i32.const 1)))
        (call $keep (call $opens (i32.const 0) (i32.const 400) (i32.const 10) (i32.const 0)))
        (call $keep (call $opens (i32.const -1) (i32.const 400) (i32.const 10) (i32.const 0)))
        (call $keep (call $stat (i32.const 3) (i32.const 0) (i32.const 400) (i32.const 10)
            (i32.const 512)))
        (call $keep (call $unlink (i32.const 3) (i32.const 400) (i32.const 10)))
        (call $keep (call $mkdir (i32.const 3) (i32.const 400) (i32.const 10)))",
    )
    .await?;
    assert_eq!(seen, [NOENT, ROFS, BADF, BADF, NOENT, NOENT, ROFS]);
    Ok(())
}

async fn a_guest_that_tries_to_use_files_gets_one_log_line() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for directory in [3, -1] {
        let body = format!(
            "(drop (call $opens (i32.const {directory}) (i32.const 400) (i32.const 10)
                (i32.const 0)))"
        );
        for attempt in guests(&fixture, &body.repeat(3))? {
            let log = attempt.log.clone();
            output(&fixture.run(attempt).await)?;
            let log = text(&log);
            assert_eq!(log.matches("jobs have no files").count(), 1, "{log}");
            assert!(log.contains("`etc/passwd`"), "{log}");
        }
    }
    Ok(())
}

async fn a_guest_that_only_looks_for_files_gets_no_log_line() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let looks = "(drop (call $prestat (i32.const 3) (i32.const 200)))
        (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 400) (i32.const 10)
            (i32.const 512)))
        (drop (call $opens (i32.const 3) (i32.const 410) (i32.const 1) (i32.const 0)))";
    for attempt in guests(&fixture, looks)? {
        let log = attempt.log.clone();
        output(&fixture.run(attempt).await)?;
        assert_eq!(text(&log), "");
    }
    Ok(())
}

async fn log_lines_of_the_host_are_not_the_guests_last_words() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = |said: &str| {
        format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) {FILES}
                (data (i32.const 600) "row 7: bad date\n")
                (func (export "_start") {said}
                    (drop (call $opens (i32.const 3) (i32.const 400) (i32.const 10) (i32.const 0)))
                    (call $exit (i32.const 1))))"#
        )
    };
    let says = |descriptor: i32| {
        format!(
            "(i32.store (i32.const 0) (i32.const 600)) (i32.store (i32.const 4) (i32.const 16))
            (drop (call $fd_write (i32.const {descriptor}) (i32.const 0) (i32.const 1)
                (i32.const 8)))"
        )
    };
    let quoted = async |text: &str| {
        let ended = fixture.try_with(text, |_| {}).await?;
        anyhow::Ok(ended.outcome.error().map(|error| error.message.clone()).unwrap_or_default())
    };
    for descriptor in [1, 2] {
        let message = quoted(&guest(&says(descriptor))).await?;
        assert_eq!(message, "exited with 1: row 7: bad date", "{descriptor}");
    }
    // The guest itself logged nothing.
    let message = quoted(&guest("")).await?;
    assert!(message.contains("jobs have no files"), "{message}");
    Ok(())
}
