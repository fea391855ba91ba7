//! The clocks of guests: their first reading, and sleeping.

use std::num::NonZeroU32;
use std::sync::Arc;

use jobwright_core::Grants;
use jobwright_core::attempt::Attempt;
use jobwright_core::runtime::Ended;
use jobwright_tests::components::{self, handler, job};
use jobwright_tests::guests::assemble;
use libtest_mimic::Trial;

use super::extism::plugin;
use super::fixture::{RuntimeFixture, attempt, command, number, output};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_monotonic_clock_begins_well_above_zero,
        a_guest_can_sleep_until_an_absolute_time,
        a_deterministic_guest_that_sleeps_reads_the_same_at_each_attempt,
        a_poll_reports_only_expired_timers,
        a_deterministic_guest_that_polls_a_timer_sees_it_expire,
        sleeping_reduces_the_remaining_time,
        a_sleep_does_not_end_early,
    ]
}

const MS: u64 = 1_000_000;

/// How long guests here sleep, in nanoseconds.
const NAP: u64 = 30 * MS;

/// A guest of each kind whose output is the first reading of the monotonic clock.
fn first_readings() -> anyhow::Result<[(&'static str, Vec<u8>); 6]> {
    let now = r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))"#;
    let read = "(i64.store (i32.const 1024) (call $now))";
    let p1 = "(drop (call $clock (i32.const 1) (i64.const 1) (i32.const 128)))";
    let write = "(call $write (i32.const 1) (i32.const 128) (i32.const 8))";
    let leave = "(call $leave (call $block (i32.const 128) (i32.const 8)))";
    let answer = format!(
        "{read} (call $answer (local.get $out) (i32.const 200) (call $fields))
        (drop (call $body (i32.const 1024) (i32.const 8))) (call $finish)"
    );
    let ok = "(return (call $ok (i32.const 1024) (i32.const 8)))";
    let text = command("", &format!("{p1} {write}"));
    Ok([
        ("preview 0", assemble(&unstable(&text))?),
        ("preview 1", assemble(&text)?),
        (
            "wasi 0.2",
            components::command(
                now,
                &format!("{read} (call $print (i32.const 1024) (i32.const 8))"),
            )?,
        ),
        ("http", handler(now, &answer)?),
        ("job", job(now, &format!("{read} {ok}"))?),
        ("extism", assemble(&plugin("", &format!("{p1} {leave}")))?),
    ])
}

/// Converts a module of preview 1 to preview 0.
pub(super) fn unstable(text: &str) -> String {
    text.replace("wasi_snapshot_preview1", "wasi_unstable")
}

async fn the_monotonic_clock_begins_well_above_zero() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let hour = 3_600_000 * MS;
    for (kind, wasm) in first_readings()? {
        let attempt = attempt(fixture.plugins.add(wasm))?;
        for (deterministic, step_us) in
            [(false, 1_000), (true, 1_000), (false, 1), (true, 60_000_000)]
        {
            let mut attempt = attempt.clone();
            Arc::make_mut(&mut attempt.job.spec).deterministic = deterministic;
            let clock_precision_us = NonZeroU32::new(step_us);
            attempt.start =
                attempt.start.under(&Grants { clock_precision_us, ..Grants::default() });
            let shown = number(&output(&fixture.run(attempt).await)?, 0)?;
            assert!(shown > hour, "{kind}, {deterministic}, {step_us}: {shown}");
            assert!(shown.is_multiple_of(u64::from(step_us) * 1_000), "{kind}: {shown}");
        }
    }
    Ok(())
}

/// The addresses of clock, time and flags of a subscription at 64 in preview 1; in preview 0 they are 8
/// bytes higher.
fn subscription(offset: u32) -> [u32; 3] {
    [80 + offset, 88 + offset, 104 + offset]
}

/// Sleeps until `clock` is [`NAP`] later than its first reading, in as many sleeps as needed; writes the
/// first and the last reading.
fn sleeps_until(clock: u32, absolute: bool, offset: u32) -> String {
    let [id, time, flags] = subscription(offset);
    let until = match absolute {
        true => "(local.get $end)",
        false => "(i64.sub (local.get $end) (call $now))",
    };
    command(
        &format!(
            "(func $now (result i64)
                (drop (call $clock (i32.const {clock}) (i64.const 1) (i32.const 256)))
                (i64.load (i32.const 256)))"
        ),
        &format!(
            "(local $end i64)
            (i64.store (i32.const 128) (call $now))
            (local.set $end (i64.add (i64.load (i32.const 128)) (i64.const {NAP})))
            (i32.store (i32.const {id}) (i32.const {clock}))
            (i32.store (i32.const {flags}) (i32.const {}))
            (loop $again
                (i64.store (i32.const 136) (call $now))
                (if (i64.lt_u (i64.load (i32.const 136)) (local.get $end)) (then
                    (i64.store (i32.const {time}) {until})
                    (if (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512))
                        (then unreachable))
                    (br $again))))
            (call $write (i32.const 1) (i32.const 128) (i32.const 16))",
            u32::from(absolute)
        ),
    )
}

/// As [`sleeps_until`], with the timers of WASI 0.2.
fn sleeps_until_p2(absolute: bool) -> anyhow::Result<Vec<u8>> {
    let timer = match absolute {
        true => "(call $at (local.get $end))",
        false => "(call $after (i64.sub (local.get $end) (call $now)))",
    };
    components::command(
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-instant"
            (func $at (param i64) (result i32)))"#,
        &format!(
            "(local $end i64) (local $timer i32)
            (i64.store (i32.const 1024) (call $now))
            (local.set $end (i64.add (i64.load (i32.const 1024)) (i64.const {NAP})))
            (loop $again
                (i64.store (i32.const 1032) (call $now))
                (if (i64.lt_u (i64.load (i32.const 1032)) (local.get $end)) (then
                    (local.set $timer {timer})
                    (call $block (local.get $timer))
                    (call $drop_pollable (local.get $timer))
                    (br $again))))
            (call $print (i32.const 1024) (i32.const 16))"
        ),
    )
}

fn sleepers() -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut all = vec![];
    for absolute in [false, true] {
        for clock in [0, 1] {
            let name = |preview| format!("preview {preview}, clock {clock}, absolute: {absolute}");
            all.push((name(1), assemble(&sleeps_until(clock, absolute, 0))?));
            all.push((name(0), assemble(&unstable(&sleeps_until(clock, absolute, 8)))?));
        }
        all.push((format!("wasi 0.2, absolute: {absolute}"), sleeps_until_p2(absolute)?));
    }
    Ok(all)
}

/// Checks that the guest slept once, in real time.
fn check_nap(ended: &Ended) -> anyhow::Result<()> {
    let seen = output(ended)?;
    let (from, to) = (number(&seen, 0)?, number(&seen, 8)?);
    anyhow::ensure!((NAP..100 * NAP).contains(&(to - from)), "{from} to {to}");
    let (slept, usage) = ((NAP / MS) as f64, ended.usage);
    anyhow::ensure!((slept - 5.0..5_000.0).contains(&usage.run_ms), "{usage:?}");
    anyhow::ensure!(usage.fuel < Some(10_000), "it did not spin: {usage:?}");
    Ok(())
}

async fn a_guest_can_sleep_until_an_absolute_time() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (name, wasm) in sleepers()? {
        let mut attempt = attempt(fixture.plugins.add(wasm))?;
        for deterministic in [false, true] {
            Arc::make_mut(&mut attempt.job.spec).deterministic = deterministic;
            let napped = check_nap(&fixture.run(attempt.clone()).await);
            napped.map_err(|error| error.context(format!("{name}, {deterministic}")))?;
        }
    }
    Ok(())
}

/// Runs a deterministic attempt three times; returns its output, which must be the same.
async fn always_the_same(
    fixture: &RuntimeFixture,
    mut attempt: Attempt,
) -> anyhow::Result<Vec<u8>> {
    Arc::make_mut(&mut attempt.job.spec).deterministic = true;
    let first = fixture.run(attempt.clone()).await;
    for _ in 0..2 {
        let again = fixture.run(attempt.clone()).await;
        assert_eq!(output(&again)?, output(&first)?);
        assert_eq!(again.usage.fuel, first.usage.fuel);
    }
    Ok(output(&first)?.to_vec())
}

async fn a_deterministic_guest_that_sleeps_reads_the_same_at_each_attempt() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (name, wasm) in sleepers()? {
        let seen = always_the_same(&fixture, attempt(fixture.plugins.add(wasm))?).await?;
        let slept = number(&seen, 8)? - number(&seen, 0)?;
        assert!((NAP..NAP + 10 * MS).contains(&slept), "{name}: {slept}");
    }
    Ok(())
}

/// Polls timers of 30, 10, 20 and 10 ms; outputs how many have expired, and which.
fn several() -> anyhow::Result<[Vec<u8>; 2]> {
    let subscribe: String = [30, 10, 20, 10]
        .iter()
        .enumerate()
        .map(|(n, ms)| {
            let at = 1024 + 48 * n;
            format!(
                "(i64.store (i32.const {at}) (i64.const {n}))
                (i32.store (i32.const {}) (i32.const 1))
                (i64.store (i32.const {}) (i64.const {}))",
                at + 16,
                at + 24,
                ms * MS
            )
        })
        .collect();
    // The index of each event.
    let p1 = command(
        "",
        &format!(
            "{subscribe}
            (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 4) (i32.const 128)))
            (i32.store8 (i32.const 132) (i32.load8_u (i32.const 2048)))
            (i32.store8 (i32.const 133) (i32.load8_u (i32.const 2080)))
            (call $write (i32.const 1) (i32.const 128) (i32.const 6))"
        ),
    );
    let timers: String = [30, 10, 20, 10]
        .iter()
        .enumerate()
        .map(|(n, ms)| {
            let at = 1024 + 4 * n;
            format!("(i32.store (i32.const {at}) (call $after (i64.const {})))", ms * MS)
        })
        .collect();
    let p2 = components::command(
        r#"(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))"#,
        &format!(
            "{timers} (call $poll (i32.const 1024) (i32.const 4) (i32.const 600))
            (i32.store (i32.const 1024) (i32.load (i32.const 604)))
            (i32.store8 (i32.const 1028) (i32.load (i32.load (i32.const 600))))
            (i32.store8 (i32.const 1029) (i32.load offset=4 (i32.load (i32.const 600))))
            (call $print (i32.const 1024) (i32.const 6))"
        ),
    )?;
    Ok([assemble(&p1)?, p2])
}

async fn a_poll_reports_only_expired_timers() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for wasm in several()? {
        let seen = always_the_same(&fixture, attempt(fixture.plugins.add(wasm))?).await?;
        assert_eq!(seen, [2, 0, 0, 0, 1, 3], "those of 10 ms");
    }
    Ok(())
}

async fn a_deterministic_guest_that_polls_a_timer_sees_it_expire() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // By a poll with another timer that has already expired.
    let guest = components::command(
        r#"(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))"#,
        &format!(
            "(local $times i32)
            (i32.store (i32.const 1024) (call $after (i64.const 0)))
            (i32.store (i32.const 1028) (call $after (i64.const {NAP})))
            (loop $again
                (local.set $times (i32.add (local.get $times) (i32.const 1)))
                (call $poll (i32.const 1024) (i32.const 2) (i32.const 600))
                (br_if $again (i32.lt_u (i32.load (i32.const 604)) (i32.const 2))))
            (i32.store (i32.const 1032) (local.get $times))
            (call $print (i32.const 1032) (i32.const 4))"
        ),
    )?;
    let seen = always_the_same(&fixture, attempt(fixture.plugins.add(guest))?).await?;
    let times = u32::from_le_bytes(seen[..].try_into()?);
    assert!((10..40).contains(&times), "{times}");
    Ok(())
}

async fn sleeping_reduces_the_remaining_time() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = job(
        "",
        &format!(
            "(call $remaining (i32.const 1024))
            (call $sleep (i64.const {NAP}))
            (call $remaining (i32.const 1048))
            (return (call $ok (i32.const 1024) (i32.const 56)))"
        ),
    )?;
    let seen = always_the_same(&fixture, attempt(fixture.plugins.add(guest))?).await?;
    let passed = number(&seen, 0)? - number(&seen, 24)?;
    assert!((NAP / MS..NAP / MS + 10).contains(&passed), "{passed} ms");
    Ok(())
}

async fn a_sleep_does_not_end_early() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // The clocks have a resolution of hours, but the sleep has the requested length.
    let mut attempt = fixture.attempt(&command(
        "",
        &format!(
            "(i32.store (i32.const 80) (i32.const 1))
            (i64.store (i32.const 88) (i64.const {NAP}))
            (drop (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512)))"
        ),
    ))?;
    let clock_precision_us = NonZeroU32::new(3_600_000_000);
    attempt.start = attempt.start.under(&Grants { clock_precision_us, ..Grants::default() });
    let ended = fixture.run(attempt).await;
    output(&ended)?;
    assert!((25.0..5_000.0).contains(&ended.usage.run_ms), "{:?}", ended.usage);
    Ok(())
}
