//! Counts primes: a long job that reports its progress, ends when it is cancelled, and continues where an
//! earlier attempt stopped.

mod sieve;

use jobwright_guest::{Job, JobError};
use serde::{Deserialize, Serialize};

use sieve::Sieve;

/// Numbers are sieved in segments of this size, each some milliseconds of work: short enough to be
/// cancelled soon, and long enough to call the host after each.
const PIECE: u64 = 1 << 20;

/// Beyond this the primes of the sieve would exceed the default memory of a job.
const MAX_UP_TO: u64 = 1_000_000_000_000;

#[derive(Debug, Deserialize)]
struct Range {
    up_to: u64,
}

/// The result for the numbers below `next`; also the checkpoint.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Found {
    next: u64,
    primes: u64,
    /// Pairs of primes with a difference of 2.
    twins: u64,
    largest: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Answer {
    up_to: u64,
    primes: u64,
    twins: u64,
    largest: Option<u64>,
}

#[jobwright_guest::job]
fn primes(range: Range, job: &Job) -> Result<Answer, JobError> {
    let up_to = range.up_to;
    if up_to > MAX_UP_TO {
        return Err(JobError::permanent(format!("up_to {up_to} is above {MAX_UP_TO}")));
    }
    let mut found: Found = job.checkpoint().load_json()?.unwrap_or_default();
    if found.next > 0 {
        job.info(format_args!("attempt {} goes on at {}", job.attempt(), found.next));
    }
    let sieve = Sieve::new(up_to);
    while found.next <= up_to {
        if job.is_cancelled() {
            job.info(format_args!("stopped at {}", found.next));
            return Err(JobError::retry("stopped when it was asked to"));
        }
        let end = (found.next + PIECE).min(up_to + 1);
        sieve.primes(found.next..end).for_each(|prime| found.add(prime));
        found.next = end;
        job.checkpoint().save_json(&found)?;
        job.progress(end as f64 / (up_to + 1) as f64, format_args!("{} primes", found.primes));
    }
    let Found { primes, twins, largest, .. } = found;
    Ok(Answer { up_to, primes, twins, largest })
}

impl Found {
    fn add(&mut self, prime: u64) {
        self.primes += 1;
        // The larger prime of the pair.
        self.twins += u64::from(self.largest.is_some_and(|largest| largest + 2 == prime));
        self.largest = Some(prime);
    }
}

#[cfg(test)]
mod tests {
    use jobwright_guest::testing::TestJob;

    use super::*;

    fn count(up_to: u64, job: &Job) -> Result<Answer, JobError> {
        primes(Range { up_to }, job)
    }

    #[test]
    fn primes_and_twins_are_counted_over_the_edges_of_pieces() {
        let answer = count(5_000_000, &TestJob::new()).unwrap();
        let known =
            Answer { up_to: 5_000_000, primes: 348_513, twins: 32_463, largest: Some(4_999_999) };
        assert_eq!(answer, known);
    }

    #[test]
    fn small_numbers_have_few() {
        let of = |up_to| count(up_to, &TestJob::new()).unwrap();
        assert_eq!((of(0).primes, of(1).largest, of(2).largest), (0, None, Some(2)));
        assert_eq!((of(7).primes, of(7).twins), (4, 2));
    }

    #[test]
    fn a_cancelled_attempt_leaves_what_the_next_one_needs() {
        let first = TestJob::new().cancelled_after(2);
        let error = count(5_000_000, &first).unwrap_err();
        assert_eq!(error, JobError::retry("stopped when it was asked to"));

        let saved = first.checkpoint().load().unwrap();
        let second = TestJob::new().with_attempt(2, 5).with_checkpoint(saved);
        let answer = count(5_000_000, &second).unwrap();
        assert_eq!((answer.primes, answer.twins), (348_513, 32_463));
        assert_eq!(second.logged()[0].1, "attempt 2 goes on at 2097152");
        assert_eq!(second.reported().len(), 3);
    }

    #[test]
    fn progress_grows_to_1() {
        let job = TestJob::new();
        count(3_000_000, &job).unwrap();
        let fractions: Vec<_> = job.reported().iter().filter_map(|told| told.fraction).collect();
        assert!(fractions.is_sorted(), "{fractions:?}");
        assert_eq!(fractions.last(), Some(&1.0));
    }
}
