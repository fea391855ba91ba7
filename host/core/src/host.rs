//! The identity of a host.

use std::fmt;

use serde::Serialize;
use uuid::{Builder, Uuid};

/// The identity of one run of a host process, from its start to its end: a host that is started again has another
/// one. A [`Lease`](crate::attempt::Lease) names the host that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct HostId(Uuid);

impl HostId {
    /// The host of an attempt whose host is not known: a version of Jobwright whose leases named none began it. No
    /// host has this id.
    pub const UNKNOWN: Self = Self(Uuid::nil());

    /// The id with these random bytes, a UUID of version 4 (RFC 9562).
    #[must_use]
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id that has these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_random_uuid_and_never_the_unknown_host() {
        let id = HostId::from_random([0; 16]);
        assert_eq!(id.to_string(), "00000000-0000-4000-8000-000000000000");
        assert_ne!(id, HostId::UNKNOWN);
        assert_eq!(HostId::from_bytes(*id.as_bytes()), id);
    }
}
