//! The audit log: who did what. An entry is on disk before what it tells is done.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jobwright_core::access::{AuditEntry, Caller};
use serde::Deserialize;
use serde_json::{Value, json};

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
