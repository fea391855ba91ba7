//! `poll_oneoff`: waits for clocks and descriptors.
//!
//! Standard streams are always ready: input is there from the start, and output is never waited
//! for. So a guest waits only if all its subscriptions are clocks. The attempt's own time decides
//! which of them are due, so a deterministic job sees the same each time.

use wasmtime::{Caller, Linker, Memory};

use super::super::super::clocks::Due;
use super::super::super::guest::Guest;
use super::super::super::pieces::{pay, yield_now};
use super::errno::{self, Errno};
use super::memory::{memory, read, slice};
use super::rights::{Rights, rights};
use super::version::{PREVIEW0, PREVIEW1};

/// The size of an event, in bytes.
const EVENT_BYTES: u32 = 32;

/// The number of subscriptions that are read before the guest yields.
const AT_ONCE: u32 = 1_024;

/// The layout of a subscription, which differs between the two previews.
#[derive(Debug, Clone, Copy)]
struct Layout {
    bytes: u32,
    clock: usize,
    timeout: usize,
    flags: usize,
}

const LAYOUTS: [(&str, Layout); 2] = [
    (PREVIEW1, Layout { bytes: 48, clock: 16, timeout: 24, flags: 40 }),
    // With an identifier before the clock's number, which is not used.
    (PREVIEW0, Layout { bytes: 56, clock: 24, timeout: 32, flags: 48 }),
];

/// The arguments of the call.
#[derive(Debug, Clone, Copy)]
struct Poll {
    layout: Layout,
    subscriptions: u32,
    events: u32,
    count: u32,
}

/// The time at which the timers were set, and the present time.
#[derive(Debug, Clone, Copy)]
struct Time {
    set_at: u64,
    now: u64,
}

/// The event that a subscription waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Clock(Due),
    Read(i32),
    Write(i32),
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Asked = (u32, u32, u32, u32);
    for (module, layout) in LAYOUTS {
        linker.func_wrap_async(module, "poll_oneoff", move |guest, asked: Asked| {
            let (subscriptions, events, count, found) = asked;
            Box::new(poll(guest, Poll { layout, subscriptions, events, count }, found))
        })?;
    }
    Ok(())
}

/// Waits until a subscription is ready; writes the events, and their number to `found`.
async fn poll(mut guest: Caller<'_, Guest>, asked: Poll, found: u32) -> Errno {
    let memory = memory(&mut guest)?;
    if asked.count == 0 {
        return Ok(errno::INVAL);
    }
    let bytes = memory.data_mut(&mut guest);
    for (at, each) in [(asked.subscriptions, asked.layout.bytes), (asked.events, EVENT_BYTES)] {
        slice(bytes, at, u64::from(asked.count) * u64::from(each))?;
    }
    slice(bytes, found, 4)?;
    let clocks = guest.data().clocks().clone();
    let set_at = clocks.read();
    let first = match asked.first(&mut guest, memory, set_at).await? {
        Ok(first) => first,
        Err(error) => return Ok(error),
    };
    if first > set_at {
        clocks.wait_until(first).await;
    }
    let time = Time { set_at, now: first.max(set_at) };
    let count = asked.tell(&mut guest, memory, time).await?;
    slice(memory.data_mut(&mut guest), found, 4)?.copy_from_slice(&count.to_le_bytes());
    Ok(errno::SUCCESS)
}

impl Poll {
    /// The moment at which the first subscription is ready; or the error number of one that is
    /// invalid.
    async fn first(
        self,
        guest: &mut Caller<'_, Guest>,
        memory: Memory,
        now: u64,
    ) -> wasmtime::Result<Result<u64, i32>> {
        let mut first = u64::MAX;
        for n in 0..self.count {
            self.pause(guest, n).await?;
            let moment = match self.awaited(memory.data(&*guest), n)? {
                Ok(Awaited::Clock(due)) => guest.data().clocks().moment(due, now),
                Ok(Awaited::Read(descriptor)) if may(guest, descriptor, Rights::reads)? => now,
                Ok(Awaited::Write(descriptor)) if may(guest, descriptor, Rights::writes)? => now,
                Ok(_) => return Ok(Err(errno::BADF)),
                Err(error) => return Ok(Err(error)),
            };
            first = first.min(moment);
        }
        Ok(Ok(first))
    }

    /// Writes an event for each subscription that is ready; returns their number.
    async fn tell(
        self,
        guest: &mut Caller<'_, Guest>,
        memory: Memory,
        Time { set_at, now }: Time,
    ) -> wasmtime::Result<u32> {
        let mut count = 0;
        for n in 0..self.count {
            self.pause(guest, n).await?;
            let clocks = guest.data().clocks().clone();
            let bytes = memory.data_mut(&mut *guest);
            let (kind, ready) = match self.awaited(bytes, n)? {
                Ok(Awaited::Clock(due)) if clocks.moment(due, set_at) <= now => (0, 0),
                Ok(Awaited::Read(_)) => (1, 1),
                Ok(Awaited::Write(_)) => (2, 1),
                _ => continue,
            };
            let (user, _) = self.place(n);
            let user: [u8; 8] = read(bytes, user)?;
            let event = slice(bytes, self.events + count * EVENT_BYTES, EVENT_BYTES.into())?;
            event.fill(0);
            event[..8].copy_from_slice(&user);
            (event[10], event[16]) = (kind, ready);
            count += 1;
        }
        Ok(count)
    }

    /// Yields before subscription `n` if many were read since the last yield. Each subscription
    /// costs fuel.
    async fn pause(self, guest: &mut Caller<'_, Guest>, n: u32) -> wasmtime::Result<()> {
        if n > 0 && n.is_multiple_of(AT_ONCE) {
            yield_now(guest).await;
        }
        pay(guest, self.layout.bytes as usize)
    }

    /// The address of subscription `n`, and of its content.
    fn place(self, n: u32) -> (usize, usize) {
        let at = self.subscriptions as usize + n as usize * self.layout.bytes as usize;
        (at, at + 8)
    }

    /// The event that subscription `n` waits for; or the error number of an invalid subscription.
    fn awaited(self, memory: &[u8], n: u32) -> wasmtime::Result<Result<Awaited, i32>> {
        let (at, content) = self.place(n);
        let Layout { clock, timeout, flags, .. } = self.layout;
        let descriptor = read(memory, at + 16).map(i32::from_le_bytes)?;
        let timeout = read(memory, at + timeout).map(u64::from_le_bytes)?;
        let flags = read(memory, at + flags).map(u16::from_le_bytes)?;
        let clock = read(memory, at + clock).map(u32::from_le_bytes)?;
        Ok(match (read(memory, content).map(u8::from_le_bytes)?, clock, flags) {
            (0, 0 | 1, 0) => Ok(Awaited::Clock(Due::After(timeout))),
            (0, 0, 1) => Ok(Awaited::Clock(Due::Wall(timeout))),
            (0, 1, 1) => Ok(Awaited::Clock(Due::Monotonic(timeout))),
            (1, ..) => Ok(Awaited::Read(descriptor)),
            (2, ..) => Ok(Awaited::Write(descriptor)),
            _ => Err(errno::INVAL),
        })
    }
}

/// Whether `descriptor` is open and has the right `right`.
fn may(
    guest: &mut Caller<'_, Guest>,
    descriptor: i32,
    right: fn(Rights) -> bool,
) -> wasmtime::Result<bool> {
    Ok(rights(guest.data_mut().wasi(), descriptor)?.is_some_and(right))
}
