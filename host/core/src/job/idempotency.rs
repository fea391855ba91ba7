//! Idempotency keys.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::tenant::TenantName;

/// Between a tenant and its key: no header carries this character.
const OF: char = '\u{1f}';

/// An `Idempotency-Key`, with the fingerprint of the request and the response to a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, at most 255 bytes, [of a tenant](Self::key_of).
    pub key: String,
    /// A digest of the request: another request under the same key is refused.
    pub fingerprint: Digest,
    /// The body of the first answer.
    pub answer: Bytes,
    /// When the key may be used anew.
    pub expires_at: Timestamp,
}

impl Idempotency {
    /// What is counted for one in addition to its key and answer, in bytes: the fingerprint, the job's id and
    /// the row.
    pub const ROW_BYTES: u64 = 200;

    /// A tenant's key, as it is remembered: those of one tenant are not those of another.
    #[must_use]
    pub fn key_of(tenant: &TenantName, key: &str) -> String {
        if tenant.is_default() { key.to_owned() } else { format!("{tenant}{OF}{key}") }
    }

    /// The tenant of the key.
    #[must_use]
    pub fn tenant(&self) -> TenantName {
        let tenant = self.key.split_once(OF).and_then(|(tenant, _)| tenant.parse().ok());
        tenant.unwrap_or_default()
    }

    /// Its size in the store, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.key.len() + self.answer.len()) as u64 + Self::ROW_BYTES
    }
}
