//! What a job leaves.

use serde::Serialize;

use crate::JobError;

/// The output of a job: bytes.
///
/// The host tells their type from the bytes, unless the plugin's settings name one: an object or
/// array that parses is JSON, valid UTF-8 is text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response(Vec<u8>);

impl Response {
    /// `value` as JSON. The `Result` is that of a job, so it can be a job's last expression.
    ///
    /// ```
    /// use jobwright_guest::Response;
    ///
    /// let response = Response::json(&[1, 2]).unwrap();
    /// assert_eq!(response.as_bytes(), b"[1,2]");
    /// ```
    ///
    /// # Errors
    /// A permanent one, if `value` has no JSON form, as a map whose keys are not strings.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, JobError> {
        Ok(Self(serde_json::to_vec(value)?))
    }

    /// `text` as UTF-8.
    ///
    /// ```
    /// use jobwright_guest::Response;
    ///
    /// assert_eq!(Response::text("grüezi").as_bytes(), "grüezi".as_bytes());
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Self(text.into().into_bytes())
    }

    /// `bytes` as they are.
    ///
    /// ```
    /// use jobwright_guest::Response;
    ///
    /// assert_eq!(Response::bytes([0x89, 0x50]).as_bytes(), [0x89, 0x50]);
    /// ```
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes that go to stdout.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
