//! What a guest may not say in a request: two truths about one thing, what makes it something else than a
//! request, and too much; and what it need not say, because it is between two neighbours on the way
//! (RFC 9110, 7.6.1) and the host says it. Pure.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use jobwright_core::grant::origin;
use jobwright_core::name::shorten;
use jobwright_core::services::{HttpRequestError, MAX_HEAD_BYTES, header_bytes};
use thiserror::Error;

/// Of the connection, which is the host's, as is how the body is framed. A request says the same without
/// them.
const LEFT_OUT: [HeaderName; 7] = [
    header::CONNECTION,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What asks for another protocol, or of a proxy. A request without them would be another one.
const REFUSED: [HeaderName; 4] = [
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
];

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("the header `{0}` is for the host to set")]
    Header(HeaderName),
    #[error("the header `host` is `{said}`, and the request goes to `{to}`")]
    Host { said: String, to: String },
    #[error("the body cannot be sent with the `transfer-encoding` `{0}`: send it without")]
    Coding(String),
    #[error("`content-length` is `{said}`, and the body has {found} bytes")]
    Length { said: String, found: usize },
    #[error("the method `{0}` makes a tunnel")]
    Tunnel(Method),
    #[error("the address names a user: put credentials into the header `authorization`")]
    User,
    #[error("its port is not a number from 0 to 65535")]
    Port,
}

/// Refuses what is too much, and what would make of one request something else; leaves out what the host
/// sets, and answers the line about that for the log of the guest, in which the request is `shown` so.
pub(super) fn settle(
    request: &mut Request<Bytes>,
    shown: &str,
) -> Result<Option<String>, HttpRequestError> {
    if head_bytes(request) > MAX_HEAD_BYTES {
        return Err(HttpRequestError::HeadTooLong(MAX_HEAD_BYTES as u64));
    }
    check(request).map_err(|fault| HttpRequestError::Denied(fault.to_string()))?;
    let headers = request.headers_mut();
    let left_out = LEFT_OUT.into_iter().filter(|name| headers.remove(name).is_some());
    let names: Vec<_> = left_out.map(|name| format!("`{name}`")).collect();
    Ok((!names.is_empty()).then(|| {
        let names = names.join(", ");
        format!("INFO: jobwright: {shown}: left out {names}, which the host sets\n")
    }))
}

/// What its address and headers take.
fn head_bytes(request: &Request<Bytes>) -> usize {
    // Its parts one by one: they are not put together for this.
    let (uri, length) = (request.uri(), |text: Option<&str>| text.map_or(0, str::len));
    let authority = uri.authority().map(http::uri::Authority::as_str);
    length(authority) + uri.path().len() + length(uri.query()) + header_bytes(request.headers())
}

fn check(request: &Request<Bytes>) -> Result<(), Fault> {
    if request.method() == Method::CONNECT {
        return Err(Fault::Tunnel(Method::CONNECT));
    }
    if request.uri().authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Fault::User);
    }
    let of_the_web = matches!(request.uri().scheme_str(), Some("http" | "https"));
    if of_the_web && origin::port(request.uri()).is_none() {
        return Err(Fault::Port);
    }
    let headers = request.headers();
    if let Some(name) = REFUSED.iter().find(|name| headers.contains_key(*name)) {
        return Err(Fault::Header(name.clone()));
    }
    let all = |name| headers.get_all(name).iter();
    if let Some(said) = all(header::HOST).find(|said| !names(said, request.uri())) {
        let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        return Err(Fault::Host { said: text(said), to: shorten(&to) });
    }
    let is_chunked = |said: &&HeaderValue| said.as_bytes().eq_ignore_ascii_case(b"chunked");
    if let Some(said) = all(header::TRANSFER_ENCODING).find(|said| !is_chunked(said)) {
        return Err(Fault::Coding(text(said)));
    }
    let found = request.body().len();
    let is_length = |said: &&HeaderValue| said.as_bytes() == found.to_string().as_bytes();
    match all(header::CONTENT_LENGTH).find(|said| !is_length(said)) {
        Some(said) => Err(Fault::Length { said: text(said), found }),
        None => Ok(()),
    }
}

/// Whether a `Host` header names the host and port of `to`.
fn names(said: &HeaderValue, to: &Uri) -> bool {
    let Some(scheme) = to.scheme_str() else { return false };
    // An authority, and nothing else that an address has.
    let said = said.to_str().ok().filter(|said| !said.contains(['@', '/', '?', '#']));
    let said = said.and_then(|said| format!("{scheme}://{said}/").parse::<Uri>().ok());
    let Some(said) = said else { return false };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    host(&said) == host(to) && origin::port(&said) == origin::port(to)
}

fn text(value: &HeaderValue) -> String {
    shorten(&String::from_utf8_lossy(value.as_bytes()))
}

#[cfg(test)]
mod tests;
