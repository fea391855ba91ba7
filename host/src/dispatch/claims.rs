//! The claim loop, and the permits that a claim holds until its attempts begin.

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

use super::outlook::Outlook;
use super::worker::Permits;
use super::{DispatchSettings, Dispatcher, PAGE_BYTES};

/// How long a claim waits at most until half of the slots are free, while jobs wait: each claim costs a commit of
/// the store. The guests of the other half run while the store writes.
const GATHER: Duration = Duration::from_millis(1);

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

impl Dispatcher {
    /// Claims when there may be jobs to run and permits for them, until `stopping` is true.
    pub(super) async fn claims(self: &Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut outlook = Outlook::new(self.settings.slots as usize);
        let mut claims = FuturesUnordered::new();
        let (mut poll, mut gather) = (self.poll(&outlook), pin!(tokio::time::sleep(GATHER)));
        while !*stopping.borrow() {
            self.want_slots(outlook.wants_slots());
            let free = self.slots.available_permits();
            if outlook.claims(free)
                && let Some(offer) = self.offer(free)
            {
                outlook.sent();
                claims.push(self.claim(offer));
            } else if outlook.gather(free) {
                gather.set(tokio::time::sleep(GATHER));
            }
            tokio::select! {
                // A random choice between ready branches would make histories irreproducible.
                biased;
                Some(answer) = claims.next() => {
                    self.begin(answer, &mut outlook);
                    poll = self.poll(&outlook);
                }
                () = self.wake_ups.work.notified() => outlook.wake(),
                () = gather.as_mut(), if outlook.is_gathering() => outlook.gathered(),
                () = poll.as_mut(), if outlook.may_poll() => {
                    outlook.poll();
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
        self.parts.clock.sleep_until(outlook.next_due().map_or(poll, |due| due.min(poll)))
    }

    /// The offer of these `free` slots, and of all free memory. Only this loop acquires permits, so what is free
    /// stays free.
    fn offer(&self, free: usize) -> Option<Offer> {
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
        let claimed = claimed.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot claim");
            Claimed::default()
        });
        outlook.answered(offered, &claimed);
        for leased in claimed.leased {
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
