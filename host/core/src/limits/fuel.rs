//! Fuel: the budget of instructions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A budget of instructions: a number, or `"unlimited"`, which runs code without fuel metering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fuel {
    /// This number of units; about one per instruction.
    Units(u64),
    /// Not metered: only the time limit ends an endless loop.
    Unlimited,
}

impl Serialize for Fuel {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Units(units) => to.serialize_u64(*units),
            Self::Unlimited => to.serialize_str("unlimited"),
        }
    }
}

impl<'de> Deserialize<'de> for Fuel {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Units(u64),
            Word(String),
        }
        match Form::deserialize(from) {
            Ok(Form::Units(units)) => Ok(Self::Units(units)),
            Ok(Form::Word(word)) if word == "unlimited" => Ok(Self::Unlimited),
            _ => Err(serde::de::Error::custom("fuel is a whole number or \"unlimited\"")),
        }
    }
}

impl fmt::Display for Fuel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => write!(f, "{units}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}
