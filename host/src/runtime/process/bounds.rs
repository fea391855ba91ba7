//! Bounds on the concurrent calls of one attempt. A runner waits for room within these bounds; the
//! host refuses what exceeds them.

/// The maximum of calls of one attempt at one time: many more than any grant allows.
pub(super) const CALLS: usize = 64;

/// The maximum of responses that an attempt has not read to their ends: as many as it may have handles by
/// default.
pub(super) const RESPONSES: usize = 1000;

/// A call this short fits in any message, so the host can report what is wrong with it.
pub(super) const SHORT_BYTES: u64 = 64 << 10;

/// The maximum size of the concurrent calls of one attempt, in bytes, for these bounds on one
/// request and one value: as much as the requests that a guest may write at one time.
pub(super) fn carried_bytes(request_bytes: u64, value_bytes: u64) -> u64 {
    // A value that is too long reaches the host, which refuses it with the reason.
    request_bytes.max(value_bytes.saturating_add(SHORT_BYTES)).saturating_mul(4)
}
