//! Every transition between the states of a job, as pure functions. Each store applies these and writes
//! the result; no store has transitions of its own.

use std::time::Duration;

use super::spec::JobSpec;
use super::state::{JobState, Phase};
use super::verdict::Verdict;
use crate::clock::{Timestamp, after};
use crate::host::HostId;

/// After how many lost attempts that count a job is discarded: it may be what takes the host down.
pub const MAX_LOST: u16 = 3;

/// For how long an attempt at a suspect delays other suspects, and after how long a loss does not
/// count by itself any more.
///
/// A job that takes its host down usually does so at once. Without an end, the long jobs that a power loss
/// interrupted would make all other suspects wait for each of them.
pub const WATCH: Duration = Duration::from_secs(10);

/// The facts about a host that lost an attempt. The attempts of a store are numbered in the order in which they
/// finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostHost {
    /// When it last showed that it lives.
    pub alive_at: Timestamp,
    /// The number of the latest attempt that it finished; 0 if there is none.
    pub finished: u64,
    /// The number of the latest attempt that any host finished.
    pub latest: u64,
}

/// The state of a job, with all facts on which transitions depend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// The stored state.
    pub state: JobState,
    /// The number of the latest attempt, 0 before the first. It only grows: it is the fencing token.
    pub attempt: u32,
    /// Attempts that count against `max_attempts`.
    pub failures: u16,
    /// Attempts that were lost with their host, as far as they [count](Self::reclaim); at [`MAX_LOST`]
    /// the job is discarded.
    pub lost: u16,
    /// How many attempts were finished in the store when one at this job was last lost; none if that
    /// was [reset](Self::reset_losses).
    pub lost_after: Option<u64>,
    /// Attempts that the host could not start.
    pub refused: u16,
    /// How often in sequence it was snoozed.
    pub snoozes: u16,
    /// When the first of these was.
    pub snoozed_since: Option<Timestamp>,
    /// When the job is, or was last, due.
    pub scheduled_at: Timestamp,
    /// Whether `scheduled_at` is a time of the wall clock that is not known to have come, see
    /// [`NewJob::on_wall`](crate::job::NewJob::on_wall). Otherwise it is one of the host's clock.
    pub on_wall: bool,
    /// When the latest attempt was claimed.
    pub attempted_at: Option<Timestamp>,
    /// The host that runs the latest attempt; none if no attempt runs.
    pub host: Option<HostId>,
    /// When the job was finalized.
    pub finalized_at: Option<Timestamp>,
    /// When the cancellation of a running job was requested.
    pub cancel_requested_at: Option<Timestamp>,
    /// Until when its first attempt must begin. While `on_wall` is set it is a time of the wall clock too.
    pub start_by: Option<Timestamp>,
    /// Until when it must be finalized, across its attempts.
    pub end_by: Option<Timestamp>,
}

/// The result of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelRequest {
    /// It was waiting and is cancelled now.
    Cancelled,
    /// It is running; this attempt is being stopped, and no later one: the job may be redriven before the
    /// attempt is notified.
    Stopping {
        /// Its number.
        attempt: u32,
    },
    /// It had been cancelled before.
    AlreadyCancelled,
    /// Too late: it is finalized in another state.
    Finalized(JobState),
}

/// The result of a redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redrive {
    /// It is due now.
    Due,
    /// It is running; there is nothing to retry.
    Running,
}

impl Lifecycle {
    /// A job that was just accepted and is due at `scheduled_at`.
    #[must_use]
    pub fn new(scheduled_at: Timestamp) -> Self {
        Self {
            state: JobState::Available,
            attempt: 0,
            failures: 0,
            lost: 0,
            lost_after: None,
            refused: 0,
            snoozes: 0,
            snoozed_since: None,
            scheduled_at,
            on_wall: false,
            attempted_at: None,
            host: None,
            finalized_at: None,
            cancel_requested_at: None,
            start_by: None,
            end_by: None,
        }
    }

    /// A job with this specification that was accepted at `now` and is due at `scheduled_at`, which is a time of
    /// the wall clock if `on_wall`.
    #[must_use]
    pub fn accepted(
        spec: &JobSpec,
        now: Timestamp,
        scheduled_at: Timestamp,
        on_wall: bool,
    ) -> Self {
        let later = |from, ms: Option<u64>| ms.map(|ms| after(from, Duration::from_millis(ms)));
        Self {
            on_wall,
            start_by: later(scheduled_at, spec.ttl_ms),
            end_by: later(now, spec.deadline_ms),
            ..Self::new(scheduled_at)
        }
    }

    /// The state as clients see it, at `now`.
    #[must_use]
    pub fn phase(&self, now: Timestamp) -> Phase {
        match self.state {
            JobState::Available if self.is_due(now) => Phase::Available,
            JobState::Available if self.attempt == 0 || self.snoozes > 0 => Phase::Scheduled,
            JobState::Available => Phase::Retryable,
            JobState::Running => Phase::Running,
            JobState::Completed => Phase::Completed,
            JobState::Discarded => Phase::Discarded,
            JobState::Cancelled => Phase::Cancelled,
            JobState::Expired => Phase::Expired,
        }
    }

    /// Whether a waiting job is known to be due at `now`.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        !self.on_wall && self.scheduled_at <= now
    }

    /// Notes that the time of a waiting job came some time ago, `late`: it is due from now on, wherever the wall
    /// clock is set, and its time to live has begun.
    pub fn falls_due(&mut self, now: Timestamp, late: Duration) {
        if self.on_wall {
            // By the host's clock from now on.
            self.live_from(now.checked_sub(late).unwrap_or(Timestamp::MIN));
        }
        (self.scheduled_at, self.on_wall) = (self.scheduled_at.min(now), false);
    }

    /// Whether a lost attempt counts, so that this job may be what took its host down. Suspects are
    /// tried one at a time: of two, the cause could not be determined.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.lost > 0
    }

    /// Whether the next loss discards it: it is then tried with no other attempt in flight on its host, so
    /// that no other can be the cause.
    #[must_use]
    pub fn runs_alone(&self) -> bool {
        self.lost + 1 >= MAX_LOST
    }

    /// Whether it is a suspect whose running attempt is still watched, see [`WATCH`].
    #[must_use]
    pub fn is_watched(&self, now: Timestamp) -> bool {
        // In both directions: a clock that was set back must not delay others until it reaches its
        // earlier time.
        let near = |began| now < after(began, WATCH) && began < after(now, WATCH);
        self.state == JobState::Running && self.is_suspect() && self.attempted_at.is_some_and(near)
    }

    /// Begins the next attempt, on `host`.
    pub fn claim_on(&mut self, host: HostId, now: Timestamp) {
        self.claim(now);
        self.host = Some(host);
    }

    /// Begins the next attempt, without a host.
    pub fn claim(&mut self, now: Timestamp) {
        debug_assert_eq!(self.state, JobState::Available, "only a waiting job is claimed");
        self.state = JobState::Running;
        self.attempt += 1;
        self.attempted_at = Some(now);
        self.on_wall = false;
    }

    /// Ends the running attempt as `verdict` says; a request to cancel turns a verdict that would
    /// lead to another attempt into a cancellation.
    pub fn finish(&mut self, verdict: Verdict, now: Timestamp) {
        debug_assert_eq!(self.state, JobState::Running, "only a running job is finished");
        match verdict {
            Verdict::Complete => self.finalize(JobState::Completed, now),
            Verdict::Discard => {
                self.failures += 1;
                self.finalize(JobState::Discarded, now);
            }
            Verdict::Cancel => self.finalize(JobState::Cancelled, now),
            Verdict::Retry { .. } | Verdict::Snooze { .. } | Verdict::Release { .. }
                if self.cancel_requested_at.is_some() =>
            {
                self.finalize(JobState::Cancelled, now);
            }
            Verdict::Retry { at } => {
                self.failures += 1;
                (self.snoozes, self.snoozed_since) = (0, None);
                // It ran to its end, and the host lives.
                self.reset_losses();
                self.try_again(at, now);
            }
            Verdict::Snooze { at } => {
                self.snoozes += 1;
                self.snoozed_since.get_or_insert(now);
                self.reset_losses();
                self.try_again(at, now);
            }
            Verdict::Release { at, refused } => {
                self.refused += u16::from(refused);
                self.wait_until(at);
            }
        }
    }

    /// Takes the job back from an attempt whose host is gone.
    ///
    /// The loss counts if the host died within [`WATCH`] of the attempt's start; or if an attempt was
    /// lost before and the host has finished no other attempt since: then this job may be what takes hosts
    /// down, however long that takes.
    pub fn reclaim(&mut self, host: LostHost, now: Timestamp) {
        debug_assert_eq!(self.state, JobState::Running, "only a running job is reclaimed");
        let at_once = self.attempted_at.is_none_or(|began| host.alive_at < after(began, WATCH));
        let idle_since = |loss: u64| host.finished <= loss;
        self.lost += u16::from(at_once || self.lost_after.is_some_and(idle_since));
        (self.lost_after, self.host) = (Some(host.latest), None);
        if self.cancel_requested_at.is_some() {
            self.finalize(JobState::Cancelled, now);
        } else if self.lost >= MAX_LOST {
            self.finalize(JobState::Discarded, now);
        } else {
            // It keeps its place in the queue.
            self.state = JobState::Available;
        }
    }

    /// Forgets lost attempts, because one got further: it saved progress or ran to its end. Returns whether
    /// there were any.
    pub fn reset_losses(&mut self) -> bool {
        let lost = (self.lost, self.lost_after);
        (self.lost, self.lost_after) = (0, None);
        lost != (0, None)
    }

    /// Cancels a waiting job, or asks the attempt of a running one to stop.
    pub fn request_cancel(&mut self, now: Timestamp) -> CancelRequest {
        let answer = self.on_cancel();
        match answer {
            CancelRequest::Cancelled => self.finalize(JobState::Cancelled, now),
            CancelRequest::Stopping { .. } => drop(self.cancel_requested_at.get_or_insert(now)),
            CancelRequest::AlreadyCancelled | CancelRequest::Finalized(_) => {}
        }
        answer
    }

    fn on_cancel(&self) -> CancelRequest {
        match self.state {
            JobState::Available => CancelRequest::Cancelled,
            JobState::Running => CancelRequest::Stopping { attempt: self.attempt },
            JobState::Cancelled => CancelRequest::AlreadyCancelled,
            JobState::Completed | JobState::Discarded | JobState::Expired => {
                CancelRequest::Finalized(self.state)
            }
        }
    }

    /// The answer to a request to cancel, if it has nothing to change: the job is over, or its attempt was
    /// asked to stop before.
    #[must_use]
    pub fn settled_cancel(&self) -> Option<CancelRequest> {
        let answer = self.on_cancel();
        let is_settled = match answer {
            CancelRequest::Cancelled => false,
            CancelRequest::Stopping { .. } => self.cancel_requested_at.is_some(),
            CancelRequest::AlreadyCancelled | CancelRequest::Finalized(_) => true,
        };
        is_settled.then_some(answer)
    }

    /// Makes a job due now: a waiting one at once, a finalized one again, with all its attempts
    /// before it. One that was due keeps its place.
    pub fn redrive(&mut self, now: Timestamp) -> Redrive {
        if let Some(settled) = self.settled_redrive(now) {
            return settled;
        }
        if self.state.is_finalized() {
            (self.failures, self.refused) = (0, 0);
            (self.snoozes, self.snoozed_since) = (0, None);
            self.reset_losses();
            (self.finalized_at, self.cancel_requested_at) = (None, None);
            // They were bounds on what was submitted, not on what a person asks for later.
            (self.start_by, self.end_by) = (None, None);
        }
        self.live_from(now);
        self.wait_until(now);
        Redrive::Due
    }

    /// The answer to a redrive at `now`, if it has nothing to change: the job runs, or is due.
    #[must_use]
    pub fn settled_redrive(&self, now: Timestamp) -> Option<Redrive> {
        match self.state {
            JobState::Running => Some(Redrive::Running),
            JobState::Available => self.is_due(now).then_some(Redrive::Due),
            JobState::Completed | JobState::Discarded | JobState::Cancelled | JobState::Expired => {
                None
            }
        }
    }

    /// How many more attempts can begin if this one and all that follow fail.
    #[must_use]
    pub fn attempts_left(&self, max_attempts: u16) -> u16 {
        match self.state {
            JobState::Available => max_attempts.saturating_sub(self.failures),
            JobState::Running => max_attempts.saturating_sub(self.failures.saturating_add(1)),
            JobState::Completed | JobState::Discarded | JobState::Cancelled | JobState::Expired => {
                0
            }
        }
    }

    pub(super) fn wait_until(&mut self, at: Timestamp) {
        (self.state, self.host) = (JobState::Available, None);
        // Times that the host chooses are those of its own clock.
        (self.scheduled_at, self.on_wall) = (at, false);
    }

    pub(super) fn finalize(&mut self, state: JobState, now: Timestamp) {
        (self.state, self.host) = (state, None);
        self.finalized_at = Some(now);
    }
}

#[cfg(test)]
mod tests;
