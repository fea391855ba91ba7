//! The response that a core module can copy.

use bytes::Bytes;

/// The last response to a core module's request; empty before the first.
#[derive(Debug, Default)]
pub(in crate::runtime) struct LastResponse {
    /// A JSON object; empty if there is no response.
    pub(super) headers: String,
    pub(super) body: Bytes,
}

impl LastResponse {
    /// Its size, which counts against the guest's memory limit.
    pub(super) fn bytes(&self) -> u64 {
        (self.headers.len() + self.body.len()) as u64
    }
}
