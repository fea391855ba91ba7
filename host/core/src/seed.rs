//! The key of a host from which the random numbers of its attempts are derived.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::job::id::JobId;

/// Separates seeds from other values that may be derived from the key later.
const PURPOSE: &[u8] = b"jobwright seed 1\0";

/// 32 random bytes that no client and no guest knows. Two hosts with the same key derive the same seeds.
#[derive(Clone, PartialEq, Eq)]
pub struct SeedKey([u8; 32]);

impl SeedKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, which are a secret.
    #[must_use]
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// The seed of the attempt with this number, or of all attempts at the job: HMAC-SHA-256
    /// (RFC 2104) of the job's id and the number. Without the key it cannot be computed, not even by
    /// the submitter, which learns the job's id before the job runs.
    #[must_use]
    pub fn seed(&self, job: JobId, attempt: Option<u32>) -> [u8; 32] {
        // Attempts count from 1.
        let number = attempt.unwrap_or(0).to_be_bytes();
        // A key is filled up with zeros to the block of the hash (RFC 2104, 2).
        let mut block = [0; 64];
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut hmac: Hmac<Sha256> = Hmac::new(&block.into());
        for part in [PURPOSE, job.as_bytes(), &number] {
            hmac.update(part);
        }
        hmac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeedKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        text.parse().expect("an id")
    }

    #[test]
    fn a_seed_is_the_hmac_of_job_and_attempt() {
        let (key, job) = (SeedKey::new([7; 32]), id("00dc6acf-ac00-7000-8000-000000000001"));
        // By Python: hmac.new(b"\7" * 32, b"jobwright seed 1\0" + job.bytes + number, "sha256").
        let expected = "2f77a37b8552ec057029ac52fb29a07a319a60d9e83d768d630f8d4fb4c1adca";
        assert_eq!(hex::encode(key.seed(job, Some(1))), expected);
    }

    #[test]
    fn another_key_job_or_attempt_gives_another_seed() {
        let (key, other) = (SeedKey::new([7; 32]), SeedKey::new([8; 32]));
        let one = id("00dc6acf-ac00-7000-8000-000000000001");
        let two = id("00dc6acf-ac00-7000-8000-000000000002");
        let seeds = [
            key.seed(one, Some(1)),
            key.seed(one, Some(2)),
            key.seed(one, None),
            key.seed(two, Some(1)),
            other.seed(one, Some(1)),
        ];
        let different: std::collections::BTreeSet<_> = seeds.iter().collect();
        assert_eq!(different.len(), seeds.len());
        assert_eq!(key.seed(one, None), key.seed(one, None));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", SeedKey::new([7; 32])), "SeedKey(…)");
    }
}
