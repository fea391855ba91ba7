use proptest::prelude::*;

use super::*;
use crate::limits::Limits;
use crate::outcome::{AttemptError, Output};
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
        output_type: None,
    }
}

fn running(failures: u16, refused: u16) -> Lifecycle {
    let mut lifecycle = Lifecycle::new(NOW);
    lifecycle.claim(NOW);
    Lifecycle { failures, refused, ..lifecycle }
}

fn error() -> AttemptError {
    AttemptError::new("x", "y")
}

fn failed(retry: RetryHint) -> Outcome {
    Outcome::Failed { error: error(), retry }
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
        assert_eq!(decide(&spec(5), &running(0, 0), &outcome, NOW, 0.5), verdict, "{outcome:?}");
    }
}

#[test]
fn a_plugin_may_have_other_endings_tried_again() {
    let spec = JobSpec { retry: [Cause::Fuel].into_iter().collect(), ..spec(5) };
    let decide = |outcome| decide(&spec, &running(0, 0), &outcome, NOW, 0.5);
    assert!(matches!(decide(reached(Limit::Fuel)), Verdict::Retry { .. }));
    assert_eq!(decide(failed(RetryHint::Backoff)), Verdict::Discard);
}

#[test]
fn a_guest_can_ask_for_a_longer_wait_but_not_for_ever() {
    let wait = |hint| match decide(&spec(5), &running(0, 0), &failed(hint), NOW, 0.5) {
        Verdict::Retry { at } => crate::clock::until(NOW, at),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(RetryHint::After(Duration::from_secs(100))), Duration::from_secs(100));
    assert_eq!(wait(RetryHint::After(Duration::ZERO)), Duration::from_secs(6));
    assert_eq!(wait(RetryHint::After(Duration::MAX)), MAX_BACKOFF);
}

#[test]
fn a_host_that_keeps_refusing_discards_in_the_end() {
    let outcome = Outcome::Refused { error: error(), transient: true };
    let verdict = |refused| decide(&spec(5), &running(0, refused), &outcome, NOW, 0.5);
    assert!(matches!(verdict(MAX_REFUSED - 1), Verdict::Release { .. }));
    assert_eq!(verdict(MAX_REFUSED), Verdict::Discard);
}

proptest! {
    #[test]
    fn a_job_never_fails_more_often_than_it_may(max in 1..=MAX_ATTEMPTS_CAP, jitter in 0.0..=1.0) {
        let mut lifecycle = Lifecycle::new(NOW);
        let mut tries = 0;
        while !lifecycle.state.is_finalized() {
            lifecycle.claim(NOW);
            tries += 1;
            let verdict = decide(&spec(max), &lifecycle, &failed(RetryHint::Backoff), NOW, jitter);
            lifecycle.finish(verdict, NOW);
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
