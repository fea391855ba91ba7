//! The ways in which code is compiled.

use jobwright_core::limits::Fuel;
use serde::{Deserialize, Serialize};

/// Which interruptions the code checks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Profile {
    /// Fuel and epochs.
    Fuel,
    /// Epochs only.
    Epochs,
}

impl Profile {
    /// The profile that a job with this limit needs.
    pub(super) fn of(fuel: Fuel) -> Self {
        match fuel {
            Fuel::Units(_) => Self::Fuel,
            Fuel::Unlimited => Self::Epochs,
        }
    }

    /// The name of the profile in file names.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Epochs => "epochs",
        }
    }
}

/// How much address space memories have, which determines the bounds checks in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Space {
    /// All that a guest can address.
    Ample,
    /// The current size of each memory.
    Scarce,
}

/// What code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) profile: Profile,
    pub(super) space: Space,
}

impl Target {
    pub(super) const ALL: [Self; 4] = [
        Self { profile: Profile::Fuel, space: Space::Ample },
        Self { profile: Profile::Epochs, space: Space::Ample },
        Self { profile: Profile::Fuel, space: Space::Scarce },
        Self { profile: Profile::Epochs, space: Space::Scarce },
    ];

    /// The target whose [`Self::word`] this is.
    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.word() == word)
    }

    /// The name by which a process that compiles is told its target.
    pub(super) fn word(self) -> &'static str {
        match (self.profile, self.space) {
            (Profile::Fuel, Space::Ample) => "fuel",
            (Profile::Epochs, Space::Ample) => "epochs",
            (Profile::Fuel, Space::Scarce) => "fuel-scarce",
            (Profile::Epochs, Space::Scarce) => "epochs-scarce",
        }
    }
}
