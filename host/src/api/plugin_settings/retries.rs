//! Parses `retry_on` and `backoff`, of a plugin's settings and of a job.

use jobwright_core::name::shorten;
use jobwright_core::retry::{Backoff, Curve, DEFAULT_JITTER_PERCENT, RetryPolicy};
use serde::de::DeserializeOwned;

use crate::api::http::fields::Fields;
use crate::intake::faults_of_backoff;

const CAUSES: &str =
    "a list of failed, trapped, time, fuel, memory, output, stack, tables, resources";

const WAIT: &str = "a whole number of milliseconds";

const WAITS: &str = "a list of whole numbers of milliseconds";

/// The kinds of back-off, by name.
const KINDS: &str = "one of polynomial, exponential, fixed, list";

/// The fields on retries. `None` is a missing field; `Some(None)` is `null`.
pub(in crate::api) struct Retries {
    pub(in crate::api) retry_on: Option<Option<RetryPolicy>>,
    pub(in crate::api) backoff: Option<Option<Backoff>>,
}

/// Takes both fields.
pub(in crate::api) fn take(fields: &mut Fields) -> Retries {
    Retries { retry_on: fields.change_list("retry_on", CAUSES), backoff: backoff(fields) }
}

/// Takes a back-off. It replaces the previous one as a whole, because its members depend on its kind.
fn backoff(fields: &mut Fields) -> Option<Option<Backoff>> {
    let Some(mut given) = fields.take_object("backoff")? else { return Some(None) };
    let curve = curve(&mut given);
    let jitter_percent = given.take("jitter_percent", "a whole number from 0 to 100");
    let max_ms = given.take("max_ms", WAIT);
    fields.absorb("backoff", given, "is not a field of this kind of back-off");
    let jitter_percent = jitter_percent.unwrap_or(DEFAULT_JITTER_PERCENT);
    let backoff = Backoff { curve: curve?, jitter_percent, max_ms };
    for fault in faults_of_backoff(&backoff) {
        fields.wrong(fault.field, fault.message);
    }
    Some(Some(backoff))
}

/// Takes the kind and its members; `None` after an error.
fn curve(given: &mut Fields) -> Option<Curve> {
    let kind: String = required(given, "kind", KINDS)?;
    match kind.as_str() {
        "polynomial" => Some(Curve::Polynomial),
        "exponential" => {
            let factor = given.take("factor", "a number from 1 to 100").unwrap_or(2.0);
            Some(Curve::Exponential { first_ms: required(given, "first_ms", WAIT)?, factor })
        }
        "fixed" => Some(Curve::Fixed { wait_ms: required(given, "wait_ms", WAIT)? }),
        "list" => {
            let waits_ms = given.change_list("waits_ms", WAITS).flatten();
            if waits_ms.is_none() {
                given.missing("waits_ms", &format!("is missing: expected {WAITS}"));
            }
            Some(Curve::List { waits_ms: waits_ms? })
        }
        other => {
            given.wrong("kind", format!("expected {KINDS}, got `{}`", shorten(other)));
            None
        }
    }
}

fn required<T: DeserializeOwned>(given: &mut Fields, name: &str, shape: &str) -> Option<T> {
    let value = given.take(name, shape);
    if value.is_none() {
        given.missing(name, &format!("is missing: expected {shape}"));
    }
    value
}
