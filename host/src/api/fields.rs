//! The fields of a request, one by one, so that every invalid one is named and not only the first,
//! in words for people and not for who wrote the parser. Pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;

use jobwright_core::name::shorten;
use serde::de::{DeserializeOwned, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{ApiError, FieldError};

/// The most fields of one object: some more than there are, for the misspelt ones.
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
    /// The fields of a JSON object, which `what` names. One that stands there twice is an error of
    /// that field.
    pub(super) fn of_json(text: &str, what: &str) -> Result<Self, ApiError> {
        let invalid = |message: String| ApiError::bad_request("invalid_json", message);
        if !is_object(text) {
            return Err(invalid(format!("the {what} is not a JSON object")));
        }
        Self::read(text).map_err(|error| invalid(format!("the {what}: {error}")))
    }

    fn read(text: &str) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let fields = reader.deserialize_map(Pairs)?;
        reader.end().map(|()| fields)
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
                        fields.wrong(shorten(&name), TWICE);
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
                self.errors.push(FieldError::new(shorten(there.key()), TWICE));
            }
        }
    }

    /// Adds a field, as it is written.
    pub(super) fn put_raw(&mut self, name: String, value: Box<RawValue>) {
        self.insert(name, value);
    }

    /// Takes a field as it is written, also if that is `null`.
    pub(super) fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.values.remove(name)
    }

    /// Takes a field of a type whose values `shape` describes; absent if it is not there, `null`,
    /// or something else.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str, shape: &str) -> Option<T> {
        self.change(name, shape).flatten()
    }

    /// As [`Fields::take`], but tells `null` (`Some(None)`) from what is not there.
    pub(super) fn change<T: DeserializeOwned>(
        &mut self,
        name: &str,
        shape: &str,
    ) -> Option<Option<T>> {
        let raw = self.take_raw(name)?;
        let value = serde_json::from_str(raw.get()).ok();
        if value.is_none() {
            // The quotes of a text tell it from a number; escaped, they only irritate.
            let shown = shorten(raw.get()).replace("\\\"", "\"");
            self.wrong(name, format!("`{shown}` is not {shape}"));
        }
        value
    }

    /// Takes a text that is read as a type which says itself what is wrong.
    pub(super) fn parse<T>(&mut self, name: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: Display>,
    {
        let text: String = self.take(name, "a text")?;
        text.parse().map_err(|error| self.wrong(name, error)).ok()
    }

    /// Takes an object, to take its fields, and to give the rest back to [`Fields::absorb`]; tells
    /// `null` (`Some(None)`) from what is not there.
    pub(super) fn take_object(&mut self, name: &str) -> Option<Option<Self>> {
        let raw = self.take_raw(name)?;
        if !is_object(raw.get()) && raw.get() != "null" {
            self.wrong(name, "is not an object");
            return None;
        }
        let inner = match raw.get() {
            "null" => Ok(None),
            object => Self::read(object).map(Some),
        };
        inner.map_err(|error| self.wrong(name, plain(&error))).ok()
    }

    /// Takes back what is left of an object whose fields were taken: what is wrong with it is wrong
    /// here. `stranger` is said of fields that nobody took.
    pub(super) fn absorb(&mut self, name: &str, inner: Self, stranger: &str) {
        for error in inner.into_errors(stranger) {
            self.wrong(format!("{name}.{}", error.field), error.message);
        }
    }

    /// The names of all fields that were not taken yet.
    pub(super) fn names(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
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

    /// Everything that is wrong, with the fields that nobody took, of which `stranger` is said.
    pub(super) fn into_errors(mut self, stranger: &str) -> Vec<FieldError> {
        for name in std::mem::take(&mut self.values).into_keys() {
            self.wrong(shorten(&name), stranger);
        }
        self.errors
    }
}

/// What is said of a name that an object has twice: which value counts is anyone's guess.
const TWICE: &str = "is there twice";

/// The text of a body, which `what` names.
pub(super) fn utf8<'a>(body: &'a [u8], what: &str) -> Result<&'a str, ApiError> {
    std::str::from_utf8(body)
        .map_err(|error| ApiError::bad_request("invalid_json", format!("the {what}: {error}")))
}

fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{')
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
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            fields.insert(name, value);
            if fields.values.len() + fields.errors.len() > MAX_FIELDS {
                let message = format!("it has more than {MAX_FIELDS} fields");
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_json(text: &str) -> Result<Fields, ApiError> {
        Fields::of_json(text, "body")
    }

    fn messages(fields: Fields) -> Vec<String> {
        fields
            .into_errors("is not a field")
            .iter()
            .map(|e| format!("{}: {}", e.field, e.message))
            .collect()
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut fields =
            of_json(r#"{"a":1,"b":"x","b":"y","c":null,"d":"5","surprise":[1]}"#).unwrap();
        assert_eq!(fields.take::<String>("a", "a text"), None);
        assert_eq!(fields.take("b", "a text"), Some("x".to_owned()));
        assert_eq!(fields.take::<String>("c", "a text"), None);
        assert_eq!(fields.take::<u8>("d", "a number"), None);
        assert_eq!(
            messages(fields),
            [
                "b: is there twice",
                "a: `1` is not a text",
                "d: `\"5\"` is not a number",
                "surprise: is not a field",
            ]
        );
    }

    #[test]
    fn a_value_is_kept_as_it_is_written() {
        let mut fields = of_json(r#"{"payload":{"n" : 1.50, "n":2}}"#).unwrap();
        assert_eq!(fields.take_raw("payload").unwrap().get(), r#"{"n" : 1.50, "n":2}"#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "7", "{\"a\":1}x", "{\"a\":}", "{"] {
            assert!(of_json(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_wrong_inner_field_is_named_with_its_object() {
        let text = r#"{"in":{"a":"x","a":1,"b":7,"c":1},"list":[],"none":null}"#;
        let mut fields = of_json(text).unwrap();
        let mut inner = fields.take_object("in").flatten().unwrap();
        assert_eq!(inner.take("a", "a text"), Some("x".to_owned()));
        assert_eq!(inner.take::<String>("b", "a text"), None);
        fields.absorb("in", inner, "is not one of these");
        assert!(fields.take_object("list").is_none());
        assert!(fields.take_object("none").is_some_and(|inner| inner.is_none()));
        assert_eq!(
            messages(fields),
            [
                "in.a: is there twice",
                "in.b: `7` is not a text",
                "in.c: is not one of these",
                "list: is not an object",
            ]
        );
    }

    #[test]
    fn a_query_has_the_same_fields() {
        let pairs =
            [("priority", "1"), ("limits.fuel", "5"), ("env.N", "5"), ("arg", "7"), ("arg", "-x")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut fields = Fields::of_query(pairs);
        assert_eq!(fields.take::<u8>("priority", "a number"), Some(1));
        assert_eq!(fields.take_raw("limits").unwrap().get(), r#"{"fuel":5}"#);
        assert_eq!(fields.take_raw("env").unwrap().get(), r#"{"N":"5"}"#);
        assert_eq!(fields.take::<Vec<String>>("args", "texts").unwrap(), ["7", "-x"]);
        assert!(fields.into_errors("").is_empty());
    }
}
