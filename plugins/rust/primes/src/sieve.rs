//! The segmented sieve of Eratosthenes, whose memory does not grow with the numbers.

use std::ops::Range;

/// Finds the primes of any segment up to a given number.
pub struct Sieve {
    /// The primes up to that number's square root.
    base: Vec<u64>,
}

impl Sieve {
    /// A sieve for the numbers up to `up_to`.
    pub fn new(up_to: u64) -> Self {
        // A segment from 0 on needs only the primes below its own square root.
        let root = up_to.isqrt();
        let first = Self { base: (2..=root.isqrt()).collect() };
        Self { base: first.primes(0..root + 1).collect() }
    }

    /// The primes of the segment `piece`, in order.
    pub fn primes(&self, piece: Range<u64>) -> impl Iterator<Item = u64> {
        let Range { start, end } = piece;
        let mut composite = vec![false; (end - start) as usize];
        for &base in self.base.iter().take_while(|base| *base * *base < end) {
            let first = (start.div_ceil(base) * base).max(base * base);
            (first..end)
                .step_by(base as usize)
                .for_each(|n| composite[(n - start) as usize] = true);
        }
        let of_piece = composite.into_iter().zip(start..end);
        of_piece.filter_map(|(composite, n)| (!composite && n >= 2).then_some(n))
    }
}
