//! A browser is an attacker on loopback.
//!
//! Any page may send requests to this host, by its address or by a name that was made to resolve to
//! it. So the `Host` must be one that is expected, and a request must not come from another site, as
//! browsers say it in `Sec-Fetch-Site` and `Origin`; only a link to `/` may be followed from anywhere.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use jobwright_core::name::shorten;

use super::error::ApiError;

/// The names under which this host may be asked, beside `localhost` and plain addresses. A plain
/// address cannot be made to point elsewhere, so it needs no list.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// These names, without ports. Blanks around a name, and empty names, are left out.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        let names = names.iter().map(|name| name.trim().to_ascii_lowercase());
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Lets a request pass that no foreign page can have sent, or that tells nothing worth protecting.
    pub(in crate::api) fn admit(&self, request: &Request) -> Result<(), ApiError> {
        if is_bare_probe(request) {
            return Ok(());
        }
        self.check(request.method(), request.uri(), request.headers())
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()));
        one_host(uri, headers)?;
        let named = text(header::HOST).or_else(|| uri.authority().map(|a| a.as_str().into()));
        let host = named.unwrap_or_default();
        if !self.expects(&host) {
            let detail = format!(
                "the Host `{}` is not expected here; if it is this host's name, add it to \
                 --allowed-hosts or `allowed_hosts` in the configuration",
                shorten(&host)
            );
            return Err(ApiError::forbidden("foreign_host", detail));
        }
        let fetched = |name| text(header::HeaderName::from_static(name));
        let same_site = match fetched("sec-fetch-site") {
            Some(site) => matches!(&*site, "same-origin" | "none"),
            None => true,
        };
        if method.is_safe() {
            // A link to the first page may be followed; nothing else is for pages of others to ask for.
            let is_link = uri.path() == "/"
                && fetched("sec-fetch-mode").as_deref() == Some("navigate")
                && fetched("sec-fetch-dest").as_deref() == Some("document");
            if same_site || is_link {
                return Ok(());
            }
            let detail = "a read that a page of another site asks for is not answered";
            return Err(ApiError::forbidden("foreign_origin", detail));
        }
        let same_origin = match text(header::ORIGIN) {
            Some(origin) => origin.split_once("://").is_some_and(|(_, from)| from == host),
            None => true,
        };
        if same_site && same_origin {
            return Ok(());
        }
        let detail = "a write that a page of another site sent is not taken";
        Err(ApiError::forbidden("foreign_origin", detail))
    }

    fn expects(&self, host: &str) -> bool {
        let is_address = host.parse::<SocketAddr>().is_ok()
            || host.parse::<IpAddr>().is_ok()
            || host.strip_prefix('[').is_some_and(|rest| {
                rest.strip_suffix(']').is_some_and(|inner| inner.parse::<IpAddr>().is_ok())
            });
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name).to_ascii_lowercase();
        is_address || name == "localhost" || self.0.contains(&name)
    }
}

/// Whether this is a health check of HTTP/1.0 that names no host, as balancers send it. No browser sends
/// one; and what it reads says only whether the host takes jobs.
fn is_bare_probe(request: &Request) -> bool {
    request.version() == Version::HTTP_10
        && request.method().is_safe()
        && !request.headers().contains_key(header::HOST)
        && request.uri().authority().is_none()
        && match request.uri().path() {
            "/healthz" | "/readyz" => true,
            "/" => request.method() == Method::OPTIONS,
            _ => false,
        }
}

/// Refuses a request that names two hosts (RFC 9112, 3.2): a proxy before this host may have looked
/// at the other one.
fn one_host(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut named = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let (first, second) = (named.next(), named.next());
    let other = second.or_else(|| uri.authority().map(|authority| authority.as_str().as_bytes()));
    match (first, other) {
        (Some(_), Some(_)) if second.is_some() => {
            Err(ApiError::bad_request("several_hosts", "the request has more than one Host"))
        }
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            let [host, target] = [host, target].map(|text| shorten(&String::from_utf8_lossy(text)));
            let detail = format!("the request is for `{target}`, and its Host says `{host}`");
            Err(ApiError::bad_request("several_hosts", detail))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
