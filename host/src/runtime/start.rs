//! What follows from where an attempt begins: the random numbers and the clocks of its guest.
//!
//! Invariant: random numbers follow from the seed alone, so an attempt that is made again sees the same.

use jobwright_core::attempt::Seed;
use rand::rngs::ChaCha20Rng;
use rand::{Rng as _, SeedableRng as _};
use wasmtime_wasi::WasiCtxBuilder;

use super::clocks::Clocks;

/// The streams of the generator, so that reading one kind of numbers tells nothing of another.
const SECURE: u64 = 0;
const INSECURE: u64 = 1;
const INSECURE_SEED: u64 = 2;

/// Gives a guest its clocks, and the random numbers that follow from `seed`.
pub(super) fn apply(wasi: &mut WasiCtxBuilder, seed: Seed, clocks: &Clocks) {
    // An algorithm that is fixed for good, unlike rand's `StdRng`, and that guests may make secrets
    // with.
    let stream = |number: u64| {
        let mut stream = ChaCha20Rng::from_seed(seed.0);
        stream.set_stream(number);
        stream
    };
    wasi.secure_random(stream(SECURE)).insecure_random(stream(INSECURE));
    let mut seeds = stream(INSECURE_SEED);
    wasi.insecure_random_seed(u128::from(seeds.next_u64()) << 64 | u128::from(seeds.next_u64()));
    wasi.wall_clock(clocks.clone()).monotonic_clock(clocks.clone());
}
