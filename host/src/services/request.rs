//! Checks the requests of guests: refuses contradictory headers, headers that change the protocol, and
//! requests that are too long; removes hop-by-hop headers (RFC 9110, 7.6.1), which the host sets. Pure.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use jobwright_core::grant::origin;
use jobwright_core::name::shorten;
use jobwright_core::services::{HttpRequestError, MAX_HEAD_BYTES, header_bytes};
use thiserror::Error;

/// Headers of the connection and of the framing of the body, which the host sets. A request means the same
/// without them.
const REMOVED: [HeaderName; 7] = [
    header::CONNECTION,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Headers that request another protocol, or that are for a proxy. A request means something else without
/// them.
const REFUSED: [HeaderName; 4] = [
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
];

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("the header `{0}` is set by the host only")]
    Header(HeaderName),
    #[error("the header `host` is `{given}`, and the request goes to `{to}`")]
    Host { given: String, to: String },
    #[error("the body cannot be sent with the `transfer-encoding` `{0}`: send it without")]
    Coding(String),
    #[error("`content-length` is `{given}`, and the body has {bytes} bytes")]
    Length { given: String, bytes: usize },
    #[error("the method `{0}` opens a tunnel, which is not allowed")]
    Tunnel(Method),
    #[error("the address contains a user name: put credentials into the header `authorization`")]
    User,
    #[error("its port is not a number from 0 to 65535")]
    Port,
}

/// Checks a request, and removes the headers that the host sets. Returns the line about these for the log of
/// the attempt, which shows the request as `shown`.
///
/// # Errors
/// If the request is too long, or must not be sent: see [`Fault`].
pub(super) fn check_and_clean(
    request: &mut Request<Bytes>,
    shown: &str,
) -> Result<Option<String>, HttpRequestError> {
    if head_bytes(request) > MAX_HEAD_BYTES {
        return Err(HttpRequestError::HeadTooLong(MAX_HEAD_BYTES as u64));
    }
    check(request).map_err(|fault| HttpRequestError::Denied(fault.to_string()))?;
    let headers = request.headers_mut();
    let removed = REMOVED.into_iter().filter(|name| headers.remove(name).is_some());
    let names: Vec<_> = removed.map(|name| format!("`{name}`")).collect();
    Ok((!names.is_empty()).then(|| {
        let names = names.join(", ");
        format!("INFO: jobwright: {shown}: dropped {names}, which the host sets\n")
    }))
}

/// The length of the address and the headers.
fn head_bytes(request: &Request<Bytes>) -> usize {
    // The sum of the parts, without building the string of the address.
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
    let is_http = matches!(request.uri().scheme_str(), Some("http" | "https"));
    if is_http && origin::port(request.uri()).is_none() {
        return Err(Fault::Port);
    }
    let headers = request.headers();
    if let Some(name) = REFUSED.iter().find(|name| headers.contains_key(*name)) {
        return Err(Fault::Header(name.clone()));
    }
    let all = |name| headers.get_all(name).iter();
    if let Some(given) = all(header::HOST).find(|given| !names(given, request.uri())) {
        let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        return Err(Fault::Host { given: text(given), to: shorten(&to) });
    }
    let is_chunked = |given: &&HeaderValue| given.as_bytes().eq_ignore_ascii_case(b"chunked");
    if let Some(given) = all(header::TRANSFER_ENCODING).find(|given| !is_chunked(given)) {
        return Err(Fault::Coding(text(given)));
    }
    let bytes = request.body().len();
    let is_length = |given: &&HeaderValue| given.as_bytes() == bytes.to_string().as_bytes();
    match all(header::CONTENT_LENGTH).find(|given| !is_length(given)) {
        Some(given) => Err(Fault::Length { given: text(given), bytes }),
        None => Ok(()),
    }
}

/// Whether a `Host` header names the host and port of `to`.
fn names(given: &HeaderValue, to: &Uri) -> bool {
    let Some(scheme) = to.scheme_str() else { return false };
    // Only a host and a port, and no other part of an address.
    let given = given.to_str().ok().filter(|given| !given.contains(['@', '/', '?', '#']));
    let given = given.and_then(|given| format!("{scheme}://{given}/").parse::<Uri>().ok());
    let Some(given) = given else { return false };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    host(&given) == host(to) && origin::port(&given) == origin::port(to)
}

fn text(value: &HeaderValue) -> String {
    shorten(&String::from_utf8_lossy(value.as_bytes()))
}

#[cfg(test)]
mod tests;
