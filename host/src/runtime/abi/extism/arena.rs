//! The memory that an Extism guest reaches through host functions only: blocks with 64-bit handles.
//!
//! Invariants: a handle is never reused, so a stale handle finds nothing; nothing outside of a
//! block is read or written; the memory of a block is charged to the guest before it is allocated.
//! Reads outside of a block return zeros and writes are ignored, as in Extism's own kernel.

use std::collections::BTreeMap;

/// The size of a block in addition to its bytes, so that a million empty blocks are charged too.
pub(super) const BLOCK_BYTES: u64 = 128;

/// The gap between two blocks, so that the end of a block is not the start of the next one.
const GAP: u64 = 16;

/// The step by which the memory of Extism's own kernel grows, in bytes.
const PAGE_BYTES: u64 = 64 << 10;

/// The blocks of one guest.
#[derive(Debug, Default)]
pub(super) struct Arena {
    blocks: BTreeMap<u64, Vec<u8>>,
    /// The end of the last block.
    end: u64,
    held: u64,
}

impl Arena {
    /// Adds a block with these bytes; returns its handle, or 0 if there are no bytes.
    pub(super) fn insert(&mut self, bytes: Vec<u8>) -> u64 {
        if bytes.is_empty() {
            return 0;
        }
        let handle = self.end + GAP;
        self.end = handle + bytes.len() as u64;
        self.held += bytes.len() as u64;
        self.blocks.insert(handle, bytes);
        handle
    }

    /// Adds a block of another arena under the same handle.
    pub(super) fn put(&mut self, handle: u64, bytes: Vec<u8>) {
        self.held += bytes.len() as u64;
        self.blocks.insert(handle, bytes);
    }

    /// Removes the blocks that `is_gone` selects by handle and length; returns their size.
    pub(super) fn forget(&mut self, is_gone: impl Fn(u64, u64) -> bool) -> u64 {
        let before = self.held + self.blocks.len() as u64 * BLOCK_BYTES;
        self.blocks.retain(|handle, bytes| !is_gone(*handle, bytes.len() as u64));
        self.held = self.blocks.values().map(|bytes| bytes.len() as u64).sum();
        before - self.held - self.blocks.len() as u64 * BLOCK_BYTES
    }

    /// Whether these bytes would be in the memory of Extism's own kernel, in a block or not.
    pub(super) fn reaches(&self, address: u64, length: u64) -> bool {
        let end = (self.end + GAP).next_multiple_of(PAGE_BYTES);
        address > 0 && address < end && length <= end - address
    }

    /// The bytes from an address to the end of its block.
    pub(super) fn at(&self, address: u64) -> Option<&[u8]> {
        let (start, block) = self.blocks.range(..=address).next_back()?;
        block.get(usize::try_from(address - start).ok()?..).filter(|rest| !rest.is_empty())
    }

    /// Removes a block.
    pub(super) fn remove(&mut self, handle: u64) -> Option<Vec<u8>> {
        let bytes = self.blocks.remove(&handle)?;
        self.held -= bytes.len() as u64;
        Some(bytes)
    }

    /// The length of a block; 0 if there is no block with this handle.
    pub(super) fn length(&self, handle: u64) -> u64 {
        self.block(handle).len() as u64
    }

    /// A whole block; empty if there is no block with this handle.
    pub(super) fn block(&self, handle: u64) -> &[u8] {
        self.blocks.get(&handle).map_or(&[], Vec::as_slice)
    }

    /// `length` bytes at an address within one block.
    pub(super) fn slice(&self, address: u64, length: u64) -> Option<&[u8]> {
        let (start, block) = self.blocks.range(..=address).next_back()?;
        let from = usize::try_from(address - start).ok()?;
        block.get(from..from.checked_add(usize::try_from(length).ok()?)?)
    }

    /// Reads the bytes at an address; zeros outside of a block.
    pub(super) fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        self.slice(address, N as u64).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    /// Writes bytes at an address; ignored outside of a block.
    pub(super) fn store<const N: usize>(&mut self, address: u64, bytes: [u8; N]) {
        let found = self.blocks.range_mut(..=address).next_back();
        if let Some((start, block)) = found
            && let Ok(from) = usize::try_from(address - start)
            && let Some(to) = from.checked_add(N)
            && let Some(place) = block.get_mut(from..to)
        {
            place.copy_from_slice(&bytes);
        }
    }

    /// The size of all blocks, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_are_loaded() {
        let mut arena = Arena::default();
        let (first, second) = (arena.insert(vec![0; 10]), arena.insert(b"second".to_vec()));
        arena.store(first + 2, 0x0102_0304_0506_0708_u64.to_le_bytes());
        assert_eq!(arena.load::<1>(first + 2), [8]);
        assert_eq!(u64::from_le_bytes(arena.load(first + 2)), 0x0102_0304_0506_0708);
        assert_eq!((arena.block(second), arena.length(second)), (&b"second"[..], 6));
        assert_eq!(arena.slice(second + 3, 3), Some(&b"ond"[..]));
    }

    #[test]
    fn bytes_outside_of_blocks_are_zero_and_not_writable() {
        let mut arena = Arena::default();
        let handle = arena.insert(vec![7; 8]);
        for address in [0, handle - 1, handle + 1, handle + 8, u64::MAX, u64::MAX - 7] {
            arena.store(address, [9; 8]);
            assert_eq!(arena.load::<8>(address), [0; 8], "{address}");
            assert_eq!(arena.slice(address, u64::MAX), None);
        }
        assert_eq!(arena.block(handle), [7; 8]);
        assert_eq!(arena.length(handle + 1), 0, "only its start is a block's handle");
    }

    #[test]
    fn an_address_is_in_memory_up_to_the_end_of_the_last_page() {
        let mut arena = Arena::default();
        let handle = arena.insert(vec![7; 8]);
        for (address, length, reaches) in [
            (0, 0, false),
            (1, 0, true),
            (handle, 8, true),
            (handle + 8, 1, true),
            (1, PAGE_BYTES - 1, true),
            (1, PAGE_BYTES, false),
            (PAGE_BYTES, 0, false),
            (handle, u64::MAX, false),
            (u64::MAX, 1, false),
        ] {
            assert_eq!(arena.reaches(address, length), reaches, "{address} {length}");
        }
        arena.insert(vec![7; 1 << 16]);
        assert!(arena.reaches(PAGE_BYTES, PAGE_BYTES));
    }

    #[test]
    fn a_handle_is_never_reused() {
        let mut arena = Arena::default();
        let first = arena.insert(vec![1]);
        assert_eq!(arena.remove(first), Some(vec![1]));
        assert_eq!((arena.remove(first), arena.length(first)), (None, 0));
        assert_ne!(arena.insert(vec![1]), first);
        assert_eq!(arena.insert(vec![]), 0);
    }
}
