//! The random numbers and the clocks of a guest, derived from the recorded start of its attempt.
//! Invariant: random numbers depend on the seed only, so a replayed attempt gets the same ones.

use jobwright_core::attempt::Seed;
use rand::rngs::ChaCha20Rng;
use rand::{Rng as _, SeedableRng as _};
use wasmtime_wasi::WasiCtxBuilder;

use super::clocks::Clocks;

/// The streams of the generator, so that one kind of numbers reveals nothing about another.
const SECURE: u64 = 0;
const INSECURE: u64 = 1;
const INSECURE_SEED: u64 = 2;

/// Gives a guest its clocks, and the random numbers that follow from `seed`.
pub(super) fn apply(wasi: &mut WasiCtxBuilder, seed: Seed, clocks: &Clocks) {
    // A cryptographic algorithm that never changes, unlike rand's `StdRng`.
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
