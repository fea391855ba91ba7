use super::*;
use crate::job::time_bounds::TimeBound;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// A host that died at this second, after so many finished attempts as there were seconds.
fn died(second: i64) -> LostHost {
    let finished = second.unsigned_abs();
    LostHost { alive_at: at(second), finished, latest: finished }
}

fn running() -> Lifecycle {
    let mut job = Lifecycle::new(at(0));
    job.claim(at(1));
    job
}

#[test]
fn the_phase_of_a_waiting_job_depends_on_time_alone() {
    let mut job = Lifecycle::new(at(10));
    assert_eq!(job.phase(at(9)), Phase::Scheduled);
    assert_eq!(job.phase(at(10)), Phase::Available);
    job.claim(at(10));
    job.finish(Verdict::Retry { at: at(20) }, at(11));
    assert_eq!(job.phase(at(19)), Phase::Retryable);
    assert_eq!(job.phase(at(20)), Phase::Available);
}

#[test]
fn a_snooze_is_not_counted_and_its_job_shows_as_scheduled() {
    let mut job = running();
    job.finish(Verdict::Snooze { at: at(9) }, at(2));
    assert_eq!((job.attempt, job.failures, job.snoozes), (1, 0, 1));
    assert_eq!((job.phase(at(8)), job.phase(at(9))), (Phase::Scheduled, Phase::Available));
    job.claim(at(9));
    job.finish(Verdict::Snooze { at: at(12) }, at(10));
    assert_eq!((job.attempt, job.snoozes, job.snoozed_since), (2, 2, Some(at(2))));
    job.claim(at(12));
    job.finish(Verdict::Release { at: at(13), refused: false }, at(13));
    assert_eq!(job.snoozes, 2, "a release does not end the sequence");
    job.claim(at(13));
    job.finish(Verdict::Retry { at: at(20) }, at(14));
    assert_eq!((job.snoozes, job.snoozed_since), (0, None), "a failure ends it");
    assert_eq!(job.phase(at(19)), Phase::Retryable);
}

#[test]
fn the_attempts_that_are_left_follow_from_failures_and_not_from_the_attempt_number() {
    let mut job = running();
    assert_eq!(job.attempts_left(2), 1);
    job.finish(Verdict::Release { at: at(2), refused: false }, at(2));
    assert_eq!(job.attempts_left(2), 2);
    job.claim(at(2));
    assert_eq!((job.attempt, job.attempts_left(2)), (2, 1));
    job.finish(Verdict::Retry { at: at(3) }, at(3));
    job.claim(at(3));
    assert_eq!((job.attempt, job.attempts_left(2)), (3, 0));
    job.finish(Verdict::Discard, at(4));
    assert_eq!(job.attempts_left(2), 0);
    job.redrive(at(5));
    job.claim(at(5));
    assert_eq!((job.attempt, job.attempts_left(2)), (4, 1));
}

#[test]
fn a_release_is_not_counted_and_a_retry_is() {
    let mut job = running();
    job.finish(Verdict::Release { at: at(2), refused: false }, at(2));
    assert_eq!((job.attempt, job.failures, job.refused), (1, 0, 0));
    job.claim(at(2));
    job.finish(Verdict::Retry { at: at(3) }, at(3));
    assert_eq!((job.attempt, job.failures), (2, 1));
}

#[test]
fn a_cancel_request_turns_a_retry_a_release_and_a_reclaim_into_cancelled() {
    for verdict in [
        Some(Verdict::Retry { at: at(9) }),
        Some(Verdict::Snooze { at: at(9) }),
        Some(Verdict::Release { at: at(9), refused: true }),
        None,
    ] {
        let mut job = running();
        assert_eq!(job.request_cancel(at(2)), CancelRequest::Stopping { attempt: 1 });
        match verdict {
            Some(verdict) => job.finish(verdict, at(3)),
            None => job.reclaim(died(3), at(3)),
        }
        assert_eq!(job.state, JobState::Cancelled, "{verdict:?}");
    }
}

#[test]
fn a_success_takes_precedence_over_an_earlier_cancel_request() {
    let mut job = running();
    job.request_cancel(at(2));
    job.finish(Verdict::Complete, at(3));
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(job.request_cancel(at(4)), CancelRequest::Finalized(JobState::Completed));
}

#[test]
fn the_third_loss_discards() {
    let mut job = running();
    assert!(!job.is_suspect());
    for loss in 1..MAX_LOST {
        job.reclaim(died(5), at(5));
        assert_eq!((job.state, job.is_suspect()), (JobState::Available, true));
        assert_eq!(job.runs_alone(), loss + 1 == MAX_LOST);
        job.claim(at(6));
        assert!(job.is_watched(at(6)) && !job.is_watched(after(at(6), WATCH)));
        assert!(!job.is_watched(at(-100)), "the clock was set back");
    }
    job.reclaim(died(7), at(7));
    assert_eq!((job.state, job.finalized_at), (JobState::Discarded, Some(at(7))));
}

/// Begins an attempt 1 s after the host starts, and loses it after `ran` seconds.
fn lose(job: &mut Lifecycle, ran: i64, finished: u64) {
    job.state = JobState::Available;
    job.claim(at(1));
    job.reclaim(LostHost { alive_at: at(1 + ran), finished, latest: finished }, at(100));
}

#[test]
fn a_loss_counts_if_the_attempt_had_just_begun() {
    for (ran, counts) in [(0, true), (9, true), (10, false), (25, false)] {
        let mut job = Lifecycle::new(at(0));
        lose(&mut job, ran, 7);
        assert_eq!(job.is_suspect(), counts, "after {ran} s");
    }
}

#[test]
fn a_later_loss_counts_if_no_other_attempt_was_finished_since_the_one_before() {
    let mut job = Lifecycle::new(at(0));
    lose(&mut job, 25, 7);
    lose(&mut job, 25, 8);
    assert_eq!(job.lost, 0, "the host had other work done meanwhile");
    lose(&mut job, 25, 8);
    assert_eq!(job.lost, 1);
    lose(&mut job, 25, 8);
    lose(&mut job, 25, 8);
    assert_eq!(job.state, JobState::Discarded);
}

#[test]
fn what_another_host_finished_does_not_clear_a_job_of_the_loss_of_its_host() {
    let mut job = Lifecycle::new(at(0));
    lose(&mut job, 25, 7);
    job.claim(at(100));
    job.reclaim(LostHost { alive_at: at(125), finished: 7, latest: 9 }, at(200));
    assert_eq!((job.lost, job.lost_after), (1, Some(9)), "its host finished nothing since");
    job.claim(at(200));
    job.reclaim(LostHost { alive_at: at(225), finished: 10, latest: 10 }, at(300));
    assert_eq!(job.lost, 1, "its host finished an attempt since");
}

#[test]
fn a_job_has_a_host_while_an_attempt_at_it_runs() {
    let host = HostId::from_random([7; 16]);
    let waits = Lifecycle::new(at(0));
    let mut runs = waits.clone();
    runs.claim_on(host, at(1));
    assert_eq!((waits.host, runs.host), (None, Some(host)));
    runs.request_cancel(at(2));
    assert_eq!(runs.host, Some(host), "it stops");
    let mut lost = runs.clone();
    lost.reclaim(died(3), at(3));
    let release = Verdict::Release { at: at(9), refused: false };
    for verdict in [Verdict::Complete, Verdict::Discard, Verdict::Retry { at: at(9) }, release] {
        let mut ended = Lifecycle { cancel_requested_at: None, ..runs.clone() };
        ended.finish(verdict, at(3));
        assert_eq!((ended.host, lost.host), (None, None), "{verdict:?}");
    }
}

#[test]
fn progress_and_an_ordinary_failure_reset_the_count_of_losses() {
    let mut job = Lifecycle::new(at(0));
    lose(&mut job, 0, 1);
    assert!(job.reset_losses() && !job.reset_losses());
    lose(&mut job, 25, 1);
    assert_eq!(job.lost, 0, "as if none was lost before");
    lose(&mut job, 0, 1);
    job.claim(at(1));
    job.finish(Verdict::Release { at: at(9), refused: true }, at(2));
    assert_eq!(job.lost, 1, "it did not run");
    job.claim(at(9));
    job.finish(Verdict::Retry { at: at(20) }, at(10));
    assert_eq!((job.lost, job.lost_after), (0, None));
}

#[test]
fn a_redriven_job_starts_with_a_clean_count_but_never_reuses_an_attempt_number() {
    let mut job = running();
    job.finish(Verdict::Discard, at(2));
    assert_eq!(job.redrive(at(3)), Redrive::Due);
    assert_eq!((job.state, job.failures, job.finalized_at), (JobState::Available, 0, None));
    job.claim(at(4));
    assert_eq!(job.attempt, 2);
    assert_eq!(job.redrive(at(5)), Redrive::Running);
}

#[test]
fn a_settled_request_is_exactly_one_that_changes_nothing() {
    let mut waiting = Lifecycle::new(at(5));
    let mut states = vec![waiting.clone()];
    waiting.claim(at(5));
    states.push(waiting.clone());
    waiting.request_cancel(at(6));
    states.push(waiting.clone());
    for verdict in [Verdict::Complete, Verdict::Discard, Verdict::Cancel] {
        let mut over = waiting.clone();
        over.finish(verdict, at(7));
        states.push(over);
    }
    for before in states {
        for now in [at(4), at(5), at(9)] {
            let (mut cancelled, mut redriven) = (before.clone(), before.clone());
            let answer = cancelled.request_cancel(now);
            let unchanged = (cancelled == before).then_some(answer);
            assert_eq!(before.settled_cancel(), unchanged, "{before:?}");
            let answer = redriven.redrive(now);
            let unchanged = (redriven == before).then_some(answer);
            assert_eq!(before.settled_redrive(now), unchanged, "{before:?} at {now}");
        }
    }
}

/// A job that waits since 0 and is due at 10, with bounds at 20 and 30.
fn bounded() -> Lifecycle {
    Lifecycle { start_by: Some(at(20)), end_by: Some(at(30)), ..Lifecycle::new(at(10)) }
}

#[test]
fn a_waiting_job_expires_by_its_time_to_live_until_it_is_tried() {
    let mut job = bounded();
    assert_eq!(job.expires_at(), Some(at(20)));
    job.claim(at(19));
    assert_eq!(job.expires_at(), None, "it runs");
    job.finish(Verdict::Retry { at: at(25) }, at(21));
    assert_eq!(job.expires_at(), Some(at(30)));
    let deadline_first = Lifecycle { end_by: Some(at(15)), ..bounded() };
    assert_eq!(deadline_first.expires_at(), Some(at(15)));
    assert_eq!(Lifecycle::new(at(10)).expires_at(), None);
}

#[test]
fn a_job_without_an_attempt_expires_and_another_one_is_discarded() {
    let mut untried = bounded();
    untried.expire(at(20));
    assert_eq!((untried.state, untried.finalized_at), (JobState::Expired, Some(at(20))));
    assert_eq!(untried.ended_by(), Some(TimeBound::Ttl));
    let mut late = Lifecycle { start_by: Some(at(40)), ..bounded() };
    late.expire(at(30));
    assert_eq!((late.state, late.ended_by()), (JobState::Expired, Some(TimeBound::Deadline)));
    let mut tried = bounded();
    tried.claim(at(11));
    tried.finish(Verdict::Release { at: at(12), refused: true }, at(12));
    tried.expire(at(30));
    assert_eq!((tried.state, tried.ended_by()), (JobState::Discarded, Some(TimeBound::Deadline)));
}

#[test]
fn a_wait_that_would_reach_the_deadline_ends_the_job() {
    for (wait, state) in [(29, JobState::Available), (30, JobState::Discarded)] {
        for verdict in [Verdict::Retry { at: at(wait) }, Verdict::Snooze { at: at(wait) }] {
            let mut job = bounded();
            job.claim(at(11));
            job.finish(verdict, at(12));
            assert_eq!(job.state, state, "{verdict:?}");
        }
    }
    let mut job = bounded();
    job.claim(at(11));
    job.finish(Verdict::Discard, at(12));
    assert_eq!(job.ended_by(), None, "it failed before its deadline");
    let mut job = bounded();
    job.claim(at(11));
    job.finish(Verdict::Discard, at(31));
    assert_eq!(job.ended_by(), None, "it failed for good, if late");
}

#[test]
fn a_time_to_live_begins_when_the_job_falls_due_wherever_the_wall_clock_is() {
    for now in [5, 10, 500] {
        let mut job = Lifecycle { on_wall: true, ..bounded() };
        assert_eq!(job.expires_at(), Some(at(30)), "the deadline alone");
        let late = Duration::from_secs(3);
        job.falls_due(at(now), late);
        assert_eq!(job.start_by, Some(at(now + 7)));
        job.falls_due(at(now + 1), late);
        assert_eq!(job.start_by, Some(at(now + 7)), "once");
    }
}

#[test]
fn a_manual_retry_keeps_the_bounds_of_a_waiting_job_and_drops_those_of_a_finalized_one() {
    let mut job = bounded();
    job.redrive(at(5));
    assert_eq!((job.start_by, job.end_by), (Some(at(15)), Some(at(30))));
    job.expire(at(15));
    job.redrive(at(16));
    assert_eq!((job.state, job.expires_at()), (JobState::Available, None));
}
