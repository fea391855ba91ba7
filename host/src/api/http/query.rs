//! Query strings. They are decoded like forms, and checked like the fields of a body: the response names
//! every invalid parameter and lists the valid ones.

use std::fmt::Display;
use std::str::FromStr;

use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::fields::Fields;
use super::pairs::pairs;
use super::problem_code::ProblemCode;

/// The query parameters of a request.
#[derive(Debug)]
pub(in crate::api) struct Query {
    fields: Fields,
    /// The codes of the errors that have one of their own.
    codes: Vec<ProblemCode>,
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

    /// Takes a parameter whose type has an error message of its own. The problem has the code `code` if
    /// no other parameter is invalid.
    pub(in crate::api) fn parse<T>(&mut self, name: &str, code: ProblemCode) -> Option<T>
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
            self.wrong(
                "limit",
                ProblemCode::InvalidFields,
                format!("expected {shape}, got `{limit}`"),
            );
        }
        limit
    }

    /// Adds an error of the parameter `name`, with a code of its own.
    pub(in crate::api) fn wrong(&mut self, name: &str, code: ProblemCode, message: impl ToString) {
        self.fields.wrong(name, message);
        self.codes.push(code);
    }

    /// Checks that every parameter was taken and is valid.
    ///
    /// # Errors
    /// With all invalid and unknown parameters.
    pub(in crate::api) fn finish(self) -> Result<(), ApiError> {
        let errors = self.fields.into_errors("is not a parameter of this request");
        if errors.is_empty() {
            return Ok(());
        }
        let first = self.codes.first().copied();
        // Their common code, if all errors have one and the same.
        let common = first.filter(|first| {
            errors.len() == self.codes.len() && self.codes.iter().all(|code| code == first)
        });
        Err(ApiError::of_fields(common.unwrap_or(ProblemCode::InvalidQuery), errors))
    }
}

#[cfg(test)]
mod tests;
