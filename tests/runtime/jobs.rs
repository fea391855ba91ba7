//! Typed jobs: their request, their result, and their host calls.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::limits::Fuel;
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_core::plugin::{Abi, Digest};
use jobwright_core::report::{Progress, ProgressReporter};
use jobwright_core::runtime::{Ended, StopReason};
use jobwright_core::tenant::TenantName;
use jobwright_core::{Attempt, Start};
use jobwright_tests::components::job;
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, SPIN, Stopped, attempt, number, output, text, trapped};
use super::refusals::says;

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_guest_gets_the_payload_and_the_metadata_of_the_job,
        an_output_has_the_media_type_that_the_guest_returns,
        an_error_decides_whether_and_when_to_retry,
        the_error_later_is_a_snooze_and_not_a_failure,
        a_guest_of_version_0_1_runs_unchanged,
        a_trap_has_the_frames_of_the_guest,
        logged_and_printed_lines_are_the_log,
        progress_can_be_reported_any_number_of_times,
        a_checkpoint_is_saved_and_loaded,
        a_checkpoint_over_its_limit_is_refused_and_the_guest_continues,
        a_guest_can_read_its_remaining_time_and_fuel,
        a_guest_that_polls_for_cancellation_can_save_its_checkpoint,
        a_guest_that_polls_and_does_not_end_is_stopped_after_the_grace_period,
        a_deterministic_job_reads_the_same_at_each_attempt,
        the_inspection_describes_the_plugin,
        a_run_function_of_another_type_is_refused_at_upload,
        arguments_that_are_too_long_are_refused_or_cut,
    ]
}

fn failed(ended: &Ended) -> anyhow::Result<(AttemptError, RetryHint)> {
    match &ended.outcome {
        Outcome::Failed { error, retry } => Ok((error.clone(), *retry)),
        other => anyhow::bail!("it did not fail: {other:?}"),
    }
}

/// Prints a string of the request, whose address and length are at `at`, and a line end.
fn line(at: u32) -> String {
    format!(
        "(call $print (i32.load offset={at} (local.get $request))
            (i32.load offset={} (local.get $request)))
        (call $print (i32.const 1024) (i32.const 1))",
        at + 4
    )
}

/// Prints the first string of a list in the request.
fn first(at: u32) -> String {
    format!(
        "(call $print (i32.load (i32.load offset={at} (local.get $request)))
            (i32.load offset=4 (i32.load offset={at} (local.get $request))))
        (call $print (i32.const 1024) (i32.const 1))"
    )
}

async fn the_guest_gets_the_payload_and_the_metadata_of_the_job() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let texts = [line(4), line(12), line(24), line(40), line(48)].concat();
    let lists = [first(64), first(72), first(80)].concat();
    // The output is attempt, last attempt, time of creation, failures, and attempts left.
    let body = format!(
        "{texts} {lists}
        (i64.store (i32.const 600) (i64.load32_u offset=32 (local.get $request)))
        (i64.store (i32.const 608) (i64.load32_u offset=36 (local.get $request)))
        (i64.store (i32.const 616) (i64.load offset=56 (local.get $request)))
        (i64.store (i32.const 624) (i64.load32_u offset=88 (local.get $request)))
        (i64.store (i32.const 632) (i64.load32_u offset=92 (local.get $request)))
        (return (call $ok (i32.const 600) (i32.const 40)))"
    );
    let guest = job(r#"(data (i32.const 1024) "\n")"#, &body)?;
    let mut attempt = attempt(fixture.plugins.add(guest))?;
    attempt.payload.content_type = Some("text/plain".to_owned());
    attempt.payload.bytes = "ten words".into();
    // Two of five attempts have failed, and one was released.
    (attempt.job.lifecycle.attempt, attempt.job.lifecycle.failures) = (4, 2);
    let spec = Arc::make_mut(&mut attempt.job.spec);
    spec.tags = vec!["night".to_owned()];
    spec.args = vec!["--fast".to_owned(), "more".to_owned()];
    spec.env = [("COLOUR".to_owned(), "blue".to_owned())].into();
    let (id, log) = (attempt.job.id, attempt.log.clone());
    let ended = fixture.run(attempt).await;
    let numbers = output(&ended)?;
    let said = text(&log);
    let expected =
        format!("text/plain\nten words\n{id}\ndefault\nprobe@1.0.0\nnight\n--fast\nCOLOUR\n");
    assert_eq!(said, expected);
    assert_eq!((number(&numbers, 0)?, number(&numbers, 8)?), (4, 6));
    assert_eq!((number(&numbers, 24)?, number(&numbers, 32)?), (2, 2));
    assert_eq!(number(&numbers, 16)?, 1_767_225_600_000);
    let usage = ended.usage;
    assert_eq!((usage.payload_bytes, usage.output_bytes), (9, 40));
    assert!(usage.fuel > Some(0) && usage.instantiate_ms > 0.0 && usage.run_ms > 0.0);
    Ok(())
}

async fn an_output_has_the_media_type_that_the_guest_returns() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let words = r#"(data (i32.const 1024) "a,btext/csvnothing")"#;
    for (answer, content_type) in [
        ("$typed (i32.const 1027) (i32.const 8) ", "text/csv"),
        // An invalid media type is ignored, and the type is detected from the bytes.
        ("$typed (i32.const 1035) (i32.const 7) ", "text/plain; charset=utf-8"),
        ("$ok ", "text/plain; charset=utf-8"),
    ] {
        let body = format!("(return (call {answer} (i32.const 1024) (i32.const 3)))");
        let ended = fixture.try_wasm(job(words, &body)?, |_| {}).await?;
        let Outcome::Succeeded { output } = ended.outcome else { panic!("{ended:?}") };
        assert_eq!((&output.bytes[..], output.content_type.as_str()), (&b"a,b"[..], content_type));
    }
    Ok(())
}

async fn an_error_decides_whether_and_when_to_retry() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let words = r#"(data (i32.const 1024) "all went wrong")"#;
    for (answer, expected) in [
        ("$fail (i32.const 0)", RetryHint::Never),
        ("$fail (i32.const 1)", RetryHint::Backoff),
        ("$fail_after (i64.const 1500)", RetryHint::After(Duration::from_millis(1_500))),
    ] {
        let body = format!("(return (call {answer} (i32.const 1024) (i32.const 14)))");
        let (error, retry) = failed(&fixture.try_wasm(job(words, &body)?, |_| {}).await?)?;
        assert_eq!((error.message.as_str(), retry), ("all went wrong", expected));
    }
    Ok(())
}

async fn the_error_later_is_a_snooze_and_not_a_failure() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let words = r#"(data (i32.const 1024) "all went wrong")"#;
    let timed = ("$later (i64.const 90000000)", Some(Duration::from_secs(90_000)));
    for (answer, expected) in [timed, ("$fail (i32.const 2)", None)] {
        let body = format!("(return (call {answer} (i32.const 1024) (i32.const 14)))");
        let ended = fixture.try_wasm(job(words, &body)?, |_| {}).await?;
        let Outcome::Snoozed { error, wait } = ended.outcome else { panic!("{ended:?}") };
        let said = (error.code.as_str(), error.message.as_str(), wait);
        assert_eq!(said, ("later", "all went wrong", expected));
    }
    Ok(())
}

/// The compiled guest is stored in the repository; its source is in `tests/kept/README.md`.
async fn a_guest_of_version_0_1_runs_unchanged() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let wasm = include_bytes!("../kept/job-0.1.0.wasm");
    let found = fixture.runtime.inspect(wasm)?;
    assert_eq!(found.abi, Abi::JobwrightJob);
    let plugin = fixture.plugins.add(wasm.to_vec());
    let asked = async |wish: &'static str, failures| {
        let mut attempt = attempt(plugin)?;
        attempt.payload.bytes = wish.into();
        (attempt.job.lifecycle.attempt, attempt.job.lifecycle.failures) = (3, failures);
        let (log, report) = (attempt.log.clone(), attempt.report.clone());
        let ended = fixture.run(attempt).await;
        assert_eq!(text(&log), "INFO: began\n");
        assert_eq!(report.told().progress, Some(Progress::new(Some(0.5), "half of it")));
        assert_eq!(report.checkpoint(), Some("state".into()));
        anyhow::Ok(ended)
    };
    let ended = asked("tell", 1).await?;
    // The third attempt with one failure of five: three more can follow.
    assert_eq!(output(&ended)?, "3 of 6, probe@1.0.0, true, false");
    let day = RetryHint::After(Duration::from_secs(90_000));
    for (wish, message, retry) in [
        ("permanent", "for good", RetryHint::Never),
        ("retry", "not now", RetryHint::Backoff),
        ("after", "in a day", day),
    ] {
        let (error, found) = failed(&asked(wish, 0).await?)?;
        assert_eq!((error.message.as_str(), found), (message, retry));
    }
    Ok(())
}

async fn a_trap_has_the_frames_of_the_guest() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = job("(func $inner unreachable)", "(call $inner)")?;
    let error = trapped(&fixture.try_wasm(guest, |_| {}).await?)?;
    assert_eq!(error.code, "unreachable");
    let frames = error.backtrace.unwrap_or_default();
    assert!(frames.starts_with("0: inner "), "{frames}");
    // An invalid result is a trap too.
    let nonsense = job("", "(return (i32.const -4))")?;
    trapped(&fixture.try_wasm(nonsense, |_| {}).await?)?;
    Ok(())
}

async fn logged_and_printed_lines_are_the_log() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let say = |level: u32, context: u32| {
        format!(
            "(call $say (i32.const {level}) (i32.const 1024) (i32.const {context})
                (i32.const 1028) (i32.const 4))"
        )
    };
    let levels: String = (0..6).map(|level| say(level, 0)).collect();
    let printed =
        "(call $print (i32.const 1024) (i32.const 5)) (call $log (i32.const 1024) (i32.const 9))";
    let guest = job(
        r#"(data (i32.const 1024) "dbs\nhalf\n")"#,
        &format!("{levels} {} {printed}", say(2, 3)),
    )?;
    let attempt = attempt(fixture.plugins.add(guest))?;
    let log = attempt.log.clone();
    assert_eq!(output(&fixture.run(attempt).await)?, "");
    let lines = "TRACE: half\nDEBUG: half\nINFO: half\nWARN: half\nERROR: half\nCRITICAL: half\n\
                 INFO: dbs: half\ndbs\nhdbs\nhalf\n";
    assert_eq!(text(&log), lines);
    Ok(())
}

async fn progress_can_be_reported_any_number_of_times() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let words = r#"(data (i32.const 1024) "half of it")"#;
    let tells = |known: u32| {
        format!(
            "(local $n i32)
            (loop $again
                (call $report (i32.const {known})
                    (f64.div (f64.convert_i32_u (local.get $n)) (f64.const 1e6))
                    (i32.const 1024) (i32.const 10))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000))))"
        )
    };
    for (known, fraction) in [(1, Some(0.999_999)), (0, None)] {
        let attempt = attempt(fixture.plugins.add(job(words, &tells(known))?))?;
        let report = attempt.report.clone();
        output(&fixture.run(attempt).await)?;
        let last = Progress { fraction, message: "half of it".to_owned() };
        assert_eq!(report.told().progress, Some(last));
    }
    Ok(())
}

async fn a_checkpoint_is_saved_and_loaded() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = job(
        r#"(data (i32.const 1024) "mine")"#,
        "(call $load (i32.const 600))
        (if (i32.load8_u (i32.const 600)) (then
            (call $print (i32.load (i32.const 604)) (i32.load (i32.const 608)))))
        (call $save (i32.const 1024) (i32.const 4) (i32.const 600))
        (if (i32.load8_u (i32.const 600)) (then unreachable))
        (call $load (i32.const 600))
        (return (call $ok (i32.load (i32.const 604)) (i32.load (i32.const 608))))",
    )?;
    for (found, said) in [(Some("seven".into()), "seven"), (None, "")] {
        let mut attempt = attempt(fixture.plugins.add(guest.clone()))?;
        attempt.report = ProgressReporter::new(found, 10).into();
        let (report, log) = (attempt.report.clone(), attempt.log.clone());
        assert_eq!(output(&fixture.run(attempt).await)?, "mine");
        assert_eq!((text(&log).as_str(), report.checkpoint()), (said, Some("mine".into())));
    }
    Ok(())
}

async fn a_checkpoint_over_its_limit_is_refused_and_the_guest_continues() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // The error has the limit.
    let guest = job(
        "",
        "(call $save (i32.const 1024) (i32.const 9) (i32.const 600))
        (if (i32.load8_u (i32.const 600)) (then unreachable))
        (call $save (i32.const 2048) (i32.const 10) (i32.const 600))
        (if (i32.eqz (i32.load8_u (i32.const 600))) (then unreachable))
        (return (call $ok (i32.const 616) (i32.const 8)))",
    )?;
    let mut attempt = attempt(fixture.plugins.add(guest))?;
    attempt.report = ProgressReporter::new(None, 9).into();
    let report = attempt.report.clone();
    assert_eq!(number(&output(&fixture.run(attempt).await)?, 0)?, 9);
    assert_eq!(report.checkpoint(), Some(vec![0; 9].into()));
    Ok(())
}

async fn a_guest_can_read_its_remaining_time_and_fuel() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = job(
        "",
        "(call $remaining (i32.const 600)) (return (call $ok (i32.const 600) (i32.const 24)))",
    )?;
    for (fuel, known) in [(Fuel::Units(1_000_000), 1), (Fuel::Unlimited, 0)] {
        let limited = fixture.try_wasm(guest.clone(), |limits| {
            (limits.timeout_ms, limits.fuel) = (5_000, fuel);
        });
        let left = output(&limited.await?)?;
        assert!((1..=5_000).contains(&number(&left, 0)?), "{left:?}");
        assert_eq!(left[8], known);
        if fuel != Fuel::Unlimited {
            assert!((900_000..1_000_000).contains(&number(&left, 16)?), "{left:?}");
        }
    }
    Ok(())
}

/// Starts a guest that polls for cancellation until it is stopped and then runs `last`; stops it when it
/// runs.
async fn stopped(
    fixture: &RuntimeFixture,
    last: &str,
    reason: StopReason,
) -> anyhow::Result<Stopped> {
    let guest = job(
        r#"(data (i32.const 1024) "half")"#,
        &format!(
            "(drop (call $is_cancelled))
            (call $log (i32.const 1024) (i32.const 4))
            (loop $again (br_if $again (i32.eqz (call $is_cancelled)))) {last}"
        ),
    )?;
    let mut attempt = attempt(fixture.plugins.add(guest))?;
    attempt.limits.grace_ms = 300;
    Ok(fixture.stop(attempt, reason).await)
}

async fn a_guest_that_polls_for_cancellation_can_save_its_checkpoint() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let save = "(call $save (i32.const 1024) (i32.const 4) (i32.const 600))";
    let fail = "(return (call $fail (i32.const 1) (i32.const 1024) (i32.const 4)))";
    for (reason, outcome) in [
        (StopReason::Cancelled, Outcome::Cancelled),
        (StopReason::Interrupted, Outcome::Interrupted),
    ] {
        // The outcome is that it was stopped, however it fails then.
        for end in [fail, "unreachable"] {
            let stopped = stopped(&fixture, &format!("{save} {end}"), reason).await?;
            assert_eq!(stopped.ended.outcome, outcome, "{end}");
            assert_eq!(stopped.report.checkpoint(), Some("half".into()));
        }
    }
    let finished = stopped(&fixture, save, StopReason::Cancelled).await?;
    output(&finished.ended)?;
    Ok(())
}

async fn a_guest_that_polls_and_does_not_end_is_stopped_after_the_grace_period()
-> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let stopped = stopped(&fixture, SPIN, StopReason::Cancelled).await?;
    assert_eq!(stopped.ended.outcome, Outcome::Cancelled);
    assert!(stopped.ended.usage.run_ms >= 300.0, "{:?}", stopped.ended.usage);
    Ok(())
}

async fn a_deterministic_job_reads_the_same_at_each_attempt() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = job(
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))"#,
        "(i64.store (i32.const 600) (call $random))
        (i64.store (i32.const 608) (call $now))
        (call $remaining (i32.const 616))
        (return (call $ok (i32.const 600) (i32.const 24)))",
    )?;
    let mut attempt = attempt(fixture.plugins.add(guest))?;
    let one = output(&fixture.run(attempt.clone()).await)?;
    let start = Start::new([7; 32], attempt.job.created_at);
    assert_ne!(one, output(&fixture.run(Attempt { start, ..attempt.clone() }).await)?);
    Arc::make_mut(&mut attempt.job.spec).deterministic = true;
    let (one, two) = (fixture.run(attempt.clone()).await, fixture.run(attempt.clone()).await);
    assert_eq!(output(&one)?, output(&two)?);
    assert_eq!(one.usage.fuel, two.usage.fuel);
    Ok(())
}

async fn the_inspection_describes_the_plugin() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let found = fixture.runtime.inspect(&job("", "")?)?;
    assert_eq!((found.abi, found.abi.to_string().as_str()), (Abi::JobwrightJob, "jobwright-job"));
    assert_eq!(found.exports, ["jobwright:job/run@0.2.0"]);
    assert!(found.entrypoints.is_empty());
    // A typed job needs no WASI: it imports only what it calls, and this one calls nothing.
    let wasi = found.imports.iter().filter(|import| import.starts_with("wasi:sockets"));
    assert_eq!(wasi.count(), 0);
    Ok(())
}

/// A component that exports `jobwright:job/run` in this version, as a function of this type.
fn exporting(version: &str, function: &str) -> String {
    format!(
        r#"(component
            (core module $m (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func $run {function} (canon lift (core func $i "run")))
            (instance $exported (export "run" (func $run)))
            (export "jobwright:job/run@{version}" (instance $exported)))"#
    )
}

async fn a_run_function_of_another_type_is_refused_at_upload() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let wrong = exporting("0.2.0", "(result u32)");
    let wrong_before = exporting("0.1.0", "(result u32)");
    let unnamed = wrong.replace(r#"(export "run" (func $run))"#, r#"(export "go" (func $run))"#);
    for (text, why) in [
        (wrong.as_str(), "its `run` of `jobwright:job/run` has another type"),
        (&wrong_before, "its `run` of `jobwright:job/run` has another type"),
        (&unnamed, "its `jobwright:job/run` has no function `run`"),
    ] {
        let wasm = wat::parse_str(text)?;
        fixture.runtime.inspect(&wasm)?;
        says(
            fixture.runtime.prepare(&TenantName::default(), Digest::of(&wasm), wasm.into()).await,
            "plugin_unusable",
            &[why],
        )?;
    }
    let later = wat::parse_str(exporting("0.3.0", "(result u32)"))?;
    let words = ["`jobwright:job/run@0.3.0`", "of 0.2 or 0.1"];
    says(fixture.runtime.inspect(&later), "world_version", &words)?;
    Ok(())
}

/// Arguments of forty times the limits of a checkpoint and of a log, and most of the guest's memory.
async fn arguments_that_are_too_long_are_refused_or_cut() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let grow = "(drop (memory.grow (i32.const 800)))";
    let long = "(i32.const 262144) (i32.const 40000000)";
    let body = format!(
        "{grow} (call $save {long} (i32.const 600))
        (if (i32.eqz (i32.load8_u (i32.const 600))) (then unreachable))
        (call $report (i32.const 0) (f64.const 0) {long})
        (call $say (i32.const 0) (i32.const 0) (i32.const 0) {long})"
    );
    let ended = fixture.try_wasm(job("", &body)?, |_| {}).await?;
    output(&ended)?;
    assert!(ended.usage.log_bytes <= 256 << 10, "{:?}", ended.usage);
    assert!(ended.usage.log_dropped_bytes > 39_000_000, "{:?}", ended.usage);
    Ok(())
}
