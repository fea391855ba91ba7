//! What a guest may not say in a request: whatever is between two neighbours on the way (RFC 9110,
//! 7.6.1) and not between it and who answers, two truths about one thing, and too much. Pure.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{Method, Request};
use jobwright_core::grant::origin;
use jobwright_core::name::shorten;
use jobwright_core::outside::{MAX_HEAD_BYTES, Unsent};
use thiserror::Error;

/// Of the connection, which is the host's; and the name of who is asked, which the address says.
const NOT_THE_GUESTS: [HeaderName; 11] = [
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("the header `{0}` is for the host to set")]
    Header(HeaderName),
    #[error("`content-length` is `{said}`, and the body has {found} bytes")]
    Length { said: String, found: usize },
    #[error("the method `{0}` makes a tunnel")]
    Tunnel(Method),
    #[error("the address names a user: put credentials into the header `authorization`")]
    User,
    #[error("its port is not a number from 0 to 65535")]
    Port,
}

/// Refuses what is too much, and what would make of one request something else.
pub(super) fn check(request: &Request<Bytes>) -> Result<(), Unsent> {
    if head_bytes(request) > MAX_HEAD_BYTES {
        return Err(Unsent::HeadTooLong(MAX_HEAD_BYTES as u64));
    }
    sound(request).map_err(|fault| Unsent::Denied(fault.to_string()))
}

/// What its address and headers take, with the colon and the ends of the lines.
fn head_bytes(request: &Request<Bytes>) -> usize {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 4);
    // Its parts one by one: they are not put together for this.
    let (uri, length) = (request.uri(), |text: Option<&str>| text.map_or(0, str::len));
    let authority = uri.authority().map(http::uri::Authority::as_str);
    length(authority) + uri.path().len() + length(uri.query()) + headers.sum::<usize>()
}

fn sound(request: &Request<Bytes>) -> Result<(), Fault> {
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
    if let Some(name) = NOT_THE_GUESTS.iter().find(|name| headers.contains_key(*name)) {
        return Err(Fault::Header(name.clone()));
    }
    let found = request.body().len();
    for said in headers.get_all(header::CONTENT_LENGTH) {
        if said.as_bytes() != found.to_string().as_bytes() {
            let said = shorten(&String::from_utf8_lossy(said.as_bytes()));
            return Err(Fault::Length { said, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
