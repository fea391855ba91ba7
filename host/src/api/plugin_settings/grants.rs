//! Parses the setting `grants` of a plugin: each given member is replaced as a whole, and `null` removes it
//! (RFC 7396).

use std::collections::BTreeMap;

use jobwright_core::grant::{Grants, HttpGrant, HttpLimits, KeyValueGrant};
use serde_json::value::RawValue;

use crate::api::http::error::FieldError;
use crate::api::http::fields::Fields;

const UNKNOWN_GRANT: &str = "is not a grant";

/// Parses grants, in the form of the field `grants` of a plugin's settings.
///
/// # Errors
/// With all invalid fields.
pub(crate) fn of_json(json: Box<RawValue>) -> Result<Grants, Vec<FieldError>> {
    let (mut fields, mut grants) = (Fields::default(), Grants::default());
    fields.put_raw("grants".to_owned(), json);
    take(&mut fields, &mut grants);
    let errors = fields.into_errors(UNKNOWN_GRANT);
    if errors.is_empty() { Ok(grants) } else { Err(errors) }
}

/// Takes the field `grants`, if there is one, and applies it to `grants`.
pub(in crate::api) fn take(fields: &mut Fields, grants: &mut Grants) {
    let mut inner = match fields.take_object("grants") {
        None => return,
        Some(None) => {
            *grants = Grants::default();
            return;
        }
        Some(Some(inner)) => inner,
    };
    take_http(&mut inner, grants);
    take_http_limits(&mut inner, grants);
    take_key_value(&mut inner, grants);
    take_strings(&mut inner, "config", &mut grants.config);
    member(&mut inner, "secrets", "a list of names of secrets", &mut grants.secrets);
    take_strings(&mut inner, "env", &mut grants.env);
    let microseconds = format!("a number of microseconds from 1 to {}", u32::MAX);
    member(&mut inner, "clock_precision_us", &microseconds, &mut grants.clock_precision_us);
    member(&mut inner, "deterministic", "true, false or \"optional\"", &mut grants.deterministic);
    for (field, message) in grants.faults() {
        inner.wrong(field, message);
    }
    fields.absorb("grants", inner, UNKNOWN_GRANT);
}

/// Replaces `member`, if the field is given.
fn member<T>(inner: &mut Fields, name: &str, shape: &str, member: &mut T)
where
    T: serde::de::DeserializeOwned + Default,
{
    if let Some(value) = inner.change(name, shape) {
        *member = value.unwrap_or_default();
    }
}

/// Takes the origins that requests can go to. Each is parsed on its own, so that every invalid field is named.
fn take_http(inner: &mut Fields, grants: &mut Grants) {
    let shape = "a list of objects such as {\"origin\": \"https://api.example.com\"}";
    let Some(all) = inner.change::<Vec<Box<RawValue>>>("http", shape) else { return };
    grants.http.clear();
    for (index, raw) in all.unwrap_or_default().into_iter().enumerate() {
        let name = format!("http.{index}");
        inner.put_raw(name.clone(), raw);
        let Some(Some(mut grant)) = inner.take_object(&name) else {
            inner.missing(&name, "is not an object");
            continue;
        };
        let methods = grant.change("methods", "a list of methods such as GET, in capitals");
        let networks = grant.change("networks", "a list of networks such as 10.1.0.0/16");
        match grant.parse("origin") {
            Some(origin) => grants.http.push(HttpGrant {
                origin,
                methods: methods.flatten(),
                networks: networks.flatten().unwrap_or_default(),
            }),
            None => grant.missing("origin", "is missing"),
        }
        inner.absorb(&name, grant, UNKNOWN_GRANT);
    }
}

fn take_http_limits(inner: &mut Fields, grants: &mut Grants) {
    let name = "http_limits";
    let Some(given) = inner.take_object(name) else { return };
    grants.http_limits = HttpLimits::default();
    let Some(mut given) = given else { return };
    let HttpLimits { requests, concurrent, request_bytes, response_bytes } =
        &mut grants.http_limits;
    let count = format!("a whole number of at most {}", u32::MAX);
    for (name, limit) in [("requests", requests), ("concurrent", concurrent)] {
        *limit = given.take(name, &count).unwrap_or(*limit);
    }
    for (name, limit) in [("request_bytes", request_bytes), ("response_bytes", response_bytes)] {
        *limit = given.take(name, "a whole number of bytes").unwrap_or(*limit);
    }
    inner.absorb(name, given, UNKNOWN_GRANT);
}

fn take_key_value(inner: &mut Fields, grants: &mut Grants) {
    let name = "key_value";
    let Some(given) = inner.take_object(name) else { return };
    grants.key_value = None;
    let Some(mut given) = given else { return };
    match given.take("bytes", "a whole number of bytes") {
        Some(bytes) => grants.key_value = Some(KeyValueGrant { bytes }),
        None => given.missing("bytes", "is missing"),
    }
    inner.absorb(name, given, UNKNOWN_GRANT);
}

/// Replaces `strings` by the members of an object, if it is given.
fn take_strings(inner: &mut Fields, name: &str, strings: &mut BTreeMap<String, String>) {
    let Some(given) = inner.take_object(name) else { return };
    strings.clear();
    let Some(mut given) = given else { return };
    for key in given.names() {
        match given.change::<String>(&key, "a string") {
            Some(Some(string)) => drop(strings.insert(key, string)),
            Some(None) => given.wrong(key, "expected a string, got `null`"),
            None => {}
        }
    }
    inner.absorb(name, given, UNKNOWN_GRANT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Grants, Vec<FieldError>> {
        of_json(RawValue::from_string(json.to_owned()).expect("JSON"))
    }

    #[test]
    fn null_removes_a_grant_and_numbers_are_accepted_in_every_notation() {
        assert_eq!(read("null"), Ok(Grants::default()));
        assert_eq!(read(r#"{"http": null, "secrets": null}"#), Ok(Grants::default()));
        let bytes = |json| read(json).expect("grants").key_value.map(|grant| grant.bytes);
        assert_eq!(bytes(r#"{"key_value": {"bytes": 1e6}}"#), Some(1_000_000));
    }

    #[test]
    fn every_invalid_field_is_named() {
        let errors = read(r#"{"http": [{"origin": "x"}], "key_value": {}, "htp": 1}"#);
        let errors = errors.expect_err("all are invalid");
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        for field in ["grants.http.0.origin", "grants.key_value.bytes", "grants.htp"] {
            assert!(fields.contains(&field), "{field}: {fields:?}");
        }
    }
}
