//! WASI 0.2 commands: inputs, exit codes, and denied capabilities.

use std::sync::Arc;

use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::limits::Limit;
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_tests::components::{command, component};
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, attempt, exceeded, number, output, text, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        a_payload_becomes_an_output_and_the_receipt_is_complete,
        exit_codes_mean_the_same_as_for_preview_1,
        a_trap_has_a_code_and_the_frames_of_the_guest,
        arguments_and_variables_are_the_same_as_for_preview_1,
        every_release_of_the_version_runs,
        a_deterministic_job_reads_the_same_at_each_attempt,
        sockets_and_name_lookups_are_denied_and_the_job_continues,
        requests_are_denied_and_the_job_continues,
        the_only_directory_is_empty,
        a_guest_that_tries_to_use_files_gets_one_log_line,
        host_calls_with_huge_arguments_are_refused,
        a_stream_accepts_a_whole_output_in_one_write,
        handles_of_a_component_reach_the_resource_limit,
    ]
}

/// Copies its payload to its output, and logs that.
const ECHO: &str = r#"
    (local $in i32) (local $out i32)
    (local.set $in (call $stdin))
    (local.set $out (call $stdout))
    (call $log (i32.const 1024) (i32.const 6))
    (loop $more
        (call $blocking_read (local.get $in) (i64.const 4096) (i32.const 32))
        (if (i32.eqz (i32.load8_u (i32.const 32))) (then
            (drop (call $write (local.get $out) (i32.load (i32.const 36)) (i32.load (i32.const 40))))
            (global.set $free (i32.const 131072))
            (br $more))))"#;

async fn a_payload_becomes_an_output_and_the_receipt_is_complete() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let echo = command(r#"(data (i32.const 1024) "copies")"#, ECHO)?;
    let mut attempt = attempt(fixture.plugins.add(echo))?;
    let payload: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    attempt.payload.bytes = payload.clone().into();
    let log = attempt.log.clone();
    let ended = fixture.run(attempt).await;
    assert_eq!(output(&ended)?, payload);
    assert_eq!(text(&log), "copies");
    let usage = ended.usage;
    assert_eq!((usage.payload_bytes, usage.output_bytes, usage.log_bytes), (200_000, 200_000, 6));
    assert!(usage.compile_ms > 0.0 && usage.instantiate_ms > 0.0 && usage.run_ms > 0.0);
    assert!(usage.cpu_ms > 0.0 && usage.cpu_ms <= usage.instantiate_ms + usage.run_ms);
    assert!(usage.fuel > Some(0));
    assert!(usage.peak_memory_bytes >= 3 * 65_536, "{usage:?}");
    Ok(())
}

async fn exit_codes_mean_the_same_as_for_preview_1() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let ends = |how: &str| {
        command(
            r#"(data (i32.const 1024) "out\nall went wrong\n")"#,
            &format!(
                "(call $print (i32.const 1024) (i32.const 3))
                (call $log (i32.const 1027) (i32.const 16)) {how}"
            ),
        )
    };
    for how in ["", "(call $exit (i32.const 0))", "(call $exit_with (i32.const 0))"] {
        assert_eq!(&output(&fixture.try_wasm(ends(how)?, |_| {}).await?)?[..], b"out", "{how}");
    }
    let expected = [
        ("(return (i32.const 1))", RetryHint::Backoff, "exited with 1: all went wrong"),
        ("(call $exit (i32.const 1))", RetryHint::Backoff, "exited with 1: all went wrong"),
        (
            "(call $exit_with (i32.const 65))",
            RetryHint::Never,
            "exited with 65 (data error): all went wrong",
        ),
        (
            "(call $exit_with (i32.const 75))",
            RetryHint::Backoff,
            "exited with 75 (temporary failure): all went wrong",
        ),
        (
            "(call $exit_with (i32.const 255))",
            RetryHint::Backoff,
            "exited with 255: all went wrong",
        ),
    ];
    for (how, hint, message) in expected {
        let ended = fixture.try_wasm(ends(how)?, |_| {}).await?;
        let Outcome::Failed { error, retry } = ended.outcome else {
            anyhow::bail!("{how}: {:?}", ended.outcome);
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
    let guest = command("(func $inner unreachable)", "(call $inner)")?;
    let error = trapped(&fixture.try_wasm(guest, |_| {}).await?)?;
    assert_eq!(error.code, "unreachable");
    let frames = error.backtrace.unwrap_or_default();
    assert!(frames.starts_with("0: inner "), "{frames}");
    Ok(())
}

/// Prints the strings of a list that a call returned at 32, one per line. If `width` is 16, the elements
/// are pairs, and both strings are printed.
fn lists(import: &str, width: u32) -> anyhow::Result<Vec<u8>> {
    let rest = format!(
        r#"(import "wasi:cli/environment@0.2.0" "{import}" (func $list (param i32)))
        (data (i32.const 1024) "\n")"#
    );
    command(
        &rest,
        &format!(
            "(local $at i32) (local $end i32)
            (call $list (i32.const 32))
            (local.set $at (i32.load (i32.const 32)))
            (local.set $end (i32.add (local.get $at)
                (i32.mul (i32.load (i32.const 36)) (i32.const {width}))))
            (loop $more
                (if (i32.lt_u (local.get $at) (local.get $end)) (then
                    (call $print (i32.load (local.get $at))
                        (i32.load (i32.add (local.get $at) (i32.const 4))))
                    (call $print (i32.const 1024) (i32.const 1))
                    (local.set $at (i32.add (local.get $at) (i32.const 8)))
                    (br $more))))"
        ),
    )
}

async fn arguments_and_variables_are_the_same_as_for_preview_1() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut one = attempt(fixture.plugins.add(lists("get-arguments", 8)?))?;
    Arc::make_mut(&mut one.job.spec).args = vec!["--top".to_owned(), "ten words".to_owned()];
    assert_eq!(&output(&fixture.run(one).await)?[..], b"probe\n--top\nten words\n");

    let mut two = attempt(fixture.plugins.add(lists("get-environment", 16)?))?;
    let set = [("COLOUR", "blue"), ("JOBWRIGHT_ATTEMPT", "99")];
    Arc::make_mut(&mut two.job.spec).env = set.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    two.payload.content_type = Some("text/csv".to_owned());
    let (id, created_ms) = (two.job.id, two.job.created_at.as_millisecond());
    let expected = format!(
        "COLOUR\nblue\nJOBWRIGHT_JOB_ID\n{id}\nJOBWRIGHT_ATTEMPT\n1\nJOBWRIGHT_MAX_ATTEMPTS\n5\n\
         JOBWRIGHT_FAILURES\n0\nJOBWRIGHT_ATTEMPTS_LEFT\n4\nJOBWRIGHT_QUEUE\ndefault\nJOBWRIGHT_PLUGIN\nprobe@1.0.0\nJOBWRIGHT_CREATED_AT_MS\n{created_ms}\n\
         JOBWRIGHT_TAGS\n[]\nJOBWRIGHT_CONTENT_TYPE\ntext/csv\n"
    );
    assert_eq!(String::from_utf8_lossy(&output(&fixture.run(two).await)?), expected);
    Ok(())
}

/// Succeeds without any import. Its only export is `wasi:cli/run` in this version.
pub(super) fn bare(version: &str) -> String {
    format!(
        r#"(component
            (core module $m (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $exported (export "run" (func $run)))
            (export "wasi:cli/run@{version}" (instance $exported)))"#
    )
}

async fn every_release_of_the_version_runs() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for version in ["0.2.0", "0.2.3", "0.2.12", "0.2.99"] {
        output(&fixture.try_with(&bare(version), |_| {}).await?).map_err(|e| e.context(version))?;
    }
    Ok(())
}

async fn a_deterministic_job_reads_the_same_at_each_attempt() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // The wall clock, the monotonic clock, and random numbers.
    let reads = command(
        r#"(import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))
        (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
        (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
        (import "wasi:random/insecure@0.2.0" "get-insecure-random-u64" (func $fast (result i64)))
        (import "wasi:random/insecure-seed@0.2.0" "insecure-seed" (func $seed (param i32)))"#,
        "(call $wall (i32.const 1024))
        (i64.store (i32.const 1040) (call $now))
        (i64.store (i32.const 1048) (call $now))
        (i64.store (i32.const 1056) (call $random))
        (i64.store (i32.const 1064) (call $fast))
        (call $seed (i32.const 1072))
        (call $print (i32.const 1024) (i32.const 64))",
    )?;
    let mut attempt = attempt(fixture.plugins.add(reads))?;
    let one = output(&fixture.run(attempt.clone()).await)?;
    let start = Start::new([7; 32], attempt.job.created_at);
    let two = output(&fixture.run(Attempt { start, ..attempt.clone() }).await)?;
    for at in [32, 40, 48] {
        assert_ne!(number(&one, at)?, number(&two, at)?, "{at}");
    }
    Arc::make_mut(&mut attempt.job.spec).deterministic = true;
    let one = output(&fixture.run(attempt.clone()).await)?;
    let two = output(&fixture.run(attempt.clone()).await)?;
    assert_eq!(one, two);
    assert_eq!(number(&one, 0)?, 1_767_225_600, "the clock starts when the job was created");
    assert_eq!(number(&one, 24)? - number(&one, 16)?, 1_000_000, "a step for each reading");
    Ok(())
}

async fn sockets_and_name_lookups_are_denied_and_the_job_continues() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = command(
        r#"(import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket"
            (func $tcp (param i32 i32)))
        (import "wasi:sockets/udp-create-socket@0.2.0" "create-udp-socket"
            (func $udp (param i32 i32)))
        (import "wasi:sockets/instance-network@0.2.0" "instance-network"
            (func $network (result i32)))
        (import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses"
            (func $resolve (param i32 i32 i32 i32)))
        (data (i32.const 2048) "localhost")"#,
        "(call $tcp (i32.const 0) (i32.const 1024))
        (call $udp (i32.const 1) (i32.const 1032))
        (call $resolve (call $network) (i32.const 2048) (i32.const 9) (i32.const 1040))
        (call $print (i32.const 1024) (i32.const 24))",
    )?;
    let answers = output(&fixture.try_wasm(guest, |_| {}).await?)?;
    // Each result is the error `access-denied`; for name lookups also `permanent-resolver-failure`.
    let [access_denied, never_resolved] = [1, 20];
    assert_eq!((answers[0], answers[4]), (1, access_denied));
    assert_eq!((answers[8], answers[12]), (1, access_denied));
    assert_eq!(answers[16], 1);
    assert!([access_denied, never_resolved].contains(&answers[20]), "{}", answers[20]);
    Ok(())
}

async fn requests_are_denied_and_the_job_continues() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = command(
        r#"(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
        (import "wasi:http/types@0.2.0" "[constructor]outgoing-request"
            (func $request (param i32) (result i32)))
        (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
            (func $set_authority (param i32 i32 i32 i32) (result i32)))
        (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
            (func $set_path (param i32 i32 i32 i32) (result i32)))
        (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
            (func $ready (param i32) (result i32)))
        (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get"
            (func $get (param i32 i32)))
        (import "wasi:http/outgoing-handler@0.2.0" "handle"
            (func $handle (param i32 i32 i32 i32)))
        (data (i32.const 2048) "127.0.0.1:1/")"#,
        "(local $request i32) (local $future i32)
        (local.set $request (call $request (call $fields)))
        (if (call $set_authority (local.get $request) (i32.const 1)
            (i32.const 2048) (i32.const 11)) (then unreachable))
        (if (call $set_path (local.get $request) (i32.const 1)
            (i32.const 2059) (i32.const 1)) (then unreachable))
        (call $handle (local.get $request) (i32.const 0) (i32.const 0) (i32.const 1024))
        (if (i32.load8_u (i32.const 1024)) (then unreachable))
        (local.set $future (i32.load (i32.const 1032)))
        (call $block (call $ready (local.get $future)))
        (call $get (local.get $future) (i32.const 1088))
        (call $print (i32.const 1088) (i32.const 32))",
    )?;
    let answer = output(&fixture.try_wasm(guest, |_| {}).await?)?;
    // The future is ready, was not read before, and has the error `HTTP-request-denied`.
    assert_eq!((answer[0], answer[8], answer[16], answer[24]), (1, 0, 1, 15));
    Ok(())
}

const FILES: &str = r#"
    (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
    (import "wasi:filesystem/types@0.2.0" "[method]descriptor.read-directory"
        (func $list (param i32 i32)))
    (import "wasi:filesystem/types@0.2.0" "[method]directory-entry-stream.read-directory-entry"
        (func $next (param i32 i32)))
    (import "wasi:filesystem/types@0.2.0" "[method]descriptor.open-at"
        (func $open (param i32 i32 i32 i32 i32 i32 i32)))
    (data (i32.const 2048) "etc/passwd")"#;

async fn the_only_directory_is_empty() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = command(
        FILES,
        "(local $list i32)
        (call $directories (i32.const 1024))
        ;; How many, and the name of the first.
        (call $print (i32.const 1028) (i32.const 4))
        (local.set $list (i32.load (i32.const 1024)))
        (call $print (i32.load offset=4 (local.get $list)) (i32.load offset=8 (local.get $list)))
        (call $list (i32.load (local.get $list)) (i32.const 1040))
        (call $next (i32.load (i32.const 1044)) (i32.const 1056))
        ;; A success, without an entry.
        (call $print (i32.const 1056) (i32.const 1))
        (call $print (i32.const 1060) (i32.const 1))",
    )?;
    let seen = output(&fixture.try_wasm(guest, |_| {}).await?)?;
    assert_eq!(seen[..], [1, 0, 0, 0, b'/', 0, 0]);
    Ok(())
}

async fn a_guest_that_tries_to_use_files_gets_one_log_line() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let open = |how: u32| {
        format!(
            "(call $open (i32.load (i32.load (i32.const 1024))) (i32.const 0)
                (i32.const 2048) (i32.const 10) (i32.const {how}) (i32.const 0) (i32.const 1040))
            (call $print (i32.const 1040) (i32.const 1)) (call $print (i32.const 1044) (i32.const 1))"
        )
    };
    let body = format!("(call $directories (i32.const 1024)) {} {}", open(0), open(1));
    let attempt = attempt(fixture.plugins.add(command(FILES, &body)?))?;
    let log = attempt.log.clone();
    let seen = output(&fixture.run(attempt).await)?;
    let (no_entry, read_only) = (20, 33);
    assert_eq!(seen[..], [1, no_entry, 1, read_only]);
    let log = text(&log);
    assert_eq!(log.matches("jobs have no files").count(), 1, "{log}");
    assert!(log.contains("`etc/passwd`"), "{log}");
    Ok(())
}

async fn host_calls_with_huge_arguments_are_refused() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let zeroes = r#"(import "wasi:io/streams@0.2.0" "[method]output-stream.write-zeroes"
        (func $zeroes (param i32 i64 i32)))"#;
    let huge = "(i64.const 0x10000000000)";
    for (import, body) in [
        (zeroes, format!("(call $zeroes (call $stdout) {huge} (i32.const 1024))")),
        // A list of two GiB in a memory of 192 KiB.
        (
            "",
            "(call $stream_write (call $stdout) (i32.const 0) (i32.const 0x7fffffff)
            (i32.const 1024))"
                .to_owned(),
        ),
    ] {
        let ended = fixture.try_wasm(command(import, &body)?, |_| {}).await?;
        let error = trapped(&ended).map_err(|error| error.context(body))?;
        println!("{}: {}", error.code, error.message);
        assert!(ended.usage.run_ms < 1_000.0, "{:?}", ended.usage);
    }
    // A memory that is large enough, and a write without `check-write`.
    let module = r#"(module
        (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.write"
            (func $write (param i32 i32 i32 i32)))
        (memory (export "memory") 1000)
        (func (export "wasi:cli/run@0.2.0#run") (result i32)
            (call $write (call $stdout) (i32.const 0) (i32.const 50000000) (i32.const 0))
            (i32.const 0)))"#;
    let ended = fixture.try_wasm(component("command", module)?, |_| {}).await?;
    exceeded(&ended, Limit::Output)?;
    Ok(())
}

/// Some language runtimes treat a short write as a complete one.
async fn a_stream_accepts_a_whole_output_in_one_write() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = command(
        "",
        "(call $check_write (call $stdout) (i32.const 64))
        (drop (call $write (call $stdout) (i32.const 72) (i32.const 8)))",
    )?;
    let permitted = output(&fixture.try_wasm(guest, |_| {}).await?)?;
    assert_eq!(number(&permitted, 0)?, (1 << 20) + 1, "one byte more than the limit");
    Ok(())
}

async fn handles_of_a_component_reach_the_resource_limit() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let makes = |times: u32| {
        format!(
            r#"(component
                (type $thing (resource (rep i32)))
                (core func $new (canon resource.new $thing))
                (core module $m
                    (import "" "new" (func $new (param i32) (result i32)))
                    (func (export "run") (result i32)
                        (local $n i32)
                        (loop $again
                            (drop (call $new (i32.const 7)))
                            (local.set $n (i32.add (local.get $n) (i32.const 1)))
                            (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))
                        (i32.const 0)))
                (core instance $i (instantiate $m
                    (with "" (instance (export "new" (func $new))))))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $exported (export "run" (func $run)))
                (export "wasi:cli/run@0.2.0" (instance $exported)))"#
        )
    };
    let limit = |limits: &mut jobwright_core::Limits| limits.resources = 50;
    output(&fixture.try_with(&makes(50), limit).await?)?;
    let error = exceeded(&fixture.try_with(&makes(51), limit).await?, Limit::Resources)?;
    assert_eq!(error.message, "resource limit 50 handles exceeded");
    Ok(())
}
