//! The arguments and results of the functions of the module `jobwright`.

use wasmtime::{Caller, Extern, Memory, bail};

use super::super::super::guest::Guest;
use super::super::channel::GuestChannel;

/// The module that core modules import.
pub(super) const MODULE: &str = "jobwright";

/// The result of a function that failed or found nothing.
pub(super) const NONE: i32 = -1;

/// The result of a call that was denied, or for which there is no room; the log has the reason.
pub(super) const REFUSED: i32 = -2;

/// The result of a function, or the trap of a guest that passed invalid arguments.
pub(super) type Called<T> = wasmtime::Result<T>;

/// Bytes in the guest's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub(super) at: u32,
    pub(super) length: u32,
}

impl Region {
    /// The bytes, and the channel of the guest.
    pub(super) fn with_channel<'a>(
        self,
        guest: &'a mut Caller<'_, Guest>,
    ) -> Called<(&'a [u8], &'a mut GuestChannel)> {
        let memory = memory(guest)?;
        let (bytes, data) = memory.data_and_store_mut(guest);
        Ok((self.slice(bytes)?, data.channel_mut()))
    }

    /// A copy of at most the first `most` bytes.
    pub(super) fn copy(self, guest: &mut Caller<'_, Guest>, most: u64) -> Called<Vec<u8>> {
        let bytes = self.bytes_mut(guest)?;
        Ok(bytes[..bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX))].to_vec())
    }

    /// Copies as much of `found` into it as fits, and returns the length of all of `found`.
    pub(super) fn fill(self, guest: &mut Caller<'_, Guest>, found: &[u8]) -> Called<i32> {
        let place = self.bytes_mut(guest)?;
        let copied = found.len().min(place.len());
        place[..copied].copy_from_slice(&found[..copied]);
        Ok(i32::try_from(found.len()).unwrap_or(i32::MAX))
    }

    /// The bytes.
    pub(super) fn bytes_mut<'a>(self, guest: &'a mut Caller<'_, Guest>) -> Called<&'a mut [u8]> {
        let memory = memory(guest)?;
        self.slice(memory.data_mut(guest))
    }

    fn slice(self, memory: &mut [u8]) -> Called<&mut [u8]> {
        let size = memory.len();
        let (from, length) = (self.at as usize, self.length as usize);
        match memory.get_mut(from..from.saturating_add(length)) {
            Some(bytes) => Ok(bytes),
            None => bail!(
                "the guest passed {length} bytes at {from} to `{MODULE}`: its memory has {size} bytes"
            ),
        }
    }
}

fn memory(guest: &mut Caller<'_, Guest>) -> Called<Memory> {
    match guest.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => bail!("the guest calls `{MODULE}` and exports no memory named `memory`"),
    }
}
