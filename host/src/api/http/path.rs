//! The variable parts of a path, with errors as problem details.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::problem_code::ProblemCode;

/// Like axum's extractor, but with errors as problem details.
pub(in crate::api) struct Path<T>(pub(in crate::api) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::new(ProblemCode::InvalidPath, error.body_text())),
        }
    }
}
