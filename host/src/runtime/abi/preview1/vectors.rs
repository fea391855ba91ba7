//! Lists of vectors, of which a call reads or writes the first that is not empty.

use wasmtime::{Caller, Memory};

use super::super::super::guest::Guest;
use super::super::super::pieces::{pay, pieces, yield_now};
use super::memory::{read, slice};

/// The size of a vector, in bytes: an address and a length.
const VECTOR_BYTES: usize = 8;

/// A list in the guest's memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Vectors {
    pub(super) at: u32,
    pub(super) count: u32,
}

/// Bytes that a vector names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range {
    pub(super) at: u32,
    pub(super) length: u32,
}

/// A vector, or an empty one if all are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First {
    pub(super) range: Range,
    /// The list that consists of this vector.
    pub(super) list: Vectors,
}

impl Vectors {
    /// The first vector that is not empty; `None` if the list is not in memory. A long list is read
    /// in pieces.
    pub(super) async fn first(
        self,
        guest: &mut Caller<'_, Guest>,
        memory: Memory,
    ) -> wasmtime::Result<Option<First>> {
        let bytes = self.count as usize * VECTOR_BYTES;
        if slice(memory.data_mut(&mut *guest), self.at, bytes as u64).is_err() {
            return Ok(None);
        }
        for (start, length) in pieces(bytes) {
            if start > 0 {
                yield_now(guest).await;
                pay(guest, length)?;
            }
            let list = &memory.data(&*guest)[self.at as usize + start..][..length];
            for (n, vector) in list.chunks_exact(VECTOR_BYTES).enumerate() {
                let [at, length] = [read(vector, 0)?, read(vector, 4)?].map(u32::from_le_bytes);
                if length > 0 {
                    let list = self.at + u32::try_from(start + n * VECTOR_BYTES)?;
                    let range = Range { at, length };
                    return Ok(Some(First { range, list: Self { at: list, count: 1 } }));
                }
            }
        }
        Ok(Some(First::default()))
    }
}
