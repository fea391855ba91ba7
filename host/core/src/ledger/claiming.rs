//! How attempts begin, and how their leases are extended.

use super::rows::{RowChange, Rows};
use super::state::Ledger;
use crate::attempt::Lease;
use crate::change::Transition;
use crate::clock::Timestamp;
use crate::host::HostId;
use crate::store::{Claim, Claimed, Renewal};

/// How many jobs a claim ends whose time is over: it bounds how long others wait for it.
const MOST_EXPIRED: usize = 500;

impl<R: Rows> Ledger<R> {
    /// See [`JobStore::claim`](crate::store::JobStore::claim).
    ///
    /// # Errors
    /// As the rows.
    pub fn claim(&mut self, want: &Claim, now: Timestamp) -> Result<Claimed, R::Error> {
        self.pass_time(now);
        // Before others expire, so that a lane whose jobs succeed each other keeps its turn.
        self.queue.read_clocks(now, want.wall);
        self.expire(MOST_EXPIRED)?;
        if self.queue.has_over() {
            return Ok(Claimed { leased: vec![], next_due: Some(now), more: true });
        }
        let leases = self.queue.claim(want, now);
        let mut leased = Vec::with_capacity(leases.len());
        for lease in leases {
            let Some(standing) = self.queue.standing(lease.job) else { continue };
            let position = self.change(lease.job, &standing, Transition::Started);
            let change = RowChange::new(standing.row, lease.job, position, &standing.lifecycle);
            self.rows.write(&change)?;
            match self.rows.leased(standing.row, lease)? {
                Ok(mut found) => {
                    found.job.lifecycle = standing.lifecycle;
                    leased.push(found);
                }
                Err(unreadable) => self.give_up(&lease, &unreadable, now)?,
            }
        }
        Ok(Claimed { leased, next_due: self.queue.next_event(), more: self.queue.has_due() })
    }

    /// Writes that jobs are due whose time came by the wall clock, wherever that is set afterwards.
    pub(super) fn write_fallen_due(&mut self) -> Result<(), R::Error> {
        for id in self.queue.take_fallen_due() {
            if let Some(standing) = self.queue.standing(id) {
                let position = self.position;
                let change = RowChange::new(standing.row, id, position, &standing.lifecycle);
                self.rows.write(&change)?;
            }
        }
        Ok(())
    }

    /// See [`JobStore::alive`](crate::store::JobStore::alive).
    pub fn alive(&mut self, host: HostId, now: Timestamp) {
        self.pass_time(now);
        self.queue.alive(host, now);
    }

    /// See [`JobStore::renew`](crate::store::JobStore::renew).
    pub fn renew(
        &mut self,
        leases: &[Lease],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Vec<Renewal> {
        self.pass_time(now);
        leases.iter().map(|lease| self.queue.renew(lease, expires_at, now)).collect()
    }
}
