//! The audit log. Audit entries are on disk before their action, so actions that then fail are recorded too.
//! Requests that would change nothing do nothing, and are not recorded. The store's decision about a cancel or a
//! retry is added to the entry before the response: without a decision, the action has failed.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jobwright_core::access::{Act, ApiKey, AuditEntry, Caller, Scope};
use jobwright_core::store::StoreError;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::app::App;
use super::http::error::ApiError;
use super::http::query::Query;
use crate::detached;
use crate::shares::Permit;
use crate::telemetry;

/// The default number of entries on a page.
const PAGE: usize = 50;

/// The maximum number of entries on a page.
const MAX_PAGE: usize = 1000;

/// A permit for one recorded action; released on drop.
#[derive(Debug)]
#[must_use = "the permit must be kept until the action is done"]
pub(super) struct ActionPermit {
    /// The audit entry of the action.
    entry: AuditEntry,
    _permit: Permit,
}

/// Audit entries, newest first.
pub(super) async fn list(State(app): State<App>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let mut query = Query::of(&uri);
    let cursor = query.take("cursor", "the `next_cursor` of another page");
    let limit = query.limit(PAGE, MAX_PAGE);
    query.finish()?;
    let entries = app.parts.access.audit(cursor, limit).await?;
    let next = entries.last().filter(|last| entries.len() == limit && last.id > 1).map(|e| e.id);
    Ok(Json(json!({ "entries": entries, "next_cursor": next })))
}

impl App {
    /// Authorizes an action of `caller`, and records it. Every administrative action goes through here, where
    /// the rate limit and the permits of the tenant apply, and the credentials are checked twice: the second
    /// time when the entry is on disk. Keep the permit until the action is done.
    ///
    /// # Errors
    /// If the caller is no longer authorized, or its tenant exceeds the rate limit.
    pub(super) async fn audit(
        &self,
        caller: &Caller,
        action: &str,
        target: &str,
        detail: Value,
    ) -> Result<ActionPermit, ApiError> {
        self.still_admits(caller, false)?;
        // Administrators are exempt from the rate limit. Actions on jobs count with submissions, if they count.
        if !caller.may(Scope::Admin) && !action.starts_with("job.") {
            self.intake.keeps_pace(&caller.tenant, self.parts.jobs.clock.now()).await?;
        }
        let permit = self.budgets.changes.of(&caller.tenant).acquire().await;
        let act = self.act(caller, action, target, detail);
        let mut entry = act.entry.clone();
        entry.id = logged(&entry, self.parts.access.record(act).await?)?;
        self.still_admits(caller, false)?;
        Ok(ActionPermit { entry, _permit: permit })
    }

    /// Executes the action of `permit`, which the store decides, and adds the decision, as `word` names it, to
    /// the audit entry. Both complete even if the client disconnects.
    ///
    /// # Errors
    /// If the store fails to decide. If the entry cannot be completed, the error is only logged, because the
    /// action is done.
    pub(super) async fn decided<D: Send + 'static>(
        &self,
        permit: ActionPermit,
        deciding: impl Future<Output = Result<D, StoreError>> + Send + 'static,
        word: fn(&D) -> &'static str,
    ) -> Result<D, ApiError> {
        let (access, mut entry) = (self.parts.access.clone(), permit.entry.clone());
        let action = async move {
            let decision = deciding.await?;
            entry.detail = json!({ "decision": word(&decision) });
            let (id, detail) = (entry.id, entry.detail.clone());
            if let Err(error) = access.complete(entry).await {
                tracing::error!(%error, id, %detail, "cannot complete an audit entry");
            }
            Ok::<_, StoreError>(decision)
        };
        Ok(detached::run(permit, action).await??)
    }

    /// Revokes the key `id` and records `act`, in one transaction.
    ///
    /// # Errors
    /// If the caller is no longer authorized.
    pub(super) async fn revoke_key(&self, id: &str, act: Act) -> Result<ApiKey, ApiError> {
        let entry = act.entry.clone();
        logged(&entry, self.parts.access.revoke_key(id, act).await?)
    }

    /// The record of an action at the present time.
    pub(super) fn act(&self, caller: &Caller, action: &str, target: &str, detail: Value) -> Act {
        let entry = AuditEntry {
            id: 0,
            at: self.parts.jobs.clock.now(),
            actor: caller.actor.clone(),
            tenant: caller.tenant.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail,
        };
        Act { entry, share: caller.share(), proof: caller.proof }
    }
}

/// `written`, the result of recording `entry`, after logging the entry to the host's log. Every recorded entry
/// is logged here. `None` means that the caller is no longer authorized, and nothing was recorded.
fn logged<T>(entry: &AuditEntry, written: Option<T>) -> Result<T, ApiError> {
    let written = written.ok_or_else(ApiError::unauthorized)?;
    telemetry::administered(entry);
    Ok(written)
}

/// The difference between two versions of settings, as a merge patch (RFC 7396): changed members, and `null`
/// for removed ones.
pub(super) fn change(before: &impl Serialize, after: &impl Serialize) -> Value {
    patch(&json!(before), &json!(after))
}

fn patch(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let mut patched: Map<String, Value> = removed.map(|name| (name.clone(), Value::Null)).collect();
    for (name, value) in after {
        match before.get(name) {
            Some(old) if old == value => {}
            old => drop(patched.insert(name.clone(), patch(old.unwrap_or(&Value::Null), value))),
        }
    }
    patched.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_only_differences() {
        let before = json!({ "limits": { "fuel": 1, "timeout_ms": 2 }, "list": [1], "type": "a" });
        for (after, expected) in [
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
            assert_eq!(change(&before, &after), expected);
        }
    }
}
