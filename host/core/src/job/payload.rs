//! The payload of a job, and the description of its output.

use bytes::Bytes;

/// Bytes with their media type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// The media type, `application/json` for a JSON value; `None` if the submitter gave none.
    pub content_type: Option<String>,
    /// The bytes that the guest reads.
    pub bytes: Bytes,
}

/// The description of an output, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputInfo {
    /// The media type.
    pub content_type: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The number of the attempt that left it: the one that succeeded, or of a job that has not completed
    /// one that failed.
    pub attempt: u32,
}
