//! Extism plug-ins: input and output, errors, and entry points.

use std::sync::Arc;

use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::limits::{Fuel, Limit, Limits};
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_core::plugin::Abi;
use jobwright_core::runtime::{Ended, StopReason};
use jobwright_core::{Capabilities, Grants};
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, SLEEP, SPIN, exceeded, output, text, trapped};
use super::refusals::{inspect, says};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_payload_is_the_input_and_the_output_is_what_it_sets,
        an_error_is_a_failure_with_the_guests_message,
        a_nonzero_return_code_is_a_failure,
        a_limit_takes_precedence_over_an_error,
        exit_code_0_is_success_and_others_are_failures,
        the_jobs_variables_are_its_configuration,
        the_operators_configuration_overrides_the_jobs_variables,
        variables_of_a_plug_in_are_bounded,
        logged_and_printed_lines_are_the_log,
        a_request_without_a_grant_fails_the_call,
        a_relative_url_is_invalid_and_not_denied,
        the_language_runtime_is_initialized_first,
        the_entry_point_is_the_only_function_or_the_named_one,
        a_program_is_called_by_its_start_function,
        the_inspection_describes_the_plugin,
        missing_host_functions_are_reported,
        a_deterministic_job_reads_the_same_at_each_attempt,
    ]
}

/// The functions of `extism:host/env`, some of WASI, a page of memory, and two helpers.
const EXTISM: &str = r#"
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "free" (func $free (param i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
    (import "extism:host/env" "load_u64" (func $load64 (param i64) (result i64)))
    (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
    (import "extism:host/env" "store_u64" (func $store64 (param i64 i64)))
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "input_length" (func $input_length (result i64)))
    (import "extism:host/env" "input_load_u8" (func $input_load (param i64) (result i32)))
    (import "extism:host/env" "input_load_u64" (func $input_load64 (param i64) (result i64)))
    (import "extism:host/env" "output_set" (func $output (param i64 i64)))
    (import "extism:host/env" "error_set" (func $error (param i64)))
    (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
    (import "extism:host/env" "var_get" (func $var (param i64) (result i64)))
    (import "extism:host/env" "var_set" (func $set_var (param i64 i64)))
    (import "extism:host/env" "log_info" (func $info (param i64)))
    (import "extism:host/env" "log_error" (func $log_error (param i64)))
    (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
    (import "extism:host/env" "http_status_code" (func $status (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get"
        (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    ;; A block with the `len` bytes at `at`.
    (func $block (param $at i32) (param $len i32) (result i64)
        (local $handle i64) (local $n i32)
        (local.set $handle (call $alloc (i64.extend_i32_u (local.get $len))))
        (loop $more
            (if (i32.lt_u (local.get $n) (local.get $len)) (then
                (call $store (i64.add (local.get $handle) (i64.extend_i32_u (local.get $n)))
                    (i32.load8_u (i32.add (local.get $at) (local.get $n))))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br $more))))
        (local.get $handle))
    ;; Makes a block the output.
    (func $leave (param $block i64)
        (call $output (local.get $block) (call $length (local.get $block))))
"#;

/// A plug-in with the definitions `rest`, whose function `run` is `body` and then returns 0.
pub(crate) fn plugin(rest: &str, body: &str) -> String {
    format!(r#"(module {EXTISM} {rest} (func (export "run") (result i32) {body} (i32.const 0)))"#)
}

pub(super) fn failed(ended: &Ended) -> anyhow::Result<(AttemptError, RetryHint)> {
    match &ended.outcome {
        Outcome::Failed { error, retry } => Ok((error.clone(), *retry)),
        other => anyhow::bail!("it did not fail: {other:?}"),
    }
}

async fn the_payload_is_the_input_and_the_output_is_what_it_sets() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let by_pointer = plugin("", "(call $output (call $input) (call $input_length))");
    // Eight bytes at once, and the last three one by one.
    let by_copy = plugin(
        "",
        "(local $block i64) (local $n i64)
        (local.set $block (call $alloc (call $input_length)))
        (loop $words
            (call $store64 (i64.add (local.get $block) (local.get $n))
                (call $input_load64 (local.get $n)))
            (local.set $n (i64.add (local.get $n) (i64.const 8)))
            (br_if $words (i64.lt_u (i64.add (local.get $n) (i64.const 8)) (call $input_length))))
        (loop $bytes
            (call $store (i64.add (local.get $block) (local.get $n))
                (call $input_load (local.get $n)))
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (br_if $bytes (i64.lt_u (local.get $n) (call $input_length))))
        (call $leave (local.get $block))",
    );
    for guest in [by_pointer, by_copy] {
        let mut attempt = fixture.attempt(&guest)?;
        attempt.payload.bytes = "nineteen bytes long".into();
        let ended = fixture.run(attempt).await;
        assert_eq!(output(&ended)?, "nineteen bytes long");
        let usage = ended.usage;
        assert_eq!((usage.payload_bytes, usage.output_bytes), (19, 19));
        assert!(usage.fuel > Some(0) && usage.instantiate_ms > 0.0 && usage.run_ms > 0.0);
    }
    // Without a call of `output_set` the output is empty.
    assert_eq!(output(&fixture.try_with(&plugin("", ""), |_| {}).await?)?, "");
    Ok(())
}

async fn an_error_is_a_failure_with_the_guests_message() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let words = r#"(data (i32.const 100) "all went wrong")"#;
    let set = "(call $error (call $block (i32.const 100) (i32.const 14)))";
    for end in ["", "(return (i32.const 3))", "unreachable", "(call $exit (i32.const 1))"] {
        let ended = fixture.try_with(&plugin(words, &format!("{set} {end}")), |_| {}).await?;
        let (error, retry) = failed(&ended)?;
        assert_eq!(
            (error.message.as_str(), retry),
            ("all went wrong", RetryHint::Backoff),
            "{end}"
        );
    }
    // The error can be cleared again.
    let none = plugin(words, &format!("{set} (call $error (i64.const 0))"));
    output(&fixture.try_with(&none, |_| {}).await?)?;
    Ok(())
}

async fn a_nonzero_return_code_is_a_failure() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (code, message) in
        [("7", "the function `run` returned 7"), ("-1", "the function `run` returned -1")]
    {
        let body = format!("(return (i32.const {code}))");
        let (error, retry) = failed(&fixture.try_with(&plugin("", &body), |_| {}).await?)?;
        assert_eq!((error.message.as_str(), retry), (message, RetryHint::Backoff));
    }
    let error = trapped(&fixture.try_with(&plugin("", "unreachable"), |_| {}).await?)?;
    assert_eq!(error.code, "unreachable");
    assert!(error.backtrace.is_some());
    Ok(())
}

async fn a_limit_takes_precedence_over_an_error() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let set = "(call $error (call $block (i32.const 100) (i32.const 4)))";
    let spins = plugin("", &format!("{set} {SPIN}"));
    let ended = fixture.try_with(&spins, |limits| limits.fuel = Fuel::Units(1_000_000)).await?;
    exceeded(&ended, Limit::Fuel)?;
    let falls = plugin("(func $down (call $down) (call $down))", &format!("{set} (call $down)"));
    exceeded(&fixture.try_with(&falls, |_| {}).await?, Limit::Stack)?;
    // Cancellation takes precedence too.
    let tells = "(call $info (call $block (i32.const 100) (i32.const 4)))";
    for body in [SPIN, SLEEP] {
        let attempt = fixture.attempt(&plugin("", &format!("{set} {tells} {body}")))?;
        let stopped = fixture.stop(attempt, StopReason::Cancelled).await;
        assert_eq!(stopped.ended.outcome, Outcome::Cancelled);
    }
    // A refused growth that the guest handled does not.
    let large = plugin("", &format!("(drop (call $alloc (i64.const -1))) {set}"));
    failed(&fixture.try_with(&large, |_| {}).await?)?;
    Ok(())
}

async fn exit_code_0_is_success_and_others_are_failures() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let exits = |code: u32| {
        plugin(
            r#"(data (i32.const 100) "done")"#,
            &format!(
                "(call $leave (call $block (i32.const 100) (i32.const 4)))
                (call $exit (i32.const {code}))"
            ),
        )
    };
    assert_eq!(output(&fixture.try_with(&exits(0), |_| {}).await?)?, "done");
    let (error, retry) = failed(&fixture.try_with(&exits(65), |_| {}).await?)?;
    assert_eq!(
        (error.message.as_str(), retry),
        ("exited with 65 (data error): done", RetryHint::Never)
    );
    Ok(())
}

async fn the_jobs_variables_are_its_configuration() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&plugin(
        r#"(data (i32.const 100) "COLOURSHAPE\ff")"#,
        "(if (i64.ne (call $config (call $block (i32.const 106) (i32.const 5))) (i64.const 0))
            (then unreachable))
        (call $leave (call $config (call $block (i32.const 100) (i32.const 6))))",
    ))?;
    Arc::make_mut(&mut attempt.job.spec).env = [("COLOUR".to_owned(), "blue".to_owned())].into();
    assert_eq!(output(&fixture.run(attempt).await)?, "blue");
    // A name must be UTF-8.
    let bad = plugin(
        r#"(data (i32.const 100) "\ff")"#,
        "(drop (call $config (call $block (i32.const 100) (i32.const 1))))",
    );
    let error = trapped(&fixture.try_with(&bad, |_| {}).await?)?;
    assert!(error.message.contains("not UTF-8"), "{error:?}");
    Ok(())
}

async fn the_operators_configuration_overrides_the_jobs_variables() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&plugin(
        r#"(data (i32.const 100) "AB")"#,
        "(call $info (call $config (call $block (i32.const 100) (i32.const 1))))
        (call $leave (call $config (call $block (i32.const 101) (i32.const 1))))",
    ))?;
    let grants: Grants = serde_json::from_str(r#"{ "config": { "A": "one", "B": "two" } }"#)?;
    attempt.granted = Capabilities { grants: Arc::new(grants), ..Capabilities::default() };
    let env = [("A", "three"), ("C", "four")];
    Arc::make_mut(&mut attempt.job.spec).env =
        env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let log = attempt.log.clone();
    assert_eq!(output(&fixture.run(attempt).await)?, "two");
    assert!(text(&log).contains("one"), "{}", text(&log));
    Ok(())
}

/// The variables `a` to `z`.
const VARIABLES: &str = r#"(data (i32.const 100) "abcdefghijklmnopqrstuvwxyz")
    (func $name (param $nth i32) (result i64)
        (call $block (i32.add (i32.const 100) (local.get $nth)) (i32.const 1)))
    (func $set (param $nth i32) (param $bytes i64)
        (call $set_var (call $name (local.get $nth)) (call $alloc (local.get $bytes))))
    (func $bytes_of (param $nth i32) (result i64)
        (call $length (call $var (call $name (local.get $nth)))))
    (func $has (param $nth i32) (param $bytes i64)
        (if (i64.ne (call $bytes_of (local.get $nth)) (local.get $bytes)) (then unreachable)))"#;

async fn variables_of_a_plug_in_are_bounded() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // Two variables of half a MiB, including their names; one is replaced, and one is removed to make room.
    let fits = "(call $set (i32.const 0) (i64.const 524287))
        (call $set (i32.const 1) (i64.const 7))
        (call $set (i32.const 1) (i64.const 524287))
        (call $has (i32.const 0) (i64.const 524287))
        (call $has (i32.const 1) (i64.const 524287))
        (call $set_var (call $name (i32.const 0)) (i64.const 0))
        (call $has (i32.const 0) (i64.const 0))
        (call $set (i32.const 2) (i64.const 524287))
        (call $has (i32.const 2) (i64.const 524287))";
    output(&fixture.try_with(&plugin(VARIABLES, fits), |_| {}).await?)?;
    let one_more = format!("{fits} (call $set (i32.const 3) (i64.const 1))");
    let error = trapped(&fixture.try_with(&plugin(VARIABLES, &one_more), |_| {}).await?)?;
    assert!(error.message.contains("variables exceed 1048576 bytes"), "{error:?}");
    // They count towards the memory of the job.
    let limit = |limits: &mut Limits| limits.memory_bytes = 1 << 20;
    let ended = fixture.try_with(&plugin(VARIABLES, fits), limit).await?;
    exceeded(&ended, Limit::Memory)?;
    Ok(())
}

async fn logged_and_printed_lines_are_the_log() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let attempt = fixture.attempt(&plugin(
        r#"(data (i32.const 100) "half of it\n")"#,
        "(call $info (call $block (i32.const 100) (i32.const 4)))
        (call $log_error (call $block (i32.const 100) (i32.const 10)))
        (i32.store (i32.const 0) (i32.const 100))
        (i32.store (i32.const 4) (i32.const 11))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $info (i64.const 12345))",
    ))?;
    let log = attempt.log.clone();
    assert_eq!(output(&fixture.run(attempt).await)?, "");
    let lines = "INFO: half\nERROR: half of it\nhalf of it\nhalf of it\nINFO: \n";
    assert_eq!(text(&log), lines);
    Ok(())
}

async fn a_request_without_a_grant_fails_the_call() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let attempt = fixture.attempt(&plugin(
        r#"(data (i32.const 100) "{\"url\":\"http://127.0.0.1/\"}went on")"#,
        "(drop (call $http (call $block (i32.const 100) (i32.const 27)) (i64.const 0)))
        (call $leave (call $block (i32.const 127) (i32.const 7)))",
    ))?;
    let log = attempt.log.clone();
    let (error, retry) = failed(&fixture.run(attempt).await)?;
    let why = "denied: the plugin is not granted HTTP requests";
    let message = format!("http_request failed: GET http://127.0.0.1/: {why}");
    assert_eq!(error, AttemptError::new("http_request", message));
    assert_eq!((retry, text(&log)), (RetryHint::Never, format!("WARN: jobwright: {why}\n")));
    Ok(())
}

async fn a_relative_url_is_invalid_and_not_denied() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for url in ["", "/x", "example", "example.com:80", "example.com/x"] {
        let json = format!(r#"(data (i32.const 100) "{{\"url\":\"{url}\"}}")"#);
        let length = url.len() + 10;
        let call = format!(
            "(drop (call $http (call $block (i32.const 100) (i32.const {length})) (i64.const 0)))"
        );
        let (error, retry) = failed(&fixture.try_with(&plugin(&json, &call), |_| {}).await?)?;
        let why = "is not an address such as `https://example.com/path`";
        let message = format!("http_request failed: its url `{url}` {why}");
        assert_eq!((error.message, retry), (message, RetryHint::Never));
    }
    Ok(())
}

async fn the_language_runtime_is_initialized_first() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let says = |letter: char| {
        format!(
            "(i32.store8 (i32.add (i32.const 100) (global.get $said)) (i32.const {}))
            (global.set $said (i32.add (global.get $said) (i32.const 1)))",
            letter as u32
        )
    };
    let constructors = format!(r#"(func (export "__wasm_call_ctors") {})"#, says('c'));
    let initialize = format!(r#"(func (export "_initialize") {})"#, says('i'));
    let haskell = format!(r#"(func (export "hs_init") (param i32 i32) {})"#, says('h'));
    let run =
        format!("{} (call $leave (call $block (i32.const 100) (global.get $said)))", says('r'));
    for (exports, said) in [
        ("", "r"),
        (constructors.as_str(), "cr"),
        (initialize.as_str(), "ir"),
        // If there are both, the second calls the first.
        (&format!("{constructors} {initialize}"), "cr"),
        (&format!("{initialize} {haskell}"), "ihr"),
        (&format!("{constructors} {haskell}"), "hr"),
        (r#"(func (export "_initialize") (param i32) unreachable)"#, "r"),
    ] {
        let rest = format!("(global $said (mut i32) (i32.const 0)) {exports}");
        assert_eq!(output(&fixture.try_with(&plugin(&rest, &run), |_| {}).await?)?, said);
    }
    let traps = plugin(r#"(func (export "_initialize") unreachable)"#, "");
    assert_eq!(trapped(&fixture.try_with(&traps, |_| {}).await?)?.code, "unreachable");
    Ok(())
}

async fn the_entry_point_is_the_only_function_or_the_named_one() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let leaves = |name: &str| {
        format!(
            r#"(func (export "{name}") (call $leave (call $block (i32.const 100) (i32.const 5))))"#
        )
    };
    let rest = format!(
        r#"(data (i32.const 100) "named") {} {} {}
        (func (export "takes") (param i32) (result i32) (i32.const 0))"#,
        leaves("other"),
        leaves("_start"),
        leaves("_hidden")
    );
    let guest = plugin(&rest, "");
    let named = |name: Option<&str>| -> anyhow::Result<Attempt> {
        let mut attempt = fixture.attempt(&guest)?;
        Arc::make_mut(&mut attempt.job.spec).entrypoint = name.map(str::to_owned);
        Ok(attempt)
    };
    for (name, left) in [("run", ""), ("other", "named"), ("_start", "named")] {
        assert_eq!(output(&fixture.run(named(Some(name))?).await)?, left);
    }
    for (name, why) in [
        (None, "names no entry point"),
        (Some("nope"), "`nope`"),
        (Some("takes"), "`takes`"),
        (Some("memory"), "`memory`"),
        (Some("_hidden"), "`_hidden`"),
    ] {
        let (error, retry) = failed(&fixture.run(named(name)?).await)?;
        assert_eq!((error.code.as_str(), retry), ("no_entry_point", RetryHint::Never), "{name:?}");
        assert!(error.message.contains(why), "{error:?}");
    }
    Ok(())
}

async fn a_program_is_called_by_its_start_function() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let start = r#"(func (export "_start")
        (call $leave (call $block (i32.const 100) (i32.const 5))))"#;
    let program = plugin(&format!(r#"(data (i32.const 100) "start") {start}"#), "")
        .replace(r#"(export "run")"#, "");
    assert_eq!(output(&fixture.try_with(&program, |_| {}).await?)?, "start");
    assert_eq!(inspect(&program)??.entrypoints, ["_start"]);
    // The start function initializes the language runtime itself.
    let prepared =
        program.replace("(memory ", r#"(func (export "_initialize") unreachable) (memory "#);
    assert_eq!(output(&fixture.try_with(&prepared, |_| {}).await?)?, "start");
    Ok(())
}

async fn the_inspection_describes_the_plugin() -> anyhow::Result<()> {
    let guest = plugin(
        r#"(func (export "_initialize")) (func (export "hs_init") (param i32 i32))
        (func (export "count")) (func (export "_start"))
        (func (export "wide") (result i64) (i64.const 0))"#,
        "",
    );
    let found = inspect(&guest)??;
    assert_eq!((found.abi, found.abi.to_string().as_str()), (Abi::Extism, "extism"));
    assert_eq!(found.entrypoints, ["count", "run"]);
    assert!(
        found.imports.contains(&"extism:host/env.output_set".to_owned()),
        "{:?}",
        found.imports
    );
    let none = ["run", "count", "_start"];
    let none =
        none.iter().fold(guest, |text, name| text.replace(&format!("(export \"{name}\")"), ""));
    let words = ["no function () -> () or () -> (i32)", "`wide`"];
    says(inspect(&none)?, "no_entry_point", &words)
}

async fn missing_host_functions_are_reported() -> anyhow::Result<()> {
    let importing =
        |import: &str| plugin("", "").replacen("(module", &format!("(module {import}"), 1);
    let own = importing(r#"(import "extism:host/user" "lookup" (func (param i64) (result i64)))"#);
    let words = ["`lookup` from `extism:host/user`", "extism:host/env ("];
    says(inspect(&own)?, "unknown_import", &words)?;
    let later = importing(r#"(import "extism:host/env" "teleport" (func))"#);
    says(inspect(&later)?, "unknown_import", &["`teleport` from `extism:host/env`"])
}

async fn a_deterministic_job_reads_the_same_at_each_attempt() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&plugin(
        "",
        "(drop (call $random (i32.const 104) (i32.const 8)))
        (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 112)))
        (call $leave (call $block (i32.const 104) (i32.const 16)))",
    ))?;
    let one = output(&fixture.run(attempt.clone()).await)?;
    let start = Start::new([7; 32], attempt.job.created_at);
    assert_ne!(one, output(&fixture.run(Attempt { start, ..attempt.clone() }).await)?);
    Arc::make_mut(&mut attempt.job.spec).deterministic = true;
    let (one, two) = (fixture.run(attempt.clone()).await, fixture.run(attempt.clone()).await);
    assert_eq!(output(&one)?, output(&two)?);
    assert_eq!(one.usage.fuel, two.usage.fuel);
    Ok(())
}
