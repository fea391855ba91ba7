//! The audit log: who did what. An entry is on disk before what it tells is done, so a deed that then
//! fails, for want of room or by the end of the host, has one too. Switches, settings, cancels and
//! retries that would change nothing are left undone, and have none.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jobwright_core::access::{Act, ApiKey, AuditEntry, Caller, Scope};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::app::App;
use super::http::error::ApiError;
use super::http::query::Query;
use crate::shares::Permit;
use crate::telemetry;

/// Entries on one page, unless asked otherwise, and at most.
const PAGE: (usize, usize) = (50, 1000);

/// A turn to change something, until dropped.
#[derive(Debug)]
#[must_use = "the action belongs before its end"]
pub(super) struct Turn {
    _taken: Permit,
}

/// Entries, newest first.
pub(super) async fn list(State(app): State<App>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let mut query = Query::of(&uri);
    let cursor = query.take("cursor", "the `next_cursor` of another page");
    let limit = query.limit(PAGE.0, PAGE.1);
    query.finish()?;
    let entries = app.access.audit(cursor, limit).await?;
    let next = entries.last().filter(|last| entries.len() == limit && last.id > 1).map(|e| e.id);
    Ok(Json(json!({ "entries": entries, "next_cursor": next })))
}

impl App {
    /// Lets `caller` do something, and writes it down first. This is the one way to an action: the key
    /// is checked here, last when the entry is on disk; the pace and the turns of the tenant apply
    /// here. Keep the turn until it is done.
    ///
    /// # Errors
    /// If the caller may not any more, or the tenant does more than it may.
    pub(super) async fn audit(
        &self,
        caller: &Caller,
        action: &str,
        target: &str,
        detail: Value,
    ) -> Result<Turn, ApiError> {
        self.still_admits(caller, false)?;
        // Operators are not held up by what the tenant did before. What is done to jobs counts with
        // submissions, if at all.
        if !caller.may(Scope::Admin) && !action.starts_with("job.") {
            self.intake.keeps_pace(&caller.tenant, self.clock.now()).await?;
        }
        let turn = self.gates.changes.of(&caller.tenant).acquire().await;
        let act = self.act(caller, action, target, detail);
        let entry = act.entry.clone();
        reported(&entry, self.access.record(act).await?.then_some(()))?;
        self.still_admits(caller, false)?;
        Ok(Turn { _taken: turn })
    }

    /// Revokes the key `id`, together with the entry of `act`.
    ///
    /// # Errors
    /// If the caller may not any more.
    pub(super) async fn revoke_key(&self, id: &str, act: Act) -> Result<ApiKey, ApiError> {
        let entry = act.entry.clone();
        reported(&entry, self.access.revoke_key(id, act).await?)
    }

    /// What is written down of an action that is done now.
    pub(super) fn act(&self, caller: &Caller, action: &str, target: &str, detail: Value) -> Act {
        let entry = AuditEntry {
            id: 0,
            at: self.clock.now(),
            actor: caller.actor.clone(),
            tenant: caller.tenant.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail,
        };
        Act { entry, share: caller.share(), proof: caller.proof }
    }
}

/// What was `written` with an entry of the audit log, which the host's log reports too: every way to write
/// one ends here. Nothing is written for a caller that may not any more.
fn reported<T>(entry: &AuditEntry, written: Option<T>) -> Result<T, ApiError> {
    let written = written.ok_or_else(ApiError::unauthorized)?;
    telemetry::administered(entry);
    Ok(written)
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
