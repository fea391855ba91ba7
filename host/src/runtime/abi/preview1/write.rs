//! `fd_write`.

use wasmtime::{Caller, Linker, Memory};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1 as _};
use wiggle::GuestMemory;

use super::super::super::guest::Guest;
use super::super::super::pieces::{pay, pieces, yield_now};
use super::errno::{self, Errno};
use super::memory::{memory, slice};
use super::rights::{Rights, rights};
use super::vectors::{Range, Vectors};

/// The size of the head of a piece's write, in bytes: its vector, and the number of bytes that were
/// written.
const HEAD_BYTES: usize = 16;

/// The arguments of the call.
#[derive(Debug, Clone, Copy)]
struct Write {
    descriptor: i32,
    vectors: Vectors,
    /// The address for the number of bytes that were written.
    written: u32,
}

pub(super) fn link(linker: &mut Linker<Guest>, module: &str) -> wasmtime::Result<()> {
    type Asked = (i32, u32, u32, u32);
    linker.func_wrap_async(module, "fd_write", |guest, asked: Asked| {
        let (descriptor, at, count, written) = asked;
        let vectors = Vectors { at, count };
        Box::new(write(guest, Write { descriptor, vectors, written }))
    })?;
    Ok(())
}

/// Writes the first vector that is not empty; the guest calls again for the rest.
async fn write(mut guest: Caller<'_, Guest>, asked: Write) -> Errno {
    let memory = memory(&mut guest)?;
    let Some(found) = asked.vectors.first(&mut guest, memory).await? else {
        return Ok(errno::FAULT);
    };
    let range = found.range;
    slice(memory.data_mut(&mut guest), range.at, range.length.into())?;
    let (error, length) = write_all(&mut guest, memory, asked.descriptor, range).await?;
    slice(memory.data_mut(&mut guest), asked.written, 4)?.copy_from_slice(&length.to_le_bytes());
    Ok(error)
}

/// Writes `range` in pieces. Returns an error number and the number of bytes that were written.
async fn write_all(
    guest: &mut Caller<'_, Guest>,
    memory: Memory,
    descriptor: i32,
    range: Range,
) -> wasmtime::Result<(i32, u32)> {
    if !rights(guest.data_mut().wasi(), descriptor)?.is_some_and(Rights::writes) {
        return Ok((errno::BADF, 0));
    }
    let mut piece = vec![0; HEAD_BYTES];
    for (start, length) in pieces(range.length as usize) {
        if start > 0 {
            yield_now(guest).await;
            pay(guest, length)?;
        }
        let (bytes, data) = memory.data_and_store_mut(&mut *guest);
        piece.truncate(HEAD_BYTES);
        piece.extend_from_slice(&bytes[range.at as usize + start..][..length]);
        piece[..4].copy_from_slice(&(HEAD_BYTES as u32).to_le_bytes());
        piece[4..8].copy_from_slice(&u32::try_from(length)?.to_le_bytes());
        let (wasi, mut piece) = (data.wasi(), GuestMemory::Unshared(&mut piece));
        // wasmtime's bound on copied bytes is not needed: a piece is bounded.
        wasi.set_hostcall_fuel(usize::MAX);
        let error = preview1::fd_write(wasi, &mut piece, descriptor, 0, 1, 8).await?;
        if error != errno::SUCCESS {
            return Ok((error, u32::try_from(start)?));
        }
    }
    Ok((errno::SUCCESS, range.length))
}
