//! Query strings: decoded as forms are, and checked as the fields of a body are: every wrong parameter
//! is named, and those that exist are listed.

use std::fmt::Display;
use std::str::FromStr;

use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::fields::Fields;

/// Whether values of this parameter may have spaces. In all others a `+` is a plus sign: `p@1.0.0+build`,
/// `1e+9`; but for the one between a date and a time.
fn may_have_spaces(name: &str) -> bool {
    matches!(name, "tag" | "arg") || name.starts_with("env.")
}

/// The code of parameters that are well formed and cannot be had.
pub(super) const INVALID_FIELDS: &str = "invalid_fields";

/// A parameter.
#[derive(Debug)]
pub(super) struct Pair {
    /// Its name.
    pub(super) name: String,
    /// Its value.
    pub(super) value: String,
    /// Whether a `+` in it was read as a space.
    pub(super) has_plus: bool,
}

/// The parameters of a request, in their order.
pub(super) fn pairs(uri: &Uri) -> Vec<Pair> {
    let parts = uri.query().unwrap_or_default().split('&');
    parts.filter(|part| !part.is_empty()).filter_map(pair).collect()
}

fn pair(part: &str) -> Option<Pair> {
    let decoded = |part: &str| {
        let pair = form_urlencoded::parse(part.as_bytes()).next()?;
        Some((pair.0.into_owned(), pair.1.into_owned()))
    };
    let (name, value) = decoded(part)?;
    let has_plus = part.split_once('=').is_some_and(|(_, value)| value.contains('+'));
    if !has_plus || may_have_spaces(&name) {
        return Some(Pair { name, value, has_plus });
    }
    let (_, mut value) = decoded(&part.replace('+', "%2B"))?;
    if name == "scheduled_at" && !value.contains(['T', 't', ' ']) {
        // As a form encodes `2027-01-31 09:30:00+02:00`.
        value = value.replacen('+', " ", 1);
    }
    Some(Pair { name, value, has_plus: false })
}

/// The parameters of a request that reads something.
#[derive(Debug)]
pub(super) struct Query {
    fields: Fields,
    /// The codes of values that are well formed and wrong.
    codes: Vec<&'static str>,
}

impl Query {
    /// The parameters of the request for `uri`.
    pub(super) fn of(uri: &Uri) -> Self {
        Self { fields: Fields::of_query(pairs(uri), &[]), codes: vec![] }
    }

    /// Takes a parameter of a type whose values `shape` describes.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str, shape: &str) -> Option<T> {
        self.fields.take(name, shape)
    }

    /// Takes a parameter that is read as a type which says itself what is wrong; `code` is the
    /// problem's if nothing else is wrong.
    pub(super) fn parse<T>(&mut self, name: &str, code: &'static str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let text: String = self.take(name, "a string")?;
        text.parse().map_err(|error: T::Err| self.wrong(name, code, error)).ok()
    }

    /// Takes the parameter `limit`, the length of a page.
    pub(super) fn limit(&mut self, default: usize, most: usize) -> usize {
        let shape = format!("a whole number from 1 to {most}");
        let limit: usize = self.take("limit", &shape).unwrap_or(default);
        if !(1..=most).contains(&limit) {
            self.wrong("limit", INVALID_FIELDS, format!("expected {shape}, got `{limit}`"));
        }
        limit
    }

    /// Says that a parameter that is well formed is wrong.
    pub(super) fn wrong(&mut self, name: &str, code: &'static str, message: impl ToString) {
        self.fields.wrong(name, message);
        self.codes.push(code);
    }

    /// Whether all was taken and nothing wrong.
    ///
    /// # Errors
    /// All that is wrong.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        let errors = self.fields.into_errors("is not a parameter of this request");
        if errors.is_empty() {
            return Ok(());
        }
        let code = self.codes.first().filter(|first| self.codes.iter().all(|code| code == *first));
        Err(match code {
            Some(&INVALID_FIELDS) if errors.len() == self.codes.len() => ApiError::invalid(errors),
            Some(code) if errors.len() == self.codes.len() => ApiError::invalid_query(code, errors),
            _ => ApiError::invalid_query("invalid_query", errors),
        })
    }
}

#[cfg(test)]
mod tests;
