//! Long work of one host call, done in pieces.
//!
//! Invariant: each piece costs fuel before it is done, and the guest yields between two pieces, so
//! that a cancellation, the deadline and other guests do not wait for the whole work.

use wasmtime::{AsContextMut, Trap};

use super::guest::Guest;

/// Bytes of one piece: some hundred microseconds of the slowest work, which is making random numbers.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// The pieces of `length` bytes: where each begins, and how long it is.
pub(super) fn pieces(length: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..length).step_by(PIECE_BYTES).map(move |at| (at, PIECE_BYTES.min(length - at)))
}

/// Takes one unit of fuel for each byte, if fuel is counted.
///
/// # Errors
/// [`Trap::OutOfFuel`] if there is less.
pub(super) fn pay(
    store: &mut impl AsContextMut<Data = Guest>,
    bytes: usize,
) -> wasmtime::Result<()> {
    let mut store = store.as_context_mut();
    let Ok(left) = store.get_fuel() else { return Ok(()) };
    let rest = left.checked_sub(bytes as u64);
    store.set_fuel(rest.unwrap_or_default())?;
    rest.map(drop).ok_or_else(|| Trap::OutOfFuel.into())
}

/// Yields to other tasks, between two pieces.
pub(super) async fn yield_now(store: &mut impl AsContextMut<Data = Guest>) {
    let state = store.as_context_mut().data().yield_state();
    state.yield_now().await;
}
