//! Addresses and durations as text, in the configuration and in flags.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize as _, Deserializer};

/// Deserializes an address to listen on; see [`resolve`].
pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    resolve(&text).map_err(serde::de::Error::custom)
}

/// Parses an address, such as `127.0.0.1:7878` or `[::1]:7878`, or resolves a name with a port, such as
/// `localhost:7878`. Prefers an IPv4 address of a name, because the default address of clients is one.
pub(crate) fn resolve(text: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs as _;
    let wrong = |error: std::io::Error| {
        format!(
            "`{text}` is neither an IP address with a port, such as 127.0.0.1:7878, nor a name that \
             resolves, with a port, such as localhost:7878: {error}"
        )
    };
    let mut addresses: Vec<SocketAddr> = text.to_socket_addrs().map_err(wrong)?.collect();
    addresses.sort_by_key(|address| !address.is_ipv4());
    addresses.first().copied().ok_or_else(|| format!("`{text}` resolves to no address"))
}

/// Deserializes a duration, such as `30s`, `1h30m` or `14d`.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// Parses a duration; see [`duration`].
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: Result<jiff::Span, _> = text.parse();
    span.and_then(|span| {
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).and_then(Duration::try_from)
    })
    .map_err(|_| format!("`{text}` is not a duration: use 30s, 1h30m or 14d"))
}
