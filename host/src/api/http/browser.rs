//! Protects against pages of other sites: a browser is an attacker on loopback.
//!
//! Any page can send requests to this host, by its address or by a name that resolves to it (DNS rebinding). So
//! the `Host` must be one of the allowed names, and a request must not come from another site, as browsers
//! report it in `Sec-Fetch-Site` and `Origin`. Only links to `/` can be followed from any site.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use jobwright_core::name::shorten;

use super::error::ApiError;
use super::problem_code::ProblemCode;

/// The names that the header `Host` may have, in addition to `localhost` and IP addresses. IP addresses are safe
/// from DNS rebinding, so they need no list.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// These names, without ports. They are trimmed, and empty names are ignored.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        let names = names.iter().map(|name| name.trim().to_ascii_lowercase());
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Checks that no page of another site sent the request.
    ///
    /// # Errors
    /// If one may have, and the request is not a health check, which exposes nothing.
    pub(in crate::api) fn admit(&self, request: &Request) -> Result<(), ApiError> {
        if is_health_check_without_host(request) {
            return Ok(());
        }
        self.check(request.method(), request.uri(), request.headers())
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()));
        check_single_host(uri, headers)?;
        let named = text(header::HOST).or_else(|| uri.authority().map(|a| a.as_str().into()));
        let host = named.unwrap_or_default();
        if !self.allows(&host) {
            let detail = format!(
                "the Host `{}` is not an allowed name; if it is this host's name, add it to \
                 --allowed-hosts or `allowed_hosts` in the configuration",
                shorten(&host)
            );
            return Err(ApiError::new(ProblemCode::ForeignHost, detail));
        }
        let fetched = |name| text(header::HeaderName::from_static(name));
        let same_site = match fetched("sec-fetch-site") {
            Some(site) => matches!(&*site, "same-origin" | "none"),
            None => true,
        };
        if method.is_safe() {
            // Pages of other sites can link to the start page, and request nothing else.
            let is_link = uri.path() == "/"
                && fetched("sec-fetch-mode").as_deref() == Some("navigate")
                && fetched("sec-fetch-dest").as_deref() == Some("document");
            if same_site || is_link {
                return Ok(());
            }
            let detail = "a page of another site sent this request: it cannot read from this host";
            return Err(ApiError::new(ProblemCode::ForeignOrigin, detail));
        }
        let same_origin = match text(header::ORIGIN) {
            Some(origin) => origin.split_once("://").is_some_and(|(_, from)| from == host),
            None => true,
        };
        if same_site && same_origin {
            return Ok(());
        }
        let detail =
            "a page of another site sent this request: it cannot change anything on this host";
        Err(ApiError::new(ProblemCode::ForeignOrigin, detail))
    }

    fn allows(&self, host: &str) -> bool {
        let is_address = host.parse::<SocketAddr>().is_ok()
            || host.parse::<IpAddr>().is_ok()
            || host.strip_prefix('[').is_some_and(|rest| {
                rest.strip_suffix(']').is_some_and(|inner| inner.parse::<IpAddr>().is_ok())
            });
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name).to_ascii_lowercase();
        is_address || name == "localhost" || self.0.contains(&name)
    }
}

/// Whether this is a health check of HTTP/1.0 without a `Host`, as load balancers send it. Browsers do not send
/// such requests, and the response has only the readiness of the host.
fn is_health_check_without_host(request: &Request) -> bool {
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

/// Refuses a request that names two hosts (RFC 9112, 3.2): a proxy in front of this host may have checked the
/// other one.
fn check_single_host(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut named = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let (first, second) = (named.next(), named.next());
    let other = second.or_else(|| uri.authority().map(|authority| authority.as_str().as_bytes()));
    match (first, other) {
        (Some(_), Some(_)) if second.is_some() => {
            Err(ApiError::new(ProblemCode::SeveralHosts, "the request has more than one Host"))
        }
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            let [host, target] = [host, target].map(|text| shorten(&String::from_utf8_lossy(text)));
            let detail = format!("the request is for `{target}`, but its Host is `{host}`");
            Err(ApiError::new(ProblemCode::SeveralHosts, detail))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
