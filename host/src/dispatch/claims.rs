//! The claim loop: when a claim is sent to the store, and the permits that it holds until its attempts begin.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::limits::Limits;
use jobwright_core::queue::{Reserve, Room};
use jobwright_core::store::{Claim, Claimed, StoreError};
use tokio::sync::{OwnedSemaphorePermit, RwLockReadGuard, watch};
use tokio::time::Instant;

use super::worker::Permits;
use super::{DispatchSettings, Dispatcher, PAGE_BYTES};

/// The maximum number of claims at a time. While the store commits one, the slots that become free are offered by
/// another, which is then in the next commit: with one claim, every other commit would have none.
const MAX_CLAIMS: usize = 2;

/// How long a claim waits at most until half of the slots are free, while jobs wait: each claim costs a commit of
/// the store. The guests of the other half run while the store writes.
const GATHER: Duration = Duration::from_millis(1);

/// What the loop knows of the jobs that wait.
#[derive(Debug, Default)]
struct Outlook {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Gathering {
    /// None is free, or there is no reason to claim.
    #[default]
    Off,
    /// Since less than [`GATHER`].
    On,
    /// It has waited long enough.
    Over,
}

/// The free slots and memory that a claim offers. It holds them until its attempts have begun.
struct Offer {
    slots: OwnedSemaphorePermit,
    /// One permit for each page.
    memory: OwnedSemaphorePermit,
}

/// A claim that was answered.
struct Answer<'a> {
    offer: Offer,
    claimed: Result<Claimed, StoreError>,
    /// Until the attempts have begun.
    _claiming: RwLockReadGuard<'a, ()>,
}

impl Outlook {
    /// Whether a claim begins to wait for more than these `free` slots.
    fn may_gather(&self, free: usize) -> bool {
        self.woken && free > 0 && self.gathering == Gathering::Off
    }
}

impl Dispatcher {
    /// Claims when there may be jobs to run and permits for them, until `stopping` is true.
    pub(super) async fn claims(self: &Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut outlook = Outlook { polls: true, ..Outlook::default() };
        let mut claims = FuturesUnordered::new();
        let (mut poll, mut gather) = (self.poll(&outlook), pin!(tokio::time::sleep(GATHER)));
        while !*stopping.borrow() {
            self.want_slots(outlook.more || outlook.woken || !claims.is_empty());
            if let Some(offer) = self.offer(&mut outlook, claims.len()) {
                outlook.overlapped |= !claims.is_empty();
                claims.push(self.claim(offer));
            } else if outlook.may_gather(self.slots.available_permits()) {
                outlook.gathering = Gathering::On;
                gather.as_mut().reset(Instant::now() + GATHER);
            }
            tokio::select! {
                // A random choice between ready branches would make histories irreproducible.
                biased;
                Some(answer) = claims.next() => {
                    self.begin(answer, &mut outlook);
                    if claims.is_empty() {
                        outlook.woken |= std::mem::take(&mut outlook.overlapped);
                    }
                    poll = self.poll(&outlook);
                }
                () = self.wake_ups.work.notified() => outlook.woken = true,
                () = gather.as_mut(), if outlook.gathering == Gathering::On => {
                    outlook.gathering = Gathering::Over;
                }
                () = poll.as_mut(), if claims.is_empty() => {
                    outlook.polls = true;
                    poll = self.poll(&outlook);
                }
                _ = stopping.changed() => {}
            }
        }
        while let Some(answer) = claims.next().await {
            self.begin(answer, &mut outlook);
        }
    }

    /// Sets whether attempts that end notify this loop of their slots.
    fn want_slots(&self, wants: bool) {
        self.wants_slots.store(wants, Ordering::Relaxed);
        // A slot that becomes free is seen by the next offer, or its attempt sees what was set: see `freed`.
        fence(Ordering::SeqCst);
    }

    /// Notifies the loop that an attempt's slot and memory are free, if it wants to know.
    pub(super) fn freed(&self) {
        fence(Ordering::SeqCst);
        if self.wants_slots.load(Ordering::Relaxed) {
            self.wake_ups.work.notify_one();
        }
    }

    /// Waits until the time to poll.
    fn poll(&self, outlook: &Outlook) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let poll = after(self.parts.clock.now(), self.settings.poll);
        self.parts.clock.sleep_until(outlook.next_due.map_or(poll, |due| due.min(poll)))
    }

    /// The offer of the next claim, if there is a reason to claim while `under_way` others are not answered.
    /// Without a free slot the loop claims only to poll: the store then moves jobs that have become due from the
    /// bound of parked jobs to that of due ones.
    fn offer(&self, outlook: &mut Outlook, under_way: usize) -> Option<Offer> {
        let most = if outlook.is_fruitful { MAX_CLAIMS } else { 1 };
        if under_way >= most {
            return None;
        }
        let free = self.slots.available_permits();
        let half = self.settings.slots.div_ceil(2) as usize;
        let is_gathered = !outlook.more || free >= half || outlook.gathering == Gathering::Over;
        let claims = outlook.woken && free > 0 && is_gathered;
        if !claims && !outlook.polls {
            return None;
        }
        (outlook.woken, outlook.polls, outlook.gathering) = (false, false, Gathering::Off);
        // Only this loop acquires permits, so free ones stay free.
        let slots = self.slots.clone().try_acquire_many_owned(permits(free)).ok()?;
        // Without a slot it needs no memory, which another claim may.
        let pages = if free == 0 { 0 } else { permits(self.memory.available_permits()) };
        let memory = self.memory.clone().try_acquire_many_owned(pages).ok()?;
        Some(Offer { slots, memory })
    }

    async fn claim(&self, offer: Offer) -> Answer<'_> {
        let _claiming = self.claiming.read().await;
        let now = self.parts.clock.now();
        let claimed = self.parts.store.claim(self.claim_for(&offer, now), now).await;
        Answer { offer, claimed, _claiming }
    }

    /// A claim of as much as `offer` can run.
    fn claim_for(&self, offer: &Offer, now: Timestamp) -> Claim {
        let DispatchSettings { slots: all, memory_bytes, reserved_slots, .. } = self.settings;
        let room = Room { attempts: all as usize, memory_bytes };
        let max = offer.slots.num_permits();
        Claim {
            host: self.random.host,
            max,
            memory_bytes: offer.memory.num_permits() as u64 * PAGE_BYTES,
            idle: max == all as usize,
            reserve: Reserve::new(room, reserved_slots as usize)
                .fitting(Limits::DEFAULT.host_bytes()),
            expires_at: after(now, self.settings.lease),
            wall: self.parts.clock.wall(),
        }
    }

    /// Starts the attempts that were claimed, each in a task of its own, with permits of the offer; the others are
    /// free again.
    fn begin(self: &Arc<Self>, answer: Answer<'_>, outlook: &mut Outlook) {
        let Answer { mut offer, claimed, _claiming } = answer;
        let offered = offer.slots.num_permits();
        let Claimed { leased, next_due, more } = claimed.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot claim");
            Claimed::default()
        });
        outlook.next_due = next_due;
        outlook.more = more || offered == 0;
        outlook.is_fruitful = offered > 0 && leased.len() * 2 >= offered;
        for leased in leased {
            match offer.take(leased.job.spec.limits.host_bytes()) {
                Some(permits) => self.start(leased, permits),
                // A store that claims more than it was offered is a defect. The lease expires and is reclaimed.
                None => {
                    tracing::error!(job = %leased.job.id, "a claimed job has no permits; it is \
                                        reclaimed when its lease expires")
                }
            }
        }
    }
}

impl Offer {
    /// The permits of an attempt that may use so much memory.
    fn take(&mut self, bytes: u64) -> Option<Permits> {
        let slot = self.slots.split(1)?;
        let pages = usize::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(usize::MAX);
        // A limit that is not whole pages may take one page more than the claim counted.
        let memory = self.memory.split(pages.min(self.memory.num_permits()))?;
        Some(Permits { _slot: slot, _memory: memory })
    }
}

/// So many permits as a semaphore grants at once.
fn permits(free: usize) -> u32 {
    u32::try_from(free).unwrap_or(u32::MAX)
}
