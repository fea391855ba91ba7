//! The identity of a job, and the prefixes by which people name it.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::{Builder, NoContext, Uuid};

use crate::clock::Timestamp;
use crate::name::shorten;

/// The length of an id as text, in bytes.
const LENGTH: usize = 36;

/// The shortest prefix that is looked up: a shorter one would match all jobs of several hours.
const MIN_PREFIX: usize = 8;

/// The number of ids in a millisecond: the sequence has 12 bits.
const SEQUENCE: u16 = 0xfff;

/// The identity of a job: a UUID of version 7 (RFC 9562), so that ids sort by creation.
///
/// The 12 bits after the time count the ids of one millisecond (RFC 9562, 6.2, method 1), so the first
/// [`JobId::SHORT`] characters already differ between all jobs of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

/// Text that is not a job id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a job id: use the `id` of the job, a UUID, or its first {MIN_PREFIX} or more \
     characters"
)]
pub struct InvalidJobId(String);

/// The millisecond and the sequence of the latest id.
static LATEST: Mutex<(u64, u16)> = Mutex::new((0, 0));

impl JobId {
    /// The characters in which the ids of one host differ, however close in time they were made.
    pub const SHORT: usize = 18;

    /// A new id, greater than any that this process made before.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let (millis, sequence) = next(millis);
        // Of a UUID without a sequence of its own, everything after the time is random.
        let random = Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, 0, 0));
        let mut rest = [0; 10];
        rest[..2].copy_from_slice(&sequence.to_be_bytes());
        rest[2..].copy_from_slice(&random.as_bytes()[8..]);
        Self(Builder::from_unix_timestamp_millis(millis, &rest).into_uuid())
    }

    /// The 16 bytes, which sort as the ids do.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id of these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

/// The millisecond and the sequence of the next id, which is not made before `millis`.
fn next(millis: u64) -> (u64, u16) {
    // Nothing panics while it is changed.
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    *latest = match *latest {
        (last, _) if millis > last => (millis, 0),
        (last, sequence) if sequence < SEQUENCE => (last, sequence + 1),
        (last, _) => (last + 1, 0),
    };
    *latest
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the hyphenated form, so that one job has one URL.
        match (text.len(), Uuid::try_parse(text)) {
            (LENGTH, Ok(id)) => Ok(Self(id)),
            _ => Err(InvalidJobId(shorten(text))),
        }
    }
}

/// A job id, or the beginning of one: what a person types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobIdPrefix(String);

impl JobIdPrefix {
    /// The characters that were given, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id, if all of it was given.
    #[must_use]
    pub fn whole(&self) -> Option<JobId> {
        self.0.parse().ok()
    }

    /// Whether `id` begins with the prefix.
    #[must_use]
    pub fn matches(&self, id: JobId) -> bool {
        id.to_string().starts_with(&self.0)
    }

    /// The greatest id that begins with the prefix.
    #[must_use]
    pub fn last(&self) -> JobId {
        const HIGHEST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
        let text = format!("{}{}", self.0, &HIGHEST[self.0.len()..]);
        text.parse().unwrap_or(JobId::from_bytes([0xff; 16]))
    }
}

impl FromStr for JobIdPrefix {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hyphen = |place: usize| matches!(place, 8 | 13 | 18 | 23);
        let fits = |(place, byte): (usize, u8)| match is_hyphen(place) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        };
        let is_prefix =
            (MIN_PREFIX..=LENGTH).contains(&text.len()) && text.bytes().enumerate().all(fits);
        match is_prefix {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(InvalidJobId(shorten(text))),
        }
    }
}

impl fmt::Display for JobIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_creation_and_differ_early_even_within_one_instant() {
        let now = "2026-01-02T03:04:05.678901Z".parse().expect("a time");
        let ids: Vec<JobId> = (0..10_000).map(|_| JobId::new(now)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        let short: std::collections::BTreeSet<String> =
            ids.iter().map(|id| id.to_string()[..JobId::SHORT].to_owned()).collect();
        assert_eq!(short.len(), ids.len());
    }

    #[test]
    fn an_id_is_a_uuid_of_version_7_whose_time_is_that_of_its_creation() {
        let now: Timestamp = "2200-01-02T03:04:05.678901Z".parse().expect("a time");
        let id = JobId::new(now);
        let uuid = Uuid::from_bytes(*id.as_bytes());
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        let millis = u64::from_str_radix(&uuid.simple().to_string()[..12], 16).expect("hex");
        assert_eq!(Some(millis), now.as_millisecond().try_into().ok());
    }

    #[test]
    fn only_the_hyphenated_form_is_a_job_id() {
        let id = JobId::new(Timestamp::UNIX_EPOCH);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "7", "zz", &id.to_string().replace('-', ""), &format!("{{{id}}}")] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_matches_the_ids_that_begin_with_it() {
        let id = JobId::new(Timestamp::UNIX_EPOCH);
        let text = id.to_string();
        for length in MIN_PREFIX..=LENGTH {
            let prefix: JobIdPrefix = text[..length].to_uppercase().parse().expect("a prefix");
            assert!(prefix.matches(id) && prefix.last() >= id && prefix.matches(prefix.last()));
            assert_eq!(prefix.whole(), (length == LENGTH).then_some(id));
        }
        let simple = text.replace('-', "");
        for bad in ["", "7", &text[..7], "0123456z", "01234567+", &simple, &format!("{text}0")] {
            assert!(bad.parse::<JobIdPrefix>().is_err(), "{bad}");
        }
    }
}
