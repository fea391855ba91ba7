//! A browser is an attacker on loopback.
//!
//! Any page may send requests to this host, by its address or by a name that was made to resolve to
//! it. So the `Host` must be one that is expected, and a write must not come from another site.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use jobwright_core::name::shorten;

use super::error::ApiError;

/// The names under which this host may be asked, beside `localhost` and plain addresses. A plain
/// address cannot be made to point elsewhere, so it needs no list.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// These names, without ports.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Lets a request pass that no foreign page can have sent.
    pub(super) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()));
        one_host(uri, headers)?;
        let named = text(header::HOST).or_else(|| uri.authority().map(|a| a.as_str().into()));
        let host = named.unwrap_or_default();
        if !self.expects(&host) {
            let detail = format!(
                "the Host `{}` is not expected here; if it is this host's name, add it to \
                 `allowed_hosts` in the configuration",
                shorten(&host)
            );
            return Err(ApiError::forbidden("foreign_host", detail));
        }
        if method.is_safe() {
            return Ok(());
        }
        let same_site = match text(header::HeaderName::from_static("sec-fetch-site")) {
            Some(site) => matches!(&*site, "same-origin" | "none"),
            None => true,
        };
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
mod tests {
    use super::*;

    fn allowed(method: Method, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let hosts = AllowedHosts::new(&["Jobs.example".to_owned()]);
        hosts.check(&method, &Uri::from_static("/"), &headers).is_ok()
    }

    #[test]
    fn only_expected_hosts_are_answered() {
        for good in [
            "localhost:7878",
            "127.0.0.1:7878",
            "127.0.0.1",
            "[::1]:7878",
            "[::1]",
            "jobs.example",
            "JOBS.example:443",
        ] {
            assert!(allowed(Method::GET, &[("host", good)]), "{good}");
        }
        for bad in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7878"] {
            assert!(!allowed(Method::GET, &[("host", bad)]), "{bad}");
        }
    }

    #[test]
    fn a_write_from_another_site_is_refused_and_a_read_is_not() {
        let host = ("host", "localhost:7878");
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:9999"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!allowed(Method::POST, &[host, foreign]), "{foreign:?}");
            assert!(allowed(Method::GET, &[host, foreign]), "{foreign:?}");
        }
        for own in [("origin", "http://localhost:7878"), ("sec-fetch-site", "same-origin")] {
            assert!(allowed(Method::DELETE, &[host, own]), "{own:?}");
        }
    }
}
