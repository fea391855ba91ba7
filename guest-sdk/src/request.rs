//! The payload of a job.

use serde::de::DeserializeOwned;

use crate::JobError;

/// The payload of a job: bytes, with their media type if the submitter gave one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    payload: Vec<u8>,
    content_type: Option<String>,
}

impl Request {
    /// A request with `payload`, for tests of a job without a host.
    ///
    /// ```
    /// use jobwright_guest::{JobError, Request, Response};
    ///
    /// fn reverse(request: Request) -> Result<Response, JobError> {
    ///     Ok(Response::text(request.text()?.chars().rev().collect::<String>()))
    /// }
    /// assert_eq!(reverse(Request::new("abc")).unwrap().as_bytes(), b"cba");
    /// ```
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: payload.into(), content_type: None }
    }

    /// The same request with this media type.
    ///
    /// ```
    /// use jobwright_guest::Request;
    ///
    /// let request = Request::new("a,b\n1,2\n").with_content_type("text/csv");
    /// assert_eq!(request.content_type(), Some("text/csv"));
    /// ```
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// The media type of the payload, if the submitter gave one.
    ///
    /// ```
    /// # use jobwright_guest::Request;
    /// assert_eq!(Request::new("").content_type(), None);
    /// ```
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The unchanged payload.
    ///
    /// ```
    /// # use jobwright_guest::Request;
    /// assert_eq!(Request::new([0x89, 0x50]).bytes(), [0x89, 0x50]);
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.payload
    }

    /// The unchanged payload, as an owned value.
    ///
    /// ```
    /// # use jobwright_guest::Request;
    /// assert_eq!(Request::new("abc").into_bytes(), b"abc");
    /// ```
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.payload
    }

    /// The payload as text.
    ///
    /// ```
    /// # use jobwright_guest::Request;
    /// assert_eq!(Request::new("grüezi").text().unwrap(), "grüezi");
    /// ```
    ///
    /// # Errors
    /// A permanent error with the position of the first invalid byte, if the payload is not UTF-8.
    pub fn text(&self) -> Result<&str, JobError> {
        str::from_utf8(&self.payload).map_err(|error| self.not_text(error.valid_up_to()))
    }

    /// The payload as text, as an owned value.
    ///
    /// ```
    /// # use jobwright_guest::Request;
    /// assert!(!Request::new([0xff]).into_text().unwrap_err().is_retry());
    /// ```
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn into_text(self) -> Result<String, JobError> {
        self.text()?;
        String::from_utf8(self.payload).map_err(JobError::permanent)
    }

    fn not_text(&self, at: usize) -> JobError {
        JobError::permanent(format!("payload is not UTF-8: byte {at} of {}", self.payload.len()))
    }

    /// The payload as JSON. An empty payload, to which the host converts an absent one, is read as
    /// `null`, so that an `Option` may be absent.
    ///
    /// ```
    /// use jobwright_guest::Request;
    ///
    /// let squares: Vec<u32> = Request::new("[1, 4, 9]").json().unwrap();
    /// assert_eq!(squares, [1, 4, 9]);
    /// assert_eq!(Request::new("").json::<Option<u32>>().unwrap(), None);
    /// ```
    ///
    /// # Errors
    /// A permanent error with line and column, if the payload is not JSON or not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        if self.payload.is_empty() {
            return serde_json::from_str("null")
                .map_err(|_| JobError::permanent("payload is empty, JSON is expected"));
        }
        serde_json::from_slice(&self.payload)
            .map_err(|error| JobError::permanent(format!("payload is not as expected: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_not_text_is_refused_for_good_with_the_place() {
        let error = Request::new(*b"ab\xffcd").text().unwrap_err();
        assert_eq!(error, JobError::permanent("payload is not UTF-8: byte 2 of 5"));
        assert_eq!(Request::new(*b"ab\xffcd").into_text().unwrap_err(), error);
    }

    #[test]
    fn a_payload_that_is_not_the_expected_json_is_refused_for_good_with_the_place() {
        let error = Request::new("{\"a\":1}").json::<Vec<u8>>().unwrap_err();
        assert!(!error.is_retry());
        assert!(error.to_string().ends_with("line 1 column 0"), "{error}");
    }

    #[test]
    fn no_payload_is_no_json_unless_nothing_is_expected() {
        let error = Request::new("").json::<Vec<u8>>().unwrap_err();
        assert_eq!(error, JobError::permanent("payload is empty, JSON is expected"));
        assert_eq!(Request::new("").json::<()>(), Ok(()));
    }
}
