//! Parses the fields of a request one by one, so that the response names every invalid field and not only the
//! first. Pure.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use jobwright_core::name::shorten;
use serde::de::{DeserializeOwned, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{ApiError, FieldError};
use super::number::{self, Number};
use super::pairs::Pair;
use super::problem_code::ProblemCode;

/// The maximum number of fields of one object: more than any has, so that misspelt ones are named too.
const MAX_FIELDS: usize = 64;

/// Named values that were not taken yet, as JSON, and the errors of those that were.
#[derive(Debug, Default)]
pub(in crate::api) struct Fields {
    values: BTreeMap<String, Box<RawValue>>,
    errors: Vec<FieldError>,
    /// The names of the fields that exist: those that were taken, in order.
    known: Vec<String>,
    /// Whether these are query parameters, whose values are all strings.
    is_query: bool,
    /// The query parameters that can be repeated.
    repeated: Vec<String>,
    /// The query parameters in whose values a `+` was read as a space.
    with_plus: BTreeSet<String>,
    /// The only error of a query with too many parameters.
    flood: Option<FieldError>,
}

impl Fields {
    /// The fields of a JSON object; `what` names it in errors. Duplicate fields are errors.
    pub(in crate::api) fn of_json(text: &str, what: &str) -> Result<Self, ApiError> {
        let invalid = |message: String| ApiError::new(ProblemCode::InvalidJson, message);
        if !is_object(text) {
            return Err(invalid(format!("the {what} is not a JSON object")));
        }
        Self::read(text).map_err(|error| invalid(format!("the {what}: {error}")))
    }

    /// Like [`Fields::of_json`], but an empty body and `null`, which some clients send, have no fields.
    pub(in crate::api) fn of_optional_json(text: &str, what: &str) -> Result<Self, ApiError> {
        if is_empty_json(text) { Ok(Self::default()) } else { Self::of_json(text, what) }
    }

    fn read(text: &str) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let fields = reader.deserialize_map(Pairs)?;
        reader.end().map(|()| fields)
    }

    /// The fields of a query string. `limits.fuel=5` and `env.NAME=value` are inner fields. Parameters in
    /// `repeated` become lists, with their names in the plural.
    pub(in crate::api) fn of_query(pairs: Vec<Pair>, repeated: &[&str]) -> Self {
        let repeated_names = repeated.iter().map(ToString::to_string).collect();
        let mut fields = Self { is_query: true, repeated: repeated_names, ..Self::default() };
        let mut inner: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for Pair { name, value, has_plus } in pairs {
            let is_list = repeated.contains(&name.as_str());
            let field = if is_list { format!("{name}s") } else { name.clone() };
            fields.with_plus.extend(has_plus.then_some(field));
            // The fields of lists check their lengths themselves.
            fields.flood = if is_list { None } else { counted(&mut counts, &name) };
            if fields.flood.is_some() {
                break;
            }
            match (name.as_str(), name.split_once('.')) {
                (list, _) if repeated.contains(&list) => {
                    lists.entry(format!("{name}s")).or_default().push(value)
                }
                (_, Some((outer, key))) => {
                    let outer = inner.entry(outer.to_owned()).or_default();
                    if outer.insert(key.to_owned(), value).is_some() {
                        fields.wrong(shorten(&name), TWICE);
                    }
                }
                (_, None) => fields.put(name, &value),
            }
        }
        inner.into_iter().for_each(|(name, value)| fields.put(name, &value));
        lists.into_iter().for_each(|(name, value)| fields.put(name, &value));
        fields
    }

    fn put(&mut self, name: String, value: &impl serde::Serialize) {
        match serde_json::value::to_raw_value(value) {
            Ok(value) => self.put_raw(name, value),
            Err(error) => self.errors.push(FieldError::new(name, error)),
        }
    }

    /// Adds a field.
    pub(in crate::api) fn put_raw(&mut self, name: String, value: Box<RawValue>) {
        match self.values.entry(name) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(entry) => {
                self.errors.push(FieldError::new(shorten(entry.key()), TWICE));
            }
        }
    }

    /// Takes the JSON of a field, which can be `null`.
    pub(in crate::api) fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        if self.known.iter().all(|known| known != name) {
            self.known.push(name.to_owned());
        }
        self.values.remove(name)
    }

    /// Takes a field; `shape` describes its values in errors. `None` if it is missing, `null` or invalid.
    pub(in crate::api) fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
        shape: &str,
    ) -> Option<T> {
        self.change(name, shape).flatten()
    }

    /// Like [`Fields::take`], but distinguishes `null` (`Some(None)`) from a missing field (`None`).
    pub(in crate::api) fn change<T: DeserializeOwned>(
        &mut self,
        name: &str,
        shape: &str,
    ) -> Option<Option<T>> {
        let raw = self.take_raw(name)?;
        let text = self.text_of(&raw);
        let read = |json: &str| serde_json::from_str(&number::plain(json)).ok();
        let value = read(raw.get()).or_else(|| read(&scalar(text.as_deref()?)?));
        if value.is_none() {
            self.wrong(name, mismatch(text.as_deref().unwrap_or(raw.get()), shape));
        }
        value
    }

    /// Like [`Fields::change`], for a list. In a query its items are separated by commas.
    pub(in crate::api) fn change_list<T: DeserializeOwned>(
        &mut self,
        name: &str,
        shape: &str,
    ) -> Option<Option<T>> {
        let text = self.values.get(name).and_then(|raw| self.text_of(raw));
        if let (Some(text), Some(raw)) = (text, self.values.get_mut(name)) {
            let items = text.split(',').map(|item| scalar(item).unwrap_or_else(|| quoted(item)));
            let list = format!("[{}]", items.collect::<Vec<_>>().join(","));
            *raw = RawValue::from_string(list).unwrap_or_else(|_| raw.clone());
        }
        self.change(name, shape)
    }

    /// The string of a query parameter.
    fn text_of(&self, raw: &RawValue) -> Option<String> {
        if self.is_query { serde_json::from_str(raw.get()).ok() } else { None }
    }

    /// Takes a string, and parses it as a type with an error message of its own.
    pub(in crate::api) fn parse<T>(&mut self, name: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: Display>,
    {
        let text: String = self.take(name, "a string")?;
        text.parse().map_err(|error| self.wrong(name, error)).ok()
    }

    /// Takes the fields of an object. When they were taken, [`Fields::absorb`] reports the errors. Distinguishes
    /// `null` (`Some(None)`) from a missing field (`None`).
    pub(in crate::api) fn take_object(&mut self, name: &str) -> Option<Option<Self>> {
        let raw = self.take_raw(name)?;
        if !is_object(raw.get()) && raw.get() != "null" {
            self.wrong(name, "is not an object");
            return None;
        }
        let inner = match raw.get() {
            "null" => Ok(None),
            object => {
                Self::read(object).map(|inner| Some(Self { is_query: self.is_query, ..inner }))
            }
        };
        inner.map_err(|error| self.wrong(name, plain(&error))).ok()
    }

    /// Adds the errors of an object whose fields were taken. `unknown` is the message for unknown fields.
    pub(in crate::api) fn absorb(&mut self, name: &str, inner: Self, unknown: &str) {
        for error in inner.into_errors(unknown) {
            self.wrong(format!("{name}.{}", error.field), error.message);
        }
    }

    /// The names of the fields that were not taken yet.
    pub(in crate::api) fn names(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    /// Adds an error of a field.
    pub(in crate::api) fn wrong(&mut self, field: impl Into<String>, message: impl ToString) {
        self.errors.push(FieldError::new(field, message));
    }

    /// Adds an error of a missing field, unless the field has an error already.
    pub(in crate::api) fn missing(&mut self, field: &str, message: &str) {
        if self.errors.iter().all(|error| error.field != field) {
            self.wrong(field, message);
        }
    }

    /// All errors. Unknown fields have the message `unknown`, the first of them with the list of known fields.
    pub(in crate::api) fn into_errors(mut self, unknown: &str) -> Vec<FieldError> {
        if let Some(flood) = self.flood {
            return vec![flood];
        }
        let mut message = format!("{unknown}{}", self.choice());
        for name in std::mem::take(&mut self.values).into_keys() {
            self.wrong(shorten(&name), &message);
            unknown.clone_into(&mut message);
        }
        for error in &mut self.errors {
            if self.with_plus.contains(&error.field) {
                error.message.push_str(PLUS);
            }
        }
        self.errors
    }

    /// The list of known fields, for a message.
    fn choice(&self) -> String {
        let names = self.known.iter().filter(|name| !name.contains('.'));
        let is_list = |name: &str| self.repeated.iter().any(|one| format!("{one}s") == name);
        let names: Vec<&str> = names
            .map(|name| match name.as_str() {
                list if is_list(list) => list.trim_end_matches('s'),
                "env" if self.is_query => "env.NAME",
                "limits" if self.is_query => "limits.NAME",
                "backoff" if self.is_query => "backoff.NAME",
                name => name,
            })
            .collect();
        if names.is_empty() { String::new() } else { format!("; there are: {}", names.join(", ")) }
    }
}

/// Counts a parameter with those of its object; the error if there are too many.
fn counted(counts: &mut BTreeMap<String, usize>, name: &str) -> Option<FieldError> {
    let object = name.split_once('.').map_or("query", |(outer, _)| outer);
    let count = counts.entry(object.to_owned()).or_default();
    *count += 1;
    let many = if *count > MAX_FIELDS { object } else { "query" };
    let is_flood = *count > MAX_FIELDS || counts.len() > MAX_FIELDS;
    let message = format!("has more than {MAX_FIELDS} parameters");
    is_flood.then(|| FieldError::new(shorten(many), message))
}

/// The message for duplicate fields, which are refused because it is not clear which value counts.
const TWICE: &str = "is there twice";

/// The hint for an invalid value in which a `+` was read as a space.
const PLUS: &str = " (in a query, `+` is a space: write %2B for a plus sign)";

/// A body as a string, without a byte-order mark; `what` names it in errors.
pub(in crate::api) fn utf8<'a>(body: &'a [u8], what: &str) -> Result<&'a str, ApiError> {
    let invalid = |message: String| ApiError::new(ProblemCode::InvalidJson, message);
    if body.starts_with(&[0xff, 0xfe]) || body.starts_with(&[0xfe, 0xff]) {
        return Err(invalid(format!("the {what} is UTF-16: send it as UTF-8")));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let position = error.valid_up_to() + 1;
        invalid(format!("the {what} is not valid UTF-8 at byte {position}"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Whether a body is empty or `null`.
pub(in crate::api) fn is_empty_json(text: &str) -> bool {
    matches!(text.trim(), "" | "null")
}

fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{')
}

/// A query parameter as a JSON number or boolean, if it is one.
fn scalar(text: &str) -> Option<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = text.trim_start_matches('0');
        return Some(if digits.is_empty() { "0" } else { digits }.to_owned());
    }
    (number::is_number(text) || matches!(text, "true" | "false")).then(|| text.to_owned())
}

/// A string as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The message for a value that does not match `shape`.
fn mismatch(value: &str, shape: &str) -> String {
    let shown = shorten(value);
    let number = number::is_number(value).then(|| Number::of(value));
    let fault = match &number {
        Some(Number::Whole(digits)) if digits.starts_with('-') => "negative",
        Some(Number::TooLarge) if value.starts_with('-') => "negative",
        Some(Number::TooLarge) => "too large",
        // It is a whole number, so it is out of range.
        Some(Number::Whole(digits)) if digits != "0" && shape.starts_with(WHOLE) => "too large",
        _ => return format!("expected {shape}, got `{shown}`"),
    };
    format!("`{shown}` is {fault}: expected {shape}")
}

/// The beginning of the shapes that match every whole number in range.
const WHOLE: &str = "a whole number";

/// The message without its position, which is relative to the field and so not helpful.
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
            fields.put_raw(name, value);
            if fields.values.len() + fields.errors.len() > MAX_FIELDS {
                let message = format!("it has more than {MAX_FIELDS} fields");
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests;
