//! Leases of running jobs, and the transitions that clients ask for.

use super::entry::{Home, Standing};
use super::index::Queue;
use crate::attempt::Lease;
use crate::clock::Timestamp;
use crate::host::HostId;
use crate::job::id::JobId;
use crate::job::lifecycle::{CancelRequest, Lifecycle, Redrive};
use crate::job::state::JobState;
use crate::job::verdict::Verdict;

/// The result of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease is extended.
    Extended,
    /// The lease is extended, and cancellation of the job was requested.
    CancelRequested,
    /// The lease was lost.
    LeaseLost,
}

impl Queue {
    /// Renews a lease.
    pub fn renew(&mut self, lease: &Lease, expires_at: Timestamp, now: Timestamp) -> Renewal {
        self.pass_time(now);
        if !self.holds_lease(lease) {
            return Renewal::LeaseLost;
        }
        self.hosts.lives(lease.host, now);
        let cancelled = self.change(lease.job, |slot| {
            slot.expires_at = expires_at;
            slot.entry.lifecycle.cancel_requested_at.is_some()
        });
        match cancelled {
            Some(true) => Renewal::CancelRequested,
            Some(false) => Renewal::Extended,
            None => Renewal::LeaseLost,
        }
    }

    /// Ends the attempt of `lease`; `None` if the lease was lost.
    pub fn finish(&mut self, lease: &Lease, verdict: Verdict, now: Timestamp) -> Option<Standing> {
        if !self.holds_lease(lease) {
            return None;
        }
        self.hosts.lives(lease.host, now);
        if !matches!(verdict, Verdict::Release { .. }) {
            self.finished += 1;
            self.hosts.finishes(lease.host, self.finished);
        }
        self.transition(lease.job, now, |lifecycle| lifecycle.finish(verdict, now)).map(|it| it.1)
    }

    /// Forgives the lost attempts at the job of `lease`, because this one saved its progress.
    pub fn reset_losses(&mut self, lease: &Lease) {
        let lost = |lifecycle: &Lifecycle| lifecycle.clone().reset_losses();
        if self.holds_lease(lease) && self.lifecycle(lease.job).is_some_and(lost) {
            self.change(lease.job, |slot| slot.entry.lifecycle.reset_losses());
        }
    }

    /// Cancels an unfinished job or asks its attempt to stop; `None` if there is no such job.
    pub fn request_cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> Option<(CancelRequest, Standing)> {
        self.transition(id, now, |lifecycle| lifecycle.request_cancel(now))
    }

    /// Makes a waiting job due; `None` if there is no such unfinished job.
    pub fn redrive(&mut self, id: JobId, now: Timestamp) -> Option<(Redrive, Standing)> {
        self.transition(id, now, |lifecycle| lifecycle.redrive(now))
    }

    /// At most `most` running jobs whose lease has expired.
    #[must_use]
    pub fn expired(&self, now: Timestamp, most: usize) -> Vec<JobId> {
        let expired = self.running.iter().take_while(|(at, _)| *at <= now);
        expired.take(most).map(|(_, id)| *id).collect()
    }

    /// At most `most` waiting jobs whose time is over.
    #[must_use]
    pub fn over(&self, most: usize) -> Vec<JobId> {
        let over = self.ends.iter().take_while(|(at, _)| *at <= self.clocks.now);
        over.take(most).map(|(_, id)| *id).collect()
    }

    /// Whether the time of a waiting job is over.
    #[must_use]
    pub fn has_over(&self) -> bool {
        self.ends.first().is_some_and(|(at, _)| *at <= self.clocks.now)
    }

    /// When the next waiting job becomes due, or its time is over.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        let next_end = self.ends.first().map(|(at, _)| *at);
        self.next_due().into_iter().chain(next_end).min()
    }

    /// Ends a waiting job whose time is over.
    pub fn expire(&mut self, id: JobId, now: Timestamp) -> Option<Standing> {
        self.transition(id, now, |lifecycle| lifecycle.expire(now)).map(|it| it.1)
    }

    /// Notes that a host lives.
    pub fn alive(&mut self, host: HostId, now: Timestamp) {
        self.hosts.lives(host, now);
    }

    /// Reclaims a running job from a dead host.
    pub fn reclaim(&mut self, id: JobId, now: Timestamp) -> Option<Standing> {
        let slot = self.slots.get(&id).filter(|slot| slot.home() == Some(Home::Running))?;
        let host = self.hosts.lost(slot.host(), self.finished);
        self.transition(id, now, |lifecycle| lifecycle.reclaim(host, now)).map(|it| it.1)
    }

    /// Whether `lease` is valid: its attempt is the one that runs, on its host.
    #[must_use]
    pub fn holds_lease(&self, lease: &Lease) -> bool {
        self.lifecycle(lease.job).is_some_and(|lifecycle| {
            lifecycle.state == JobState::Running
                && lifecycle.attempt == lease.attempt
                && lifecycle.host == Some(lease.host)
        })
    }
}
