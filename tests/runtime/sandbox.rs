//! Arguments, variables, clocks and random numbers of guests.

use std::num::NonZeroU32;
use std::sync::Arc;

use jobwright_core::clock::Timestamp;
use jobwright_core::job::JobId;
use jobwright_core::{Capabilities, Grants, Start};
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, command, number, output};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        arguments_begin_with_the_plugins_name,
        variables_are_those_of_the_submitter_and_of_jobwright,
        a_job_can_omit_the_variables_of_jobwright,
        granted_variables_are_overridden_by_all_others,
        random_numbers_and_the_wall_clock_depend_on_the_start_of_the_attempt,
        clocks_have_the_granted_resolution,
        a_deterministic_job_reads_the_same_at_each_attempt,
        another_deterministic_job_reads_other_random_numbers,
    ]
}

/// Writes all arguments, or all variables, with their separators.
fn lists(call: &str) -> String {
    command(
        "",
        &format!(
            "(drop (call {call} (i32.const 1024) (i32.const 8192)))
            (call $write (i32.const 1) (i32.const 8192) (i32.const 1000))"
        ),
    )
}

/// The strings that a guest listed.
fn listed(output: &[u8]) -> Vec<String> {
    let strings = output.split(|byte| *byte == 0).take_while(|text| !text.is_empty());
    strings.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

async fn arguments_begin_with_the_plugins_name() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&lists("$args_get"))?;
    Arc::make_mut(&mut attempt.job.spec).args = vec!["--top".to_owned(), "ten words".to_owned()];
    let ended = fixture.run(attempt).await;
    assert_eq!(listed(&output(&ended)?), ["probe", "--top", "ten words"]);
    Ok(())
}

async fn variables_are_those_of_the_submitter_and_of_jobwright() -> anyhow::Result<()> {
    assert!(std::env::vars().count() > 0, "the test process has variables");
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&lists("$environ_get"))?;
    let set = [("COLOUR", "blue"), ("JOBWRIGHT_ATTEMPT", "99"), ("JOBWRIGHT_MINE", "1")];
    Arc::make_mut(&mut attempt.job.spec).env =
        set.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    attempt.payload.content_type = Some("text/csv".to_owned());
    // The second attempt after a manual retry, with one of two failures.
    (attempt.job.lifecycle.attempt, attempt.job.lifecycle.failures) = (6, 1);
    Arc::make_mut(&mut attempt.job.spec).max_attempts = 2;
    Arc::make_mut(&mut attempt.job.spec).tags = vec!["a".to_owned(), "b, \"c\"".to_owned()];
    let (id, created_ms) = (attempt.job.id, attempt.job.created_at.as_millisecond());
    let ended = fixture.run(attempt).await;
    assert_eq!(
        listed(&output(&ended)?),
        [
            "COLOUR=blue".to_owned(),
            "JOBWRIGHT_MINE=1".to_owned(),
            format!("JOBWRIGHT_JOB_ID={id}"),
            "JOBWRIGHT_ATTEMPT=6".to_owned(),
            "JOBWRIGHT_MAX_ATTEMPTS=6".to_owned(),
            "JOBWRIGHT_FAILURES=1".to_owned(),
            "JOBWRIGHT_ATTEMPTS_LEFT=0".to_owned(),
            "JOBWRIGHT_QUEUE=default".to_owned(),
            "JOBWRIGHT_PLUGIN=probe@1.0.0".to_owned(),
            format!("JOBWRIGHT_CREATED_AT_MS={created_ms}"),
            r#"JOBWRIGHT_TAGS=["a","b, \"c\""]"#.to_owned(),
            "JOBWRIGHT_CONTENT_TYPE=text/csv".to_owned(),
        ]
    );
    Ok(())
}

async fn a_job_can_omit_the_variables_of_jobwright() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&lists("$environ_get"))?;
    Arc::make_mut(&mut attempt.job.spec).inject_env = false;
    attempt.payload.content_type = Some("text/csv".to_owned());
    Arc::make_mut(&mut attempt.job.spec).env = [("COLOUR".to_owned(), "blue".to_owned())].into();
    assert_eq!(listed(&output(&fixture.run(attempt).await)?), ["COLOUR=blue"]);
    Ok(())
}

async fn granted_variables_are_overridden_by_all_others() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&lists("$environ_get"))?;
    let grants: Grants = serde_json::from_str(
        r#"{ "env": { "A": "1", "B": "2", "JOBWRIGHT_ATTEMPT": "9" }, "secrets": ["KEY"] }"#,
    )?;
    let set = [("B", "3"), ("KEY", "4")];
    Arc::make_mut(&mut attempt.job.spec).env =
        set.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    attempt.granted = Capabilities { grants: Arc::new(grants), ..Capabilities::default() };
    let seen = listed(&output(&fixture.run(attempt).await)?);
    assert_eq!(seen[..3], ["A=1", "B=3", "KEY=jobwright-secret(KEY)"]);
    assert!(seen.contains(&"JOBWRIGHT_ATTEMPT=1".to_owned()), "{seen:?}");
    Ok(())
}

/// Writes the wall clock, the monotonic clock twice, and two random numbers.
fn reads() -> String {
    command(
        "",
        "(drop (call $clock (i32.const 0) (i64.const 1) (i32.const 128)))
        (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 136)))
        (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 144)))
        (drop (call $random (i32.const 152) (i32.const 8)))
        (drop (call $random (i32.const 160) (i32.const 8)))
        (call $write (i32.const 1) (i32.const 128) (i32.const 40))",
    )
}

async fn random_numbers_and_the_wall_clock_depend_on_the_start_of_the_attempt() -> anyhow::Result<()>
{
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&reads())?;
    attempt.start = Start::new([1; 32], Timestamp::from_second(1_000)?);
    let one = output(&fixture.run(attempt.clone()).await)?;
    let again = output(&fixture.run(attempt.clone()).await)?;
    assert_eq!(one[24..40], again[24..40], "the same seed");
    let minute = 1_000_000_000_000..1_060_000_000_000;
    assert!(minute.contains(&number(&one, 0)?), "{}", number(&one, 0)?);
    assert!(number(&one, 8)? <= number(&one, 16)?, "the monotonic clock went back");
    attempt.start = Start::new([2; 32], Timestamp::from_second(5_000)?);
    let other = output(&fixture.run(attempt).await)?;
    assert_ne!(number(&one, 24)?, number(&other, 24)?, "another seed");
    assert!(number(&other, 0)? >= 5_000_000_000_000);
    Ok(())
}

/// Waits until the monotonic clock has changed ten times, and writes the smallest change; then its
/// reported resolution, and the part of the wall clock below 10 ms.
fn finest() -> String {
    command(
        "(func $now (param $which i32) (result i64)
            (drop (call $clock (local.get $which) (i64.const 1) (i32.const 256)))
            (i64.load (i32.const 256)))",
        "(local $last i64) (local $now i64) (local $left i32)
        (local.set $left (i32.const 10))
        (i64.store (i32.const 128) (i64.const -1))
        (local.set $last (call $now (i32.const 1)))
        (loop $more
            (local.set $now (call $now (i32.const 1)))
            (br_if $more (i64.eq (local.get $now) (local.get $last)))
            (if (i64.lt_u (i64.sub (local.get $now) (local.get $last)) (i64.load (i32.const 128)))
                (then (i64.store (i32.const 128) (i64.sub (local.get $now) (local.get $last)))))
            (local.set $last (local.get $now))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $more (local.get $left)))
        (drop (call $resolution (i32.const 0) (i32.const 136)))
        (drop (call $resolution (i32.const 1) (i32.const 144)))
        (i64.store (i32.const 152) (i64.rem_u (call $now (i32.const 0)) (i64.const 10000000)))
        (call $write (i32.const 1) (i32.const 128) (i32.const 32))",
    )
}

async fn clocks_have_the_granted_resolution() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&finest())?;
    for (granted, step) in [(None, 1_000_000), (Some(10_000), 10_000_000)] {
        let clock_precision_us = granted.and_then(NonZeroU32::new);
        attempt.start = attempt.start.under(&Grants { clock_precision_us, ..Grants::default() });
        let seen = output(&fixture.run(attempt.clone()).await)?;
        assert!(number(&seen, 0)? >= step, "{} moved by {}", step, number(&seen, 0)?);
        assert_eq!((number(&seen, 8)?, number(&seen, 16)?), (step, step), "resolution");
        assert!(number(&seen, 24)?.is_multiple_of(step.min(10_000_000)));
    }
    let clock_precision_us = NonZeroU32::new(1);
    attempt.start = attempt.start.under(&Grants { clock_precision_us, ..Grants::default() });
    let seen = output(&fixture.run(attempt).await)?;
    assert!(number(&seen, 0)? < 1_000_000, "a finer one moves by {}", number(&seen, 0)?);
    Ok(())
}

async fn a_deterministic_job_reads_the_same_at_each_attempt() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&reads())?;
    Arc::make_mut(&mut attempt.job.spec).deterministic = true;
    let one = output(&fixture.run(attempt.clone()).await)?;
    attempt.job.lifecycle.attempt = 2;
    let created_at = u64::try_from(attempt.job.created_at.as_nanosecond())?;
    let two = output(&fixture.run(attempt).await)?;
    assert_eq!(one, two);
    assert_eq!(number(&one, 0)?, created_at);
    assert_eq!(number(&one, 16)? - number(&one, 8)?, 1_000_000, "a step for each reading");
    assert_ne!(number(&one, 24)?, number(&one, 32)?, "random numbers must differ");
    Ok(())
}

async fn another_deterministic_job_reads_other_random_numbers() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(&reads())?;
    Arc::make_mut(&mut attempt.job.spec).deterministic = true;
    let one = output(&fixture.run(attempt.clone()).await)?;
    attempt.start = Start::of_job(JobId::new(attempt.job.created_at), attempt.job.created_at);
    let two = output(&fixture.run(attempt).await)?;
    assert_ne!(number(&one, 24)?, number(&two, 24)?);
    Ok(())
}
