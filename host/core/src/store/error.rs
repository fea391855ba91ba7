//! Why a store fails.

use thiserror::Error;

/// The store itself failed. Expected answers are values, so `?` is right for these.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It has stopped, or cannot be reached.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It holds something that it cannot have written.
    #[error("the store is corrupt: {what}")]
    Corrupt {
        /// What it holds.
        what: String,
    },
}
