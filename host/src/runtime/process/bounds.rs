//! How much one attempt may ask of its host at one time. A runner waits for room within these bounds; the
//! host refuses what exceeds them.

/// The maximum of calls of one attempt at one time: many more than any grant allows.
pub(super) const CALLS: usize = 64;

/// The maximum of responses that an attempt has not read to their ends: as many as it may have handles by
/// default.
pub(super) const RESPONSES: usize = 1000;

/// A call this short fits in any message: the host says what is wrong with it.
pub(super) const SHORT_BYTES: u64 = 64 << 10;

/// What the calls of one attempt may carry at one time, in bytes, for these bounds on one request and one
/// value: as much as a guest may gather of requests.
pub(super) fn carried_bytes(request_bytes: u64, value_bytes: u64) -> u64 {
    // The host refuses a value that is longer than it may be, and says why.
    request_bytes.max(value_bytes.saturating_add(SHORT_BYTES)).saturating_mul(4)
}
