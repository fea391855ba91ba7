//! `random_get`.

use wasmtime::{Caller, Linker};
use wasmtime_wasi::p2::bindings::random::random::Host as _;

use super::super::super::guest::Guest;
use super::super::super::pieces::{pay, pieces, yield_now};
use super::errno::{self, Errno};
use super::memory::{memory, slice};

pub(super) fn link(linker: &mut Linker<Guest>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap_async(module, "random_get", |guest, (at, length): (u32, u32)| {
        Box::new(fill(guest, at, length))
    })?;
    Ok(())
}

async fn fill(mut guest: Caller<'_, Guest>, at: u32, length: u32) -> Errno {
    let memory = memory(&mut guest)?;
    slice(memory.data_mut(&mut guest), at, length.into())?;
    for (start, length) in pieces(length as usize) {
        if start > 0 {
            yield_now(&mut guest).await;
        }
        pay(&mut guest, length)?;
        let (bytes, data) = memory.data_and_store_mut(&mut guest);
        let made = data.random().get_random_bytes(length as u64)?;
        bytes[at as usize + start..][..length].copy_from_slice(&made);
    }
    Ok(errno::SUCCESS)
}
