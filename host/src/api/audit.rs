//! The audit log: who did what. An entry is on disk before what it tells is done, so a deed that then
//! fails, for want of room or by the end of the host, has one too. Switches, settings, cancels and
//! retries that would change nothing are left undone, and have none.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jobwright_core::access::{AuditEntry, Caller};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::App;
use super::error::{ApiError, FieldError};
use super::jobs::query;

/// Entries on one page, unless asked otherwise, and at most.
const PAGE: (usize, usize) = (50, 1000);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    cursor: Option<u64>,
    limit: Option<usize>,
}

/// Entries, newest first.
pub(super) async fn list(State(app): State<App>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let asked: Listing = query(&uri)?;
    let limit = asked.limit.unwrap_or(PAGE.0);
    if !(1..=PAGE.1).contains(&limit) {
        let message = format!("{limit} is not one of 1 to {}", PAGE.1);
        return Err(ApiError::invalid(vec![FieldError::new("limit", message)]));
    }
    let entries = app.access.audit(asked.cursor, limit).await?;
    let next = entries.last().filter(|last| entries.len() == limit && last.id > 1).map(|e| e.id);
    Ok(Json(json!({ "entries": entries, "next_cursor": next })))
}

impl App {
    /// Writes down what `caller` is about to do.
    pub(super) async fn audit(
        &self,
        caller: &Caller,
        action: &str,
        target: &str,
        detail: Value,
    ) -> Result<(), ApiError> {
        let entry = AuditEntry {
            id: 0,
            at: self.clock.now(),
            actor: caller.actor.clone(),
            tenant: caller.tenant.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail,
        };
        Ok(self.access.record(entry, caller.share()).await?)
    }
}

/// What a change makes of some settings, as a patch of them (RFC 7396): only what differs, and `null` for
/// what goes.
pub(super) fn change(before: &impl Serialize, after: &impl Serialize) -> Value {
    patch(&json!(before), &json!(after))
}

fn patch(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let mut patched: Map<String, Value> = gone.map(|name| (name.clone(), Value::Null)).collect();
    for (name, value) in after {
        match before.get(name) {
            Some(there) if there == value => {}
            there => {
                drop(patched.insert(name.clone(), patch(there.unwrap_or(&Value::Null), value)))
            }
        }
    }
    patched.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_what_differs_and_no_more() {
        let before = json!({ "limits": { "fuel": 1, "timeout_ms": 2 }, "list": [1], "type": "a" });
        for (after, told) in [
            (before.clone(), json!({})),
            (
                json!({ "limits": { "fuel": 3, "timeout_ms": 2 }, "list": [1, 2], "type": "a" }),
                json!({ "limits": { "fuel": 3 }, "list": [1, 2] }),
            ),
            (
                json!({ "limits": { "fuel": 1 }, "list": [1], "new": { "x": 1 } }),
                json!({ "limits": { "timeout_ms": null }, "type": null, "new": { "x": 1 } }),
            ),
        ] {
            assert_eq!(change(&before, &after), told);
        }
    }
}
