//! The random numbers of a history, from its seed.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

/// Used in the order in which the tasks of a history run, which is the same each time.
#[derive(Debug, Clone)]
pub(super) struct Rng(Arc<Mutex<Xoshiro256PlusPlus>>);

impl Rng {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed))))
    }

    /// One of `0..end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..end.max(1))
    }

    /// One of `from..=to`.
    pub(super) fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True with this probability in percent.
    pub(super) fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// From 0 to 1.
    pub(super) fn fraction(&self) -> f64 {
        self.below(1001) as f64 / 1000.0
    }

    /// One of the values.
    pub(super) fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// One of the values, with probabilities by weight.
    pub(super) fn weighted<T: Copy>(&self, all: &[(u64, T)]) -> T {
        let mut left = self.below(all.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in all {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *choice,
            }
        }
        all[0].1
    }
}
