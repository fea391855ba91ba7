//! What an attempt may use: a request, completed from the plugin and the host, and refused above
//! the operator's ceilings.

mod names;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::names::flag;

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

/// A budget of instructions: a number, or `"unlimited"`, which runs code without fuel metering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fuel {
    /// So many units; about one per instruction.
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
            _ => Err(serde::de::Error::custom("fuel must be a whole number or \"unlimited\"")),
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

/// What one attempt may use. Complete: nothing is left to a default any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Instructions.
    pub fuel: Fuel,
    /// Wall time from the start of instantiation, in milliseconds.
    pub timeout_ms: u64,
    /// All linear memories and tables together, in bytes.
    pub memory_bytes: u64,
    /// Length of the output, in bytes.
    pub output_bytes: u64,
    /// Length of the log that is kept, in bytes; more is dropped and counted, and ends nothing.
    pub log_bytes: u64,
    /// Table elements of all tables.
    pub tables: u64,
    /// Handles to host resources at one time.
    pub resources: u64,
    /// Length of the checkpoint, in bytes.
    #[serde(default = "Limits::default_checkpoint_bytes")]
    pub checkpoint_bytes: u64,
    /// How long a guest that asks whether it is cancelled may go on after it was, in milliseconds.
    #[serde(default = "Limits::default_grace_ms")]
    pub grace_ms: u64,
}

impl Limits {
    /// What a guest that computes uses up in a second on a server of today: measured guests that parse,
    /// count, scale and draw took 2 to 7 × 10⁹, a loop that does nothing 1 × 10⁹.
    pub const FUEL_PER_SECOND: u64 = 5_000_000_000;

    /// What an attempt may use when nobody says otherwise.
    pub const DEFAULT: Self = Self {
        fuel: Fuel::Units(Self::FUEL_PER_SECOND * 60), // as long as the time limit
        timeout_ms: 60_000,                            // River's default
        memory_bytes: 64 << 20,                        // every toolchain's small program fits
        output_bytes: 1 << 20,                         // as the payload
        log_bytes: 256 << 10,                          // some thousand lines
        tables: 100_000,                               // debug builds of C# need over 10,000
        resources: 1_000,          // wasmtime's default of a million is host memory
        checkpoint_bytes: 1 << 20, // as the output
        grace_ms: 1_000,           // enough to write state down, not to go on working
    };

    /// The most that an operator who configures nothing lets a job ask for.
    pub const CEILING: Self = Self {
        fuel: Fuel::Unlimited,
        timeout_ms: 3_600_000,
        memory_bytes: 1 << 30,
        output_bytes: 16 << 20,
        log_bytes: 1 << 20, // 64 such logs are written every second, and each at its end
        tables: 1_000_000,
        resources: 10_000,
        checkpoint_bytes: 16 << 20, // as the output
        grace_ms: 10_000,           // a third of the host's own grace at its shutdown
    };

    // Jobs that were accepted before there were these two.
    fn default_checkpoint_bytes() -> u64 {
        Self::DEFAULT.checkpoint_bytes
    }

    fn default_grace_ms() -> u64 {
        Self::DEFAULT.grace_ms
    }

    /// What every attempt may take beside that: its stack, and what its instances have beside their
    /// memories and tables, of which a runtime lets in no more.
    pub const ATTEMPT_BYTES: u64 = 6 << 20;

    /// What an attempt may take of its host's memory, in bytes: all that the guest has, the buffers of
    /// what it leaves, and [what it takes beside](Self::ATTEMPT_BYTES).
    #[must_use]
    pub fn host_bytes(&self) -> u64 {
        let buffers =
            [self.output_bytes, self.log_bytes, self.checkpoint_bytes, Self::ATTEMPT_BYTES];
        buffers.into_iter().fold(self.memory_bytes, u64::saturating_add)
    }

    /// The wall time limit.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// These limits, none above `ceiling`.
    #[must_use]
    pub fn under(self, ceiling: &Self) -> Self {
        Self {
            fuel: self.fuel.min(ceiling.fuel),
            timeout_ms: self.timeout_ms.min(ceiling.timeout_ms),
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            output_bytes: self.output_bytes.min(ceiling.output_bytes),
            log_bytes: self.log_bytes.min(ceiling.log_bytes),
            tables: self.tables.min(ceiling.tables),
            resources: self.resources.min(ceiling.resources),
            checkpoint_bytes: self.checkpoint_bytes.min(ceiling.checkpoint_bytes),
            grace_ms: self.grace_ms.min(ceiling.grace_ms),
        }
    }
}

/// The limits that someone asked for; what is absent comes from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(rename_all = "snake_case")]
pub struct LimitsRequest {
    /// See [`Limits::fuel`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<Fuel>,
    /// See [`Limits::timeout_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// See [`Limits::memory_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// See [`Limits::output_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// See [`Limits::log_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// See [`Limits::tables`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// See [`Limits::resources`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<u64>,
    /// See [`Limits::checkpoint_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_bytes: Option<u64>,
    /// See [`Limits::grace_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

impl LimitsRequest {
    /// This request, with what it leaves open taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            fuel: self.fuel.or(other.fuel),
            timeout_ms: self.timeout_ms.or(other.timeout_ms),
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            output_bytes: self.output_bytes.or(other.output_bytes),
            log_bytes: self.log_bytes.or(other.log_bytes),
            tables: self.tables.or(other.tables),
            resources: self.resources.or(other.resources),
            checkpoint_bytes: self.checkpoint_bytes.or(other.checkpoint_bytes),
            grace_ms: self.grace_ms.or(other.grace_ms),
        }
    }

    fn or_limits(self, limits: &Limits) -> Limits {
        Limits {
            fuel: self.fuel.unwrap_or(limits.fuel),
            timeout_ms: self.timeout_ms.unwrap_or(limits.timeout_ms),
            memory_bytes: self.memory_bytes.unwrap_or(limits.memory_bytes),
            output_bytes: self.output_bytes.unwrap_or(limits.output_bytes),
            log_bytes: self.log_bytes.unwrap_or(limits.log_bytes),
            tables: self.tables.unwrap_or(limits.tables),
            resources: self.resources.unwrap_or(limits.resources),
            checkpoint_bytes: self.checkpoint_bytes.unwrap_or(limits.checkpoint_bytes),
            grace_ms: self.grace_ms.unwrap_or(limits.grace_ms),
        }
    }
}

/// A limit that was asked for and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct InvalidLimit {
    /// The field of [`Limits`].
    pub field: &'static str,
    /// Both values, with their unit.
    pub message: String,
}

/// What the operator gives and allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPolicy {
    /// For who asks for nothing.
    pub default: Limits,
    /// For who asks for much.
    pub ceiling: Limits,
}

impl Default for LimitPolicy {
    fn default() -> Self {
        Self { default: Limits::DEFAULT, ceiling: Limits::CEILING }
    }
}

impl LimitPolicy {
    /// The limits of a job that asks for `request`, of a plugin whose settings say `plugin` and
    /// whose code needs at least `minimum_memory` bytes. Absent values never fail: they are taken
    /// under the ceiling.
    ///
    /// # Errors
    /// Every explicit value that is zero, above the ceiling, or below what the code needs.
    pub fn complete(
        &self,
        request: LimitsRequest,
        plugin: LimitsRequest,
        minimum_memory: u64,
    ) -> Result<Limits, Vec<InvalidLimit>> {
        let mut faults = self.faults(&request);
        if let Some(asked) = request.memory_bytes
            && asked < minimum_memory
        {
            faults.push(InvalidLimit {
                field: "memory_bytes",
                message: format!(
                    "memory limit {} is below the {} that the plugin starts with",
                    show_bytes(asked),
                    show_bytes(minimum_memory)
                ),
            });
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut given = plugin.or_limits(&self.default).under(&self.ceiling);
        given.memory_bytes = given.memory_bytes.max(minimum_memory);
        Ok(request.or_limits(&given))
    }

    /// Every value of `request` that is zero or above the ceiling.
    #[must_use]
    pub fn faults(&self, request: &LimitsRequest) -> Vec<InvalidLimit> {
        let ceiling = &self.ceiling;
        let mut faults = Vec::new();
        if let Some(fuel) = request.fuel {
            if fuel == Fuel::Units(0) {
                faults.push(zero("fuel"));
            } else if fuel > ceiling.fuel {
                faults.push(above("fuel", &fuel.to_string(), &ceiling.fuel.to_string()));
            }
        }
        let mut check = |field, asked: Option<u64>, most: u64, show: fn(u64) -> String| {
            let Some(asked) = asked else { return };
            if asked == 0 {
                faults.push(zero(field));
            } else if asked > most {
                faults.push(above(field, &show(asked), &show(most)));
            }
        };
        check("timeout_ms", request.timeout_ms, ceiling.timeout_ms, |ms| format!("{ms} ms"));
        check("memory_bytes", request.memory_bytes, ceiling.memory_bytes, show_bytes);
        check("output_bytes", request.output_bytes, ceiling.output_bytes, show_bytes);
        check("log_bytes", request.log_bytes, ceiling.log_bytes, show_bytes);
        check("tables", request.tables, ceiling.tables, |n| format!("{n} elements"));
        check("resources", request.resources, ceiling.resources, |n| format!("{n} handles"));
        let (asked, most) = (request.checkpoint_bytes, ceiling.checkpoint_bytes);
        check("checkpoint_bytes", asked, most, show_bytes);
        check("grace_ms", request.grace_ms, ceiling.grace_ms, |ms| format!("{ms} ms"));
        faults
    }
}

fn above(field: &'static str, asked: &str, most: &str) -> InvalidLimit {
    let (name, flag) = (field_name(field), flag(field));
    let message = format!(
        "{name} limit {asked} ({flag}) exceeds the operator's maximum {most}, which \
         `ceilings.{field}` in the host's configuration sets"
    );
    InvalidLimit { field, message }
}

fn zero(field: &'static str) -> InvalidLimit {
    InvalidLimit { field, message: format!("{} limit must be at least 1", field_name(field)) }
}

fn field_name(field: &str) -> &str {
    match field {
        "timeout_ms" => "time",
        "grace_ms" => "grace",
        other => other.trim_end_matches("_bytes"),
    }
}

/// What a guest's own calls may take of the stack, in bytes, unless the operator says otherwise: wasmtime's
/// default.
pub const DEFAULT_STACK_BYTES: u64 = 512 << 10;

/// The bounds of that. Below, language runtimes do not start. Above, an endless recursion takes a second to
/// come to its end, and each attempt takes address space and memory that few need.
pub const STACK_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

/// What compiling one plugin may take. It runs no code of the plugin's, but takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time, on the clock and of a processor.
    pub timeout: Duration,
    /// Address space of the process that compiles, in bytes.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        // Some times what the largest language runtimes take.
        Self { timeout: Duration::from_secs(120), memory_bytes: 2 << 30 }
    }
}

/// A number of bytes for people: `512 MiB`, `1.5 KiB`, `17 bytes`.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit {
            let (whole, tenths) = (bytes / unit, bytes % unit * 10 / unit);
            return if bytes.is_multiple_of(unit) {
                format!("{whole} {name}")
            } else if tenths == 0 {
                // Shown as it is: a rounded value could read like the limit that it exceeds.
                format!("{bytes} bytes")
            } else {
                format!("{whole}.{tenths} {name}")
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_lasts_as_long_as_the_time_limit() {
        let Limits { fuel, timeout_ms, .. } = Limits::DEFAULT;
        assert_eq!(fuel, Fuel::Units(Limits::FUEL_PER_SECOND * timeout_ms / 1000));
    }

    #[test]
    fn absent_limits_come_from_the_plugin_then_the_host() {
        let plugin = LimitsRequest { timeout_ms: Some(5), ..Default::default() };
        let asked = LimitsRequest { output_bytes: Some(7), ..Default::default() };
        let limits = LimitPolicy::default().complete(asked, plugin, 0).expect("valid");
        assert_eq!(limits, Limits { timeout_ms: 5, output_bytes: 7, ..Limits::DEFAULT });
    }

    #[test]
    fn every_value_above_its_ceiling_is_named_with_both_values() {
        let ceiling = Limits { fuel: Fuel::Units(10), memory_bytes: 256 << 20, ..Limits::CEILING };
        let policy = LimitPolicy { ceiling, ..LimitPolicy::default() };
        let asked = LimitsRequest {
            fuel: Some(Fuel::Unlimited),
            memory_bytes: Some(512 << 20),
            timeout_ms: Some(0),
            ..Default::default()
        };
        let faults = policy.complete(asked, LimitsRequest::default(), 0).expect_err("too much");
        let messages: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "fuel limit unlimited (--fuel) exceeds the operator's maximum 10, which \
                 `ceilings.fuel` in the host's configuration sets",
                "time limit must be at least 1",
                "memory limit 512 MiB (--memory) exceeds the operator's maximum 256 MiB, which \
                 `ceilings.memory_bytes` in the host's configuration sets",
            ]
        );
    }

    #[test]
    fn a_plugin_that_starts_above_the_default_memory_gets_what_it_starts_with() {
        let policy = LimitPolicy::default();
        let none = LimitsRequest::default();
        assert_eq!(policy.complete(none, none, 100 << 20).expect("valid").memory_bytes, 100 << 20);
        let asked = LimitsRequest { memory_bytes: Some(1 << 20), ..none };
        assert!(policy.complete(asked, none, 2 << 20).is_err());
    }

    #[test]
    fn fuel_is_a_number_or_the_word_unlimited() {
        let parse = serde_json::from_str::<Fuel>;
        assert_eq!(parse("5").expect("valid"), Fuel::Units(5));
        assert_eq!(parse("\"unlimited\"").expect("valid"), Fuel::Unlimited);
        for bad in ["\"5\"", "-1", "1.5", "null", "true"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
