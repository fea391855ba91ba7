//! The output of a job.

use serde::Serialize;

use crate::link::Link;
use crate::{JobError, backend};

/// The output of a job: bytes and their media type.
///
/// A component returns the media type to the host. A core module reports it only if it was set with
/// [`with_content_type`](Self::with_content_type); otherwise the host detects it from the bytes: an object
/// or array that parses is JSON, other valid UTF-8 is text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    bytes: Vec<u8>,
    content_type: Option<String>,
    announce: Option<Link<str>>,
}

impl Response {
    /// `value` as JSON. The `Result` has the error type of a job, so it can be a job's last expression.
    ///
    /// ```
    /// use jobwright_guest::Response;
    ///
    /// let response = Response::json(&[1, 2]).unwrap();
    /// assert_eq!(response.as_bytes(), b"[1,2]");
    /// assert_eq!(response.content_type(), Some("application/json"));
    /// ```
    ///
    /// # Errors
    /// A permanent error, if `value` has no JSON form, like a map whose keys are not strings.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, JobError> {
        Ok(Self::new(serde_json::to_vec(value)?, Some("application/json")))
    }

    /// `text` as UTF-8.
    ///
    /// ```
    /// use jobwright_guest::Response;
    ///
    /// assert_eq!(Response::text("grüezi").as_bytes(), "grüezi".as_bytes());
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(text.into().into_bytes(), Some("text/plain; charset=utf-8"))
    }

    /// Unchanged `bytes`.
    ///
    /// ```
    /// use jobwright_guest::Response;
    ///
    /// assert_eq!(Response::bytes([0x89, 0x50]).as_bytes(), [0x89, 0x50]);
    /// ```
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(bytes.into(), None)
    }

    fn new(bytes: Vec<u8>, content_type: Option<&str>) -> Self {
        Self { bytes, content_type: content_type.map(str::to_owned), announce: None }
    }

    /// The same output with this media type. A core module that calls it imports
    /// `jobwright.output_type`.
    ///
    /// ```
    /// use jobwright_guest::Response;
    ///
    /// let page = Response::text("<h1>Grüezi</h1>").with_content_type("text/html");
    /// assert_eq!(page.content_type(), Some("text/html"));
    /// ```
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self.announce = Some(Link(backend::announce_output_type));
        self
    }

    /// The media type of the output; `None` if the host detects it from the bytes.
    ///
    /// ```
    /// # use jobwright_guest::Response;
    /// assert_eq!(Response::bytes([]).content_type(), None);
    /// ```
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The bytes of the output.
    ///
    /// ```
    /// # use jobwright_guest::Response;
    /// assert_eq!(Response::text("a").as_bytes(), b"a");
    /// ```
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes and media type.
    #[cfg_attr(
        not(all(target_os = "wasi", target_env = "p2")),
        expect(dead_code, reason = "only a component returns them")
    )]
    pub(crate) fn into_parts(self) -> (Vec<u8>, Option<String>) {
        (self.bytes, self.content_type)
    }

    /// Reports the media type to the host of a core module, if it was set.
    pub(crate) fn announce_content_type(&self) {
        if let (Some(content_type), Some(announce)) = (&self.content_type, self.announce) {
            (announce.0)(content_type);
        }
    }
}
