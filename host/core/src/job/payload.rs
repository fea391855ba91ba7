//! The payload of a job, and the description of its output.

use bytes::Bytes;

/// Bytes with their media type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// The media type that the submitter gave, `application/json` for a JSON value; none for none.
    pub content_type: Option<String>,
    /// What the guest reads.
    pub bytes: Bytes,
}

/// What a job read from a store says of its output without carrying it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The media type.
    pub content_type: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The number of the attempt that left it: the one that succeeded, or of a job that has not completed
    /// one that failed.
    pub attempt: u32,
}
