//! The rights of open descriptors.

use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::wasi_snapshot_preview1 as preview1;
use wiggle::GuestMemory;

use super::errno;
use super::memory::read;

/// The rights of an open descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights(pub(super) u64);

impl Rights {
    pub(super) fn reads(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    pub(super) fn writes(self) -> bool {
        self.0 & 1 << 6 != 0
    }
}

/// The rights of `descriptor`; `None` if it is not open.
pub(super) fn rights(wasi: &mut WasiP1Ctx, descriptor: i32) -> wasmtime::Result<Option<Rights>> {
    // By the function that guests call, because only wasmtime has the table of descriptors.
    let mut stat = [0; 24];
    let mut memory = GuestMemory::Unshared(&mut stat);
    let asked = preview1::fd_fdstat_get(wasi, &mut memory, descriptor, 0);
    match wiggle::run_in_dummy_executor(asked)?? {
        errno::SUCCESS => Ok(Some(Rights(read(&stat, 8).map(u64::from_le_bytes)?))),
        _ => Ok(None),
    }
}
