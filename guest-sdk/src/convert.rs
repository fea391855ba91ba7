//! The types that a job may take and return.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{JobError, Request, Response};

/// A type that a job can take as its payload.
///
/// It is implemented for [`Request`]; for `String` and `Vec<u8>`, which are the unchanged payload; and
/// for any other type that serde can deserialize, from JSON. Implement it for other formats:
///
/// ```
/// use jobwright_guest::{FromRequest, JobError, Request};
///
/// struct Pair(u32, u32);
///
/// impl FromRequest for Pair {
///     fn from_request(request: Request) -> Result<Self, JobError> {
///         let (a, b) = request.text()?.split_once('-').ok_or(JobError::permanent("no `-`"))?;
///         Ok(Self(a.parse()?, b.parse()?))
///     }
/// }
///
/// #[jobwright_guest::job]
/// fn sum(pair: Pair) -> Result<u32, JobError> {
///     Ok(pair.0 + pair.1)
/// }
/// # assert_eq!(sum(Pair::from_request(Request::new("1-2")).unwrap()).unwrap(), 3);
/// ```
#[diagnostic::on_unimplemented(
    message = "a job cannot take `{Self}`",
    label = "not made of a payload",
    note = "derive `serde::Deserialize` for it, or implement `jobwright_guest::FromRequest`"
)]
pub trait FromRequest: Sized {
    /// Converts the payload.
    ///
    /// # Errors
    /// Usually a permanent error: the payload is the same at the next attempt.
    fn from_request(request: Request) -> Result<Self, JobError>;
}

impl FromRequest for Request {
    fn from_request(request: Request) -> Result<Self, JobError> {
        Ok(request)
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for T {
    fn from_request(request: Request) -> Result<Self, JobError> {
        // Strings and bytes are not JSON. Without specialization, they are distinguished by their type ids.
        let mut made: Option<T> = None;
        let slot: &mut dyn Any = &mut made;
        if let Some(text) = slot.downcast_mut::<Option<String>>() {
            *text = Some(request.into_text()?);
        } else if let Some(bytes) = slot.downcast_mut::<Option<Vec<u8>>>() {
            *bytes = Some(request.into_bytes());
        } else {
            made = Some(request.json()?);
        }
        made.ok_or_else(|| JobError::permanent("payload is missing"))
    }
}

/// A type that a job can return as its output.
///
/// It is implemented for [`Response`]; for `String`, `&'static str` and `Vec<u8>`, which become the output
/// unchanged; for `()`, which has no output; and for any other type that serde can serialize, as JSON.
/// Implement it for other formats:
///
/// ```
/// use jobwright_guest::{IntoResponse, JobError, Response};
///
/// struct Page(String);
///
/// impl IntoResponse for Page {
///     fn into_response(self) -> Result<Response, JobError> {
///         Ok(Response::text(format!("<p>{}", self.0)).with_content_type("text/html"))
///     }
/// }
///
/// #[jobwright_guest::job]
/// fn page(text: String) -> Result<Page, JobError> {
///     Ok(Page(text))
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a job cannot return `{Self}`",
    label = "does not become an output",
    note = "derive `serde::Serialize` for it, or implement `jobwright_guest::IntoResponse`"
)]
pub trait IntoResponse {
    /// Converts the value to the output.
    ///
    /// # Errors
    /// If the value cannot be converted.
    fn into_response(self) -> Result<Response, JobError>;
}

impl IntoResponse for Response {
    fn into_response(self) -> Result<Response, JobError> {
        Ok(self)
    }
}

impl<T: Serialize + 'static> IntoResponse for T {
    fn into_response(self) -> Result<Response, JobError> {
        let mut value = Some(self);
        let slot: &mut dyn Any = &mut value;
        if let Some(text) = slot.downcast_mut::<Option<String>>() {
            return Ok(Response::text(text.take().unwrap_or_default()));
        }
        if let Some(Some(text)) = slot.downcast_ref::<Option<&'static str>>() {
            return Ok(Response::text(*text));
        }
        if let Some(bytes) = slot.downcast_mut::<Option<Vec<u8>>>() {
            return Ok(Response::bytes(bytes.take().unwrap_or_default()));
        }
        if slot.is::<Option<()>>() {
            return Ok(Response::default());
        }
        Response::json(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken<T: FromRequest>(payload: &str) -> T {
        T::from_request(Request::new(payload)).unwrap()
    }

    #[test]
    fn strings_and_bytes_are_read_unchanged_and_other_types_as_json() {
        assert_eq!(taken::<String>("\"a\""), "\"a\"");
        assert_eq!(taken::<Vec<u8>>("[1]"), b"[1]");
        assert_eq!(taken::<Vec<u16>>("[1]"), [1]);
        assert_eq!(taken::<Request>("a"), Request::new("a"));
        assert_eq!(taken::<Option<u8>>(""), None);
    }

    #[test]
    fn strings_and_bytes_are_written_unchanged_and_other_types_as_json() {
        let left = |response: Result<Response, JobError>| {
            let response = response.unwrap();
            let kind = response.content_type().unwrap_or("-").to_owned();
            (String::from_utf8(response.as_bytes().to_vec()).unwrap(), kind)
        };
        let text = ("a".to_owned(), "text/plain; charset=utf-8".to_owned());
        assert_eq!(left("a".into_response()), text);
        assert_eq!(left("a".to_owned().into_response()), text);
        assert_eq!(left(b"a".to_vec().into_response()), ("a".into(), "-".into()));
        assert_eq!(left(().into_response()), (String::new(), "-".into()));
        let json = |text: &str| (text.to_owned(), "application/json".to_owned());
        assert_eq!(left(["a"].into_response()), json(r#"["a"]"#));
        assert_eq!(left(Some(7).into_response()), json("7"));
    }
}
