//! The fields of a job request, one by one, so that every invalid one is named and not only the
//! first. Pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::de::{DeserializeOwned, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::api::error::{ApiError, FieldError};

/// The most fields of one request: some more than there are, for the misspelt ones.
const MAX_FIELDS: usize = 64;

/// The fields of a query that are text, also when they look like numbers.
const TEXT: [&str; 3] = ["plugin", "queue", "scheduled_at"];

/// Named values, still as JSON text, and what was wrong with those that were taken.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: BTreeMap<String, Box<RawValue>>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The fields of a JSON object. A name that stands there twice is an error of that field.
    pub(super) fn of_json(text: &str) -> Result<Self, ApiError> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let fields = reader.deserialize_map(Pairs).and_then(|fields| {
            reader.end()?;
            Ok(fields)
        });
        fields.map_err(|error| ApiError::bad_request("invalid_json", format!("the body: {error}")))
    }

    /// The fields of a query string. `limits.fuel=5` and `env.NAME=value` are inner fields, and
    /// `arg` and `tag` may be repeated.
    pub(super) fn of_query(pairs: Vec<(String, String)>) -> Self {
        let mut fields = Self::default();
        let mut inner: BTreeMap<String, BTreeMap<String, serde_json::Value>> = BTreeMap::new();
        let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs {
            match (name.as_str(), name.split_once('.')) {
                ("arg" | "tag", _) => lists.entry(format!("{name}s")).or_default().push(value),
                (_, Some((outer, key))) => {
                    let value = if outer == "env" { value.into() } else { scalar(value) };
                    let outer = inner.entry(outer.to_owned()).or_default();
                    if outer.insert(key.to_owned(), value).is_some() {
                        fields.wrong(name, "is there twice");
                    }
                }
                (text, None) if TEXT.contains(&text) => fields.put(name, &value),
                (_, None) => fields.put(name, &scalar(value)),
            }
        }
        inner.into_iter().for_each(|(name, value)| fields.put(name, &value));
        lists.into_iter().for_each(|(name, value)| fields.put(name, &value));
        fields
    }

    fn put(&mut self, name: String, value: &impl serde::Serialize) {
        match serde_json::value::to_raw_value(value) {
            Ok(value) => self.insert(name, value),
            Err(error) => self.errors.push(FieldError::new(name, error)),
        }
    }

    fn insert(&mut self, name: String, value: Box<RawValue>) {
        match self.values.entry(name) {
            Entry::Vacant(place) => drop(place.insert(value)),
            Entry::Occupied(there) => {
                self.errors.push(FieldError::new(there.key(), "is there twice"));
            }
        }
    }

    /// Takes a field as it is written; absent if it is `null`, unless `null` is a value of its own.
    pub(super) fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.values.remove(name)
    }

    /// Takes a field of this type; absent if it is not there, `null`, or of another type.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let raw = self.take_raw(name)?;
        match serde_json::from_str::<Option<T>>(raw.get()) {
            Ok(value) => value,
            Err(error) => {
                self.errors.push(FieldError::new(name, plain(&error)));
                None
            }
        }
    }

    /// Says that a field is wrong.
    pub(super) fn wrong(&mut self, field: impl Into<String>, message: impl ToString) {
        self.errors.push(FieldError::new(field, message));
    }

    /// Says that a field is needed, unless it is there and wrong.
    pub(super) fn missing(&mut self, field: &str, message: &str) {
        if self.errors.iter().all(|error| error.field != field) {
            self.wrong(field, message);
        }
    }

    /// Everything that is wrong, with the fields that nobody took.
    pub(super) fn into_errors(mut self) -> Vec<FieldError> {
        for name in std::mem::take(&mut self.values).into_keys() {
            let name = jobwright_core::name::shorten(&name);
            self.errors.push(FieldError::new(name, "is not a field of a job"));
        }
        self.errors
    }
}

/// A query's text as the JSON value that it looks like.
fn scalar(text: String) -> serde_json::Value {
    match serde_json::from_str(&text) {
        Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => value,
        _ => text.into(),
    }
}

/// The message without the place, which is counted within the field and so tells nothing.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Fields;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a job as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            fields.insert(name, value);
            if fields.values.len() + fields.errors.len() > MAX_FIELDS {
                let message = format!("there are more than {MAX_FIELDS} fields");
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(fields: Fields) -> Vec<String> {
        fields.into_errors().iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut fields =
            Fields::of_json(r#"{"a":1,"b":"x","b":"y","c":null,"surprise":[1]}"#).unwrap();
        assert_eq!(fields.take::<String>("a"), None);
        assert_eq!(fields.take::<String>("b"), Some("x".to_owned()));
        assert_eq!(fields.take::<String>("c"), None);
        assert_eq!(
            messages(fields),
            [
                "b: is there twice",
                "a: invalid type: integer `1`, expected a string",
                "surprise: is not a field of a job",
            ]
        );
    }

    #[test]
    fn a_value_is_kept_as_it_is_written() {
        let mut fields = Fields::of_json(r#"{"payload":{"n" : 1.50, "n":2}}"#).unwrap();
        assert_eq!(fields.take_raw("payload").unwrap().get(), r#"{"n" : 1.50, "n":2}"#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "7", "{\"a\":1}x", "{\"a\":}", "{"] {
            assert!(Fields::of_json(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_query_has_the_same_fields() {
        let pairs =
            [("priority", "1"), ("limits.fuel", "5"), ("env.N", "5"), ("arg", "7"), ("arg", "-x")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut fields = Fields::of_query(pairs);
        assert_eq!(fields.take::<u8>("priority"), Some(1));
        assert_eq!(fields.take_raw("limits").unwrap().get(), r#"{"fuel":5}"#);
        assert_eq!(fields.take_raw("env").unwrap().get(), r#"{"N":"5"}"#);
        assert_eq!(fields.take::<Vec<String>>("args").unwrap(), ["7", "-x"]);
        assert!(fields.into_errors().is_empty());
    }
}
