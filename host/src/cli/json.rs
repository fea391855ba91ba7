//! JSON values, for people.

use serde_json::Value;

/// Who did something, for a person. Hosts record `anyone` if the request carried no API key because the
/// host has none.
pub(super) fn actor(actor: &Value) -> String {
    if actor == "anyone" { "no API key".to_owned() } else { text(actor) }
}

/// A JSON string without its quotes, another value as JSON, and `-` for `null`.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
