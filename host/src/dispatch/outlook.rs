//! What the claim loop knows of the jobs that wait, and when it claims. Pure.

use jobwright_core::clock::Timestamp;
use jobwright_core::store::Claimed;

/// The maximum number of claims at a time. While the store commits one, the slots that become free are offered by
/// another, which is then in the next commit: with one claim, every other commit would have none.
const MAX_CLAIMS: usize = 2;

/// See the documentation of the module.
#[derive(Debug)]
pub(super) struct Outlook {
    /// The slots of the host.
    slots: usize,
    /// The claims that are not answered.
    under_way: usize,
    /// When the next job becomes due, if known.
    next_due: Option<Timestamp>,
    /// Whether jobs may be due that were not claimed.
    more: bool,
    /// Whether the latest claim got jobs for at least half of its slots, as it does while short jobs wait.
    is_fruitful: bool,
    /// Whether there is a reason to claim.
    woken: bool,
    gathering: Gathering,
    /// Whether claims overlapped since there was none: each saw only a part of what is free.
    overlapped: bool,
    /// Whether the time to poll has come.
    polls: bool,
}

/// Whether a claim waits for more slots to become free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathering {
    /// No slot is free, or there is no reason to claim.
    Off,
    On,
    /// It has waited long enough.
    Over,
}

impl Outlook {
    /// The outlook of a host with so many slots, which begins with a poll.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            under_way: 0,
            next_due: None,
            more: false,
            is_fruitful: false,
            woken: false,
            gathering: Gathering::Off,
            overlapped: false,
            polls: true,
        }
    }

    /// There may be another job, slot or tenant to be served.
    pub(super) fn wake(&mut self) {
        self.woken = true;
    }

    /// The time to poll has come.
    pub(super) fn poll(&mut self) {
        self.polls = true;
    }

    /// When the next job becomes due, if known.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }

    /// Whether it may be time to poll: an answer tells as much.
    pub(super) fn may_poll(&self) -> bool {
        self.under_way == 0
    }

    /// Whether a job may wait for the next slot that becomes free.
    pub(super) fn wants_slots(&self) -> bool {
        self.more || self.woken || self.under_way > 0
    }

    /// Whether to claim while so many slots are `free`. Without a free slot only a poll claims: the store then moves
    /// jobs that have become due from the bound of parked jobs to that of due ones.
    pub(super) fn claims(&self, free: usize) -> bool {
        let most = if self.is_fruitful { MAX_CLAIMS } else { 1 };
        let is_gathered =
            !self.more || free >= self.slots.div_ceil(2) || self.gathering == Gathering::Over;
        self.under_way < most && (self.polls || self.woken && free > 0 && is_gathered)
    }

    /// A claim was sent.
    pub(super) fn sent(&mut self) {
        self.overlapped |= self.under_way > 0;
        self.under_way += 1;
        (self.woken, self.polls, self.gathering) = (false, false, Gathering::Off);
    }

    /// A claim that offered so many slots was answered. After claims that overlapped there is a reason to claim once
    /// more: only then is all that is free offered at once.
    pub(super) fn answered(&mut self, offered: usize, claimed: &Claimed) {
        self.under_way -= 1;
        self.next_due = claimed.next_due;
        self.more = claimed.more || offered == 0;
        self.is_fruitful = offered > 0 && claimed.leased.len() * 2 >= offered;
        if self.under_way == 0 {
            self.woken |= std::mem::take(&mut self.overlapped);
        }
    }

    /// Begins to wait for more than these `free` slots; returns whether it does, and did not before.
    pub(super) fn gather(&mut self, free: usize) -> bool {
        let begins = self.woken && free > 0 && self.gathering == Gathering::Off;
        if begins {
            self.gathering = Gathering::On;
        }
        begins
    }

    /// Whether a claim waits for more slots.
    pub(super) fn is_gathering(&self) -> bool {
        self.gathering == Gathering::On
    }

    /// The claim has waited long enough.
    pub(super) fn gathered(&mut self) {
        self.gathering = Gathering::Over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 8;

    /// The answer that nothing was claimed, although there may be `more`.
    fn nothing(more: bool) -> Claimed {
        Claimed { more, ..Claimed::default() }
    }

    /// A host that has polled, and found `more`.
    fn polled(more: bool) -> Outlook {
        let mut outlook = Outlook::new(SLOTS);
        assert!(outlook.claims(0), "the first poll");
        outlook.sent();
        outlook.answered(SLOTS, &nothing(more));
        outlook
    }

    #[test]
    fn a_free_slot_is_offered_only_for_a_reason() {
        let mut outlook = polled(false);
        assert!(!outlook.claims(SLOTS));
        outlook.wake();
        assert!(outlook.claims(1) && !outlook.claims(0));
    }

    #[test]
    fn while_jobs_wait_a_claim_gathers_half_of_the_slots_or_its_time() {
        let mut outlook = polled(true);
        outlook.wake();
        assert!(outlook.claims(SLOTS / 2) && !outlook.claims(SLOTS / 2 - 1));
        assert!(!outlook.gather(0), "nothing is free");
        assert!(outlook.gather(1) && !outlook.gather(1), "once");
        outlook.gathered();
        assert!(outlook.claims(1));
    }

    #[test]
    fn claims_overlap_only_while_they_get_jobs() {
        let mut outlook = polled(true);
        outlook.wake();
        outlook.sent();
        outlook.wake();
        assert!(!outlook.claims(SLOTS), "the latest claim got nothing");
        outlook.is_fruitful = true;
        assert!(outlook.claims(SLOTS));
        outlook.sent();
        outlook.wake();
        assert!(!outlook.claims(SLOTS), "two are under way");
    }

    #[test]
    fn after_claims_that_overlapped_all_that_is_free_is_offered_once_more() {
        let mut outlook = polled(true);
        outlook.sent();
        outlook.sent();
        outlook.answered(SLOTS / 2, &nothing(true));
        assert!(!outlook.claims(SLOTS), "the other may find them");
        outlook.answered(SLOTS / 2, &nothing(true));
        assert!(outlook.claims(SLOTS));
        outlook.sent();
        outlook.answered(SLOTS, &nothing(true));
        assert!(!outlook.claims(SLOTS), "it was alone");
    }

    #[test]
    fn a_job_wants_a_slot_while_it_waits_or_a_claim_may_find_one() {
        let mut outlook = polled(false);
        assert!(!outlook.wants_slots());
        outlook.sent();
        assert!(outlook.wants_slots());
        outlook.answered(0, &nothing(false));
        assert!(outlook.wants_slots(), "nothing was offered, so nothing is known");
    }
}
