//! The order of claims: which of the jobs that are due begins next.
//!
//! [`pick`] is a pure function over the heads of eligible lanes; a driver brings these, and applies what was
//! picked with [`begin`]. Nothing here knows where lanes are kept: the index in memory and a database make the
//! same decisions.
//!
//! | module | owns |
//! |---|---|
//! | [`view`] | the facts that a pick sees |
//! | [`due`] | the facts of a job that is due |
//! | [`place`] | the order of the jobs of one lane: head starts |
//! | [`share`], [`room`] | what a tenant or a lane uses, and its turn |
//! | [`reserve`] | what large shares leave free |
//! | [`suspects`] | jobs that may be what took their host down |
//!
//! The tenant with the fewest attempts in flight is served, and of these the one that was served longest ago.
//! Of its lanes, the one with the fewest attempts in flight is served, and of these the one that was served
//! longest ago: so lanes alternate also where one attempt runs at a time. Within a lane, jobs go by their
//! [sort key](place::Place).
//!
//! # From a database
//!
//! A driver loads at most [`MOST_LANES`] heads, with the shares as the host that claims sees them: the tenants
//! below their limits by [`Turn`], of each the lanes that are not paused, by [`LaneTurn`], and of each lane its
//! first job of each [`Trust`]. It picks as often as it has free slots, and after each pick applies [`begin`] to
//! its copy of the shares, replaces the head by the next job of the lane, and sorts both again. A view that was
//! full and gave [`Pick::Nothing`] tells nothing of the lanes beyond it.

pub mod due;
pub mod place;
pub mod reserve;
pub mod room;
pub mod share;
pub mod suspects;
pub mod view;

use std::time::Duration;

pub use self::due::{Due, Trust};
pub use self::place::Place;
pub use self::reserve::Reserve;
pub use self::room::Room;
pub use self::share::{LaneTurn, Share, Shares, Turn};
pub use self::suspects::InFlight;
pub use self::view::{Head, Tenant, View, Want};

use crate::clock::{Timestamp, until};

#[cfg(test)]
mod tests;

/// The maximum number of lanes of a tenant that a pick examines, and of all tenants that it passes over because
/// their first job needs more memory than is free.
///
/// It bounds what a pick costs when many do not fit. Of lanes that may not begin for another reason there are fewer: each has a large part of what runs.
pub const MOST_LANES: usize = 64;

/// How long jobs of other lanes may start before a job that needs more memory than is free; after that they
/// wait for it. As long as most jobs take. Jobs of its own lane wait at once.
pub const MEMORY_PATIENCE: Duration = Duration::from_secs(60);

/// The decision of a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// This job begins.
    Begin(Due),
    /// This job begins as soon as there is room for it, and until then no other.
    Await(Due),
    /// No job of the view may begin.
    Nothing,
}

/// The job that begins next.
///
/// It examines lanes in the order of the view and stops at the first whose job may begin, so the best view is
/// an iterator that looks lanes up.
pub fn pick<'a, L>(
    view: View<impl IntoIterator<Item = Tenant<L>>>,
    want: &Want<'_>,
    now: Timestamp,
) -> Pick
where
    L: IntoIterator<Item = Head<'a>>,
{
    let (in_flight, mut misfits) = (view.in_flight, 0);
    if in_flight == InFlight::WatchedAlone {
        return Pick::Nothing;
    }
    for tenant in view.tenants {
        let Some(offer) = want.offer(now).to(&tenant.share, tenant.limit) else { continue };
        let may_start =
            |head: &Head<'_>| !head.is_held && in_flight.admits(&head.due, want.idle, now);
        // Lanes whose first job does not fit: none behind it begins.
        let mut passed = Vec::new();
        for head in tenant.lanes.into_iter().filter(may_start).take(MOST_LANES) {
            let due = head.due;
            if passed.contains(&head.queue) || !offer.allows(&head.share, due.memory_bytes) {
                continue;
            }
            match fit(&due, want, now) {
                Fit::Now => return Pick::Begin(due),
                Fit::Awaited => return Pick::Await(due),
                Fit::Later => passed.push(head.queue),
            }
        }
        misfits += passed.len();
        if misfits >= MOST_LANES {
            break;
        }
    }
    Pick::Nothing
}

/// Notes in the shares of its tenant and its lane that `job` begins, as a pick decided.
///
/// The driver counts the attempt itself, in [`Share::running`] and [`Share::here`], from its begin to its end.
pub fn begin(job: &Due, shares: Shares<'_>, want: &Want<'_>, now: Timestamp) {
    let Shares { tenant, limit, lane, turn } = shares;
    if let Some(offer) = want.offer(now).to(tenant, limit) {
        offer.begins(lane, tenant, job.memory_bytes);
    }
    (tenant.served, lane.served) = (turn, turn);
}

/// Whether there is room for a job that may begin.
enum Fit {
    Now,
    /// Not yet; other lanes are served before it.
    Later,
    /// Not yet; no other job begins before it.
    Awaited,
}

fn fit(due: &Due, want: &Want<'_>, now: Timestamp) -> Fit {
    // On an idle host every job fits: else a job that was accepted under a larger budget would wait for ever,
    // with all jobs behind it.
    if want.idle {
        return Fit::Now;
    }
    match due.trust {
        Trust::Alone => Fit::Awaited,
        Trust::Trusted | Trust::Suspect if due.memory_bytes <= want.free.memory_bytes => Fit::Now,
        Trust::Trusted | Trust::Suspect if until(due.since, now) < MEMORY_PATIENCE => Fit::Later,
        Trust::Trusted | Trust::Suspect => Fit::Awaited,
    }
}
