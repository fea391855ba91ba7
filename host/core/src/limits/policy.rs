//! The operator's defaults and ceilings, and the check of a request against them.

use thiserror::Error;

use super::bytes::show_bytes;
use super::effective::Limits;
use super::fuel::Fuel;
use super::limit::flag;
use super::request::LimitsRequest;

/// A limit in a request that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct InvalidLimit {
    /// The field of [`Limits`].
    pub field: &'static str,
    /// Both values, with their unit.
    pub message: String,
}

/// The operator's defaults and ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPolicy {
    /// For requests that set no limit.
    pub default: Limits,
    /// The highest values that a request may set.
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
