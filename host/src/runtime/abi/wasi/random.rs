//! The functions of `wasi:random` that return bytes, made in pieces.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::random::insecure::Host as _;
use wasmtime_wasi::p2::bindings::random::random::Host as _;
use wasmtime_wasi::random::WasiRandomCtx;

use super::super::super::guest::Guest;
use super::super::super::pieces::{pay, pieces, yield_now};

/// Makes some random bytes.
type Source = fn(&mut WasiRandomCtx, u64) -> wasmtime::Result<Vec<u8>>;

/// In the release that wasmtime implements: a function that is linked under another release
/// replaces nothing.
const SOURCES: [(&str, &str, Source); 2] = [
    ("wasi:random/random@0.2.12", "get-random-bytes", WasiRandomCtx::get_random_bytes),
    (
        "wasi:random/insecure@0.2.12",
        "get-insecure-random-bytes",
        WasiRandomCtx::get_insecure_random_bytes,
    ),
];

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for (interface, function, source) in SOURCES {
        let mut interface = linker.instance(interface)?;
        interface.func_wrap_async(function, move |guest, (length,): (u64,)| {
            Box::new(async move { Ok((bytes(guest, length, source).await?,)) })
        })?;
    }
    Ok(())
}

async fn bytes(
    mut guest: StoreContextMut<'_, Guest>,
    length: u64,
    source: Source,
) -> wasmtime::Result<Vec<u8>> {
    // Bytes for which the guest has no room are not made.
    guest.data_mut().budget_mut().check_copy(length)?;
    let mut bytes = Vec::new();
    for (start, length) in pieces(usize::try_from(length)?) {
        if start > 0 {
            yield_now(&mut guest).await;
        }
        pay(&mut guest, length)?;
        bytes.extend(source(guest.data_mut().random(), length as u64)?);
    }
    Ok(bytes)
}
