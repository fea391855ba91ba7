//! Parses limits, of a job or in the settings of a plugin.

use jobwright_core::limits::{InvalidLimit, LimitPolicy, LimitsRequest};

use crate::api::http::error::FieldError;
use crate::api::http::fields::Fields;

/// Takes the field `limits`. Its members replace those of `limits`, and `null` removes them. Each limit is
/// checked on its own, so that every invalid one is named.
pub(in crate::api) fn take(fields: &mut Fields, limits: &mut LimitsRequest, policy: &LimitPolicy) {
    match fields.take_object("limits") {
        None => {}
        Some(None) => *limits = LimitsRequest::default(),
        Some(Some(mut given)) => {
            let fuel = "a whole number or \"unlimited\"";
            limits.fuel = given.change("fuel", fuel).unwrap_or(limits.fuel);
            for (name, shape, limit) in [
                ("timeout_ms", "a whole number of milliseconds", &mut limits.timeout_ms),
                ("memory_bytes", "a whole number of bytes", &mut limits.memory_bytes),
                ("output_bytes", "a whole number of bytes", &mut limits.output_bytes),
                ("log_bytes", "a whole number of bytes", &mut limits.log_bytes),
                ("tables", "a whole number of elements", &mut limits.tables),
                ("resources", "a whole number of handles", &mut limits.resources),
                ("checkpoint_bytes", "a whole number of bytes", &mut limits.checkpoint_bytes),
                ("grace_ms", "a whole number of milliseconds", &mut limits.grace_ms),
            ] {
                *limit = given.change(name, shape).unwrap_or(*limit);
            }
            fields.absorb("limits", given, "is not a limit");
        }
    }
    for fault in policy.faults(limits) {
        let FieldError { field, message } = error(&fault);
        fields.wrong(field, message);
    }
}

/// The error of an invalid limit.
pub(in crate::api) fn error(fault: &InvalidLimit) -> FieldError {
    FieldError::new(format!("limits.{}", fault.field), &fault.message)
}
