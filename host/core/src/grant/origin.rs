//! Patterns of origins that HTTP requests may be sent to: `scheme://host[:port]`, after RFC 6454.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::shorten;

/// A pattern of origins.
///
/// | pattern | is |
/// |---|---|
/// | `https://api.example.com` | this host, at the port of the scheme |
/// | `http://127.0.0.1:8080` | this very address, even if it is not public |
/// | `https://*.example.com` | every host below it, and not itself |
/// | `https://*` | every host |
/// | `http://api.example.com:*` | any port |
///
/// A `*` stands for one or more whole labels at the start of a name of at least two further labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: Port,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// Every host.
    Any,
    /// Every host whose name ends with this suffix, which begins with a dot.
    Below(String),
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Any,
    Number(u16),
}

/// A string that is not a pattern of origins.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` {NOT_AN_ORIGIN}")]
pub struct InvalidOrigin(String);

/// The message without the value, for values that are not shown.
pub const NOT_AN_ORIGIN: &str = "is not an origin: use `https://api.example.com`, \
    `http://127.0.0.1:8080`, `https://*.example.com` or `https://*`, without a path, and `:*` for any \
    port";

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn of(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }
}

impl Origin {
    /// Whether `to`, an absolute URI, matches the pattern.
    #[must_use]
    pub fn matches(&self, to: &http::Uri) -> bool {
        let Some(scheme) = to.scheme_str().and_then(Scheme::of) else { return false };
        let Some(port) = port(to) else { return false };
        let is_port = match self.port {
            Port::Any => true,
            Port::Number(number) => port == number,
        };
        scheme == self.scheme && is_port && self.has_host_of(to)
    }

    /// Whether `to` has the same host, with any scheme and port.
    #[must_use]
    pub fn has_host_of(&self, to: &http::Uri) -> bool {
        let Some(host) = to.host().map(normal) else { return false };
        match &self.host {
            Host::Any => true,
            Host::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
            Host::Name(name) => &host == name,
            Host::Address(address) => literal(&host) == Some(*address),
        }
    }

    /// The IP address, if the host is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            _ => None,
        }
    }
}

/// The port of `to`, or the default of its scheme; `None` if the port is invalid.
#[must_use]
pub fn port(to: &http::Uri) -> Option<u16> {
    let authority = to.authority()?;
    // The only other colons are those of an IPv6 address in brackets, and those before an `@`.
    let (_, host) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
    match host.strip_prefix(authority.host())? {
        "" => to.scheme_str().and_then(Scheme::of).map(Scheme::port),
        named => {
            let number = named.strip_prefix(':')?;
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| number.parse().ok()).flatten()
        }
    }
}

/// A host in the form that is compared: lower case, without the final dot of a full name.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The IP address of a host that is one: `127.0.0.1`, `[::1]`.
#[must_use]
pub fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    }
}

fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    // A last label of digits would be a way to write an address (WHATWG URL, 3.5).
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.split('.').all(label)
        && !last.starts_with(|c: char| c.is_ascii_digit())
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let text = normal(text);
        if let Some(address) = literal(&text) {
            return Some(Self::Address(address));
        }
        if let Some(end) = text.strip_prefix("*.") {
            let deep = end.contains('.') && is_name(end);
            return deep.then(|| Self::Below(format!(".{end}")));
        }
        is_name(&text).then_some(Self::Name(text))
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidOrigin(shorten(text)))
    }
}

fn parse(text: &str) -> Option<Origin> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = Scheme::of(scheme)?;
    // The colons of an address of version 6 are within its brackets.
    let after = rest.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match rest[after..].find(':') {
        None => (rest, Port::Number(scheme.port())),
        Some(colon) => {
            let (host, port) = (&rest[..after + colon], &rest[after + colon + 1..]);
            let number = || port.parse().ok().filter(|n: &u16| n.to_string() == port && *n > 0);
            (host, if port == "*" { Port::Any } else { Port::Number(number()?) })
        }
    };
    Some(Origin { scheme, host: Host::parse(host)?, port })
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Scheme::Http => "http://",
            Scheme::Https => "https://",
        })?;
        match &self.host {
            Host::Any => f.write_str("*"),
            Host::Below(end) => write!(f, "*{end}"),
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }?;
        match self.port {
            Port::Any => f.write_str(":*"),
            Port::Number(number) if number == self.scheme.port() => Ok(()),
            Port::Number(number) => write!(f, ":{number}"),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, to: &str) -> bool {
        pattern.parse::<Origin>().expect(pattern).matches(&to.parse().expect(to))
    }

    #[test]
    fn a_host_matches_in_every_notation() {
        for to in [
            "https://api.example.com/x",
            "https://API.Example.com:443",
            "https://api.example.com./",
        ] {
            assert!(matches("https://api.example.com", to), "{to}");
        }
        for to in [
            "http://api.example.com/",
            "https://api.example.com:444/",
            "https://example.com/",
            "https://x.api.example.com/",
            "https://api.example.com.evil.net/",
            "https://evil.net/api.example.com",
            "https://api.example.com@evil.net/",
            "/relative",
        ] {
            assert!(!matches("https://api.example.com", to), "{to}");
        }
    }

    #[test]
    fn a_wildcard_matches_only_whole_labels_below_a_name() {
        for to in ["https://a.example.com/", "https://a.b.example.com/"] {
            assert!(matches("https://*.example.com", to), "{to}");
        }
        for to in [
            "https://example.com/",
            "https://evilexample.com/",
            "https://.example.com/",
            "https://a.example.com.evil.net/",
            "http://a.example.com/",
        ] {
            assert!(!matches("https://*.example.com", to), "{to}");
        }
        assert!(matches("http://*:*", "http://anything:81/"));
    }

    #[test]
    fn an_invalid_port_is_not_replaced_by_the_port_of_the_scheme() {
        for port in ["", ":80", ":080"] {
            assert!(matches("http://127.0.0.1", &format!("http://127.0.0.1{port}/")), "{port}");
        }
        for port in [":", ":99999", ":abc", ":-1", ":+80", ":80,evil.com"] {
            let to = format!("http://127.0.0.1{port}/");
            assert!(!matches("http://127.0.0.1", &to) && !matches("http://*:*", &to), "{port}");
        }
        assert!(matches("http://[::1]:*", "http://[::1]:81/"));
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        assert!(matches("http://127.0.0.1:8080", "http://127.0.0.1:8080/"));
        assert!(matches("http://[::1]", "http://[0:0:0:0:0:0:0:1]/"));
        assert!(!matches("http://127.0.0.1", "http://127.0.0.2/"));
        // Other notations of addresses are treated as names; their addresses are checked when they
        // are resolved.
        assert!(!matches("http://127.0.0.1", "http://0x7f.1/"));
    }

    #[test]
    fn strings_that_are_not_origins_are_refused() {
        for bad in [
            "",
            "*",
            "https",
            "https://",
            "ftp://a.example.com",
            "https://a.example.com/",
            "https://a.example.com/v1",
            "https://user@a.example.com",
            "https://a.*.com",
            "https://*example.com",
            "https://*.com",
            "https://*.",
            "https://**.example.com",
            "https://a..example.com",
            "https://a.example.com:",
            "https://a.example.com:0",
            "https://a.example.com:080",
            "https://a.example.com:99999",
            "https://exämple.com",
            "https://a example.com",
            "https://2130706433",
            "https://0x7f.0.0.1",
            "https://[::1",
            "https://[::1%lo]",
            "https://::1",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_shown_as_it_may_be_written() {
        for text in
            ["https://a.example.com", "http://*:*", "http://[::1]:81", "https://*.example.com"]
        {
            assert_eq!(text.parse::<Origin>().expect(text).to_string(), text);
        }
        assert_eq!("https://A.b.:443".parse::<Origin>().expect("one").to_string(), "https://a.b");
    }
}
