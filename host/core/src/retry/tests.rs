use proptest::prelude::*;

use std::sync::Arc;
use std::time::Duration;

use super::snooze::DAY_SECONDS;
use super::*;
use crate::clock::{MAX_DELAY, Timestamp, after, until};
use crate::job::{Job, JobId, JobSpec, Lifecycle, Verdict};
use crate::limits::Limit;
use crate::outcome::{AttemptError, Output};
use crate::outcome::{Outcome, RetryHint};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn spec(max_attempts: u16) -> JobSpec {
    JobSpec {
        max_attempts,
        ..JobSpec::new(
            "p".parse().unwrap(),
            "1.0.0".parse().unwrap(),
            crate::plugin::Digest::of(b""),
        )
    }
}

fn running(failures: u16, refused: u16) -> Lifecycle {
    let mut lifecycle = Lifecycle::new(NOW);
    lifecycle.claim(NOW);
    Lifecycle { failures, refused, ..lifecycle }
}

fn job(spec: JobSpec, lifecycle: Lifecycle) -> Job {
    let (attempts, output, progress) = (vec![], None, None);
    let id = JobId::from_bytes([0; 16]);
    Job { id, spec: Arc::new(spec), created_at: NOW, lifecycle, attempts, output, progress }
}

fn error() -> AttemptError {
    AttemptError::new("x", "y")
}

fn failed(retry: RetryHint) -> Outcome {
    Outcome::Failed { error: error(), retry }
}

fn snoozed(wait: Option<Duration>) -> Outcome {
    Outcome::Snoozed { error: error(), wait }
}

fn reached(limit: Limit) -> Outcome {
    Outcome::LimitExceeded { limit, error: error() }
}

#[test]
fn every_ending_has_its_verdict() {
    let retry = Verdict::Retry { at: after(NOW, Duration::from_secs(6)) };
    let refused = Verdict::Release { at: after(NOW, Duration::from_secs(6)), refused: true };
    let release = Verdict::Release { at: NOW, refused: false };
    let output = Output::new(bytes::Bytes::new(), None);
    for (outcome, verdict) in [
        (Outcome::Succeeded { output }, Verdict::Complete),
        (failed(RetryHint::Backoff), retry),
        (failed(RetryHint::Never), Verdict::Discard),
        (snoozed(None), Verdict::Snooze { at: after(NOW, Duration::from_secs(6)) }),
        (Outcome::Trapped { error: error() }, retry),
        (reached(Limit::Time), retry),
        (reached(Limit::Fuel), Verdict::Discard),
        (reached(Limit::Memory), Verdict::Discard),
        (reached(Limit::Output), Verdict::Discard),
        (reached(Limit::Stack), Verdict::Discard),
        (Outcome::Cancelled, Verdict::Cancel),
        (Outcome::Interrupted, release),
        (Outcome::Refused { error: error(), transient: true }, refused),
        (Outcome::Refused { error: error(), transient: false }, Verdict::Discard),
    ] {
        let job = job(spec(5), running(0, 0));
        assert_eq!(decide(&job, &outcome, NOW, 0.5), verdict, "{outcome:?}");
    }
}

#[test]
fn a_plugin_can_configure_which_endings_are_retried() {
    let spec = JobSpec { retry: [Cause::Fuel].into_iter().collect(), ..spec(5) };
    let job = job(spec, running(0, 0));
    let decide = |outcome| decide(&job, &outcome, NOW, 0.5);
    assert!(matches!(decide(reached(Limit::Fuel)), Verdict::Retry { .. }));
    assert_eq!(decide(failed(RetryHint::Backoff)), Verdict::Discard);
}

#[test]
fn a_wait_named_by_the_guest_is_used_up_to_the_maximum_delay() {
    let day = Duration::from_secs(DAY_SECONDS);
    for (asked, taken) in [
        (Duration::from_secs(1), Duration::from_secs(1)),
        (2 * day, 2 * day),
        (MAX_DELAY, MAX_DELAY),
        (MAX_DELAY + Duration::from_secs(1), MAX_DELAY),
        (Duration::from_secs(1_000_000_000_000), MAX_DELAY),
        (Duration::MAX, MAX_DELAY),
    ] {
        let job = job(spec(5), running(0, 0));
        for outcome in [failed(RetryHint::After(asked)), snoozed(Some(asked))] {
            let outcome = settle(&job.lifecycle, &job.spec.backoff, outcome, NOW);
            let (Verdict::Retry { at } | Verdict::Snooze { at }) = decide(&job, &outcome, NOW, 0.5)
            else {
                panic!("{outcome:?} is not tried again");
            };
            assert_eq!(until(NOW, at), taken);
            let says_so = outcome.error().expect("an error").message.contains("366 days");
            assert_eq!(says_so, asked > taken, "{outcome:?}");
        }
    }
}

#[test]
fn a_hundred_snoozes_in_sequence_are_not_counted_and_the_next_one_is() {
    let job = |snoozes, second| {
        let since = Timestamp::from_second(second).expect("in range");
        Lifecycle { snoozes, snoozed_since: Some(since), ..running(0, 0) }
    };
    let settled =
        |job: Lifecycle, now| settle(&job, &Backoff::default(), snoozed(Some(Duration::ZERO)), now);
    assert_eq!(settled(job(MAX_SNOOZES - 1, 0), NOW), snoozed(Some(Duration::ZERO)));
    let Outcome::Failed { error, retry } = settled(job(MAX_SNOOZES, 0), NOW) else {
        panic!("it is snoozed again");
    };
    assert_eq!(retry, RetryHint::Backoff);
    assert!(error.message.contains("the 100 attempts before it were snoozed"), "{error:?}");
    let late = after(NOW, MAX_SNOOZED);
    assert!(matches!(settled(job(1, 1), late), Outcome::Snoozed { .. }));
    assert!(matches!(settled(job(1, 0), late), Outcome::Failed { .. }));
}

#[test]
fn a_snooze_is_no_failure_even_where_failures_are_final() {
    let spec = JobSpec { retry: RetryPolicy::from_iter([]), ..spec(1) };
    let job = job(spec, running(0, 0));
    let verdict = decide(&job, &snoozed(Some(Duration::ZERO)), NOW, 0.5);
    assert_eq!(verdict, Verdict::Snooze { at: after(NOW, MIN_SNOOZE) });
}

#[test]
fn a_snooze_without_a_wait_still_waits() {
    let (mut job, mut now, mut tries) = (job(spec(5), Lifecycle::new(NOW)), NOW, 0);
    while !job.lifecycle.state.is_finalized() {
        now = now.max(job.lifecycle.scheduled_at);
        job.lifecycle.claim(now);
        tries += 1;
        let outcome = settle(&job.lifecycle, &job.spec.backoff, snoozed(Some(Duration::ZERO)), now);
        let verdict = decide(&job, &outcome, now, 0.5);
        job.lifecycle.finish(verdict, now);
    }
    let each = until(NOW, now) / tries;
    assert!(each >= MIN_SNOOZE, "{tries} attempts, {each:?} apart");
}

#[test]
fn after_too_many_snoozes_the_longer_of_wait_and_back_off_is_used() {
    let job = Lifecycle { snoozes: MAX_SNOOZES, snoozed_since: Some(NOW), ..running(0, 0) };
    for (asked, retry) in [(1, None), (6, None), (7, Some(7)), (3600, Some(3600))] {
        let outcome =
            settle(&job, &Backoff::default(), snoozed(Some(Duration::from_secs(asked))), NOW);
        let retry = retry.map_or(RetryHint::Backoff, |s| RetryHint::After(Duration::from_secs(s)));
        assert!(
            matches!(&outcome, Outcome::Failed { retry: it, .. } if *it == retry),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_job_is_discarded_after_too_many_refusals() {
    let outcome = Outcome::Refused { error: error(), transient: true };
    let verdict = |refused| decide(&job(spec(5), running(0, refused)), &outcome, NOW, 0.5);
    assert!(matches!(verdict(MAX_REFUSED - 1), Verdict::Release { .. }));
    assert_eq!(verdict(MAX_REFUSED), Verdict::Discard);
}

#[test]
fn every_kind_of_backoff_has_its_waits() {
    let wait_ms = |curve: Curve, n| Backoff::of(curve).wait(n, 0.5).as_millis();
    let exponential = Curve::Exponential { first_ms: 1_500, factor: 2.0 };
    let list = Curve::List { waits_ms: vec![10, 86_400_000] };
    let six_hours = MAX_BACKOFF.as_millis();
    for (curve, waits) in [
        (Curve::Polynomial, [6_000, 21_000, 86_000, six_hours]),
        (exponential, [1_500, 3_000, 6_000, six_hours]),
        (Curve::Fixed { wait_ms: 0 }, [0, 0, 0, 0]),
        (list, [10, 86_400_000, 86_400_000, 86_400_000]),
    ] {
        assert_eq!([1, 2, 3, u16::MAX].map(|n| wait_ms(curve.clone(), n)), waits, "{curve:?}");
    }
}

#[test]
fn jitter_and_maximum_of_a_backoff_are_respected() {
    let fixed = |jitter_percent, max_ms| Backoff {
        curve: Curve::Fixed { wait_ms: 1_000 },
        jitter_percent,
        max_ms,
    };
    let span = |backoff: Backoff| [0.0, 0.5, 1.0].map(|jitter| backoff.wait(1, jitter).as_millis());
    assert_eq!(span(fixed(0, None)), [1_000, 1_000, 1_000]);
    assert_eq!(span(fixed(50, None)), [500, 1_000, 1_500]);
    assert_eq!(span(fixed(100, Some(600))), [0, 600, 1_200]);
}

#[test]
fn invalid_backoffs_name_their_fields() {
    let year = 367 * 24 * 60 * 60 * 1_000;
    let named = |curve, jitter_percent, max_ms| {
        let faults = Backoff { curve, jitter_percent, max_ms }.faults();
        faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>()
    };
    assert_eq!(named(Curve::Polynomial, 101, Some(year)), ["jitter_percent", "max_ms"]);
    assert_eq!(named(Curve::Fixed { wait_ms: year }, 0, None), ["wait_ms"]);
    for factor in [0.9, 100.1, f64::NAN, f64::INFINITY] {
        let curve = Curve::Exponential { first_ms: year, factor };
        assert_eq!(named(curve, 0, None), ["first_ms", "factor"]);
    }
    for waits_ms in [vec![], vec![1; 26], vec![year]] {
        assert_eq!(named(Curve::List { waits_ms }, 0, None), ["waits_ms"]);
    }
}

#[test]
fn a_job_waits_as_its_policy_says_and_a_refusal_as_the_host_does() {
    let backoff = Backoff::of(Curve::List { waits_ms: vec![1_000, 60_000] });
    let job = job(JobSpec { backoff, ..spec(5) }, running(1, 0));
    let minute = after(NOW, Duration::from_secs(60));
    let six = after(NOW, Duration::from_secs(6));
    let refused = Outcome::Refused { error: error(), transient: true };
    for (outcome, verdict) in [
        (failed(RetryHint::Backoff), Verdict::Retry { at: minute }),
        (snoozed(None), Verdict::Snooze { at: after(NOW, Duration::from_secs(1)) }),
        (refused, Verdict::Release { at: six, refused: true }),
    ] {
        assert_eq!(decide(&job, &outcome, NOW, 0.5), verdict, "{outcome:?}");
    }
}

fn valid_backoff() -> impl Strategy<Value = Backoff> {
    let wait = || 0..=MAX_DELAY.as_millis() as u64;
    let curve = prop_oneof![
        Just(Curve::Polynomial),
        // In hundredths: JSON readers may round the last digit of longer numbers.
        (wait(), 100..=MAX_FACTOR as u32 * 100).prop_map(|(first_ms, hundredths)| {
            Curve::Exponential { first_ms, factor: f64::from(hundredths) / 100.0 }
        }),
        wait().prop_map(|wait_ms| Curve::Fixed { wait_ms }),
        prop::collection::vec(wait(), 1..=usize::from(MAX_ATTEMPTS_CAP))
            .prop_map(|waits_ms| Curve::List { waits_ms }),
    ];
    (curve, 0..=100_u8, prop::option::of(wait()))
        .prop_map(|(curve, jitter_percent, max_ms)| Backoff { curve, jitter_percent, max_ms })
}

proptest! {
    #[test]
    fn a_job_never_fails_more_often_than_it_may(max in 1..=MAX_ATTEMPTS_CAP, jitter in 0.0..=1.0) {
        let mut job = job(spec(max), Lifecycle::new(NOW));
        let mut tries = 0;
        while !job.lifecycle.state.is_finalized() {
            job.lifecycle.claim(NOW);
            tries += 1;
            let verdict = decide(&job, &failed(RetryHint::Backoff), NOW, jitter);
            job.lifecycle.finish(verdict, NOW);
        }
        prop_assert_eq!(tries, max);
    }

    #[test]
    fn a_backoff_stays_within_a_fifth_of_its_curve_and_below_its_maximum(n: u16, jitter in 0.0..=1.0) {
        let backoff = Backoff::default();
        let centre = backoff.wait(n, 0.5);
        let wait = backoff.wait(n, jitter);
        prop_assert!(wait >= centre.mul_f64(0.79) && wait <= centre.mul_f64(1.21));
        prop_assert!(centre <= MAX_BACKOFF);
        prop_assert!(backoff.wait(n.saturating_add(1), 0.5) >= centre);
    }

    #[test]
    fn every_valid_backoff_waits_at_most_twice_its_maximum_and_survives_storage(
        backoff in valid_backoff(), n in 1..=MAX_ATTEMPTS_CAP, jitter in 0.0..=1.0,
    ) {
        prop_assert_eq!(backoff.faults(), vec![]);
        let most = backoff.max_ms.map_or(MAX_DELAY, Duration::from_millis);
        prop_assert!(backoff.wait(n, 0.5) <= most);
        let percent = 100 + u32::from(backoff.jitter_percent);
        prop_assert!(backoff.wait(n, jitter) <= most * percent / 100);
        let stored = serde_json::to_string(&backoff).unwrap();
        prop_assert_eq!(serde_json::from_str::<Backoff>(&stored).unwrap(), backoff);
    }
}
