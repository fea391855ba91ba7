//! The limits that a guest can reach, and where each is set.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A limit that a guest can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Instructions executed.
    Fuel,
    /// Wall time from the start of instantiation.
    Time,
    /// All memories and tables together.
    Memory,
    /// Length of the output.
    Output,
    /// Depth of the WebAssembly stack.
    Stack,
    /// Table elements of all tables.
    Tables,
    /// Handles to host resources.
    Resources,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fuel => "fuel",
            Self::Time => "time",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Stack => "stack",
            Self::Tables => "tables",
            Self::Resources => "resources",
        })
    }
}

impl Limit {
    /// The field of a job's `limits`, of a plugin's setting `limits`, and of the host's `limits` and
    /// `ceilings`.
    #[must_use]
    pub fn field(self) -> Option<&'static str> {
        match self {
            Self::Fuel => Some("fuel"),
            Self::Time => Some("timeout_ms"),
            Self::Memory => Some("memory_bytes"),
            Self::Output => Some("output_bytes"),
            Self::Tables => Some("tables"),
            Self::Resources => Some("resources"),
            Self::Stack => None,
        }
    }

    /// How the limit is raised. The text is the same for all attempts, so that a replay has the same.
    #[must_use]
    pub fn remedy(self) -> String {
        let Some(field) = self.field() else {
            return "it is the same for all jobs: the operator raises it with --stack-bytes or \
                    `stack_bytes`, if the plugin does not recurse without end"
                .to_owned();
        };
        let flag = flag(field);
        format!(
            "raise it with {flag} or `limits.{field}` of the job or of the plugin's settings, at most \
             to the host's `ceilings.{field}`"
        )
    }
}

/// The flag of the command line that sets the limit `field`.
#[must_use]
pub fn flag(field: &str) -> &'static str {
    match field {
        "fuel" => "--fuel",
        "timeout_ms" => "--timeout",
        "memory_bytes" => "--memory",
        "output_bytes" => "--output-limit",
        "log_bytes" => "--log-limit",
        "checkpoint_bytes" => "--checkpoint-limit",
        "grace_ms" => "--grace",
        "tables" => "--tables",
        _ => "--resources",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_the_flag_the_field_and_the_ceiling() {
        let remedy = Limit::Memory.remedy();
        for part in ["--memory", "`limits.memory_bytes`", "`ceilings.memory_bytes`"] {
            assert!(remedy.contains(part), "{part}: {remedy}");
        }
    }
}
