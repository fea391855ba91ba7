//! `http_request` of Extism: a request as JSON in one block, its body in another, and the body of the
//! response in a third.
//!
//! Invariant: a request that is refused, or gets no whole response, fails the call of the plug-in, as by
//! Extism's own hosts; the error and the log say why.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Request, Uri};
use jobwright_core::name::shorten;
use jobwright_core::outcome::{AttemptError, RetryHint};
use jobwright_core::outside::{MAX_HEAD_BYTES, Timeouts, Unsent, shown};
use serde::Deserialize;
use thiserror::Error;
use wasmtime::{Caller, Linker};

use super::super::super::capability::channel::Level;
use super::super::super::guest::Guest;
use super::ENV;

/// The longest JSON of a request, in bytes: its headers may be as long as they may be, each byte escaped.
pub(in crate::runtime) const MAX_JSON_BYTES: usize = 6 * MAX_HEAD_BYTES;

/// Why the call of a plug-in failed that sent a request.
#[derive(Debug, Error)]
#[error("http_request failed: {why}")]
pub(super) struct RequestFailed {
    why: String,
    /// Whether another try may go better.
    again: bool,
}

impl RequestFailed {
    fn refused(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: false }
    }

    fn of(unsent: &Unsent) -> Self {
        // What the request is, and not what became of it on the way.
        let refused = matches!(
            unsent,
            Unsent::Denied(_)
                | Unsent::DeniedAddress(_)
                | Unsent::RequestTooLong(_)
                | Unsent::HeadTooLong(_)
        );
        Self { why: unsent.to_string(), again: !refused }
    }

    /// What it means for the job.
    pub(super) fn error(&self) -> (AttemptError, RetryHint) {
        let retry = if self.again { RetryHint::Backoff } else { RetryHint::Never };
        (AttemptError::new("http_request", self.to_string()), retry)
    }
}

/// What a guest is told of its last request.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// 0 before the first.
    status: u16,
    /// As Extism writes them: a JSON object.
    headers: String,
}

/// A request as Extism's PDKs write it.
#[derive(Debug, Deserialize)]
struct Asked {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    method: Option<String>,
}

/// Offers it.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        ENV,
        "http_request",
        |mut p: Caller<'_, Guest>, (request, body): (u64, u64)| {
            Box::new(async move { p.data_mut().http_request(request, body).await })
        },
    )?;
    linker.func_wrap(ENV, "http_status_code", |mut p: Caller<'_, Guest>| {
        i32::from(p.data_mut().extism().answered.status)
    })?;
    linker.func_wrap(ENV, "http_headers", |mut p: Caller<'_, Guest>| {
        let headers = p.data_mut().extism().answered.headers.clone();
        p.data_mut().keep(headers.into_bytes())
    })?;
    Ok(())
}

impl Guest {
    /// Sends a request; answers the block of the response's body.
    async fn http_request(&mut self, request: u64, body: u64) -> wasmtime::Result<u64> {
        let (request, body) = (self.taken_block(request)?, self.taken_block(body)?);
        if request.len() > MAX_JSON_BYTES {
            // Before it is read: what is made of it takes several times as much.
            let (found, most) = (request.len(), MAX_JSON_BYTES);
            let why = format!("its JSON has {found} bytes: {most} at most, and the body apart");
            return Err(self.failed(RequestFailed::refused(why)));
        }
        let request =
            read(&request, body).map_err(|why| self.failed(RequestFailed::refused(why)))?;
        let shown = shown(request.method(), request.uri());
        let outside = self.outside();
        // What refuses it has written why to the log.
        let failed = |unsent: Unsent| {
            let RequestFailed { why, again } = RequestFailed::of(&unsent);
            RequestFailed { why: format!("{shown}: {why}"), again }
        };
        let response = outside.send(request, Timeouts::default()).await.map_err(failed)?;
        let (head, mut body) = response.into_parts();
        let body = body.rest().await.map_err(failed)?;
        let block = self.keep(body.to_vec());
        if !body.is_empty() && block == 0 {
            // A limit is final: that the memory was refused is remembered, and says how to raise it.
            let bytes = body.len();
            let why = format!("there is no memory left for the {bytes} bytes of its response");
            let error = wasmtime::format_err!("http_request failed: {why}");
            self.channel().log(Level::Warn, "jobwright", error.to_string().as_bytes());
            return Err(error);
        }
        self.extism().answered = Answered::of(&head);
        Ok(block)
    }

    /// Says in the log why a request failed here.
    fn failed(&self, failed: RequestFailed) -> wasmtime::Error {
        self.channel().log(Level::Warn, "jobwright", failed.to_string().as_bytes());
        failed.into()
    }
}

/// The request that `text` describes, with this body.
pub(in crate::runtime) fn read(text: &[u8], body: Vec<u8>) -> Result<Request<Bytes>, String> {
    let wrong =
        |what: &str, value: &str, why: &str| format!("its {what} `{}` {why}", shorten(value));
    let asked: Asked =
        serde_json::from_slice(text).map_err(|error| format!("its JSON: {error}"))?;
    let url = ascii(&asked.url);
    let uri: Uri = url.parse().ok().filter(is_whole).ok_or_else(|| {
        wrong("url", &asked.url, "is no address such as `https://example.com/path`")
    })?;
    // In capitals, as by Extism's own hosts; grants name methods so.
    let method = asked.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
    let method = method.as_str();
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| wrong("method", method, "is no method"))?;
    let mut request = Request::new(Bytes::from(body));
    (*request.uri_mut(), *request.method_mut()) = (uri, method);
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        match (name.parse::<http::HeaderName>(), value.parse()) {
            (Ok(name), Ok(value)) => {
                let added = headers.try_append(name, value);
                added.map_err(|_| "its headers are too many".to_owned())?;
            }
            _ => {
                return Err(wrong(
                    "header",
                    name,
                    "has a name or a value that HTTP does not allow",
                ));
            }
        }
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// Whether it says how and from where: of a name or a path alone, no grant could be asked.
fn is_whole(uri: &Uri) -> bool {
    uri.scheme().is_some() && uri.host().is_some()
}

/// An address whose other characters are escaped (RFC 3987, section 3.1): HTTP sends ASCII only.
fn ascii(url: &str) -> Cow<'_, str> {
    if url.is_ascii() {
        return Cow::Borrowed(url);
    }
    let escaped = url.bytes().map(|byte| match byte.is_ascii() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    Cow::Owned(escaped.collect())
}

impl Answered {
    fn of(head: &Parts) -> Self {
        Self { status: head.status.as_u16(), headers: json(&head.headers) }
    }
}

/// The headers of a response as a JSON object.
pub(in crate::runtime) fn json(headers: &HeaderMap) -> String {
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        let values = all.entry(name.as_str()).or_default();
        if !values.is_empty() {
            values.push_str(", ");
        }
        values.push_str(&text);
    }
    serde_json::to_string(&all).unwrap_or_default()
}
