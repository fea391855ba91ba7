use proptest::prelude::*;

use std::sync::Arc;
use std::time::Duration;

use super::backoff::backoff;
use super::snooze::DAY_SECONDS;
use super::*;
use crate::clock::{Timestamp, after, until};
use crate::job::{Job, JobId, JobSpec, Lifecycle, MAX_DELAY, Verdict};
use crate::limits::Limit;
use crate::limits::Limits;
use crate::outcome::{AttemptError, Output};
use crate::outcome::{Outcome, RetryHint};
use crate::tenant::TenantName;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn spec(max_attempts: u16) -> JobSpec {
    JobSpec {
        tenant: TenantName::default(),
        plugin: "p".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        digest: crate::plugin::Digest::of(b""),
        queue: crate::job::QueueName::default(),
        priority: crate::job::Priority::default(),
        max_attempts,
        limits: Limits::DEFAULT,
        retry: RetryPolicy::default(),
        entrypoint: None,
        args: vec![],
        env: std::collections::BTreeMap::new(),
        tags: vec![],
        deterministic: false,
        deterministic_by_grant: false,
        output_type: None,
        inject_env: true,
        exit_codes: Default::default(),
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
            let outcome = settle(&job.lifecycle, outcome, NOW);
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
    let settled = |job: Lifecycle, now| settle(&job, snoozed(Some(Duration::ZERO)), now);
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
        let outcome = settle(&job.lifecycle, snoozed(Some(Duration::ZERO)), now);
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
        let outcome = settle(&job, snoozed(Some(Duration::from_secs(asked))), NOW);
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
        let centre = backoff(n, 0.5);
        let wait = backoff(n, jitter);
        prop_assert!(wait >= centre.mul_f64(0.79) && wait <= centre.mul_f64(1.21));
        prop_assert!(centre <= MAX_BACKOFF);
        prop_assert!(backoff(n.saturating_add(1), 0.5) >= centre);
    }
}
