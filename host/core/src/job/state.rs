//! The states of a job, and the phases in which clients see them.

use serde::{Deserialize, Serialize};

/// An enum with the list of its variants.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

states! {
    /// The stored state.
    ///
    /// *Scheduled* and *retryable* are not stored: they are `Available` with a future `scheduled_at`, see
    /// [`Lifecycle::phase`](super::lifecycle::Lifecycle::phase), so no row changes when the time comes.
    JobState {
        /// Waits to be claimed.
        Available,
        /// An attempt holds a lease on it.
        Running,
        /// Finalized: it succeeded.
        Completed,
        /// Finalized: it failed for good.
        Discarded,
        /// Finalized: it was cancelled.
        Cancelled,
        /// Finalized: it was not started in time.
        Expired,
    }
}

impl JobState {
    /// Whether the job is finalized.
    #[must_use]
    pub fn is_finalized(self) -> bool {
        match self {
            Self::Available | Self::Running => false,
            Self::Completed | Self::Discarded | Self::Cancelled | Self::Expired => true,
        }
    }

    /// Whether the job is finalized and neither succeeded nor was cancelled: such jobs are logged, and kept for longer.
    #[must_use]
    pub fn has_failed(self) -> bool {
        match self {
            Self::Available | Self::Running | Self::Completed | Self::Cancelled => false,
            Self::Discarded | Self::Expired => true,
        }
    }

    /// Whether the job waits to be claimed, now or later.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        match self {
            Self::Available => true,
            Self::Running | Self::Completed | Self::Discarded | Self::Cancelled | Self::Expired => {
                false
            }
        }
    }
}

states! {
    /// The state as clients see it: `state` in HTTP responses. Those of unfinished jobs are in the order in which most
    /// jobs enter them.
    Phase {
        /// Not due yet, and never tried or snoozed.
        Scheduled,
        /// Not due yet, after an attempt that failed or was released.
        Retryable,
        /// Due.
        Available,
        /// An attempt holds a lease on it.
        Running,
        /// Succeeded.
        Completed,
        /// Failed for good.
        Discarded,
        /// Cancelled.
        Cancelled,
        /// Not started in time.
        Expired,
    }
}

impl Phase {
    /// Whether the job is finalized.
    #[must_use]
    pub fn is_finalized(self) -> bool {
        match self {
            Self::Scheduled | Self::Available | Self::Retryable | Self::Running => false,
            Self::Completed | Self::Discarded | Self::Cancelled | Self::Expired => true,
        }
    }
}
