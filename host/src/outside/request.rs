//! What a guest may not say in a request: whatever is between two neighbours on the way (RFC 9110,
//! 7.6.1) and not between it and who answers, and two truths about one thing. Pure.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{Method, Request};
use jobwright_core::name::shorten;
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
}

/// Refuses what would make of one request something else.
pub(super) fn check(request: &Request<Bytes>) -> Result<(), Fault> {
    if request.method() == Method::CONNECT {
        return Err(Fault::Tunnel(Method::CONNECT));
    }
    if request.uri().authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Fault::User);
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

/// A request in a line of a log: without its query, in which there may be what is nobody's business.
pub(super) fn shown(request: &Request<Bytes>) -> String {
    let uri = request.uri();
    let text = uri.to_string();
    let end = text.find('?').unwrap_or(text.len());
    format!("{} {}", shorten(request.method().as_str()), shorten(&text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(header: (&str, &str)) -> Request<Bytes> {
        let request = Request::post("http://a.example.com/p?secret=1").header(header.0, header.1);
        request.body(Bytes::from_static(b"12345")).expect("a request")
    }

    #[test]
    fn what_is_between_the_guest_and_who_answers_passes() {
        for header in [("accept", "*/*"), ("content-length", "5"), ("cookie", "a=b")] {
            assert_eq!(check(&request(header)), Ok(()), "{header:?}");
        }
    }

    #[test]
    fn what_is_of_the_connection_is_refused() {
        for name in NOT_THE_GUESTS {
            let refused = check(&request((name.as_str(), "chunked")));
            assert_eq!(refused, Err(Fault::Header(name)));
        }
        for wrong in ["4", "6", "+5", "05", "5, 5", ""] {
            let refused = check(&request(("content-length", wrong)));
            assert!(matches!(refused, Err(Fault::Length { .. })), "{wrong}");
        }
        let mut twice = request(("content-length", "5"));
        twice.headers_mut().append("content-length", header::HeaderValue::from_static("6"));
        assert!(matches!(check(&twice), Err(Fault::Length { .. })));
        let mut tunnel = request(("a", "b"));
        *tunnel.method_mut() = Method::CONNECT;
        assert!(matches!(check(&tunnel), Err(Fault::Tunnel(_))));
        let mut user = request(("a", "b"));
        *user.uri_mut() = "http://me:pw@a.example.com/".parse().expect("a URI");
        assert_eq!(check(&user), Err(Fault::User));
    }

    #[test]
    fn a_request_is_shown_without_its_query() {
        assert_eq!(shown(&request(("a", "b"))), "POST http://a.example.com/p");
    }
}
