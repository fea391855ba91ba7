//! Query strings: decoded as forms are, and checked as the fields of a body are: every wrong parameter
//! is named, and those that exist are listed.

use std::fmt::Display;
use std::str::FromStr;

use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::fields::Fields;
use super::pairs::pairs;

/// The code of parameters that are well formed and cannot be had.
pub(in crate::api) const INVALID_FIELDS: &str = "invalid_fields";

/// The parameters of a request that reads something.
#[derive(Debug)]
pub(in crate::api) struct Query {
    fields: Fields,
    /// The codes of values that are well formed and wrong.
    codes: Vec<&'static str>,
}

impl Query {
    /// The parameters of the request for `uri`.
    pub(in crate::api) fn of(uri: &Uri) -> Self {
        Self { fields: Fields::of_query(pairs(uri), &[]), codes: vec![] }
    }

    /// Takes a parameter of a type whose values `shape` describes.
    pub(in crate::api) fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
        shape: &str,
    ) -> Option<T> {
        self.fields.take(name, shape)
    }

    /// Takes a parameter that is read as a type which says itself what is wrong; `code` is the
    /// problem's if nothing else is wrong.
    pub(in crate::api) fn parse<T>(&mut self, name: &str, code: &'static str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let text: String = self.take(name, "a string")?;
        text.parse().map_err(|error: T::Err| self.wrong(name, code, error)).ok()
    }

    /// Takes the parameter `limit`, the length of a page.
    pub(in crate::api) fn limit(&mut self, default: usize, most: usize) -> usize {
        let shape = format!("a whole number from 1 to {most}");
        let limit: usize = self.take("limit", &shape).unwrap_or(default);
        if !(1..=most).contains(&limit) {
            self.wrong("limit", INVALID_FIELDS, format!("expected {shape}, got `{limit}`"));
        }
        limit
    }

    /// Says that a parameter that is well formed is wrong.
    pub(in crate::api) fn wrong(&mut self, name: &str, code: &'static str, message: impl ToString) {
        self.fields.wrong(name, message);
        self.codes.push(code);
    }

    /// Whether all was taken and nothing wrong.
    ///
    /// # Errors
    /// All that is wrong.
    pub(in crate::api) fn finish(self) -> Result<(), ApiError> {
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
