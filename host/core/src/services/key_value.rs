//! The key-value store of a plugin, which persists from one job to the next: calls, replies and errors.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::Digest;

/// The longest key, in bytes: a path or a URL.
pub const MAX_KEY_BYTES: usize = 1024;

/// The longest name of a bucket, in bytes.
pub const MAX_BUCKET_BYTES: usize = 255;

/// The longest value, in bytes: as a payload and an output by default. What is larger belongs into a
/// store of objects.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// A call of `wasi:keyvalue`. Keys and values are the plugin's own; a bucket is a part of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyValueCall {
    /// Checks whether the bucket can be used.
    Open {
        /// The bucket.
        bucket: String,
    },
    /// The value of a key.
    Get {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Sets the value of a key.
    Set {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
    },
    /// Removes a key.
    Delete {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Compare and swap: sets the value of a key if the digest of the present value matches.
    Swap {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The digest of the expected value; `None` if the key is expected to have none.
        from: Option<Digest>,
        /// The new value.
        to: Bytes,
    },
    /// Adds to the number that a key holds, in decimal digits; none counts as 0.
    Increment {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The addend, which may be negative.
        by: i64,
        /// The smallest sum that the guest's ABI can return; a smaller one is refused.
        least: i64,
    },
    /// A page of the keys, in the order of their bytes.
    Keys {
        /// The bucket.
        bucket: String,
        /// Only keys after this one.
        after: Option<String>,
    },
}

/// The reply to a [`KeyValueCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyValueReply {
    /// To `Get`.
    Value(Option<Bytes>),
    /// To `Open`, `Set` and `Delete`.
    Done,
    /// To `Swap`: whether the digest matched.
    Swapped(bool),
    /// To `Increment`: the sum.
    Number(i64),
    /// To `Keys`.
    Keys {
        /// Some keys.
        keys: Vec<String>,
        /// Whether there are more.
        more: bool,
    },
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum KeyValueError {
    /// The plugin is not granted a key-value store.
    #[error("denied: {0}")]
    Denied(String),
    /// There is no room for it, or the key or value cannot be taken.
    #[error("{0}")]
    Refused(String),
    /// The store of the host failed.
    #[error("values cannot be stored at the moment: {0}")]
    Failed(String),
}

impl KeyValueError {
    /// The line about it in the log of the attempt whose call it is.
    #[must_use]
    pub fn line(&self) -> String {
        format!("WARN: key-value: {self}\n")
    }
}
