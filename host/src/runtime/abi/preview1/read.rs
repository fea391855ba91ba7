//! `fd_read`, and the functions that read or write at a position, which standard streams do not
//! have.

use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1 as _};
use wiggle::GuestMemory;

use super::super::super::guest::Guest;
use super::errno::{self, Errno};
use super::memory::memory;
use super::rights::rights;
use super::vectors::Vectors;

/// The arguments of the call.
#[derive(Debug, Clone, Copy)]
struct Read {
    descriptor: i32,
    vectors: Vectors,
    /// The address for the number of bytes that were read.
    length: i32,
}

pub(super) fn link(linker: &mut Linker<Guest>, module: &str) -> wasmtime::Result<()> {
    type Asked = (i32, u32, u32, i32);
    linker.func_wrap_async(module, "fd_read", |guest, asked: Asked| {
        let (descriptor, at, count, length) = asked;
        Box::new(read(guest, Read { descriptor, vectors: Vectors { at, count }, length }))
    })?;
    for name in ["fd_pread", "fd_pwrite"] {
        let seek =
            |mut guest: Caller<'_, Guest>, fd: i32, _: i32, _: i32, _: i64, _: i32| -> Errno {
                Ok(rights(guest.data_mut().wasi(), fd)?.map_or(errno::BADF, |_| errno::SPIPE))
            };
        linker.func_wrap(module, name, seek)?;
    }
    Ok(())
}

/// Reads into the first vector that is not empty: wasmtime's function gets that vector only.
async fn read(mut guest: Caller<'_, Guest>, asked: Read) -> Errno {
    let memory = memory(&mut guest)?;
    let Some(first) = asked.vectors.first(&mut guest, memory).await? else {
        return Ok(errno::FAULT);
    };
    let (bytes, data) = memory.data_and_store_mut(&mut guest);
    let (wasi, mut bytes) = (data.wasi(), GuestMemory::Unshared(bytes));
    // wasmtime's bound on copied bytes is not needed: no more than the payload can be read.
    wasi.set_hostcall_fuel(usize::MAX);
    let Vectors { at, count } = first.list;
    let (at, count) = (at.cast_signed(), count.cast_signed());
    preview1::fd_read(wasi, &mut bytes, asked.descriptor, at, count, asked.length).await
}
